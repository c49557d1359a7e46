/* What Winograd's minimal filtering has in common forward and backward; winograd.c has the formula. Filters are TAPS x TAPS.
 *
 * V[plane][block of tiles][FN_VL channels][tile of the block][FN_VL] holds transformed tiles: what a product's registers
 * take follows one another, and planes a vector longer than they need be do not meet in the same sets of a cache. */
#ifndef FN_WINOGRAD_H
#define FN_WINOGRAD_H
#include "conv.h"
#include "norm_parts.h"

#ifndef TAPS
#define TAPS 3
#endif
enum { D = 6, PLANES = D * D, OUT = D + 1 - TAPS, FILTER = TAPS * TAPS };
#define CACHE 1179648            /* bytes of a thread's second-level cache that may hold what is used again and again */
#define WHOLE 64                 /* elements that a part of the scratch is rounded up to */
#define FLAGS up(FN_MAX_THREADS, WHOLE)

typedef struct {
    const fn_t *x;               /* (N,H,W,I), channels side by side */
    fn_t *y;                     /* (N,P,Q,O), channels side by side; of the weight's gradient: dy, read */
    fn_t *w;                     /* element (o,i,r,s) at o*w_o + i*w_i + r*w_r + s*w_s; or dw, written */
    const fn_t *bias;            /* (O) or null */
    const fn_t *residual, *gate; /* like y, or null, see fn_conv_args */
    double *sums;                /* of y for a norm, or null */
    int64_t x_n, x_h, x_w, y_n, y_h, y_w, w_o, w_i, w_r, w_s;
    int64_t N, H, W, I, P, Q, O;
    int64_t top, left, dil;      /* output (p,q) begins at input (p - top, q - left) and reads each dil-th row and column */
    int64_t relu;
} filtering;

static inline filtering forward_of(const fn_conv_args *a) {
    return (filtering){.x = a->x, .y = a->y, .w = (fn_t *)a->w, .bias = a->b, .sums = a->sums, .x_n = a->x_n, .x_h = a->x_h,
                       .x_w = a->x_w,
                       .y_n = a->P * a->Q * a->K, .y_h = a->Q * a->K, .y_w = a->K, .w_o = a->C * FILTER, .w_i = FILTER, .w_r = TAPS,
                       .w_s = 1, .N = a->N, .H = a->H, .W = a->W, .I = a->C, .P = a->P, .Q = a->Q, .O = a->K,
                       .top = a->pad_h, .left = a->pad_w, .dil = a->dil_h, .relu = a->act == FN_ACT_RELU};
}
static inline int plain(const fn_conv_args *a) {
    return a->R == TAPS && a->S == TAPS && a->G == 1 && a->stride_h == 1 && a->stride_w == 1 && a->dil_h == a->dil_w;
}

/* ---- the transforms of six numbers and of fewer, a vector of channels each ---------------------------------------- */

/* B' d */
FN_INLINE void spread_x(vec *v, const vec *d) {
    const vec e = d[3] - d[1], f = d[4] - d[2];
    const vec c1 = v_set1((fn_t)1.5), c2 = v_set1(2), c3 = v_set1((fn_t)2.5), c4 = v_set1((fn_t)0.5);
    v[0] = v_fma(c1, e, d[0] + d[4]) - c2 * d[2];
    v[1] = v_fma(c3, d[3], d[4] - d[1]) + c4 * d[2];
    v[2] = v_fma(c4, d[3], d[4] + d[1]) - c3 * d[2];
    v[3] = v_fma(c2, e, f);
    v[4] = f - c4 * e;
    v[5] = v_fma(c1, f, d[1] + d[5]) - c2 * d[3];
}

/* G w, 6 of 3 or 5, and F dy, 6 of 4 */
FN_INLINE void spread_taps(vec *v, const vec *w, const int taps) {
    const vec third = v_set1((fn_t)(1.0 / 3)), even = third * (taps > 4 ? (w[0] + w[2]) + w[4] : w[0] + w[2]);
    const vec odd = taps > 3 ? w[1] + w[3] : w[1];
    const vec c0 = v_set1((fn_t)(-16.0 / 15)), c1 = v_set1((fn_t)(-8.0 / 15)), c2 = v_set1((fn_t)(-4.0 / 15));
    const vec e0 = v_set1((fn_t)(1.0 / 15)), e1 = v_set1((fn_t)(-2.0 / 15)), e2 = v_set1((fn_t)(4.0 / 15));
    v[0] = w[0];
    v[1] = v_fma(third, odd, even);
    v[2] = third * odd - even;
    v[3] = v_fma(c2, w[2], v_fma(c1, w[1], c0 * w[0]));
    v[4] = v_fma(e2, w[2], v_fma(e1, w[1], e0 * w[0]));
    if (taps > 3) v[3] = v_fma(e1, w[3], v[3]), v[4] = v_fma(c1, w[3], v[4]);
    if (taps > 4) v[3] -= e0 * w[4], v[4] -= c0 * w[4];
    v[5] = w[taps - 1];
}

/* A' m, 4 or 2 of 6, and E' m, 3 of 6 */
FN_INLINE void gather(vec *y, const vec *m, const int outputs) {
    const vec sum = m[1] + m[2], difference = m[1] - m[2];
    const vec half = v_set1((fn_t)0.5), two = v_set1(2), quarter = v_set1((fn_t)0.25), four = v_set1(4);
    y[0] = (m[0] + sum) + (m[3] + m[4]);
    y[1] = v_fma(half, m[3], difference) - two * m[4];
    if (outputs == 2) y[1] += m[5];
    if (outputs > 2) y[2] = v_fma(four, m[4], v_fma(quarter, m[3], sum));
    if (outputs == 3) y[2] += m[5];
    if (outputs == 4) y[3] = v_fma(v_set1((fn_t)0.125), m[3], difference + m[5]) - v_set1(8) * m[4];
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

/* Of dilated filters each dil-th pixel of each dil-th row is an image of its own, of `down` rows of `across` tiles. */
static inline int64_t across_of(const filtering *g) { return over(over(g->Q, g->dil), OUT); }
static inline int64_t down_of(const filtering *g) { return over(over(g->P, g->dil), OUT); }
static inline int64_t tiles_of(const filtering *g) { return g->N * g->dil * g->dil * down_of(g) * across_of(g); }

/* Where a tile begins in y, and how many of its row are left. */
typedef struct { int64_t tile, left, n, row, column; } spot;
static inline spot spot_of(const filtering *g, int64_t tile) {
    const int64_t across = across_of(g), down = down_of(g), image = tile / (across * down), dil = g->dil;
    return (spot){.tile = tile, .left = across - tile % across, .n = image / (dil * dil),
                  .row = image / dil % dil + tile / across % down * OUT * dil, .column = image % dil + tile % across * OUT * dil};
}
static inline void advance(const filtering *g, spot *s) {
    s->tile++, s->column += OUT * g->dil;
    if (--s->left == 0) *s = spot_of(g, s->tile);
}
/* Its rows and columns that lie in y. */
static inline int64_t left_of(int64_t size, int64_t dil) { return size > (OUT - 1) * dil ? OUT : over(size, dil); }
static inline int64_t rows_at(const filtering *g, const spot *s) { return left_of(g->P - s->row, g->dil); }
static inline int64_t columns_at(const filtering *g, const spot *s) { return left_of(g->Q - s->column, g->dil); }

/* Of an axis: the share of the taps that lie within, which are all that the direct form of small images multiplies. */
static inline double taps_within(int64_t size, int64_t dil) {
    int64_t within = size;
    for (int64_t i = 1; i <= TAPS / 2; i++) within += 2 * most(size - i * dil, 0);
    return (double)within / (double)(TAPS * size);
}
/* Are there whole vectors of channels, and is there something to gain? Costs for a pair of channels, in what the direct form takes
 * for an output: a tile's products 36 / FILTER, its transforms 180 / FILTER over the channels of the other side, that of the weight 30.
 * Measured on 300 shapes. */
static inline int pays(const filtering *g) {
    if (g->dil > g->P || g->dil > g->Q) return 0;            /* and its square is a number */
    const double rim = small_images(g->N, g->Q) ? taps_within(g->P, g->dil) * taps_within(g->Q, g->dil) : 1;
    const double tiles = (double)tiles_of(g), outputs = rim * (double)(g->N * g->P * g->Q), transforms = 180.0 / FILTER;
    return g->I % FN_VL == 0 && g->O % FN_VL == 0 &&
           outputs > tiles * ((double)PLANES / FILTER + transforms / (double)g->I + transforms / (double)g->O) + 30;
}

/* V = B' d B of a vector of channels of a tile: d[a][b] at x + a x_h + b x_w, or, of one over the rim, at at[a][b] + i. Calls, since of
 * a loop's 72 addresses the compiler would keep each in memory. */
FN_INLINE void spread_tile(const int whole, fn_t *v, int64_t plane, const fn_t *x, int64_t x_h, int64_t x_w, const fn_t *(*at)[D],
                           int64_t i) {
    vec half[D][D];
    UNROLL for (int b = 0; b < D; b++, x += x_w) {
        vec d[D], s[D];
        UNROLL for (int a = 0; a < D; a++) d[a] = v_load(whole ? x + a * x_h : at[a][b] + i);
        spread_x(s, d);
        UNROLL for (int a = 0; a < D; a++) half[a][b] = s[a];
    }
    UNROLL for (int a = 0; a < D; a++, v += D * plane) {
        vec s[D];
        spread_x(s, half[a]);
        UNROLL for (int b = 0; b < D; b++) v_store(v + b * plane, s[b]);
    }
}
FN_APART void spread_whole(fn_t *v, int64_t plane, const fn_t *x, int64_t x_h, int64_t x_w) { spread_tile(1, v, plane, x, x_h, x_w, 0, 0); }
FN_APART void spread_rim(fn_t *v, int64_t plane, const fn_t *(*at)[D], int64_t i) { spread_tile(0, v, plane, at[0][0], 0, 0, at, i); }

static inline int within(int64_t i, int64_t n) { return (uint64_t)i < (uint64_t)n; }

/* V = B' d B for tiles [from, from + count), the first of which is tile `at` of V; `per` tiles are a block of it. fed: what they read has
 * been fetched before. */
FN_INLINE void tiles_x(const int fed, const filtering *g, fn_t *v, int64_t plane, int64_t per, int64_t at, const fn_t *zeros, int64_t from,
                       int64_t count) {
    const int64_t I = g->I, dil = g->dil, x_h = dil * g->x_h, x_w = dil * g->x_w, reach = (D - 1) * dil;
    spot to = spot_of(g, from);
    for (int64_t t = 0; t < count; t++, at++, advance(g, &to)) {
        const int64_t h = to.row - g->top, w = to.column - g->left;
        const int whole = h >= 0 && h + reach < g->H && w >= 0 && w + reach < g->W;
        const fn_t *const x = g->x + to.n * g->x_n + h * g->x_h + w * g->x_w;
        const fn_t *rim[D][D];
        if (!whole)
            for (int a = 0; a < D; a++) {
                const int down = within(h + a * dil, g->H);
                UNROLL for (int b = 0; b < D; b++) rim[a][b] = down & within(w + b * dil, g->W) ? x + a * x_h + b * x_w : zeros;
            }
        fn_t *v_t = v + at / per * per * I + at % per * FN_VL;
        for (int64_t i = 0; i < I; i += FN_VL, v_t += per * FN_VL) {
            if (!fed)
                UNROLL for (int a = D - OUT; a < D; a++)     /* what the next tile shares with no earlier one */
                    UNROLL for (int b = D; b < D + OUT; b++) __builtin_prefetch(x + a * x_h + b * x_w + i);
            if (whole) spread_whole(v_t, plane, x + i, x_h, x_w);
            else spread_rim(v_t, plane, rim, i);
        }
    }
}

FN_SHARED void transform_x(const filtering *g, fn_t *v, int64_t plane, int64_t per, int64_t at, const fn_t *zeros, int64_t from,
                           int64_t count) {
    tiles_x(0, g, v, plane, per, at, zeros, from, count);
}

/* Lines of images that products fetch for the transforms after them: few at a time, evenly, since a core has only so many under way and
 * a transform that meets them all at once waits. */
typedef struct {
    const fn_t *at[4];           /* the next line of each image */
    int64_t images, lines;       /* lines of each image at a time */
} feed;
FN_INLINE void fetch(feed *f) {
    for (int64_t i = 0; i < f->images; i++)
        for (int64_t k = 0; k < f->lines; k++, f->at[i] += 64 / SIZE) __builtin_prefetch(f->at[i], 0, 2);
}

/* Has no thread met a NaN? Their flags lie at the scratch's beginning. */
FN_SHARED int all_finite(fn_t *flags, fn_t odd, fn_team t) {
    flags[t.rank] = odd == 0;
    fn_barrier(t);
    for (int i = 0; i < t.size; i++)
        if (!flags[i]) return 0;
    return 1;
}

/* A pass over 5x5 filters: its scratch, 0 if the direct form is to do it; and whether it is done. */
int64_t FN_NAME(winograd5_work)(const fn_conv_args *a, int backward, int threads);
int FN_NAME(winograd5)(const fn_conv_args *a, int backward, fn_team t);
#endif
