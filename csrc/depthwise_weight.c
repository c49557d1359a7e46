/* 2-D convolution in which each output channel sees one input channel (C = G, K = m C): the gradients of weight and bias.
 *
 *   dw[k,r,s] = sum over n,p,q of dy[n,k,p,q] x[n, k/m, p stride - pad + r dil, q stride - pad + s dil]
 *   db[k]     = sum over n,p,q of dy[n,k,p,q]
 *
 * Operands are taken as they lie, planes or channels (depthwise.c). A visit adds what some rows of an image give; visits fall
 * into parts that the shape alone fixes, and both are added in order. */
#include "depthwise.h"

/* Rows of dy together; most taps of a filter row side by side; of lanes: pixels together, most sums at once. */
enum { ROWS = 4, TAPS = 8, TOGETHER = 4, SUMS = 14 };

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
    vec acc[9];
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
        for (; p + 4 <= rows; p += 4) UNROLL for (int j = 0; j < 4; j++) acc[j] += v_get(dy + (p + j) * dy_h + q, n - q);
        for (; p < rows; p++) acc[0] += v_get(dy + p * dy_h + q, n - q);
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
    fn_deal deal = fn_dealt(d->chunks * d->parts, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
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
    int64_t lo, hi;
    fn_barrier(t);
    fn_share(a->K, 1, t, &lo, &hi);
    finish(a, d, shared + lo * d->each, a->K * d->each, lo, hi);
}

/* ---- lanes ----------------------------------------------------------------------------------------------------------- */

/* FN_VL channels side by side (depthwise.c): rows of x in a ring with one of zeros behind it, some rows of dy beside them. A visit
 * adds what rows of an image give to the sums of all channels, [chunk of channels][input of a group][r][s][lane] and one more for
 * the bias. */
typedef struct {
    int64_t I, wide, chunks, taps, each, all;            /* vectors of inputs of FN_VL outputs; sums of a chunk; elements of them, and of all chunks */
    int64_t ring, cols, pitch;               /* rows of the ring; pixels of a window, of a ring's row */
    int64_t lines, fetched;                  /* rows of dy together; of x that are turned together */
    int64_t height, blocks, visits, parts;
    int64_t rows, block, dy, room;           /* elements, of a thread; then those that are turned together */
} side;

static side side_of(const fn_conv_args *a) {
    const int64_t far = (a->S - 1) * a->dil_w;
    side d = {.I = a->C / a->G, .wide = wide_of(a->C / a->G), .chunks = over(a->K, FN_VL), .ring = least((a->R - 1) * a->dil_h + 1, a->H)};
    d.taps = d.I * a->R * a->S, d.each = (d.taps + 1) * FN_VL, d.all = up(d.chunks * d.each, 64);
    const int64_t row = a->W * a->C * SIZE * a->stride_h, fit = most((LANES / (d.ring * FN_VBYTES) - far) / a->stride_w / TOGETHER, 1) * TOGETHER;
    d.cols = least(up(over(a->Q, most(over(a->Q, fit), 1)), TOGETHER), most(a->Q, 1));
    d.pitch = (d.cols - 1) * a->stride_w + far + 1;
    d.blocks = a->planes ? 1 : over(a->P, few_taps(a) ? most(LITTLE / row, 1) : most(IMAGE / row, 2 * d.ring));
    if (a->N * d.blocks < FEED) d.blocks = most(least(over(FEED, most(a->N, 1)), a->P / 4), d.blocks);
    d.height = most(over(a->P, most(d.blocks, 1)), 1), d.blocks = over(a->P, d.height);
    d.visits = a->N * d.blocks, d.parts = most(least(d.visits, FEED), 1);
    d.lines = least(over(64, d.cols), d.height), d.fetched = lines_of(a, d.wide, a->x_h, a->W, a->H);
    d.ring += (d.lines - 1) * a->stride_h + d.fetched - 1;
    if (a->H * d.pitch * FN_VBYTES <= LANES) d.ring = most(d.ring, a->H);
    d.rows = up(d.lines * a->R * 8 / SIZE, 64), d.block = up((d.ring + 1) * d.wide * d.pitch * FN_VL, 64);
    d.dy = up(d.lines * d.cols * FN_VL, 64);
    d.room = d.rows + d.block + d.dy + up(d.fetched > 1 ? d.fetched * a->W * FN_VL : 0, 64);
    return d;
}

/* Where rows of dy meet rows of x. */
typedef struct {
    fn_t *sums;                  /* of the first tap; sum_r from row to row of the filter */
    const fn_t *const *x, *dy;   /* row r of x for a row of dy, x_p to the next one's */
    int64_t lines, x_p, at, sum_r, step, dil, Q;
    mask from;                   /* which lanes of x those of dy meet, in groups */
} crossing;

/* R rows of the filter and S taps of each; STEP between pixels and 1 between taps, if that is not 0: pixels go together. */
FN_INLINE void cross(const crossing *c, const int R, const int S, const int STEP, const int GROUPS) {
    const int64_t step = STEP ? STEP * FN_VL : c->step, dil = STEP ? FN_VL : c->dil;
    const fn_t *dy = c->dy, *const *rows = c->x;
    mask from = c->from;
    if (GROUPS) HOLD(from);
    vec acc[SUMS];
    UNROLL for (int i = 0; i < R * S; i++) acc[i] = v_zero();
    for (int64_t p = 0; p < c->lines; p++, rows += c->x_p) {
        const fn_t *x[3];
        int64_t q = 0;
        UNROLL for (int r = 0; r < R; r++) x[r] = rows[r] + c->at;
        if (STEP)
            for (; q + TOGETHER <= c->Q; q += TOGETHER, dy += TOGETHER * FN_VL) {
                vec g[TOGETHER];
                UNROLL for (int j = 0; j < TOGETHER; j++) {
                    g[j] = v_load(dy + j * FN_VL);
                    HOLD(g[j]);
                }
                UNROLL for (int r = 0; r < R; r++) {
                    UNROLL for (int i = 0; i < (TOGETHER - 1) * STEP + S; i++) {
                        vec x_i = v_load(x[r] + i * FN_VL);
                        if (GROUPS) x_i = v_lanes(x_i, from);
                        UNROLL for (int j = 0; j < TOGETHER; j++)
                            if (i >= j * STEP && i - j * STEP < S)
                                acc[r * S + i - j * STEP] = v_fma(g[j], x_i, acc[r * S + i - j * STEP]);
                    }
                    x[r] += TOGETHER * step;
                }
            }
        for (; q < c->Q; q++, dy += FN_VL) {
            const vec g = v_load(dy);
            UNROLL for (int r = 0; r < R; r++) {
                UNROLL for (int s = 0; s < S; s++) {
                    const vec x_s = v_load(x[r] + s * dil);
                    acc[r * S + s] = v_fma(g, GROUPS ? v_lanes(x_s, from) : x_s, acc[r * S + s]);
                }
                x[r] += step;
            }
        }
    }
    UNROLL for (int i = 0; i < R * S; i++) {
        fn_t *const sum = c->sums + i / S * c->sum_r + i % S * FN_VL;
        v_store(sum, v_load(sum) + acc[i]);
    }
}
#define CROSS(R, S, STEP) static void cross##R##x##S##_##STEP(const crossing *c) { cross(c, R, S, STEP, 0); } \
    static void group##R##x##S##_##STEP(const crossing *c) { cross(c, R, S, STEP, 1); }
CROSS(1, 1, 0) CROSS(1, 2, 0) CROSS(1, 3, 0) CROSS(1, 4, 0) CROSS(1, 5, 0) CROSS(1, 6, 0) CROSS(1, 7, 0) CROSS(1, 8, 0)
CROSS(1, 3, 1) CROSS(2, 3, 1) CROSS(3, 3, 1) CROSS(1, 3, 2) CROSS(2, 3, 2) CROSS(3, 3, 2)
CROSS(1, 5, 1) CROSS(2, 5, 1) CROSS(1, 5, 2) CROSS(2, 5, 2) CROSS(1, 7, 1) CROSS(2, 7, 1) CROSS(1, 7, 2) CROSS(2, 7, 2)
typedef void (*cross_fn)(const crossing *c);
#define IN_TAPS(f) {f##1x1_0, f##1x2_0, f##1x3_0, f##1x4_0, f##1x5_0, f##1x6_0, f##1x7_0, f##1x8_0}
#define IN_ROWS(f, STEP) {{f##1x3_##STEP, f##2x3_##STEP, f##3x3_##STEP}, {f##1x5_##STEP, f##2x5_##STEP}, {f##1x7_##STEP, f##2x7_##STEP}}
static const cross_fn cross_taps[2][TAPS] = {IN_TAPS(cross), IN_TAPS(group)};
static const cross_fn cross_rows[2][2][3][3] = {{IN_ROWS(cross, 1), IN_ROWS(cross, 2)}, {IN_ROWS(group, 1), IN_ROWS(group, 2)}};

FN_INLINE int outside(const fn_t *const *rows, int64_t n, const fn_t *none) {
    while (n > 0 && rows[n - 1] == none) n--;
    return n == 0;
}
static void add_pixels(fn_t *sum, const fn_t *dy, int64_t n) {
    vec v[TOGETHER];
    int64_t q = 0;
    UNROLL for (int j = 0; j < TOGETHER; j++) v[j] = v_zero();
    for (; q + TOGETHER <= n; q += TOGETHER) UNROLL for (int j = 0; j < TOGETHER; j++) v[j] += v_load(dy + (q + j) * FN_VL);
    for (; q < n; q++) v[0] += v_load(dy + q * FN_VL);
    v_store(sum, v_load(sum) + ((v[0] + v[1]) + (v[2] + v[3])));
}

/* What rows [p0, p1) of image n give to the sums of channels k and up. */
static void add_lanes(const fn_conv_args *a, const side *d, int64_t n, int64_t p0, int64_t p1, int64_t k, fn_t *sums, fn_t *room) {
    const int64_t R = a->R, S = a->S, I = d->I, m = least(FN_VL, a->K - k), pitch = d->pitch * FN_VL;
    const int special = (S == 3 || S == 5 || S == 7) && a->dil_w == 1 && a->stride_w <= 2;
    const int64_t together = !special ? 1 : S == 3 ? 3 : FN_ROWS1 == 14 ? 2 : 1;
    const fn_t **const rows = (const fn_t **)room;
    fn_t *const block = room + d->rows, *const dy = block + d->block, *const none = block + d->ring * d->wide * pitch;
    window of_x = {.x_h = a->x_h, .x_w = a->x_w, .x_c = a->x_c, .W = a->W, .pitch = d->pitch, .ring = d->ring, .I = I, .wide = d->wide,
                   .together = d->fetched > 1 ? dy + d->dy : 0};
    window of_dy = {.x_h = a->dy_h, .x_w = a->dy_w, .x_c = a->dy_c, .W = a->Q, .ring = d->lines, .I = 1, .wide = 1};
    mask from[8];
    lanes_from(from, I);
    crossing c = {.x_p = R, .sum_r = S * FN_VL, .step = a->stride_w * FN_VL, .dil = a->dil_w * FN_VL};
    for (int64_t q0 = 0; q0 < a->Q; q0 += d->cols) {
        int64_t next = 0;
        c.Q = least(d->cols, a->Q - q0), of_dy.from = q0, of_dy.pitch = c.Q, of_x.from = q0 * a->stride_w - a->pad_w;
        for (int64_t p = p0, lines; p < p1; p += lines) {
            const int64_t at = p * a->stride_h - a->pad_h;
            const fn_t *const dy_p = (const fn_t *)a->dy + n * a->dy_n + p * a->dy_h;
            lines = least(d->lines, p1 - p);
            if (c.Q == a->Q && lines_of(a, 1, a->dy_h, a->Q, a->P) > 1)
                turn(dy, dy_p + k * a->dy_c, a->dy_c, lines * c.Q, m, ahead_of(a, k));
            else lane_lines(&of_dy, dy, dy_p, 0, lines, k, m, ahead_of(a, k));
            if (a->db) add_pixels(sums + d->taps * FN_VL, dy, lines * c.Q);
            next = most(next, at);
            while (a->dw && next <= least(at + (lines - 1) * a->stride_h + (R - 1) * a->dil_h, a->H - 1)) {
                const int64_t end = least(next + d->fetched, a->H);
                lane_lines(&of_x, block, (const fn_t *)a->x + n * a->x_n, next, end, k, m, ahead_of(a, k));
                next = end;
            }
            for (int64_t l = 0; l < lines; l++)
                for (int64_t r = 0; r < R; r++) {
                    const int64_t h = at + l * a->stride_h + r * a->dil_h;
                    rows[l * R + r] = h >= 0 && h < a->H ? block + slot(h, d->ring) * d->wide * pitch : none;
                }
            for (int64_t i = 0; i < I && a->dw; i++) {
                c.from = from[i];
                for (int64_t r = 0, high; r < R; r += high) {
                    int64_t first = 0, last = lines;
                    high = least(together, R - r);
                    while (first < last && outside(rows + first * R + r, high, none)) first++;
                    while (first < last && outside(rows + (last - 1) * R + r, high, none)) last--;
                    if (first == last) continue;
                    c.x = rows + first * R + r, c.dy = dy + first * c.Q * FN_VL, c.lines = last - first;
                    if (special) {
                        c.sums = sums + (i * R + r) * S * FN_VL, c.at = i / FN_VL * pitch;
                        cross_rows[I > 1][a->stride_w - 1][S / 2 - 1][high - 1](&c);
                        continue;
                    }
                    for (int64_t s = 0, wide; s < S; s += wide) {
                        wide = over(S - s, over(S - s, TAPS));
                        c.sums = sums + ((i * R + r) * S + s) * FN_VL, c.at = i / FN_VL * pitch + s * c.dil;
                        cross_taps[I > 1][wide - 1](&c);
                    }
                }
            }
        }
    }
}

static void lane_sums(const fn_conv_args *a, const side *d, fn_team t) {
    fn_t *const shared = a->work, *const room = shared + d->parts * d->all + t.rank * d->room, *const dw = a->dw, *const db = a->db;
    clear(room + d->rows + d->ring * d->wide * d->pitch * FN_VL, d->wide * d->pitch * FN_VL);
    fn_deal deal = fn_dealt(d->parts, t);
    for (int64_t part; (part = fn_take(&deal)) >= 0;) {
        fn_t *const sums = shared + part * d->all;
        clear(sums, d->all);
        for (int64_t visit = d->visits * part / d->parts; visit < d->visits * (part + 1) / d->parts; visit++)
            for (int64_t u = 0; u < d->chunks; u++) {
                const int64_t p0 = visit % d->blocks * d->height;
                add_lanes(a, d, visit / d->blocks, p0, least(a->P, p0 + d->height), u * FN_VL, sums + u * d->each, room);
            }
    }
    int64_t lo, hi;
    fn_barrier(t);
    fn_share(d->chunks, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        fn_t *const sums = shared + u * d->each;
        const int64_t k = u * FN_VL, m = least(FN_VL, a->K - k);
        for (int64_t i = 0; i <= d->taps; i++) {
            vec v = v_load(sums + i * FN_VL);
            for (int64_t j = 1; j < d->parts; j++) v += v_load(sums + j * d->all + i * FN_VL);
            v_store(sums + i * FN_VL, v);
        }
        if (dw) planes(dw + k * d->taps, d->taps, sums, FN_VL, d->taps, m);
        if (db) copy(db + k, sums + d->taps * FN_VL, m);
    }
}

FN_WORK(depthwise_bwd_w) {
    const fn_conv_args *a = args;
    if (in_lanes(a)) {
        const side d = side_of(a);
        return (d.parts * d.all + d.room * threads) * SIZE;
    }
    const grad d = grad_of(a);
    return ((d.parts > 1 ? d.sums : 0) + d.room * threads) * SIZE;
}
FN_KERNEL(depthwise_bwd_w) {
    const fn_conv_args *a = args;
    if (in_lanes(a)) {
        const side d = side_of(a);
        lane_sums(a, &d, t);
        return;
    }
    const grad d = grad_of(a);
    plane_sums(a, &d, t);
}
