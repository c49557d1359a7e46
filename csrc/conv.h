/* What convolution's kernels share: axes, and copies of images into blocks. */
#ifndef FN_CONV_H
#define FN_CONV_H
#include "brgemm.h"

#define BLOCK 196608             /* bytes of a thread's copy of the input: a part of the second-level cache */
#define LARGE 1048576            /* bytes of weights that threads rather share out than all pass over */
#define PAGE 4096
#define SPARE (8 * FN_VL)        /* elements that whole vectors may reach beyond the end of a block */

#define FN_SHARED static __attribute__((unused))

/* What several products use is loaded once: kept in a register, not folded into each of them. */
#if defined(__x86_64__) || defined(__i386__)
#define HOLD(v) __asm__("" : "+v"(v))
#else
#define HOLD(v) (void)0
#endif

/* ---- axes -------------------------------------------------------------------------------------------------------- */

/* Tap t of output position o reads input position o*step + first + t*dil and weight position w0 + t*w_step. */
typedef struct {
    int64_t in, out, taps, step, first, dil, w0, w_step;
} axis;

FN_INLINE axis forward_axis(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t pad, int64_t dil) {
    return (axis){in, out, taps, stride, -pad, dil, 0, 1};
}

/* The positions u of dx with (u + pad) % stride == phase, `from` the first of them. Of the taps t that reach them,
 * those with t dil % stride == phase, the last comes first, so that they read ascending positions of dy. */
FN_SHARED axis backward_axis(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t pad, int64_t dil,
                          int64_t phase, int64_t *from) {
    int64_t g = stride, every, t = 0;
    for (int64_t a = dil, b; a; a = b) b = g % a, g = a;
    every = stride / g;
    *from = ((phase - pad) % stride + stride) % stride;
    axis x = {.in = out, .out = *from < in ? (in - 1 - *from) / stride + 1 : 0, .step = 1, .dil = dil / g};
    while (t < taps && t < every && t * dil % stride != phase) t++;
    if (t >= taps || t >= every) return x;
    x.taps = (taps - 1 - t) / every + 1;
    x.w0 = t + (x.taps - 1) * every, x.w_step = -every;
    x.first = (*from + pad - x.w0 * dil) / stride;
    return x;
}

/* A single tap without padding reads each stride-th position: a convolution of those alone. */
FN_INLINE fn_conv_args folded(const fn_conv_args *a) {
    fn_conv_args y = *a;
    if (a->R == 1 && !a->pad_h) y.H = a->P, y.x_h *= a->stride_h, y.stride_h = 1;
    if (a->S == 1 && !a->pad_w) y.W = a->Q, y.x_w *= a->stride_w, y.stride_w = 1;
    return y;
}

/* Images so small that a tile's rows run over images rather than along pixels. */
FN_INLINE int small_images(int64_t N, int64_t Q) { return N >= 8 && Q <= 8; }

/* Each step-th pixel is read: if those are a page apart, they crowd few sets of a cache. */
FN_INLINE int64_t pixel_of(int64_t channels, int64_t step) {
    return channels * step * SIZE % PAGE ? channels : channels + 64 / SIZE;
}

/* Can a correlation read x where it lies, channels last and without zeros left and right? */
FN_INLINE int lies_well(const axis *columns, int64_t cols, int64_t x_c, int64_t x_w, int64_t channels) {
    return (x_c == 1 || channels == 1) && x_w * columns->step * SIZE % PAGE && x_w >= channels && columns->first >= 0 &&
           columns->first + cols <= columns->in;
}

/* ---- moving elements --------------------------------------------------------------------------------------------- */

FN_SHARED void copy(fn_t *y, const fn_t *x, int64_t n) {
    int64_t i = 0;
    for (; i + FN_VL <= n; i += FN_VL) v_store(y + i, v_load(x + i));
    if (i < n) v_store_n(y + i, v_load_n(x + i, (int)(n - i)), (int)(n - i));
}
FN_INLINE void clear(fn_t *y, int64_t n) {
    int64_t i = 0;
    for (; i + FN_VL <= n; i += FN_VL) v_store(y + i, v_zero());
    if (i < n) v_store_n(y + i, v_zero(), (int)(n - i));
}

/* C planes of FN_VL pixels to pixels of C neighbours, and back; C even: neighbours move in twos. */
#if defined(__AVX512F__) && FN_DT == 0
#define FN_WEAVE 1
#define EIGHT_(f) _mm512_setr_epi64(f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7))
#define BITS_(f) (__mmask8)(f(0) | f(1) << 1 | f(2) << 2 | f(3) << 3 | f(4) << 4 | f(5) << 5 | f(6) << 6 | f(7) << 7)
#define SIXTEEN_(a, b, d) _mm512_setr_epi32(a, b, (a) + (d), (b) + (d), (a) + 2 * (d), (b) + 2 * (d), (a) + 3 * (d), \
    (b) + 3 * (d), (a) + 4 * (d), (b) + 4 * (d), (a) + 5 * (d), (b) + 5 * (d), (a) + 6 * (d), (b) + 6 * (d), \
    (a) + 7 * (d), (b) + 7 * (d))
FN_INLINE void weave(const int C, vec *y, const vec *x) {
    const int U = C / 2;
    __m512d two[2][4];
    UNROLL for (int u = 0; u < U; u++)
        UNROLL for (int h = 0; h < 2; h++)
            two[h][u] = (__m512d)_mm512_permutex2var_ps((__m512)x[2 * u], SIXTEEN_(8 * h, 8 * h + 16, 1),
                                                        (__m512)x[2 * u + 1]);
    UNROLL for (int h = 0; h < 2; h++)
        UNROLL for (int j = 0; j < U; j++) {
#define FROM_(l) ((8 * j + (l)) / U + 8 * ((8 * j + (l)) % U == 1))
            __m512d v = U == 1 ? two[h][0] : _mm512_permutex2var_pd(two[h][0], EIGHT_(FROM_), two[h][1]);
            UNROLL for (int u = 2; u < U; u++) {
#define HERE_(l) ((8 * j + (l)) % U == u)
                v = _mm512_mask_permutexvar_pd(v, BITS_(HERE_), EIGHT_(FROM_), two[h][u]);
            }
            y[h * U + j] = (vec)v;
        }
#undef FROM_
#undef HERE_
}
FN_INLINE void unweave(const int C, vec *y, const vec *x) {
    const int U = C / 2;
    UNROLL for (int u = 0; u < U; u++) {
        __m512d two[2];
        UNROLL for (int h = 0; h < 2; h++) {
#define FROM_(l) (((l) * U + u) % 8 + 8 * (((l) * U + u) / 8 == 1))
            two[h] = U == 1 ? (__m512d)x[h]
                            : _mm512_permutex2var_pd((__m512d)x[h * U], EIGHT_(FROM_), (__m512d)x[h * U + 1]);
            UNROLL for (int j = 2; j < U; j++) {
#define HERE_(l) (((l) * U + u) / 8 == j)
                two[h] = _mm512_mask_permutexvar_pd(two[h], BITS_(HERE_), EIGHT_(FROM_), (__m512d)x[h * U + j]);
            }
        }
        y[2 * u] = (vec)_mm512_permutex2var_ps((__m512)two[0], SIXTEEN_(0, 2, 4), (__m512)two[1]);
        y[2 * u + 1] = (vec)_mm512_permutex2var_ps((__m512)two[0], SIXTEEN_(1, 3, 4), (__m512)two[1]);
    }
#undef FROM_
#undef HERE_
}
#undef EIGHT_
#undef BITS_
#undef SIXTEEN_
#else
#define FN_WEAVE 0
#endif

/* y[j*y_s + c] = act(x[c*x_c + j] + bias[c]): n pixels of C channels from planes to neighbours. */
FN_INLINE void interleave_(fn_t *y, int64_t y_s, const fn_t *x, int64_t x_c, int64_t n, int64_t C, const int finish,
                           const fn_t *bias, int64_t relu) {
    for (int64_t i = 0; i < n; i += FN_VL) {
        const int64_t j = n < FN_VL ? 0 : least(i, n - FN_VL), m = least(FN_VL, n);      /* the last pixels again */
#if FN_WEAVE
#define WOVEN_(C_) if (C == C_) { \
        vec v[C_], z[C_]; \
        UNROLL for (int c = 0; c < C_; c++) { \
            v[c] = v_load(x + c * x_c + j); \
            if (finish && bias) v[c] += v_set1(bias[c]); \
            if (finish && relu) v[c] = v_relu(v[c]); \
        } \
        weave(C_, z, v); \
        UNROLL for (int c = 0; c < C_; c++) v_store(y + j * y_s + c * FN_VL, z[c]); \
        continue; \
    }
        if (m == FN_VL && y_s == C) {
            WOVEN_(2) WOVEN_(4) WOVEN_(6) WOVEN_(8)
        }
#undef WOVEN_
#endif
        for (int64_t c = 0; c < C; c += FN_PIECE) {
            const int64_t first = C < FN_PIECE ? 0 : least(c, C - FN_PIECE);             /* and channels */
            vec v[FN_PIECE];
            UNROLL for (int q = 0; q < FN_PIECE; q++) {
                const int64_t from = least(first + q, C - 1);
                v[q] = v_get(x + from * x_c + j, m);
                if (finish) {
                    if (bias) v[q] += v_set1(bias[from]);
                    if (relu) v[q] = v_relu(v[q]);
                }
            }
            v_transpose_pieces(v);
            fn_t *const y_j = y + j * y_s + first;
            if (m == FN_VL && (C >= FN_PIECE || (y_s == C && j + FN_VL + FN_PIECE <= n))) {
                v_store_pieces(y_j, y_s, v, FN_VL);          /* what runs over is written again by the next pixel */
                continue;
            }
            if (C >= FN_PIECE) {                             /* apart: m as a constant asks nothing of each pixel */
                v_store_pieces(y_j, y_s, v, (int)m);
                continue;
            }
            fn_t z[FN_PIECE][FN_VL];
            UNROLL for (int q = 0; q < FN_PIECE; q++) v_store(z[q], v[q]);
            for (int64_t at = 0; at < m; at++)
                for (int64_t q = 0; q < C; q++) y_j[at * y_s + q] = z[at % FN_PIECE][at / FN_PIECE * FN_PIECE + q];
        }
    }
}
FN_SHARED void interleave(fn_t *y, int64_t y_s, const fn_t *x, int64_t x_c, int64_t n, int64_t C) {
    interleave_(y, y_s, x, x_c, n, C, 0, 0, 0);
}

/* y[c*y_c + j] = x[j*x_s + c]: the reverse. */
FN_SHARED void planes(fn_t *y, int64_t y_c, const fn_t *x, int64_t x_s, int64_t n, int64_t C) {
#if FN_WEAVE
#define WOVEN_(C_) if (C == C_) for (int64_t i = 0; i < n; i += FN_VL) { \
        const int64_t j = least(i, n - FN_VL); \
        vec v[C_], z[C_]; \
        UNROLL for (int c = 0; c < C_; c++) v[c] = v_load(x + j * C_ + c * FN_VL); \
        unweave(C_, z, v); \
        UNROLL for (int c = 0; c < C_; c++) v_store(y + c * y_c + j, z[c]); \
    }
    if (n >= FN_VL && x_s == C && C % 2 == 0 && C <= 8) {
        WOVEN_(2) WOVEN_(4) WOVEN_(6) WOVEN_(8)
        return;
    }
#undef WOVEN_
#endif
    if (C < FN_PIECE) {
        for (int64_t c = 0; c < C; c++)
            for (int64_t j = 0; j < n; j++) y[c * y_c + j] = x[j * x_s + c];
        return;
    }
    for (int64_t i = 0; i < n; i += FN_VL) {
        const int64_t j = n < FN_VL ? 0 : least(i, n - FN_VL), m = least(FN_VL, n);
        for (int64_t c = 0; c < C; c += FN_PIECE) {
            const fn_t *const x_j = x + j * x_s + least(c, C - FN_PIECE);
            fn_t *const y_j = y + least(c, C - FN_PIECE) * y_c + j;
            vec v[FN_PIECE];
            v_load_turned(v, x_j, x_s, (int)m);
            UNROLL for (int q = 0; q < FN_PIECE; q++) v_put(y_j + q * y_c, v[q], m);
        }
    }
}

/* planes() in whole vectors, with zeros after the last pixel. Can it? */
FN_SHARED int planes_whole(fn_t *y, int64_t y_c, const fn_t *x, int64_t x_s, int64_t n, int64_t C) {
#if FN_WEAVE
    if (x_s != C) return 0;
#define WOVEN_(C_) if (C == C_) for (int64_t j = 0; j < n; j += FN_VL, x += C_ * FN_VL) { \
        vec v[C_], z[C_]; \
        const int64_t m = (n - j) * C_; \
        if (m >= C_ * FN_VL) { \
            UNROLL for (int c = 0; c < C_; c++) v[c] = v_load(x + c * FN_VL); \
        } else { \
            UNROLL for (int c = 0; c < C_; c++) \
                v[c] = v_load_n(x + c * FN_VL, (int)least(most(m - c * FN_VL, 0), FN_VL)); \
        } \
        unweave(C_, z, v); \
        UNROLL for (int c = 0; c < C_; c++) v_store(y + c * y_c + j, z[c]); \
    }
    WOVEN_(2) WOVEN_(4) WOVEN_(6) WOVEN_(8)
#undef WOVEN_
    return C % 2 == 0 && C <= 8;
#else
    (void)y, (void)y_c, (void)x, (void)x_s, (void)n, (void)C;
    return 0;
#endif
}

/* y[j*y_s + c] = x[j*x_w + c*x_c] for n pixels of C channels. */
FN_SHARED void copy_pixels(fn_t *y, int64_t y_s, const fn_t *x, int64_t x_w, int64_t x_c, int64_t n, int64_t C) {
    if (C == 1 ? x_w == 1 && y_s == 1 : x_c == 1 && x_w == C && y_s == C) copy(y, x, n * C);
    else if (x_c == 1 && C > 1)
        for (int64_t j = 0; j < n; j++) copy(y + j * y_s, x + j * x_w, C);
    else if (x_w == 1 && C > 1) interleave(y, y_s, x, x_c, n, C);
    else
        for (int64_t j = 0; j < n; j++)
            for (int64_t c = 0; c < C; c++) y[j * y_s + c] = x[j * x_w + c * x_c];
}
/* y[c*y_c + j] = x[j*x_w + c*x_c] */
FN_SHARED void copy_planes(fn_t *y, int64_t y_c, const fn_t *x, int64_t x_w, int64_t x_c, int64_t n, int64_t C) {
    if (x_w == 1)
        for (int64_t c = 0; c < C; c++) copy(y + c * y_c, x + c * x_c, n);
    else if (x_c == 1) planes(y, y_c, x, x_w, n, C);
    else
        for (int64_t c = 0; c < C; c++)
            for (int64_t j = 0; j < n; j++) y[c * y_c + j] = x[j * x_w + c * x_c];
}

/* The columns that a row of a block has in the image: [lo, hi) of `cols`, of which the first is column a->first. */
FN_INLINE void columns_of(const axis *a, int64_t cols, int64_t *lo, int64_t *hi) {
    *lo = least(most(-a->first, 0), cols);
    *hi = most(least(cols, a->in - a->first), *lo);
}
/* The taps of output position o that meet the image: [lo, hi). */
FN_INLINE void taps_at(const axis *a, int64_t o, int64_t *lo, int64_t *hi) {
    const int64_t at = o * a->step + a->first;
    *lo = at >= 0 ? 0 : least(over(-at, a->dil), a->taps);
    *hi = at >= a->in ? *lo : most(least(a->taps, (a->in - 1 - at) / a->dil + 1), *lo);
}
/* The input rows that output rows [p0, p1) read: [lo, hi), inside the image. */
FN_INLINE void rows_of(const axis *a, int64_t p0, int64_t p1, int64_t *lo, int64_t *hi) {
    *lo = least(most(p0 * a->step + a->first, 0), a->in);
    *hi = most(least((p1 - 1) * a->step + a->first + (a->taps - 1) * a->dil + 1, a->in), *lo);
}

/* A row of n pixels of C planes, which the hardware does not see coming. */
FN_SHARED void fetch_planes(const fn_t *x, int64_t x_w, int64_t x_c, int64_t n, int64_t C) {
    for (int64_t c = 0; c < C && x_w == 1 && C >= FN_PIECE; c++) fetch_lines(x + c * x_c, n * SIZE, 0);
}
/* Rows [lo, hi) of an image of C channels into a block: `pixel` elements from pixel to pixel, `cols` pixels a row, with
 * zeros left and right of the image. */
FN_SHARED void copy_block(fn_t *y, const axis *columns, int64_t cols, int64_t pixel, const fn_t *x, int64_t x_h,
                          int64_t x_w, int64_t x_c, int64_t lo, int64_t hi, int64_t C) {
    int64_t left, right;
    columns_of(columns, cols, &left, &right);
    for (int64_t h = lo; h < hi; h++, y += cols * pixel) {
        fetch_planes(x + (h + 1) * x_h, x_w, x_c, columns->in, C);
        copy_pixels(y + left * pixel, pixel, x + h * x_h + (left + columns->first) * x_w, x_w, x_c, right - left, C);
        clear(y, left * pixel), clear(y + right * pixel, (cols - right) * pixel);
    }
}
/* The same into planes, `plane` elements from channel to channel; rows outside of the image are zeros too. */
FN_SHARED void copy_block_planes(fn_t *y, int64_t plane, const axis *columns, int64_t cols, const fn_t *x, int64_t x_h,
                                 int64_t x_w, int64_t x_c, int64_t H, int64_t lo, int64_t hi, int64_t C) {
    int64_t left, right;
    columns_of(columns, cols, &left, &right);
    for (int64_t h = lo; h < hi; h++, y += cols) {
        const int inside = h >= 0 && h < H && right > left;
        fetch_planes(x + (h + 1) * x_h, x_w, x_c, columns->in, C);
        if (inside)
            copy_planes(y + left, plane, x + h * x_h + (left + columns->first) * x_w, x_w, x_c, right - left, C);
        for (int64_t c = 0; c < C && (!inside || left || right < cols); c++) {
            clear(y + c * plane, inside ? left : cols);
            if (inside) clear(y + c * plane + right, cols - right);
        }
    }
}
/* ---- taps that slide along a row (conv_slide.c) ------------------------------------------------------------------ */

/* Where loads are scarcer than multiply-adds. */
#define FN_SLIDES (FN_ROWS2 == 14)

/* c[q] = act(init + sum over rows j, channels i, taps s of x[j][q + s][i] w[j][s][i]) */
typedef struct {
    fn_t *c;                                 /* pixel q at c + q*c_q: a vector */
    const fn_t *init, *x, *w;                /* init: a vector or null; w[j][s][i] in a run of vectors */
    int64_t c_q, x_r, pixel, rows, Q, S, I, relu;    /* elements between pixels of c, rows and pixels of x */
} slide;
/* c[s][i] += sum over rows j, pixels q of x[j][q + s][i] dy[j][q] */
typedef struct {
    fn_t *c;                                 /* a vector at c + s*c_s + i*FN_VL */
    const fn_t *x, *dy;                      /* rows at x + x_at[j], dy + dy_at[j] */
    const int64_t *x_at, *dy_at;
    int64_t c_s, pixel, dy_w, rows, Q, S, I, first;  /* first: from zeros */
} slide_sum;
void FN_NAME(conv_slide)(const slide *p);
void FN_NAME(conv_slide_sum)(const slide_sum *p);

/* ---- an input's gradient of few channels (conv_scatter.c) -------------------------------------------------------- */

int FN_NAME(conv_scatters)(const fn_conv_args *a);       /* does it pay? */
int64_t FN_NAME(conv_scatter_work)(const fn_conv_args *a, int threads);
void FN_NAME(conv_scatter)(const fn_conv_args *a, fn_team t);

/* ---- first layers, and a maximum behind a convolution (conv_first.c) --------------------------------------------- */

#if defined(__AVX512F__) && FN_DT == 0
#define FN_FIRST 8                           /* output channels at most */
/* Where zeros are passed over, what they would have met must be finite. */
FN_SHARED int are_finite(const fn_t *x, int64_t n) {
    mask bad = {0};
    for (int64_t i = 0; i < n; i += FN_VL) {
        const vec v = v_get(x + i, n - i);
        bad |= v - v != v_zero();
    }
    return _mm512_test_epi32_mask((__m512i)bad, (__m512i)bad) == 0;
}
FN_INLINE int is_first(const fn_conv_args *a) {
    const int64_t taps = a->R * a->S;
    return a->C == 1 && a->K > 2 && a->K <= FN_FIRST && taps >= FN_VL / 2 && taps < 2 * FN_VL && a->stride_h == 1 &&
           a->stride_w == 1 && a->dil_h == 1 && a->dil_w == 1;
}
/* By measurement: of 4 channels, of taps that leave a second vector empty, of rows that leave the first-level cache,
 * conv_weight.c's LANES are faster. */
FN_INLINE int has_first_weights(const fn_conv_args *a) {
    const int64_t taps = a->R * a->S;
    return is_first(a) && a->K != 4 && a->Q <= 64 && (taps < FN_VL || taps >= FN_VL + FN_VL / 2);
}
void FN_NAME(conv_first_fwd)(const fn_conv_args *a, fn_team t);                      /* with a maximum; K even */
void FN_NAME(conv_first_bwd_w)(const fn_conv_args *a, fn_team t);
int64_t FN_NAME(conv_first_fwd_work)(const fn_conv_args *a, int threads);
int64_t FN_NAME(conv_first_bwd_w_work)(const fn_conv_args *a, int threads);
#else
#define FN_FIRST 0
#endif

/* Of any convolution that a maximum follows (a->tap): the map between in a->work, which so is longer. */
int64_t FN_NAME(conv_map_work)(const fn_conv_args *a, int threads);
void FN_NAME(conv_maximum)(const fn_conv_args *a, fn_team t);            /* forward */
fn_conv_args FN_NAME(conv_spread)(const fn_conv_args *a, fn_team t);     /* dy of before the maximum, and what else a pass takes */

/* ---- operations that others fall back on -------------------------------------------------------------------------- */

FN_KERNEL(conv2d_fwd);
FN_KERNEL(conv2d_bwd_x);
FN_KERNEL(conv2d_bwd_w);
FN_WORK(conv2d_fwd);
FN_WORK(conv2d_bwd_x);
FN_WORK(conv2d_bwd_w);
FN_KERNEL(max_pool2d_fwd);
FN_KERNEL(max_pool2d_bwd);
FN_WORK(max_pool2d_bwd);
#endif
