/* What Winograd's minimal filtering has in common forward and backward; winograd.c has the formula. A filter of stride 2 falls into four
 * phases: its taps (a + 2r, b + 2s) see only pixels of one of x's phases.
 *
 * V[plane][block of tiles][FN_VL channels][tile of the block][FN_VL] holds transformed tiles: what a product's registers
 * take follows one another, and planes a vector longer than they need be do not meet in the same sets of a cache. */
#ifndef FN_WINOGRAD_H
#define FN_WINOGRAD_H
#include "conv.h"
#include "norm_parts.h"

enum { MOST_STRIDE = 4, MOST_TAPS = MOST_STRIDE * MOST_STRIDE * 16 };
#define CACHE 1179648            /* bytes of a thread's second-level cache that may hold what is used again and again */
#define FOLD 11                  /* what a number folded costs, in the products of a plane */
#define WHOLE 64                 /* elements that a part of the scratch is rounded up to */
#define FLAGS up(FN_MAX_THREADS, WHOLE)

typedef struct sizes sizes;
typedef struct {
    const sizes *by;             /* of its taps */
    const fn_t *x;               /* (N,H,W,C), channels side by side, or columns, where they are folded */
    fn_t *y;                     /* (N,P,Q,O), channels side by side; of the weight's gradient: dy, read */
    fn_t *w;                     /* element (o,i,r,s) at o*w_o + i*w_i + r*S + s, whose filters are R x S; or dw, written */
    const fn_t *bias;            /* (O) or null */
    const fn_t *residual, *gate; /* like y, or null, see fn_conv_args */
    double *sums;                /* of y for a norm, or null */
    int64_t x_n, x_c, x_h, x_w, y_n, y_h, y_w, w_o, w_i, R, S;
    int64_t N, H, W, C, I, P, Q, O;          /* I: what is summed up, C channels of each phase of x */
    int64_t top, left;           /* output (p,q) begins at input (p stride - top, q stride - left) */
    int64_t dil_h, dil_w;        /* reads each dil-th row and column */
    int64_t stride, phases;      /* of x; its channels follow vector after vector of them in each phase, */
    int64_t fold;                /* or, being few, all of them in each phase, and zeros to the end of a vector */
    int64_t odd;                 /* see winograd_taps.c */
    int64_t tap_h, tap_w, tap;   /* tap (r,s) of phase (a,b) is w's (tap_h + a + r tap, tap_w + b + s tap), or 0 if it has none */
    int64_t relu;
} filtering;

/* Tiles come in chunks. If there is one, threads share blocks of dU and turn each to dw at once; else all of dU is kept.
 * Where a cache holds dU, chunks fall into parts, as many as the shape says: a thread makes the V, Z and dU of a part by
 * itself, so that none of them crosses from core to core, and the parts are added in order. */
typedef struct {
    int64_t width, tiles, panels, chunks, chunk, parts;      /* width: lanes of a panel, FN_NR, or a vector if that is all */
    int64_t few;                                 /* tiles of a sum in registers */
    int64_t wide, deep, across, blocks;          /* panels and input channels of a block of dU; blocks of a row of them */
    int64_t v_plane, z_plane, u_plane;           /* elements from plane to plane */
} weight_plan;

/* Filters of so many taps: tiles of d_h x d_w numbers, of which out_h x out_w are outputs, and their transforms, winograd_taps.c. A pass's
 * scratch is laid out by the plan of winograd.c or of winograd_weight.c. */
struct sizes {
    int64_t taps_h, taps_w, d_h, d_w, out_h, out_w;
    int64_t u_h, u_w;            /* numbers of transformed weights: as d, or fewer, the last of which meets all further ones of d */
    int64_t stride, backward;    /* 2: a tile has both phases of an axis, forward or backward */
    /* V = B' d B for tiles [from, from + count), the first of which is tile `at` of V; `per` tiles are a block of it. fed: what they read has
     * been fetched before. rim: the thread's, zeros at first. */
    void (*x)(const filtering *g, fn_t *v, int64_t plane, int64_t per, int64_t at, fn_t *rim, int64_t from, int64_t count, int fed);
    /* U[plane][i][width] = G w G' of a panel for input channels [i0, i0 + count), all phases of some of x's */
    void (*w)(const filtering *g, fn_t *u, int64_t width, int64_t plane, int64_t panel, int64_t i0, int64_t count);
    /* y for tiles [from, from + count) and a panel, M[plane][t][width]; *odd is NaN if one is not finite. */
    void (*y)(const filtering *g, const fn_t *m, int64_t width, int64_t plane, int64_t from, int64_t count, int64_t panel, vec *odd);
    /* Z[plane][panel][t][width] = F dy F' for tiles [from, from + count), at place `at` of their chunk; dw = E' dU E of input channels
     * [from, end) of block j. Null where the direct form is to make dw. */
    void (*dy)(const filtering *g, const weight_plan *p, fn_t *z, int64_t at, int64_t from, int64_t count);
    void (*dw)(const filtering *g, const weight_plan *p, const fn_t *du, int64_t apart, int64_t j, int64_t from, int64_t end, vec *odd);
};
static inline int64_t planes_of(const filtering *g) { return g->by->d_h * g->by->d_w; }
static inline int64_t weight_planes(const filtering *g) { return g->by->u_h * g->by->u_w; }
/* That which plane q of V meets. */
static inline int64_t weight_plane(const filtering *g, int64_t q) {
    const sizes *const by = g->by;
    return by->stride == 1 ? q : least(q / by->d_w, by->u_h - 1) * by->u_w + least(q % by->d_w, by->u_w - 1);
}

/* Lines have no dilation of rows. */
static inline int64_t dil_of(const fn_conv_args *a) { return a->R == 1 ? 1 : a->dil_h; }
static inline filtering forward_of(const fn_conv_args *a, const sizes *by, int64_t group) {
    const int64_t stride = by && by->stride > 1 ? 1 : a->stride_h, phases = stride * stride, C = a->C / a->G, O = a->K / a->G, I = C * phases;
    return (filtering){.by = by, .x = (const fn_t *)a->x + group * C * a->x_c, .y = (fn_t *)a->y + group * O,
                       .w = (fn_t *)a->w + group * O * C * a->R * a->S, .bias = a->b ? (const fn_t *)a->b + group * O : 0,
                       .sums = a->sums, .x_n = a->x_n, .x_c = a->x_c, .x_h = a->x_h, .x_w = a->x_w, .y_n = a->P * a->Q * a->K,
                       .y_h = a->Q * a->K, .y_w = a->K, .w_o = C * a->R * a->S, .w_i = a->R * a->S, .R = a->R, .S = a->S, .N = a->N, .H = a->H,
                       .W = a->W, .C = C, .I = fn_folds(a) ? up(I, FN_VL) : I, .P = a->P, .Q = a->Q, .O = O, .top = a->pad_h, .left = a->pad_w,
                       .dil_h = dil_of(a), .dil_w = a->dil_w, .stride = stride, .phases = phases, .fold = fn_folds(a), .tap = stride,
                       .relu = a->act == FN_ACT_RELU};
}
/* Are they filters of such taps, or phases of such? (Not 3x3: too many of those would be zeros.) Of a wider dilation only the middle tap
 * meets anything, and its square may be no number. */
static inline int fits(const fn_conv_args *a, const sizes *by, int backward) {
    const int64_t stride = a->stride_h;
    if (a->G > 1 && fn_folds(a)) return 0;
    if (by->stride > 1)
        return by->backward == backward && a->R == 3 && a->S == 3 && stride == 2 && a->stride_w == 2 && a->dil_h == 1 && a->dil_w == 1 &&
               !fn_folds(a) && (!backward || (a->pad_h - a->pad_w) % 2 == 0);
    if (stride != a->stride_w || over(a->R, stride) != by->taps_h || over(a->S, stride) != by->taps_w) return 0;
    if (stride > 1) return stride <= (fn_folds(a) && !backward ? MOST_STRIDE : 2) && a->R > 3 && a->dil_h == 1 && a->dil_w == 1;
    return dil_of(a) <= least(a->P, a->H) && a->dil_w <= least(a->Q, a->W);
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
    return within(h, g->R) && within(w, g->S) ? h * g->S + w : -1;
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

/* Of dilated filters each dil-th pixel of each dil-th row is an image of its own, of `down` rows of `across` tiles. */
static inline int64_t across_of(const filtering *g) { return over(over(g->Q, g->dil_w), g->by->out_w); }
static inline int64_t down_of(const filtering *g) { return over(over(g->P, g->dil_h), g->by->out_h); }
static inline int64_t tiles_of(const filtering *g) { return g->N * g->dil_h * g->dil_w * down_of(g) * across_of(g); }

/* Where a tile begins in y, and how many of its row are left. */
typedef struct { int64_t tile, left, n, row, column; } spot;
static inline spot spot_of(const filtering *g, int64_t tile) {
    const int64_t across = across_of(g), down = down_of(g), image = tile / (across * down), dil_h = g->dil_h, dil_w = g->dil_w;
    return (spot){.tile = tile, .left = across - tile % across, .n = image / (dil_h * dil_w),
                  .row = image / dil_w % dil_h + tile / across % down * g->by->out_h * dil_h,
                  .column = image % dil_w + tile % across * g->by->out_w * dil_w};
}
static inline void advance(const filtering *g, spot *s) {
    s->tile++, s->column += g->by->out_w * g->dil_w;
    if (--s->left == 0) *s = spot_of(g, s->tile);
}
/* Its rows and columns that lie in y. */
static inline int64_t rows_at(const filtering *g, const spot *s) { return least(over(g->P - s->row, g->dil_h), g->by->out_h); }
static inline int64_t columns_at(const filtering *g, const spot *s) { return least(over(g->Q - s->column, g->dil_w), g->by->out_w); }

/* Columns of x's phases that so many tiles in a row see. */
static inline int64_t band_columns(const filtering *g, int64_t tiles) { return (tiles - 1) * g->by->out_w + g->by->d_w; }

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
/* Multiply-adds of the direct form, forward or backward, for a pair of channels: it leaves out rows beyond the input, columns in small images. */
static inline double direct_products(const fn_conv_args *a, int backward) {
    const int64_t stride = a->stride_h;
    const double across = backward ? (double)(a->S * a->W) / (double)stride : (double)(a->S * a->Q);
    const double within = (double)pairs_within(a->W, a->Q, a->S, stride, a->pad_w, a->dil_w);
    return (double)a->N * (double)pairs_within(a->H, a->P, a->R, stride, a->pad_h, a->dil_h) *
           (small_images(a->N, backward ? over(a->W, stride) : a->Q) ? within : across);
}
/* Are there whole vectors of channels, and is there something to gain? Costs for a pair of channels, in multiply-adds: a tile's products
 * a number of each plane for each phase (a tenth more where planes are 81), its transforms five times as many over the channels of the
 * other side, those of the weight as much as 30 outputs. Measured on 300 shapes, and on 500 of 3x3 filters of stride 2. */
static inline int pays(const filtering *g, int64_t tiles, double direct) {
    const double products = g->by->stride > 1 ? 1.1 : (double)g->phases;
    const double moves = g->fold ? FOLD * (double)band_columns(g, across_of(g)) / (double)(across_of(g) * g->by->out_w) : 0;
    const double transforms = (5 + moves) * (double)g->I / (double)(g->C * g->O) + 5 / (double)g->C;
    return (g->fold || g->C % FN_VL == 0) && g->O % FN_VL == 0 &&
           direct > (double)(planes_of(g) * tiles) * (products + transforms) + 30 * (double)(g->R * g->S);
}

/* What a thread transforms tiles from: zeros for what is beyond x, or a band. */
static inline int64_t rim_room(const filtering *g) { return up(g->fold ? g->by->d_h * band_columns(g, across_of(g)) * g->I + FN_VL : g->I, WHOLE); }

/* band[down][columns][I]: x's phases side by side, as far as tiles of a row see them from output pixel (row, column) of image n on, zeros beyond x.
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

/* dx, where a ReLU's result says so. */
FN_INLINE vec gated(vec y, vec gate) { return v_select(gate <= v_zero(), v_zero(), y); }

/* Has no thread met a NaN? Their flags lie at the scratch's beginning. */
FN_SHARED int all_finite(fn_t *flags, fn_t odd, fn_team t) {
    flags[t.rank] = odd == 0;
    fn_barrier(t);
    for (int i = 0; i < t.size; i++)
        if (!flags[i]) return 0;
    return 1;
}

/* Groups of channels that a thread filters, and in what team: its own, with scratch of its own, where they come out even; else all share each. */
typedef struct { int64_t lo, hi; int apart; fn_team team; char *work; } group_share;
static inline group_share groups_of(const fn_conv_args *a, int64_t room_alone, fn_team t) {
    group_share s = {.hi = a->G, .apart = t.size > 1 && (a->G % t.size == 0 || a->G >= 4 * t.size), .team = t, .work = a->work};
    if (!s.apart) return s;
    fn_share(a->G, 1, t, &s.lo, &s.hi);
    s.team = (fn_team){.size = 1}, s.work += FLAGS * SIZE + t.rank * room_alone;
    return s;
}
/* Are all groups done? */
static inline int all_done(const fn_conv_args *a, const group_share *s, int done, fn_team t) {
    return s->apart ? all_finite(a->work, !done, t) : done;
}

/* All there are: no filter fits two. */
#define WINOGRADS(_) _(3x3) _(2x2) _(4x4) _(5x5) _(1x3) _(1x4) _(1x5) _(5x3) _(3x3s2) _(3x3s2dx)
#define SIZES_OF_(taps) extern const sizes FN_NAME(winograd_##taps);
WINOGRADS(SIZES_OF_)
#define ADDRESS_OF_(taps) &FN_NAME(winograd_##taps),
#define ALL_SIZES { WINOGRADS(ADDRESS_OF_) 0 }
#endif
