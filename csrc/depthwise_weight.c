/* 2-D convolution in which each output channel sees one input channel (C = G, K = m C): the gradients of weight and bias.
 *
 *   dw[k,r,s] = sum over n,p,q of dy[n,k,p,q] x[n, k/m, p stride - pad + r dil, q stride - pad + s dil]
 *   db[k]     = sum over n,p,q of dy[n,k,p,q]
 *
 * Operands are taken as they lie, planes or channels (depthwise.c). A visit adds what some rows of an image give; visits fall
 * into parts that the shape alone fixes, and both are added in order. */
#include "depthwise.h"

enum { ROWS = 4, TAPS = 8 };                 /* rows of dy together; most taps of a filter row side by side */
#define FEED 16                  /* parts, and chunks of channels, that feed a team */

/* ---- planes ------------------------------------------------------------------------------------------------------ */

/* Sums of a channel: a vector for each tap, and one for the bias, whose lanes meet at the end. A visit adds what some rows
 * of an image give; visits fall into parts that the shape alone fixes, and both are added in order. */
typedef struct {
    rows b;
    int64_t m, taps, P, Q, each;             /* each: elements of a channel's sums */
    int64_t height, blocks, units;           /* output rows of a visit; visits of a channel */
    int64_t together, chunks, parts;         /* channels taken together; those of all; parts of a channel's visits */
    int64_t sums, block, room;               /* elements, of a thread but for `sums` if there are parts */
} grad;

static grad grad_of(const fn_conv_args *a) {
    const int64_t far = (a->R - 1) * a->dil_h;
    grad d = {.m = a->K / a->G, .taps = a->R * a->S, .P = a->P, .Q = a->Q};
    const axis v = forward_axis(a->W, a->Q, a->S, a->stride_w, a->pad_w, a->dil_w);
    d.b = rows_of_planes(v, a->W, 1, ROWS * a->stride_h + far);
    d.each = (d.taps + 1) * FN_VL;
    d.height = most((NEAR / (d.b.pitch * SIZE) - far) / a->stride_h, ROWS);
    d.blocks = most(over(a->P, d.height), 1), d.height = up(over(a->P, d.blocks), d.blocks > 1 ? 4 : 1);
    d.blocks = over(a->P, most(d.height, 1));
    d.units = a->N * d.blocks;
    d.together = least(a->K, most(NEAR / 2 / (d.each * SIZE), 1)), d.chunks = over(a->K, d.together);
    d.parts = most(least(d.units, over(FEED, d.chunks)), 1);
    d.sums = up(d.parts > 1 ? d.parts * a->K * d.each : d.together * d.each, 64);
    d.block = d.b.front + (d.height * a->stride_h + far + 1) * d.b.pitch + SPARE;
    d.room = up(a->S * 8 / SIZE, 64) + up(d.block, 64) + (d.parts > 1 ? 0 : d.sums);
    return d;
}

/* Where rows of dy meet those of x. */
typedef struct {
    fn_t *sums;                  /* of the first tap; sum_r from row to row of the filter */
    const fn_t *x, *dy;
    const int64_t *at;
    int64_t sum_r, x_p, x_r, dy_h, rows, Q;  /* x_p to the next output row, x_r to the next tap's */
} meeting;

/* T rows from a column on; x is cut to what dy's n lanes meet, which keeps the infinities of others away. */
FN_INLINE void meet_some(vec *acc, const meeting *c, const fn_t *x, const fn_t *dy, int64_t n, mask inside, const int whole,
                         const int R, const int S, const int T) {
    vec g[4];
    UNROLL for (int t = 0; t < T; t++) g[t] = whole ? v_load(dy + t * c->dy_h) : v_load_n(dy + t * c->dy_h, (int)n);
    UNROLL for (int i = 0; i < T + R - 1; i++) {
        vec v[TAPS];
        UNROLL for (int s = 0; s < S; s++) {
            v[s] = v_load(x + i * c->x_r + c->at[s]);
            if (!whole) v[s] = (vec)((mask)v[s] & inside);
        }
        UNROLL for (int t = 0; t < T; t++)
            if (i - t >= 0 && i - t < R)
                UNROLL for (int s = 0; s < S; s++) acc[(i - t) * S + s] = v_fma(g[t], v[s], acc[(i - t) * S + s]);
    }
}
FN_INLINE void meet(const meeting *c, const int R, const int S, const int T) {
    vec acc[R * S];
    UNROLL for (int i = 0; i < R * S; i++) acc[i] = v_zero();
    for (int64_t q = 0; q < c->Q; q += FN_VL) {
        const int64_t n = least(FN_VL, c->Q - q);
        mask inside;
        for (int i = 0; i < FN_VL; i++) inside[i] = -(i < n);
        int64_t p = 0;
        const fn_t *x = c->x + q, *dy = c->dy + q;
        if (n == FN_VL) {
            for (; p + T <= c->rows; p += T, x += T * c->x_p, dy += T * c->dy_h)
                meet_some(acc, c, x, dy, n, inside, 1, R, S, T);
            for (; p < c->rows; p++, x += c->x_p, dy += c->dy_h) meet_some(acc, c, x, dy, n, inside, 1, R, S, 1);
        } else {
            for (; p + T <= c->rows; p += T, x += T * c->x_p, dy += T * c->dy_h)
                meet_some(acc, c, x, dy, n, inside, 0, R, S, T);
            for (; p < c->rows; p++, x += c->x_p, dy += c->dy_h) meet_some(acc, c, x, dy, n, inside, 0, R, S, 1);
        }
    }
    UNROLL for (int i = 0; i < R * S; i++) {
        fn_t *const sum = c->sums + i / S * c->sum_r + i % S * FN_VL;
        v_store(sum, v_load(sum) + acc[i]);
    }
}
#define MEET(R, S, T) static void meet##R##x##S##x##T(const meeting *c) { meet(c, R, S, T); }
MEET(3, 3, 4) MEET(3, 3, 1) MEET(1, 1, 1) MEET(1, 2, 1) MEET(1, 3, 1) MEET(1, 4, 1)
MEET(1, 5, 1) MEET(1, 6, 1) MEET(1, 7, 1) MEET(1, 8, 1)
static void (*const meet_taps[TAPS])(const meeting *c) = {meet1x1x1, meet1x2x1, meet1x3x1, meet1x4x1,
                                                          meet1x5x1, meet1x6x1, meet1x7x1, meet1x8x1};

/* sum[lane] += sum of n numbers of some rows */
static void sum_rows(fn_t *sum, const fn_t *dy, int64_t dy_h, int64_t rows, int64_t n) {
    vec acc[4];
    UNROLL for (int j = 0; j < 4; j++) acc[j] = v_zero();
    for (int64_t q = 0; q < n; q += FN_VL) {
        int64_t p = 0;
        for (; p + 4 <= rows; p += 4) UNROLL for (int j = 0; j < 4; j++) acc[j] += load(dy + (p + j) * dy_h + q, n - q);
        for (; p < rows; p++) acc[0] += load(dy + p * dy_h + q, n - q);
    }
    v_store(sum, v_load(sum) + ((acc[0] + acc[1]) + (acc[2] + acc[3])));
}

/* A visit of channel k. */
static void add_rows(const fn_conv_args *a, const grad *d, const fn_t *block, const int64_t *at, const fn_t *dy, int64_t rows,
                     int64_t Q, fn_t *sums) {
    const int64_t R = a->R, S = a->S, pitch = d->b.pitch;
    meeting c = {.sums = sums, .x = block, .dy = dy, .at = at, .sum_r = S * FN_VL, .x_p = a->stride_h * pitch,
                 .x_r = a->dil_h * pitch, .dy_h = a->dy_h, .rows = rows, .Q = Q};
    if (a->db) sum_rows(sums + R * S * FN_VL, dy, a->dy_h, rows, Q);
    if (!a->dw) return;
    if (R == 3 && S == 3) {
        if (c.x_p == c.x_r) meet3x3x4(&c);
        else meet3x3x1(&c);
        return;
    }
    for (int64_t r = 0; r < R; r++)
        for (int64_t s = 0, n; s < S; s += n) {
            n = over(S - s, over(S - s, TAPS));
            c.sums = sums + (r * S + s) * FN_VL, c.x = block + r * c.x_r, c.at = at + s;
            meet_taps[n - 1](&c);
        }
}

/* The sums of channels [k0, k1), parts `part` elements apart, to dw and db. */
static void finish(const fn_conv_args *a, const grad *d, const fn_t *sums, int64_t part, int64_t k0, int64_t k1) {
    fn_t *const dw = a->dw, *const db = a->db;
    for (int64_t k = k0; k < k1; k++, sums += d->each)
        for (int64_t i = dw ? 0 : d->taps; i < d->taps + (db != 0); i++) {
            vec v = v_load(sums + i * FN_VL);
            for (int64_t j = 1; j < d->parts; j++) v += v_load(sums + i * FN_VL + j * part);
            *(i < d->taps ? dw + k * d->taps + i : db + k) = v_sum(v);
        }
}

static void plane_sums(const fn_conv_args *a, const grad *d, fn_team t) {
    fn_t *const shared = a->work, *const room = shared + (d->parts > 1 ? d->sums : 0) + t.rank * d->room;
    int64_t *const at = (int64_t *)room;
    fn_t *const front = room + up(a->S * 8 / SIZE, 64), *const block = front + d->b.front + d->b.lead;
    tap_places(&d->b, at);
    clear(front, d->b.front);
    int64_t lo, hi;
    fn_share(d->chunks * d->parts, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        const int64_t part = u % d->parts, k0 = u / d->parts * d->together, k1 = least(a->K, k0 + d->together);
        fn_t *const sums = d->parts > 1 ? shared + (part * a->K + k0) * d->each : front + up(d->block, 64);
        clear(sums, (k1 - k0) * d->each);
        for (int64_t visit = d->units * part / d->parts; visit < d->units * (part + 1) / d->parts; visit++) {
            const int64_t n = visit / d->blocks, p0 = visit % d->blocks * d->height, p1 = least(d->P, p0 + d->height);
            const int64_t h0 = p0 * a->stride_h - a->pad_h, h1 = (p1 - 1) * a->stride_h - a->pad_h + (a->R - 1) * a->dil_h + 1;
            for (int64_t q0 = 0; q0 < d->Q; q0 += d->b.cols)
                for (int64_t k = k0; k < k1; k++) {
                    if (a->dw && (k == k0 || k % d->m == 0))
                        fill(&d->b, block, (const fn_t *)a->x + n * a->x_n + k / d->m * a->x_c, a->x_h, a->H, h0, h1, q0);
                    add_rows(a, d, block, at, (const fn_t *)a->dy + n * a->dy_n + k * a->dy_c + p0 * a->dy_h + q0, p1 - p0,
                             least(d->b.cols, d->Q - q0), sums + (k - k0) * d->each);
                }
        }
        if (d->parts == 1) finish(a, d, sums, 0, k0, k1);
    }
    if (d->parts == 1) return;
    fn_barrier(t);
    fn_share(a->K, 1, t, &lo, &hi);
    finish(a, d, shared + lo * d->each, a->K * d->each, lo, hi);
}

/* ---- channels ------------------------------------------------------------------------------------------------------- */

/* Where a row of dy meets rows of x, for FN_VL channels. */
typedef struct {
    fn_t *sums;                  /* [r][s], sum_r and sum_s apart */
    const fn_t *x, *dy;
    int64_t sum_r, sum_s, x_q, x_r, x_s, dy_q, n, Q, begin, end;         /* all taps of pixels [begin, end) are inside */
    axis v;
} crossing;

FN_INLINE void cross_some(vec *acc, const crossing *c, int64_t q, const int J, const int R, const int S, const int slide) {
    const int64_t x_s = c->x_s, x_q = slide ? x_s : c->x_q;
    const fn_t *const x = c->x + q * x_q, *const dy = c->dy + q * c->dy_q;
    UNROLL for (int j = 0; j < J; j++) {
        const vec g = v_load(dy + j * c->dy_q);
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int s = 0; s < S; s++)
                acc[r * S + s] = v_fma(g, v_load(slide ? x + r * c->x_r + (j + s) * x_s : x + r * c->x_r + j * x_q + s * x_s),
                                       acc[r * S + s]);
    }
}
FN_INLINE void cross(const crossing *c, const int R, const int S, const int slide) {
    vec acc[R * S];
    int64_t q = 0;
    UNROLL for (int i = 0; i < R * S; i++) acc[i] = v_zero();
    while (q < c->Q) {
        if (c->n == FN_VL && q >= c->begin && q + 4 <= c->end) {
            cross_some(acc, c, q, 4, R, S, slide), q += 4;
            continue;
        }
        const vec g = load(c->dy + q * c->dy_q, c->n);
        UNROLL for (int s = 0; s < S; s++) {
            const int64_t at = q * c->v.step + c->v.first + s * c->v.dil;
            if (at < 0 || at >= c->v.in) continue;
            UNROLL for (int r = 0; r < R; r++)
                acc[r * S + s] = v_fma(g, load(c->x + q * c->x_q + r * c->x_r + s * c->x_s, c->n), acc[r * S + s]);
        }
        q++;
    }
    UNROLL for (int i = 0; i < R * S; i++) {
        fn_t *const sum = c->sums + i / S * c->sum_r + i % S * c->sum_s;
        v_store(sum, v_load(sum) + acc[i]);
    }
}
#define CROSS(R, S) static void cross##R##x##S(const crossing *c) { \
    if (c->x_q == c->x_s) cross(c, R, S, 1); \
    else cross(c, R, S, 0); }
CROSS(3, 3) CROSS(2, 3) CROSS(1, 1) CROSS(1, 2) CROSS(1, 3) CROSS(1, 4) CROSS(1, 5) CROSS(1, 6) CROSS(1, 7) CROSS(1, 8)
static void (*const cross_taps[TAPS])(const crossing *c) = {cross1x1, cross1x2, cross1x3, cross1x4,
                                                            cross1x5, cross1x6, cross1x7, cross1x8};

/* A row of dy. */
static void add_channels(const fn_conv_args *a, int64_t n, int64_t p, fn_t *sums) {
    const int64_t S = a->S, K = a->K, lanes = up(K, FN_VL);
    const axis h = forward_axis(a->H, a->P, a->R, a->stride_h, a->pad_h, a->dil_h);
    const axis v = forward_axis(a->W, a->Q, S, a->stride_w, a->pad_w, a->dil_w);
    const int64_t x_s = v.dil * a->x_w, x_r = h.dil * a->x_h;
    int64_t r0, r1;
    taps_at(&h, p, &r0, &r1);
    crossing c = {.sum_s = lanes, .sum_r = S * lanes, .x_q = v.step * a->x_w, .x_r = x_r, .dy_q = a->dy_w, .Q = a->Q};
    for (int64_t k = 0; k < K; k += FN_VL) {
        const fn_t *const x = (const fn_t *)a->x + n * a->x_n + (p * h.step + h.first) * a->x_h + v.first * a->x_w + k;
        c.n = least(FN_VL, K - k), c.dy = (const fn_t *)a->dy + n * a->dy_n + p * a->dy_h + k;
        if (a->db) {
            vec sum = v_zero();
            for (int64_t q = 0; q < a->Q; q++) sum += load(c.dy + q * c.dy_q, c.n);
            v_store(sums + a->R * S * lanes + k, v_load(sums + a->R * S * lanes + k) + sum);
        }
        for (int64_t s = 0, taps; s < S && a->dw; s += taps) {
            taps = over(S - s, over(S - s, TAPS));
            c.v = v, c.v.first += s * v.dil, c.x_s = x_s;
            c.begin = c.v.first < 0 ? over(-c.v.first, v.step) : 0;
            c.end = least(whole_of(v.in - 1 - c.v.first - (taps - 1) * v.dil, v.step) + 1, v.out);
            for (int64_t r = r0, rows; r < r1; r += rows) {
                rows = taps == 3 && r1 - r < 4 ? r1 - r : 1;
                c.sums = sums + (r * S + s) * lanes + k, c.x = x + r * x_r + s * x_s;
                if (rows == 3) cross3x3(&c);
                else if (rows == 2) cross2x3(&c);
                else cross_taps[taps - 1](&c);
            }
        }
    }
}

static int64_t channel_parts(const fn_conv_args *a) { return most(least(a->N * a->P, FEED), 1); }

static void channel_sums(const fn_conv_args *a, fn_team t) {
    const int64_t taps = a->R * a->S, K = a->K, lanes = up(K, FN_VL), parts = channel_parts(a), each = (taps + 1) * lanes;
    fn_t *const shared = a->work, *const dw = a->dw, *const db = a->db;
    int64_t lo, hi;
    fn_share(parts, 1, t, &lo, &hi);
    for (int64_t part = lo; part < hi; part++) {
        clear(shared + part * each, each);
        for (int64_t visit = a->N * a->P * part / parts; visit < a->N * a->P * (part + 1) / parts; visit++)
            add_channels(a, visit / a->P, visit % a->P, shared + part * each);
    }
    fn_barrier(t);
    fn_share(lanes / FN_VL, 1, t, &lo, &hi);
    for (int64_t k = lo * FN_VL; k < hi * FN_VL; k += FN_VL)
        for (int64_t i = dw ? 0 : taps; i < taps + (db != 0); i++) {
            fn_t sum[FN_VL];
            vec v = v_load(shared + i * lanes + k);
            for (int64_t j = 1; j < parts; j++) v += v_load(shared + j * each + i * lanes + k);
            v_store(sum, v);
            for (int64_t l = 0; l < least(FN_VL, K - k); l++) *(i < taps ? dw + (k + l) * taps + i : db + k + l) = sum[l];
        }
}

FN_WORK(depthwise_bwd_w) {
    const fn_conv_args *a = args;
    if (!a->planes) return channel_parts(a) * (a->R * a->S + 1) * up(a->K, FN_VL) * SIZE;
    const grad d = grad_of(a);
    return ((d.parts > 1 ? d.sums : 0) + d.room * threads) * SIZE;
}
FN_KERNEL(depthwise_bwd_w) {
    const fn_conv_args *a = args;
    if (!a->planes) {
        channel_sums(a, t);
        return;
    }
    const grad d = grad_of(a);
    plane_sums(a, &d, t);
}
