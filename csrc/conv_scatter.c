/* 2-D convolution: the gradient of an input of few channels, which would leave much of a vector, or of two, empty.
 *
 *   T[h][q][s,c] = sum over r, k of dy[p,q,k] w[k,c,r,s]      p being the row whose tap r reaches row h of dx
 *
 * is one product for each row of dx. A pixel of dx is the sum over s of T[h][q][s], q being the column whose tap s
 * reaches it. Of a dy that is mostly zeros, as behind a maximum, only the others are multiplied, in the same order: no
 * bit of dx shows it, unless a zero meets an infinity or a NaN of w. */
#include "conv.h"

#define NEAR 24576               /* bytes of T that should stay in the first-level cache */

typedef struct {
    int64_t I, O, ldt, nv, width, panels, rows;
    int64_t panel;                           /* elements: all panels of a filter row */
    int64_t pack, t_room, room;
} scatter;

static scatter scatter_of(const fn_conv_args *a) {
    scatter d = {.I = a->K / a->G, .O = a->C / a->G};
    d.ldt = up(a->S * d.O, FN_VL), d.nv = d.ldt <= FN_VL ? 1 : d.ldt > 2 * FN_VL && a->Q <= FN_ROWS4 ? 4 : 2;
    d.width = d.nv * FN_VL, d.panels = over(d.ldt, d.width), d.panel = d.panels * d.I * d.width;
    d.rows = most(least(a->H, NEAR / (a->Q * d.ldt * SIZE)), 1);
    d.rows = over(a->H, over(a->H, d.rows));
    d.pack = a->G * a->R * d.panel, d.t_room = up((d.rows + 2 * (a->R - 1)) * a->Q * d.ldt + SPARE, 64);
    d.room = up(d.t_room + (2 * a->R + 3 * (a->H + a->W)) * 8 / SIZE, 64);
    return d;
}

/* Is it worth it? Vector multiply-adds of an image; adding a vector costs some three. Against pixels of two vectors, of which only part of
 * one is empty, it matters that a row of few makes poor tiles, and that w is packed number by number. */
int FN_NAME(conv_scatters)(const fn_conv_args *a) {
    const int64_t I = a->K / a->G, O = a->C / a->G, pixels = a->H * a->W;
    const int64_t vecs = over(O, FN_VL);
    if (vecs > 2 || (vecs == 2 && (a->Q <= 2 || O % FN_VL == 0)) || a->R * a->S * O > 4096) return 0;
    const double taps = (double)(a->R * a->S) / (double)(a->stride_h * a->stride_w), sums = (double)I * taps;
    const double low = vecs == 2 && a->Q <= 4 ? 1.7 : 1, pack = vecs == 2 ? 0.5 * (double)(a->R * a->S * O * I) / (double)a->N : 0;
    const double cost = low * (double)(a->P * a->Q * a->R * over(a->S * O, FN_VL) * I) + pack +
                        3 * (double)(pixels * vecs * (1 + a->S / a->stride_w));
    const double waste = (double)(a->W + a->S - 1) / (double)a->W;
    const double along_pixels = (double)O / FN_VL * sums * waste + 0.5 * (double)O + 2 * (double)I;
    return cost < (double)pixels * (along_pixels < (double)vecs * sums ? along_pixels : (double)vecs * sums);
}

/* Panels [g][r][lane / width][k][lane % width], lanes in order s, c. */
static void pack_scatter(const fn_conv_args *a, const scatter *d, fn_t *packed, fn_team t) {
    const int64_t taps = a->R * a->S, I = d->I, O = d->O, width = d->width;
    int64_t lo, hi;
    fn_share(a->G * a->R * d->panels, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        const int64_t r = u / d->panels % a->R, g = u / d->panels / a->R;
        const fn_t *const w = (const fn_t *)a->w + g * I * O * taps + r * a->S;
        fn_t *const y = packed + u * I * width;
        for (int64_t l = 0, lane = u % d->panels * width; l < width; l++, lane++) {
            const fn_t *const w_l = w + lane % O * taps + lane / O;
            for (int64_t k = 0; k < I; k++) y[k * width + l] = lane < a->S * O ? w_l[k * O * taps] : 0;
        }
    }
}

/* The positions of dy that reach a position of dx: from, from + axis.dil, ..., by taps tap, tap + axis.w_step, ... */
typedef struct {
    int64_t from, tap, count;
} reach;
static axis reach_all(reach *y, int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t pad, int64_t dil) {
    axis x = {0}, some = {0};
    for (int64_t phase = 0, first; phase < stride; phase++) {
        x = backward_axis(in, out, taps, stride, pad, dil, phase, &first);
        if (x.taps) some = x;
        for (int64_t o = 0, lo, hi; o < x.out; o++) {
            taps_at(&x, o, &lo, &hi);
            y[first + o * stride] = (reach){o + x.first + lo * x.dil, x.w0 + lo * x.w_step, x.taps ? hi - lo : 0};
        }
    }
    return some;
}

/* Where the shares of neighbours lie O lanes apart, a row's sum moves on by a pixel as they come in. */
#if defined(__AVX512F__) && FN_DT == 0
#define FN_PASSING 1
FN_INLINE void pass_row(fn_t *y, const fn_t *T, const int nv, int64_t W, int64_t Q, int64_t S, int64_t O, int64_t pad) {
    const __m512i next = _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                          _mm512_set1_epi32((int)O));
    const __mmask16 stay = (__mmask16)(0xffffu >> O);
    const int last = (int)(S * O - (nv - 1) * FN_VL);
    vec v[2] = {v_zero(), v_zero()};
    for (int64_t q = 0; q < W + pad; q++, T += nv * FN_VL) {
        if (q < Q) {
            if (nv == 2) v[0] += v_load(T);
            v[nv - 1] += v_load_n(T + (nv - 1) * FN_VL, last);
        }
        if (q >= pad) v_store_n(y + (q - pad) * O, v[0], (int)O);
        if (nv == 2) v[0] = (vec)_mm512_permutex2var_ps((__m512)v[0], next, (__m512)v[1]);
        v[nv - 1] = (vec)_mm512_maskz_permutexvar_ps(stay, next, (__m512)v[nv - 1]);
    }
}
#else
#define FN_PASSING 0
#endif

#if defined(__AVX512F__) && FN_DT == 0
#define FN_SKIPPING 1
FN_INLINE unsigned not_zero(vec v) { return _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ); }
static int mostly_zero(const fn_conv_args *a, const fn_t *dy) {
    const int64_t row = a->Q * a->K;
    int64_t n = 0;
    for (int64_t p = 0; p < a->P; p++)
        for (int64_t j = 0; j < row; j += FN_VL) n += __builtin_popcount(not_zero(v_get(dy + p * a->dy_h + j, row - j)));
    return 2 * n <= a->P * row;
}
/* Rows [h0, h1) of T, pixel by pixel of dy: all rows that it reaches at once. R - 1 rows before T and as many after it
 * take what belongs to others. */
FN_INLINE void add_pixels(const int R, const int nv, const fn_conv_args *a, const fn_t *packed, int64_t panel, const fn_t *dy,
                          fn_t *T, int64_t h0, int64_t h1) {
    const int64_t Q = a->Q, K = a->K, pad = a->pad_h, dy_h = a->dy_h, row = Q * nv * FN_VL;
    clear(T - (R - 1) * row, (h1 - h0 + 2 * (R - 1)) * row);
    for (int64_t p = most(0, h0 + pad - (R - 1)); p < least(a->P, h1 + pad); p++) {
        const fn_t *d = dy + p * dy_h;
        fn_t *to = T + (p - pad - h0) * row;
        for (int64_t q = 0; q < Q; q++, d += K, to += nv * FN_VL) {
            vec acc[5][2];
            UNROLL for (int r = 0; r < R; r++)
                UNROLL for (int v = 0; v < nv; v++) acc[r][v] = v_load(to + r * row + v * FN_VL);
            for (int64_t k = 0; k < K; k += FN_VL)
                for (unsigned some = not_zero(v_get(d + k, K - k)); some; some &= some - 1) {
                    const int64_t i = k + __builtin_ctz(some);
                    const fn_t *const w = packed + i * nv * FN_VL;
                    vec g = v_set1(d[i]);
                    HOLD(g);
                    UNROLL for (int r = 0; r < R; r++)
                        UNROLL for (int v = 0; v < nv; v++)
                            acc[r][v] = v_fma(g, v_load(w + r * panel + v * FN_VL), acc[r][v]);
                }
            UNROLL for (int r = 0; r < R; r++)
                UNROLL for (int v = 0; v < nv; v++) v_store(to + r * row + v * FN_VL, acc[r][v]);
        }
    }
}
#define ADD_ARGS const fn_conv_args *a, const fn_t *packed, int64_t panel, const fn_t *dy, fn_t *T, int64_t h0, int64_t h1
#define ADD(R, nv) static void add_##R##x##nv(ADD_ARGS) { add_pixels(R, nv, a, packed, panel, dy, T, h0, h1); }
#define EACH(F) F(2, 1) F(2, 2) F(3, 1) F(3, 2) F(4, 1) F(4, 2) F(5, 1) F(5, 2)
EACH(ADD)
#define NAME(R, nv) add_##R##x##nv,
static void (*const add_of[])(ADD_ARGS) = {EACH(NAME)};
/* Can it be so? */
static int may_skip(const fn_conv_args *a, const scatter *d) {
    return a->G == 1 && a->stride_h == 1 && a->dil_h == 1 && a->dy_c == 1 && a->dy_w == a->K && a->R >= 2 && a->R <= 5 &&
           d->panels == 1 && d->nv <= 2 && are_finite(a->w, a->K * a->C * a->R * a->S);
}
#else
#define FN_SKIPPING 0
#endif

static void scattered(const fn_conv_args *a, const scatter *d, const fn_t *packed, fn_t *room, fn_team t) {
    const int64_t H = a->H, W = a->W, Q = a->Q, I = d->I, O = d->O, ldt = d->ldt;
    fn_t *const T = room + (a->R - 1) * Q * ldt;
    int64_t *const a_at = (int64_t *)(room + d->t_room), *const b_at = a_at + a->R;
    reach *const down = (reach *)(b_at + a->R), *const across = down + H;
    const axis v = reach_all(down, H, a->P, a->R, a->stride_h, a->pad_h, a->dil_h);
    const axis l = reach_all(across, W, Q, a->S, a->stride_w, a->pad_w, a->dil_w);
    const int64_t step = l.dil * ldt + l.w_step * O;
    const int64_t rows = t.size > 1 ? least(d->rows, most(over(H, over(2 * t.size, a->N * a->G)), 1)) : d->rows;
    const int64_t blocks = over(H, rows);
#if FN_SKIPPING
    const int may = may_skip(a, d);
    int64_t seen = -1;
    int skip = 0;
#endif
    fn_deal deal = fn_dealt(a->N * a->G * blocks, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
        const int64_t n = u / blocks / a->G, g = u / blocks % a->G, h0 = u % blocks * rows, h1 = least(H, h0 + rows);
        int64_t done = h0;
#if FN_SKIPPING
        const fn_t *const dy = (const fn_t *)a->dy + n * a->dy_n;
        if (may && n != seen) skip = mostly_zero(a, dy), seen = n;
        if (skip) add_of[2 * (a->R - 2) + d->nv - 1](a, packed, d->panel, dy, T, h0, done = h1);
#endif
        for (int64_t h = done; h < h1; h++) {
            for (int64_t i = 0; i < down[h].count; i++) {
                a_at[i] = (down[h].from + i * v.dil) * a->dy_h;
                b_at[i] = (down[h].tap + i * v.w_step) * d->panel;
            }
            const fn_brgemm b = {.c = T + (h - h0) * Q * ldt, .ldc = ldt, .a_at = a_at, .a_m = a->dy_w, .a_k = a->dy_c,
                                 .a = (const fn_t *)a->dy + n * a->dy_n + g * I * a->dy_c, .b_at = b_at,
                                 .b = packed + g * a->R * d->panel, .b_k = d->width, .b_panel = I * d->width,
                                 .m = Q, .n = ldt, .k = I, .count = down[h].count, .nv = d->nv};
            FN_NAME(brgemm)(&b);
        }
        for (int64_t h = h0; h < h1; h++) {
            fn_t *const y = (fn_t *)a->dx + (n * H + h) * W * a->C + g * O;
#if FN_PASSING
            if (a->stride_w == 1 && a->dil_w == 1 && a->G == 1 && O < FN_VL && ldt <= 2 * FN_VL) {
                const fn_t *const T_h = T + (h - h0) * Q * ldt;
                if (ldt == FN_VL) pass_row(y, T_h, 1, W, Q, a->S, O, a->pad_w);
                else pass_row(y, T_h, 2, W, Q, a->S, O, a->pad_w);
                continue;
            }
#endif
            for (int64_t w = 0; w < W; w++) {
                for (int64_t o = 0; o < O; o += FN_VL) {
                    const fn_t *from = T + ((h - h0) * Q + across[w].from) * ldt + across[w].tap * O + o;
                    vec sum = v_zero();
                    for (int64_t i = 0; i < across[w].count; i++, from += step) sum += v_load(from);
                    v_put(y + w * a->C + o, sum, O - o);
                }
            }
        }
    }
}

int64_t FN_NAME(conv_scatter_work)(const fn_conv_args *a, int threads) {
    const scatter d = scatter_of(a);
    return (up(d.pack, 64) + d.room * threads) * SIZE;
}
void FN_NAME(conv_scatter)(const fn_conv_args *a, fn_team t) {
    const scatter d = scatter_of(a);
    fn_t *const packed = a->work;
    pack_scatter(a, &d, packed, t);
    fn_barrier(t);
    scattered(a, &d, packed, packed + up(d.pack, 64) + t.rank * d.room, t);
}
