/* What Winograd's minimal filtering has in common forward and backward; winograd.c has the formula. Filters are TAPS x TAPS; those of
 * stride 2, of up to 2 TAPS x 2 TAPS, fall into four phases that are: taps (a + 2r, b + 2s) see only pixels of one of x's phases.
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
enum { D = TAPS == 2 ? 5 : 6, PLANES = D * D, OUT = D + 1 - TAPS, FILTER = TAPS * TAPS, MOST_STRIDE = 4, MOST_TAPS = MOST_STRIDE * MOST_STRIDE * FILTER };
#define CACHE 1179648            /* bytes of a thread's second-level cache that may hold what is used again and again */
#define FOLD 11                  /* what a number folded costs, in the products of a plane */
#define WHOLE 64                 /* elements that a part of the scratch is rounded up to */
#define FLAGS up(FN_MAX_THREADS, WHOLE)

typedef struct {
    const fn_t *x;               /* (N,H,W,C), channels side by side, or columns, where they are folded */
    fn_t *y;                     /* (N,P,Q,O), channels side by side; of the weight's gradient: dy, read */
    fn_t *w;                     /* element (o,i,r,s) at o*w_o + i*w_i + r*size + s, whose filters are size x size; or dw, written */
    const fn_t *bias;            /* (O) or null */
    const fn_t *residual, *gate; /* like y, or null, see fn_conv_args */
    double *sums;                /* of y for a norm, or null */
    int64_t x_n, x_c, x_h, x_w, y_n, y_h, y_w, w_o, w_i, size;
    int64_t N, H, W, C, I, P, Q, O;          /* I: what is summed up, C channels of each phase of x */
    int64_t top, left, dil;      /* output (p,q) begins at input (p stride - top, q stride - left); dil: reads each dil-th row and column */
    int64_t stride, phases;      /* of x; its channels follow vector after vector of them in each phase, */
    int64_t fold;                /* or, being few, all of them in each phase, and zeros to the end of a vector */
    int64_t tap_h, tap_w, tap;   /* tap (r,s) of phase (a,b) is w's (tap_h + a + r tap, tap_w + b + s tap), or 0 if it has none */
    int64_t relu;
} filtering;

static inline filtering forward_of(const fn_conv_args *a) {
    const int64_t phases = a->stride_h * a->stride_w, I = a->C * phases;
    return (filtering){.x = a->x, .y = a->y, .w = (fn_t *)a->w, .bias = a->b, .sums = a->sums, .x_n = a->x_n, .x_c = a->x_c, .x_h = a->x_h,
                       .x_w = a->x_w, .y_n = a->P * a->Q * a->K, .y_h = a->Q * a->K, .y_w = a->K, .w_o = a->C * a->R * a->S,
                       .w_i = a->R * a->S, .size = a->R, .N = a->N, .H = a->H, .W = a->W, .C = a->C, .I = fn_folds(a) ? up(I, FN_VL) : I,
                       .P = a->P, .Q = a->Q, .O = a->K, .top = a->pad_h, .left = a->pad_w, .dil = a->dil_h, .stride = a->stride_h,
                       .phases = phases, .fold = fn_folds(a), .tap = a->stride_h, .relu = a->act == FN_ACT_RELU};
}
/* Are they filters of TAPS x TAPS, or phases of such? (Not 3x3: too many of those would be zeros.) Of a wider dilation only the
 * middle tap meets anything, and its square may be no number. */
static inline int fits(const fn_conv_args *a, int backward) {
    const int64_t stride = a->stride_h;
    return a->R == a->S && a->G == 1 && stride == a->stride_w && a->dil_h == a->dil_w &&
           a->dil_h <= least(least(a->P, a->Q), least(a->H, a->W)) &&
           (stride == 1 ? a->R == TAPS : stride <= (fn_folds(a) && !backward ? MOST_STRIDE : 2) && a->R > 3 && a->dil_h == 1 && over(a->R, stride) == TAPS);
}

/* Of I those that are no padding. */
static inline int64_t summed(const filtering *g) { return g->phases * g->C; }

/* Channels of all phases that lie together, how many of x's channels come before the i-th, and where channel c of a phase lies. */
static inline int64_t together(const filtering *g) { return g->fold ? g->I : g->phases * FN_VL; }
static inline int64_t channels_before(const filtering *g, int64_t i) { return g->fold ? i / g->I * g->C : i / g->phases; }
static inline int64_t place_of(const filtering *g, int64_t c, int64_t phase) {
    return g->fold ? (phase % g->stride * g->stride + phase / g->stride) * g->C + c : (c / FN_VL * g->phases + phase) * FN_VL + c % FN_VL;
}

/* Where tap (r,s) of a phase lies in a filter, or -1. */
static inline int within(int64_t i, int64_t n) { return (uint64_t)i < (uint64_t)n; }
static inline int64_t tap_at(const filtering *g, int64_t phase, int64_t r, int64_t s) {
    const int64_t h = g->tap_h + phase / g->stride + r * g->tap, w = g->tap_w + phase % g->stride + s * g->tap;
    return within(h, g->size) && within(w, g->size) ? h * g->size + w : -1;
}

/* ---- the transforms of D numbers and of fewer, a vector of channels each ------------------------------------------ */

#if TAPS == 2
/* B' d */
FN_INLINE void spread_x(vec *v, const vec *d) {
    const vec c1 = v_set1((fn_t)1.5);
    v[0] = (d[0] + d[3]) - c1 * (d[1] + d[2]);
    v[1] = (d[1] + d[3]) - v_set1((fn_t)2.5) * d[2];
    v[2] = (d[3] - d[2]) - v_set1(2) * d[1];
    v[3] = v_fma(v_set1((fn_t)0.5), d[2] - d[1], d[3]);
    v[4] = (d[1] + d[4]) - c1 * (d[2] + d[3]);
}

/* G w, 5 of 2, and F dy, 5 of 4 */
FN_INLINE void spread_taps(vec *v, const vec *w, const int taps) {
    const vec c1 = v_set1((fn_t)(1.0 / 9)), c2 = v_set1((fn_t)(2.0 / 9)), c4 = v_set1((fn_t)(4.0 / 9)), c8 = v_set1((fn_t)(8.0 / 9));
    v[0] = w[0];
    v[1] = c2 * (taps > 2 ? (w[1] - w[0]) + (w[3] - w[2]) : w[1] - w[0]);
    v[2] = c8 * w[0] + c4 * w[1];
    v[3] = c1 * w[0] + c2 * w[1];
    if (taps > 2) v[2] += c2 * w[2] + c1 * w[3], v[3] += c4 * w[2] + c8 * w[3];
    v[2] = -v[2];
    v[4] = w[taps - 1];
}

/* A' m, 4 of 5, and E' m, 2 of 5 */
FN_INLINE void gather(vec *y, const vec *m, const int outputs) {
    const vec half = v_set1((fn_t)0.5), two = v_set1(2);
    y[0] = (m[0] + m[1]) + (m[2] + m[3]);
    y[1] = v_fma(half, m[2], two * m[3]) - m[1];
    if (outputs == 2) y[1] += m[4];
    if (outputs > 2) y[2] = v_fma(v_set1((fn_t)0.25), m[2], m[1]) + v_set1(4) * m[3];
    if (outputs > 2) y[3] = v_fma(v_set1((fn_t)0.125), m[2], m[4] - m[1]) + v_set1(8) * m[3];
}
#else
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

/* G w, 6 of 3 to 5, and F dy, 6 of 4 or 3 */
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

/* A' m, 4 to 2 of 6, and E' m, 3 or 4 of 6 */
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
#endif

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

/* Columns of x's phases that so many tiles in a row see. */
static inline int64_t band_columns(int64_t tiles) { return tiles * OUT + D - OUT; }

/* Pairs (output, tap) of an axis that lie within the input: all that the direct form of small images multiplies. */
static inline int64_t pairs_within(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t pad, int64_t dil) {
    int64_t pairs = 0;
    for (int64_t r = 0; r < taps; r++) {
        const int64_t before = pad - r * dil;                /* columns left of the first output's */
        const int64_t first = before > 0 ? over(before, stride) : 0, end = in + before > 0 ? over(in + before, stride) : 0;
        pairs += most(least(end, out) - first, 0);
    }
    return pairs;
}
/* Multiply-adds of the direct form, forward or backward, for a pair of channels. */
static inline double direct_products(const fn_conv_args *a, int backward) {
    const int64_t stride = a->stride_h;
    const double all = (double)(a->R * a->S) * (backward ? (double)(a->H * a->W) / (double)(stride * stride) : (double)(a->P * a->Q));
    const double within = (double)pairs_within(a->H, a->P, a->R, stride, a->pad_h, a->dil_h) *
                          (double)pairs_within(a->W, a->Q, a->S, stride, a->pad_w, a->dil_w);
    return (double)a->N * (small_images(a->N, backward ? over(a->W, stride) : a->Q) ? within : all);
}
/* Are there whole vectors of channels, and is there something to gain? Costs for a pair of channels, in multiply-adds: a tile's products
 * PLANES for each phase, its transforms five times as many over the channels of the other side, those of the weight as much as 30 outputs.
 * Measured on 300 shapes. */
static inline int pays(const filtering *g, int64_t tiles, double direct) {
    const double phases = (double)g->phases, moves = g->fold ? FOLD * (double)band_columns(across_of(g)) / (double)(across_of(g) * OUT) : 0;
    const double transforms = (5 + moves) * (double)g->I / (double)(g->C * g->O) + 5 / (double)g->C;
    return (g->fold || g->C % FN_VL == 0) && g->O % FN_VL == 0 &&
           direct > PLANES * (double)tiles * (phases + transforms) + 30 * (double)(g->size * g->size);
}

/* What a thread transforms tiles from: zeros for what is beyond x, or a band. */
static inline int64_t rim_room(const filtering *g) { return up(g->fold ? D * band_columns(across_of(g)) * g->I + FN_VL : g->I, WHOLE); }

/* V = B' d B for tiles [from, from + count), the first of which is tile `at` of V; `per` tiles are a block of it. fed: what they read has been
 * fetched before. rim: the thread's, zeros at first. In winograd.c. */
#define FOR_TAPS_(name, taps) FN_NAME(name##taps)
#define FOR_TAPS(name, taps) FOR_TAPS_(name, taps)
#define transform_x FOR_TAPS(winograd_x, TAPS)
#if TAPS == 5                    /* whose weights have no other file */
static
#endif
void transform_x(const filtering *g, fn_t *v, int64_t plane, int64_t per, int64_t at, fn_t *rim, int64_t from, int64_t count, int fed);

/* band[D][columns][I]: x's phases side by side, as far as tiles of a row see them from output pixel (row, column) of image n on, zeros beyond x.
 * For each of the stride columns of a pixel rows and their channels follow one another. */
void FN_NAME(winograd_fold)(const filtering *g, fn_t *band, int64_t n, int64_t row, int64_t column, int64_t down, int64_t columns);

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

/* A pass over filters of so many TAPS: its scratch, 0 if the direct form is to do it; and whether it is done. */
int64_t FN_NAME(winograd2_work)(const fn_conv_args *a, int backward, int threads);
int FN_NAME(winograd2)(const fn_conv_args *a, int backward, fn_team t);
int64_t FN_NAME(winograd4_work)(const fn_conv_args *a, int backward, int threads);
int FN_NAME(winograd4)(const fn_conv_args *a, int backward, fn_team t);
int64_t FN_NAME(winograd5_work)(const fn_conv_args *a, int backward, int threads);
int FN_NAME(winograd5)(const fn_conv_args *a, int backward, fn_team t);
int64_t FN_NAME(winograd2_weight_work)(const fn_conv_args *a, int threads);
int FN_NAME(winograd2_weight)(const fn_conv_args *a, fn_team t);
int64_t FN_NAME(winograd4_weight_work)(const fn_conv_args *a, int threads);
int FN_NAME(winograd4_weight)(const fn_conv_args *a, fn_team t);
#endif
