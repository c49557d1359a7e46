/* Resampling over fn_upsample_args: output (p,q) stands at a place (h,w) of the input, rows and columns each for itself.
 *
 *   nearest  y[p,q] = x[h,w], h = floor(p ratio); exact: h = floor((p + 1/2) ratio)
 *   linear   y[p,q] = wa_h (wa_w x[a,c] + wb_w x[a,d]) + wb_h (wa_w x[b,c] + wb_w x[b,d]), a and b the rows, c and d the columns
 *            around h = (p + 1/2) ratio - 1/2, or h = p ratio between corners; wb = h - a, wa = 1 - wb
 *   dx[h,w]  = sum over q of weight (sum over p of weight dy[p,q]), the p and q that took from (h,w), rising
 *
 * A channels-last array is walked pixel by pixel, vectors over channels; a row-major one row by row, vectors over columns: a row is
 * spread out, or drawn together, by picking its elements with vectors of places. So is a channels-last one of few channels, a row being
 * the columns of all of them side by side. All give the same bits. Where an axis keeps its size nothing is weighted along it. Backward
 * each thread owns rows of dx and gathers; dy of weight 0 is not looked at. */
#include "kernel.h"

/* ---- places ---------------------------------------------------------------------------------------------- */

typedef struct { int64_t n, out, mode; double ratio; int same; } axis;
static axis axis_of(int64_t n, int64_t out, int64_t mode, double ratio) {
    return (axis){n, out, mode, ratio, n == out && (ratio == 1 || mode == FN_UP_LINEAR || mode == FN_UP_CORNERS)};
}
/* Channels side by side in a row; 1 where pixels are walked. */
static int64_t beside_of(const fn_upsample_args *a) { return a->last && a->C <= 4 && a->C < FN_VL ? a->C : 1; }
static axis rows_of(const fn_upsample_args *a) { return axis_of(a->H, a->P, a->mode, a->ratio_h); }
static axis columns_of(const fn_upsample_args *a) { return axis_of(a->W, a->Q, a->mode, a->ratio_w); }

/* Output p takes wb of input b and the rest of a; a and b rise with p. Not inlined: forward and backward must find the same. */
typedef struct { int64_t a, b; double wb; } place;
FN_APART place place_of(const axis *x, int64_t p) {
    const int64_t end = x->n - 1;
    if (x->same) return (place){p, p, 0};
    if (x->mode == FN_UP_NEAREST || x->mode == FN_UP_EXACT) {            /* in float, as PyTorch finds it */
        const float at = ((float)p + (x->mode == FN_UP_EXACT ? 0.5f : 0.0f)) * (float)x->ratio;
        const int64_t h = at < (float)end ? (int64_t)at : end;
        return (place){h, h, 0};
    }
    int64_t a;
    double wb;
    if (x->ratio == 0) {                     /* the place is at / of, a fraction */
        const int corners = x->mode == FN_UP_CORNERS;
        const int64_t at = corners ? p * end : (2 * p + 1) * x->n - x->out, of = corners ? x->out - 1 : 2 * x->out;
        a = at > 0 ? at / of : 0, wb = at > 0 ? (double)(at - a * of) / (double)of : 0;
    } else {
        const double at = ((double)p + 0.5) * x->ratio - 0.5;
        a = at > 0 ? at < (double)x->n ? (int64_t)at : x->n : 0, wb = at > 0 ? at - (double)a : 0;
    }
    return a < end ? (place){a, a + 1, wb} : (place){end, end, 0.5};       /* twice a half, so that infinity stays what it is */
}

#define UP64(bytes) (((int64_t)(bytes) + 63) / 64 * 64)
static void *room_for(char **room, int64_t bytes) {
    char *const r = *room;
    *room += UP64(bytes);
    return r;
}

/* What each output takes, of C channels side by side. */
typedef struct { int same; int32_t *a, *b; fn_t *wa, *wb; } taps;
static int64_t taps_bytes(const axis *x, int64_t C) { return 2 * UP64(x->out * C * 4) + 2 * UP64(x->out * C * (int64_t)sizeof(fn_t)); }
static taps taps_of(const axis *x, int64_t C, char **room) {
    const int64_t n = x->out * C, each = n * (int64_t)sizeof(fn_t);
    const taps t = {x->same, room_for(room, n * 4), room_for(room, n * 4), room_for(room, each), room_for(room, each)};
    for (int64_t p = 0, i = 0; p < x->out; p++) {
        const place at = place_of(x, p);
        for (int64_t c = 0; c < C; c++, i++) {
            t.a[i] = (int32_t)(at.a * C + c), t.b[i] = (int32_t)(at.b * C + c);
            t.wa[i] = (fn_t)(1 - at.wb), t.wb[i] = (fn_t)at.wb;
        }
    }
    return t;
}

/* What each input gave, likewise: k = 0..most - 1, w[k][i] of output at[k][i]; weight 0 where there is none. */
typedef struct { int64_t most; int32_t *at; fn_t *w; } takers;
/* The outputs first..end that input i may have given to, from those of i - 1. */
static void next_takers(const axis *x, int64_t i, int64_t *first, int64_t *end) {
    while (*first < x->out && place_of(x, *first).b < i) ++*first;
    while (*end < x->out && place_of(x, *end).a <= i) ++*end;
}
static int64_t most_takers(const axis *x) {
    int64_t most = 1, first = 0, end = 0;
    for (int64_t i = 0; i < x->n; i++) {
        next_takers(x, i, &first, &end);
        if (end - first > most) most = end - first;
    }
    return most;
}
static int64_t takers_bytes(const axis *x, int64_t C) {
    const int64_t all = most_takers(x) * x->n * C;
    return UP64(all * 4) + UP64(all * (int64_t)sizeof(fn_t));
}
static takers takers_of(const axis *x, int64_t C, char **room) {
    const int64_t most = most_takers(x), n = x->n * C;
    const takers t = {most, room_for(room, most * n * 4), room_for(room, most * n * (int64_t)sizeof(fn_t))};
    for (int64_t i = 0, first = 0, end = 0; i < x->n; i++) {
        next_takers(x, i, &first, &end);
        for (int64_t k = 0; k < most; k++) {
            const int64_t p = first + k < x->out ? first + k : x->out - 1;
            const place at = place_of(x, p);
            const double w = first + k < end ? (at.a == i ? 1 - at.wb : 0) + (at.b == i ? at.wb : 0) : 0;
            for (int64_t c = 0; c < C; c++) t.at[k * n + i * C + c] = (int32_t)(p * C + c), t.w[k * n + i * C + c] = (fn_t)w;
        }
    }
    return t;
}

/* ---- vectors --------------------------------------------------------------------------------------------- */

FN_INLINE vec mix(vec wa, vec a, vec wb, vec b) { return v_fma(wb, b, wa * a); }
static void copy(fn_t *y, const fn_t *x, int64_t n) { FN_VECTORS(n, v_put(y + i, v_get(x + i, m), m);); }

/* Two vectors of x from `first` on; beyond its n elements there are zeros. */
typedef struct { vec low, high; } pair;
FN_INLINE pair pair_at(const fn_t *x, int64_t n, int64_t first) {
    const int64_t left = n - first - FN_VL;
    if (left >= FN_VL) return (pair){v_load(x + first), v_load(x + first + FN_VL)};
    if (left > 0) return (pair){v_load(x + first), v_load_n(x + first + FN_VL, (int)left)};
    return (pair){v_get(x + first, (int)(left + FN_VL)), v_zero()};
}
/* Lanes x[at[0]], x[at[1]], ..., m of them, the others anything: x has n elements, at is places of C channels side by side. Those that
 * lie within two vectors, as upsampling has them, are permuted; others are gathered. */
FN_INLINE vec pick(const fn_t *x, int64_t n, const int32_t *at, int m, int64_t C) {
#if defined(__AVX512F__) || (defined(__AVX2__) && FN_DT == 0)
    const int32_t first = at[0] < C ? 0 : (int32_t)(at[0] - C + 1);
    const int near = at[m - 1] + C - 1 - first < 2 * FN_VL;
#endif
#if defined(__AVX512F__) && FN_DT == 0
    const __m512i i = _mm512_maskz_loadu_epi32((__mmask16)((1u << m) - 1), at);
    if (near) {
        const pair v = pair_at(x, n, first);
        return (vec)_mm512_permutex2var_ps((__m512)v.low, _mm512_sub_epi32(i, _mm512_set1_epi32(first)), (__m512)v.high);
    }
    return (vec)_mm512_i32gather_ps(i, x, 4);
#elif defined(__AVX512F__)
    const __m256i i = _mm256_maskz_loadu_epi32((__mmask8)((1u << m) - 1), at);
    if (near) {
        const pair v = pair_at(x, n, first);
        const __m512i lane = _mm512_cvtepi32_epi64(_mm256_sub_epi32(i, _mm256_set1_epi32(first)));
        return (vec)_mm512_permutex2var_pd((__m512d)v.low, lane, (__m512d)v.high);
    }
    return (vec)_mm512_i32gather_pd(i, x, 8);
#else
#if defined(__AVX2__) && FN_DT == 0
    if (near && m == FN_VL) {
        const pair v = pair_at(x, n, first);
        const __m256i lane = _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)at), _mm256_set1_epi32(first));
        const __m256 low = _mm256_permutevar8x32_ps((__m256)v.low, lane), high = _mm256_permutevar8x32_ps((__m256)v.high, lane);
        return (vec)_mm256_blendv_ps(low, high, (__m256)_mm256_cmpgt_epi32(lane, _mm256_set1_epi32(FN_VL - 1)));
    }
#endif
    (void)n, (void)C;
    fn_t lane[FN_VL] = {0};
    for (int i = 0; i < m; i++) lane[i] = x[at[i]];
    return v_load(lane);
#endif
}

/* ---- forward --------------------------------------------------------------------------------------------- */

/* A row of the input, W elements, spread to the Q of the output, of C channels side by side. */
FN_INLINE void spread_(fn_t *y, const fn_t *x, int64_t W, int64_t Q, int64_t C, const taps *c, int linear) {
    if (c->same) copy(y, x, Q);
    else if (linear) FN_VECTORS(Q, {
        const vec a = pick(x, W, c->a + i, m, C);
        const vec b = pick(x, W, c->b + i, m, C);
        v_put(y + i, mix(v_get(c->wa + i, m), a, v_get(c->wb + i, m), b), m);
    });
    else FN_VECTORS(Q, v_put(y + i, pick(x, W, c->a + i, m, C), m););
}
static void spread(fn_t *y, const fn_t *x, int64_t W, int64_t Q, int64_t C, const taps *c, int linear) {
    if (C == 1) spread_(y, x, W, Q, 1, c, linear);             /* 4 to 7 % */
    else spread_(y, x, W, Q, C, c, linear);
}
/* Row `is` of all planes, x, spread linearly. The last even and the last odd one are held, as neighbours are wanted together. */
typedef struct { fn_t *row[2]; int64_t is[2]; } held;
static const fn_t *spread_once(held *s, const fn_t *x, int64_t is, int64_t W, int64_t Q, int64_t C, const taps *c) {
    if (c->same) return x;
    if (s->is[is & 1] != is) spread(s->row[is & 1], x, W, Q, C, c, 1), s->is[is & 1] = is;
    return s->row[is & 1];
}

/* An output pixel of C channels from rows a and b of the input, each at columns a and b. */
FN_INLINE void linear_pixel(fn_t *y, const fn_t *aa, const fn_t *ab, const fn_t *ba, const fn_t *bb, fn_t ha, fn_t hb, fn_t wa, fn_t wb,
                            int64_t C, const int rows, const int columns) {
    const vec HA = v_set1(ha), HB = v_set1(hb), WA = v_set1(wa), WB = v_set1(wb);
    FN_VECTORS(C, {
        const vec a = columns ? mix(WA, v_get(aa + i, m), WB, v_get(ab + i, m)) : v_get(aa + i, m);
        if (!rows) v_put(y + i, a, m);
        else v_put(y + i, mix(HA, a, HB, columns ? mix(WA, v_get(ba + i, m), WB, v_get(bb + i, m)) : v_get(ba + i, m)), m);
    });
}
static void linear_pixels(const fn_upsample_args *a, const taps *rows, const taps *c, int64_t p, fn_t *y, const fn_t *above, const fn_t *below) {
    const int64_t C = a->C, Q = a->Q;
    const fn_t ha = rows->wa[p], hb = rows->wb[p];
    for (int64_t q = 0; q < Q; q++, y += C) {
        const int64_t l = c->a[q] * C, r = c->b[q] * C;
        const fn_t wa = c->wa[q], wb = c->wb[q];
        if (rows->same) linear_pixel(y, above + l, above + r, 0, 0, ha, hb, wa, wb, C, 0, 1);
        else if (c->same) linear_pixel(y, above + l, 0, below + l, 0, ha, hb, wa, wb, C, 1, 0);
        else linear_pixel(y, above + l, above + r, below + l, below + r, ha, hb, wa, wb, C, 1, 1);
    }
}

static int64_t room_fwd(const fn_upsample_args *a) {
    const axis down = rows_of(a), across = columns_of(a);
    const int64_t beside = beside_of(a);
    return taps_bytes(&down, 1) + taps_bytes(&across, beside) + 2 * UP64(a->Q * beside * (int64_t)sizeof(fn_t));
}
FN_WORK(upsample_fwd) { return room_fwd(args) * threads; }
FN_KERNEL(upsample_fwd) {
    const fn_upsample_args *a = args;
    const axis down = rows_of(a), across = columns_of(a);
    const int64_t beside = beside_of(a), H = a->H, W = a->W * beside, P = a->P, Q = a->Q * beside;
    const int64_t C = a->last && beside == 1 ? a->C : 1, planes = a->last ? a->N : a->N * a->C;
    const int linear = a->mode == FN_UP_LINEAR || a->mode == FN_UP_CORNERS;
    char *room = (char *)a->work + t.rank * room_fwd(a);
    const taps rows = taps_of(&down, 1, &room), columns = taps_of(&across, beside, &room);
    const int64_t row = Q * (int64_t)sizeof(fn_t);
    held s = {{room_for(&room, row), room_for(&room, row)}, {-1, -1}};
    int64_t lo, hi;
    fn_share(planes * P, 1, t, &lo, &hi);
    for (int64_t j = lo; j < hi; j++) {
        const int64_t p = j % P, above = j / P * H + rows.a[p], below = j / P * H + rows.b[p];       /* rows of all planes */
        const fn_t *const x_a = (const fn_t *)a->x + above * W * C, *const x_b = (const fn_t *)a->x + below * W * C;
        fn_t *const y = (fn_t *)a->y + j * Q * C;
        if ((rows.same || !linear) && columns.same) {
            copy(y, x_a, Q * C);
        } else if (!linear && j > lo && p && rows.a[p] == rows.a[p - 1]) {
            copy(y, y - Q * C, Q * C);
        } else if (C > 1) {
            if (linear) linear_pixels(a, &rows, &columns, p, y, x_a, x_b);
            else for (int64_t q = 0; q < Q; q++) copy(y + q * C, x_a + columns.a[q] * C, C);
        } else if (rows.same || !linear) {
            spread(y, x_a, W, Q, beside, &columns, linear);
        } else {
            const fn_t *const one = spread_once(&s, x_a, above, W, Q, beside, &columns);
            const fn_t *const two = spread_once(&s, x_b, below, W, Q, beside, &columns);
            const vec wa = v_set1(rows.wa[p]), wb = v_set1(rows.wb[p]);
            FN_VECTORS(Q, v_put(y + i, mix(wa, v_get(one + i, m), wb, v_get(two + i, m)), m););
        }
    }
}

/* ---- backward -------------------------------------------------------------------------------------------- */

/* The weighted sum of m lanes of dy, at output row 0, over the rows that took from input row h. */
FN_INLINE vec drawn(const takers *r, int64_t h, int64_t H, const fn_t *dy, int64_t step, int m) {
    vec acc = v_zero();
    for (int64_t k = 0; k < r->most; k++) {
        const fn_t w = r->w[k * H + h];
        if (w != 0) acc = v_fma(v_set1(w), v_get(dy + r->at[k * H + h] * step, m), acc);
    }
    return acc;
}
static void draw_pixels(const fn_upsample_args *a, const takers *r, const takers *c, int64_t h, fn_t *dx, const fn_t *dy) {
    const int64_t H = a->H, W = a->W, C = a->C, step = a->Q * C;
    for (int64_t w = 0; w < W; w++, dx += C)
        FN_VECTORS(C, {
            vec acc = v_zero();
            for (int64_t k = 0; k < c->most; k++) {
                const fn_t by = c->w[k * W + w];
                if (by != 0) acc = v_fma(v_set1(by), drawn(r, h, H, dy + c->at[k * W + w] * C + i, step, m), acc);
            }
            v_put(dx + i, acc, m);
        });
}
FN_INLINE void draw_row_(fn_t *dx, const fn_t *row, int64_t W, int64_t Q, int64_t C, const takers *c) {
    FN_VECTORS(W, {
        vec acc = v_zero();
        for (int64_t k = 0; k < c->most; k++) {
            const vec by = v_get(c->w + k * W + i, m);
            acc = v_fma(by, v_select(by == v_zero(), v_zero(), pick(row, Q, c->at + k * W + i, m, C)), acc);
        }
        v_put(dx + i, acc, m);
    });
}
static void draw_row(fn_t *dx, const fn_t *row, int64_t W, int64_t Q, int64_t C, const takers *c) {
    if (C == 1) draw_row_(dx, row, W, Q, 1, c);
    else draw_row_(dx, row, W, Q, C, c);
}

static int64_t room_bwd(const fn_upsample_args *a) {
    const axis down = rows_of(a), across = columns_of(a);
    const int64_t beside = beside_of(a);
    return takers_bytes(&down, 1) + takers_bytes(&across, beside) + UP64(a->Q * beside * (int64_t)sizeof(fn_t));
}
FN_WORK(upsample_bwd) { return room_bwd(args) * threads; }
FN_KERNEL(upsample_bwd) {
    const fn_upsample_args *a = args;
    const axis down = rows_of(a), across = columns_of(a);
    const int64_t beside = beside_of(a), H = a->H, W = a->W * beside, Q = a->Q * beside;
    const int64_t C = a->last && beside == 1 ? a->C : 1, planes = a->last ? a->N : a->N * a->C;
    char *room = (char *)a->work + t.rank * room_bwd(a);
    const takers rows = takers_of(&down, 1, &room), columns = takers_of(&across, beside, &room);
    fn_t *const row = room_for(&room, Q * (int64_t)sizeof(fn_t));
    int64_t lo, hi;
    fn_share(planes * H, 1, t, &lo, &hi);
    for (int64_t j = lo; j < hi; j++) {
        const int64_t plane = j / H, h = j % H;
        fn_t *const dx = (fn_t *)a->dx + j * W * C;
        const fn_t *const dy = (const fn_t *)a->dy + plane * a->P * Q * C;
        if (C > 1) {
            draw_pixels(a, &rows, &columns, h, dx, dy);
        } else {
            FN_VECTORS(Q, v_put(row + i, drawn(&rows, h, H, dy + i, Q, m), m););
            draw_row(dx, row, W, Q, beside, &columns);
        }
    }
}
