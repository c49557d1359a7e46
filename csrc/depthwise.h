/* What depthwise.c and depthwise_weight.c share: planes in blocks.
 *
 * A plane of row-major images is copied to a block in the first-level cache, with zeros around it, from which its rows are
 * read shifted by each tap of a filter. */
#ifndef FN_DEPTHWISE_H
#define FN_DEPTHWISE_H
#include "conv.h"

#define NEAR 20480               /* bytes of a block that should stay in the first-level cache */

FN_INLINE int64_t whole_of(int64_t n, int64_t d) { return n >= 0 ? n / d : -over(-n, d); }       /* n / d, rounded down */

/* How rows of a plane stand in a block. Counted in columns with `spread` - 1 zeros between those that are (dx of a stride),
 * tap s of output q reads column q*v.step + v.first + s*v.dil. It lies q + at[s] from the row's begin: with a step, columns
 * of equal remainder are one segment. Zeros right of a row are those left of the next. Long rows come in windows of `cols`
 * outputs, `lead` elements before each row. */
typedef struct {
    axis v;
    int64_t W, spread, cols, lead, segment, pitch, front;
} rows;

FN_SHARED rows rows_of_planes(axis v, int64_t W, int64_t spread, int64_t reach) {
    rows b = {.v = v, .W = W, .spread = spread, .cols = v.out};
    const int64_t left = most(-v.first, 0), far = (v.taps - 1) * v.dil, last = (v.out - 1) * v.step + v.first + far;
    const int64_t gap = most(left, last - (v.in - 1));
    int64_t room = v.step == 1 ? up(v.in + most(gap, 0), FN_VL) : v.step * (v.out + far / v.step);
    const int64_t cols = up(most(2 * NEAR / (reach * v.step * SIZE), 1), 4 * FN_VL);
    if (room * reach * SIZE > 4 * NEAR && cols < v.out) {
        b.cols = cols, b.lead = v.step == 1 ? up(left, FN_VL) : 0;
        room = b.lead + up(cols + most(v.first, 0) + far, FN_VL) + FN_VL;
    }
    b.segment = up(b.cols + far / v.step + 1, FN_VL) + FN_VL;
    b.pitch = v.step == 1 ? room : v.step * b.segment;
    b.front = up(left, FN_VL);
    return b;
}
FN_SHARED void tap_places(const rows *b, int64_t *at) {
    for (int64_t s = 0; s < b->v.taps; s++) {
        const int64_t u = s * b->v.dil;
        at[s] = b->v.step == 1 ? b->v.first + u : u % b->v.step * b->segment + u / b->v.step;
    }
}

/* Even and odd elements of a and b, side by side; and a's elements with zeros between. */
FN_INLINE vec v_every(vec a, vec b, const int odd) {
    mask m;
    for (int i = 0; i < FN_VL; i++) m[i] = 2 * i + odd;
    return __builtin_shuffle(a, b, m);
}
FN_INLINE vec v_spread(vec a, const int high) {
    mask m;
    for (int i = 0; i < FN_VL; i++) m[i] = i % 2 ? FN_VL : i / 2 + high * FN_VL / 2;
    return __builtin_shuffle(a, v_zero(), m);
}

/* One row x of the image, or zeros if it is null, for the window from output q0 on. */
FN_SHARED void fill_row(const rows *b, fn_t *y, const fn_t *x, int64_t q0) {
    const int64_t W = b->W, step = b->v.step, spread = b->spread, first = b->v.first + q0 * step;
    const int64_t from = q0 - b->lead, to = from + b->pitch;             /* the columns there is room for */
    if (!x) {
        clear(y - b->lead, b->pitch);
    } else if (step > 1) {
        const int64_t n = b->segment - FN_VL;
        int64_t i = 0;
        for (; i < n && (first + i * step < 0 || step > 2); i++)
            for (int64_t f = 0; f < step; f++) {
                const int64_t u = first + i * step + f;
                y[f * b->segment + i] = u >= 0 && u < W ? x[u] : 0;
            }
        for (; i < n; i += FN_VL) {
            const int64_t u = first + 2 * i;
            const vec low = v_get_any(x + u, W - u), high = v_get_any(x + u + FN_VL, W - u - FN_VL);
            v_store(y + i, v_every(low, high, 0)), v_store(y + b->segment + i, v_every(low, high, 1));
        }
    } else if (spread > 1) {
        if (spread == 2 && b->cols >= b->v.out) {
            for (int64_t j = 0; 2 * j < b->pitch; j += FN_VL) {
                const vec v = v_get_any(x + j, W - j);
                v_store(y + 2 * j, v_spread(v, 0));
                if (2 * j + FN_VL < b->pitch) v_store(y + 2 * j + FN_VL, v_spread(v, 1));
            }
            return;
        }
        clear(y + from - q0, b->pitch);
        for (int64_t j = over(most(from, 0), spread); j < W && j * spread < to; j++) y[j * spread - q0] = x[j];
    } else if (b->cols < b->v.out) {
        const int64_t lo = least(most(from, 0), W), hi = most(least(to, W), lo);
        clear(y + from - q0, least(most(-from, 0), to - from));
        copy(y + lo - q0, x + lo, hi - lo);
        clear(y + most(hi, from) - q0, to - most(hi, from));
    } else {
        int64_t i = 0;
        for (; i < W; i += FN_VL) v_store(y + i, v_get(x + i, W - i));
        for (; i < b->pitch; i += FN_VL) v_store(y + i, v_zero());
    }
}
/* Rows [h0, h1) of an image of H rows, those outside of it too. */
FN_SHARED void fill(const rows *b, fn_t *y, const fn_t *x, int64_t x_h, int64_t H, int64_t h0, int64_t h1, int64_t q0) {
    for (int64_t h = h0; h < h1; h++, y += b->pitch) fill_row(b, y, h >= 0 && h < H ? x + h * x_h : 0, q0);
}

/* ---- lanes ----------------------------------------------------------------------------------------------------------- */

#define LANES 32768              /* bytes of a ring that stays in the first-level cache */
#define RINGS 262144             /* bytes of rings, of all channels, that stay in the second-level cache */
#define IMAGE 524288             /* bytes of rows of an image that are passed over, channels after channels: */
#define LITTLE 65536             /* many taps repay reading rows again, few do not */
#define FEED 16                  /* visits that feed a team, and parts of sums */

/* The compiler reaches what lies near p from one register. */
#define NEAR_BY(p) __asm__("" : "+r"(p))

/* Does a kernel take FN_VL channels side by side? Row-major images are turned in the cache where that pays. */
FN_INLINE int in_lanes(const fn_conv_args *a) {
    const int64_t taps = a->R * a->S;
    if (!a->planes || a->C != a->G) return 1;
    return a->K == a->G && 2 * a->K >= FN_VL && (taps > 9 || a->Q <= 8 || (taps == 9 && a->Q <= 64));
}

FN_INLINE int few_taps(const fn_conv_args *a) { return a->C == a->G && a->R * a->S <= 9; }

/* Of images that lie in memory, how many channels on the next visit's rows are. */
FN_INLINE int64_t ahead_of(const fn_conv_args *a, int64_t k) {
    return k + FN_VL < a->K && (!a->planes || a->N * a->C * a->H * a->W * SIZE >= FN_FAR) ? FN_VL : 0;
}

/* Row h's place in a ring. */
FN_INLINE int64_t slot(int64_t h, int64_t ring) { return h < ring ? h : h % ring; }
/* y[j*FN_VL + l] = x[l*x_c + j] for n pixels of m planes; the lanes beyond are the last one's. The planes `ahead` on are fetched. */
FN_SHARED void turn(fn_t *y, const fn_t *x, int64_t x_c, int64_t n, int64_t m, int64_t ahead) {
    if (n < FN_PIECE) {
        for (int64_t j = 0; j < n; j++)
            for (int64_t l = 0; l < FN_VL; l++) y[j * FN_VL + l] = x[least(l, m - 1) * x_c + j];
        return;
    }
    for (int64_t l = ahead; l < ahead + least(FN_VL, ahead); l++) fetch_lines(x + l * x_c, n * SIZE, 0);
    for (int64_t i = 0; i < n; i += FN_PIECE) {
        const int64_t j = least(i, n - FN_PIECE);
        vec v[FN_PIECE];
        v_load_turned(v, x + j, x_c, (int)m);
        UNROLL for (int q = 0; q < FN_PIECE; q++) v_store(y + (j + q) * FN_VL, v[q]);
    }
}

/* A window of images on its way to a ring of rows: pixels [from, from + pitch) of rows of W, zeros outside of them. */
typedef struct {
    int64_t x_h, x_w, x_c, W, from, pitch, ring;
    int64_t I, wide;             /* channels of a group; vectors that hold all of the groups of FN_VL outputs */
    fn_t *together;              /* room for rows of planes that are turned together, or null */
} window;

/* How many vectors of inputs the groups of FN_VL outputs have, and lane from[i][l] of the (i / FN_VL)-th is input i of l's group. */
FN_INLINE int64_t wide_of(int64_t I) { return most(I / FN_VL, 1); }
FN_INLINE void lanes_from(mask *from, int64_t I) {
    for (int64_t i = 0; i < I; i++)
        for (int64_t l = 0; l < FN_VL; l++) from[i][l] = (fn_i)(I < FN_VL ? l / I * I + i : i % FN_VL);
}

/* Row x, channels [k, k + m). */
FN_SHARED void lane_row(const window *c, fn_t *y, const fn_t *x, int64_t k, int64_t m, int64_t ahead) {
    const int64_t pitch = c->pitch, x_w = c->x_w, x_c = c->x_c, from = c->from;
    const int64_t lo = least(most(-from, 0), pitch), hi = most(least(pitch, c->W - from), lo);
    vec zero = v_zero();
    HOLD(zero);                              /* a call of memset would take longer */
    if (c->wide > 1) k = k / c->I * c->I, m = FN_VL;
    for (int64_t i = 0; i < c->wide; i++, y += pitch * FN_VL, k += FN_VL) {
        const fn_t *const x_k = x + (from + lo) * x_w + k * x_c;
        fn_t *const y_lo = y + lo * FN_VL;
        for (int64_t j = 0; j < lo; j++) v_store(y + j * FN_VL, zero);
        for (int64_t j = hi; j < pitch; j++) v_store(y + j * FN_VL, zero);
        if (x_c == 1) for (int64_t j = 0; j < hi - lo; j++) v_store(y_lo + j * FN_VL, v_get(x_k + j * x_w, m));
        else turn(y_lo, x_k, x_c, hi - lo, m, ahead);
    }
}

/* Rows [h0, h1) of image x. */
FN_SHARED void lane_lines(const window *c, fn_t *y, const fn_t *x, int64_t h0, int64_t h1, int64_t k, int64_t m, int64_t ahead) {
    const int64_t pitch = c->pitch, W = c->W, from = c->from, lo = least(most(-from, 0), pitch), hi = most(least(pitch, W - from), lo);
    const fn_t *x_h = x + h0 * c->x_h + k;
    int64_t h_by = c->x_h, w_by = c->x_w;
    if (c->together) {
        turn(c->together, x + h0 * c->x_h + k * c->x_c, c->x_c, (h1 - h0) * W, m, ahead);
        x_h = c->together, h_by = W * FN_VL, w_by = FN_VL, ahead = 0;
    } else if (c->wide > 1 || m < FN_VL || c->x_c > 1) {
        for (int64_t h = h0; h < h1; h++) lane_row(c, y + slot(h, c->ring) * c->wide * pitch * FN_VL, x + h * c->x_h, k, m, ahead);
        return;
    }
    vec zero = v_zero();
    HOLD(zero);
    for (int64_t h = h0; h < h1; h++, x_h += h_by) {
        fn_t *const y_h = y + slot(h, c->ring) * pitch * FN_VL;
        int64_t j = 0;
        for (; j < lo; j++) v_store(y_h + j * FN_VL, zero);
        for (; j < hi; j++) {
            if (ahead) __builtin_prefetch(x_h + (from + j) * w_by + ahead, 0, 2);
            v_store(y_h + j * FN_VL, v_load(x_h + (from + j) * w_by));
        }
        for (; j < pitch; j++) v_store(y_h + j * FN_VL, zero);
    }
}
/* How many rows to turn together: if they lie one after the other. */
FN_INLINE int64_t lines_of(const fn_conv_args *a, int64_t wide, int64_t x_h, int64_t W, int64_t H) {
    return a->planes && wide == 1 && x_h == W && W < 2 * FN_VL ? least(over(4 * FN_VL, most(W, 1)), H) : 1;
}
#endif
