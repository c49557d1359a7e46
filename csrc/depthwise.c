/* 2-D convolution in which each output channel sees one input channel (C = G, K = m C): forward, and the gradient of input.
 *
 *   y[n,k,p,q]  = act(b[k] + sum over r,s of w[k,r,s] x[n, k/m, p stride - pad + r dil, q stride - pad + s dil])
 *   dx[n,c,h,w] = sum over k of c's m, r, s of w[k,r,s] dy[n,k,p,q]       where p stride - pad + r dil = h, and q likewise
 *
 * Little is computed with each number that is read, so operands are taken as they lie:
 *   planes     row-major: vectors run along rows, weights are broadcast
 *   channels   channels-last, m = 1: vectors run along channels; taps outside of the image are left out
 * Each result is one chain of multiply-adds over k, r and s, in the same order in both. */
#include "depthwise.h"

enum { ROWS = 7, TAPS = 3, PIXELS = 6, LINES = 8 };     /* most rows of a tile; taps of a filter row in registers; pixels side by side */

/* ---- planes ------------------------------------------------------------------------------------------------------ */

/* y[k] = act(bias[k] + sum over its I planes of x, r, s of w x). Rows o, o + every, ... of y go through rows of x in one
 * way, that of an axis: dx of a stride has as many ways as strides. */
typedef struct {
    const fn_t *x, *w, *bias;
    fn_t *y;
    int64_t x_n, x_c, x_h, x_w, y_n, y_w;
    int64_t N, K, I, O, R, S, H, P, Q, relu;             /* K planes of y; O of them see the same planes of x; H rows of x */
    int64_t every, step, low, reach;         /* rows [p0, p1) of y read from row (p0*step + low) / every on, `reach` more than p1 - p0 */
    rows b;
    int64_t height, blocks;                  /* rows of y that a block serves */
    int64_t ways, room;
    const fn_conv_args *a;
} pass;

/* How row o and those after it, `every` apart, go through the rows of x; columns likewise. */
static axis way_of(const fn_conv_args *a, int backward, int rows, int64_t o) {
    int64_t from;
    if (!backward)
        return rows ? forward_axis(a->H, a->P, a->R, a->stride_h, a->pad_h, a->dil_h)
                    : forward_axis(a->W, a->Q, a->S, a->stride_w, a->pad_w, a->dil_w);
    return rows ? backward_axis(a->H, a->P, a->R, a->stride_h, a->pad_h, a->dil_h, (o + a->pad_h) % a->stride_h, &from)
                : backward_axis(a->W, a->Q, a->S, a->stride_w, a->pad_w, a->dil_w, (o + a->pad_w) % a->stride_w, &from);
}

static pass pass_of(const fn_conv_args *a, int backward) {
    const int64_t m = a->K / a->G, far = (a->R - 1) * a->dil_h;
    pass c = backward ? (pass){.x = a->dy, .w = a->w, .y = a->dx, .x_n = a->dy_n, .x_c = a->dy_c, .x_h = a->dy_h, .x_w = a->dy_w,
                               .K = a->C, .I = m, .O = 1, .H = a->P, .P = a->H, .Q = a->W, .every = a->stride_h, .step = 1,
                               .low = a->pad_h - far}
                      : (pass){.x = a->x, .w = a->w, .bias = a->b, .y = a->y, .x_n = a->x_n, .x_c = a->x_c, .x_h = a->x_h,
                               .x_w = a->x_w, .K = a->K, .I = 1, .O = m, .H = a->H, .P = a->P, .Q = a->Q,
                               .relu = a->act == FN_ACT_RELU, .every = 1, .step = a->stride_h, .low = -a->pad_h};
    c.a = a, c.N = a->N, c.R = a->R, c.S = a->S, c.ways = least(c.every, c.P);
    const axis v = {(a->Q - 1) * a->stride_w + 1, a->W, a->S, 1, a->pad_w - (a->S - 1) * a->dil_w, a->dil_w, a->S - 1, -1};
    c.b = rows_of_planes(backward ? v : way_of(a, 0, 0, 0), backward ? a->Q : a->W, backward ? a->stride_w : 1,
                         (ROWS * c.step * c.every + far) / c.every + 2);
    const int64_t fit = NEAR / (c.b.pitch * SIZE);
    c.height = most((fit * c.every - far) / c.step, ROWS * c.every);
    c.blocks = most(over(c.P, c.height), 1), c.height = up(over(c.P, c.blocks), c.blocks > 1 ? ROWS * c.every : 1);
    c.blocks = over(c.P, most(c.height, 1));
    c.reach = (c.height * c.step + far) / c.every + 2;
    c.room = up(c.ways * (int64_t)sizeof(axis) / SIZE + c.S * 8 / SIZE, 64) + up(c.R * c.S * FN_VL, 64) +
             up(c.b.front + c.reach * c.b.pitch + SPARE, 64);
    return c;
}

typedef struct {
    const fn_t *x;               /* of the first row's first tap; x_t to the next row of y's, x_r to the next tap's */
    const vec *w;                /* [tap of a column][tap of a row], w_r from row to row */
    fn_t *y;
    const int64_t *at;
    int64_t x_t, x_r, w_r, y_t, R, S, n;     /* n lanes of y */
    vec start;
    int64_t add, relu;           /* the sum goes on from what y is; ends with the ReLU */
} tile;

/* T rows of y, FN_VL columns. SIZE_ taps each way if that is not 0, T rows then slide over T + SIZE_ - 1 of x. */
FN_INLINE void tile_(const tile *c, const int T, const int SIDE) {
    const fn_t *const x = c->x;
    const int64_t x_t = c->x_t, y_t = c->y_t, n = c->n;
    const vec *const w = c->w;
    vec acc[ROWS];
    UNROLL for (int t = 0; t < T; t++) acc[t] = c->add ? load(c->y + t * y_t, n) : c->start;
    if (SIDE) {
        UNROLL for (int i = 0; i < T + SIDE - 1; i++) {
            vec v[TAPS];
            UNROLL for (int s = 0; s < SIDE; s++) v[s] = v_load(x + i * x_t + c->at[s]);
            UNROLL for (int t = 0; t < T; t++)
                if (i - t >= 0 && i - t < SIDE)
                    UNROLL for (int s = 0; s < SIDE; s++) acc[t] = v_fma(v[s], w[(i - t) * c->w_r + s], acc[t]);
        }
    } else {
        for (int64_t r = 0; r < c->R; r++)
            for (int64_t s = 0; s < c->S; s++) {
                const vec w_s = w[r * c->w_r + s];
                const fn_t *const x_s = x + r * c->x_r + c->at[s];
                UNROLL for (int t = 0; t < T; t++) acc[t] = v_fma(v_load(x_s + t * x_t), w_s, acc[t]);
            }
    }
    UNROLL for (int t = 0; t < T; t++) {
        const vec v = c->relu ? v_relu(acc[t]) : acc[t];
        if (n == FN_VL) v_store(c->y + t * y_t, v);
        else v_store_n(c->y + t * y_t, v, (int)n);
    }
}
#define TILE(T) static void tile##T(const tile *c) { tile_(c, T, 0); } \
    static void three##T(const tile *c) { tile_(c, T, 3); }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7)
typedef void (*tile_fn)(const tile *c);
static const tile_fn tiles[2][ROWS] = {{tile1, tile2, tile3, tile4, tile5, tile6, tile7},
                                       {three1, three2, three3, three4, three5, three6, three7}};

static void plane_rows(const pass *c, int backward, fn_t *room, fn_team t) {
    axis *const ways = (axis *)room;
    int64_t *const at = (int64_t *)(ways + c->ways);
    vec *const w = (vec *)(room + up(c->ways * (int64_t)sizeof(axis) / SIZE + c->S * 8 / SIZE, 64));
    fn_t *const front = (fn_t *)w + up(c->R * c->S * FN_VL, 64), *const block = front + c->b.front + c->b.lead;
    const int64_t R = c->R, S = c->S, P = c->P, Q = c->Q, pitch = c->b.pitch;
    for (int64_t o = 0; o < c->ways; o++) ways[o] = way_of(c->a, backward, 1, o);
    tap_places(&c->b, at);
    clear(front, c->b.front);
    int64_t lo, hi;
    const fn_t *held = 0;
    fn_share(c->N * c->K * c->blocks, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        const int64_t p0 = u % c->blocks * c->height, p1 = least(P, p0 + c->height), k = u / c->blocks % c->K;
        const int64_t h0 = whole_of(p0 * c->step + c->low, c->every);
        const int64_t h1 = whole_of((p1 - 1) * c->step + c->low + (R - 1) * c->a->dil_h, c->every) + 1;
        fn_t *const y = c->y + (u / c->blocks * P) * Q;
        for (int64_t q0 = 0; q0 < Q; q0 += c->b.cols)
            for (int64_t i = 0; i < c->I; i++) {
                const fn_t *const x = c->x + u / c->blocks / c->K * c->x_n + (k / c->O * c->I + i) * c->x_c;
                const fn_t *const w_k = c->w + (k * c->I + i) * R * S;
                if (x != held || c->blocks > 1 || c->b.cols < Q) fill(&c->b, block, x, c->x_h, c->H, h0, h1, q0);
                held = x;
                for (int64_t s = 0; s < R * S; s++) w[s] = v_set1(w_k[backward ? s / S * S + S - 1 - s % S : s]);
                tile b = {.at = at, .S = S, .y_t = c->every * Q, .add = i > 0, .relu = c->relu,
                          .start = c->bias ? v_set1(c->bias[k]) : v_zero()};
                for (int64_t o0 = p0; o0 < least(p1, p0 + c->every); o0++) {
                    const axis v = ways[o0 % c->every];
                    const tile_fn *const f = tiles[v.taps == 3 && S == 3 && v.step == 1 && v.dil == 1];
                    b.x_t = v.step * pitch, b.x_r = v.dil * pitch, b.w_r = v.w_step * S, b.R = v.taps;
                    for (int64_t o = o0, T; o < p1; o += T * c->every) {
                        const fn_t *const x_o = block + (o / c->every * v.step + v.first - h0) * pitch;
                        T = least(ROWS, over(p1 - o, c->every));
                        for (int64_t q = q0; q < least(Q, q0 + c->b.cols); q += FN_VL) {
                            b.x = x_o + q - q0, b.w = w + v.w0 * S, b.y = y + o * Q + q, b.n = least(FN_VL, Q - q);
                            f[T - 1](&b);
                        }
                    }
                }
            }
    }
}

/* ---- channels -------------------------------------------------------------------------------------------------------- */

typedef struct {
    const fn_t *x, *w;           /* of the first tap that counts */
    fn_t *y;
    int64_t x_q, x_r, x_s, w_r, w_s, y_q, R, S, n;       /* n channels, FN_VL at the most */
    vec start;
    int64_t relu;
} spot;

/* A tap of J pixels. */
FN_INLINE void add_tap(vec *acc, const fn_t *x, int64_t x_q, vec w, int64_t n, const int J, const int whole) {
    UNROLL for (int j = 0; j < J; j++) acc[j] = v_fma(whole ? v_load(x + j * x_q) : v_load_n(x + j * x_q, (int)n), w, acc[j]);
}
/* J neighbouring pixels; SIDE taps a row, as far apart as pixels, if that is not 0. */
FN_INLINE void spot_(const spot *c, const int J, const int SIDE, const int whole) {
    const int64_t n = c->n, x_s = c->x_s;
    vec acc[PIXELS];
    UNROLL for (int j = 0; j < J; j++) acc[j] = c->start;
    for (int64_t r = 0; r < c->R; r++) {
        const fn_t *const x = c->x + r * c->x_r, *const w = c->w + r * c->w_r;
        if (SIDE) UNROLL for (int s = 0; s < SIDE; s++) add_tap(acc, x + s * x_s, x_s, v_load(w + s * c->w_s), n, J, whole);
        else for (int64_t s = 0; s < c->S; s++) add_tap(acc, x + s * x_s, c->x_q, v_load(w + s * c->w_s), n, J, whole);
    }
    UNROLL for (int j = 0; j < J; j++) {
        const vec v = c->relu ? v_relu(acc[j]) : acc[j];
        if (whole) v_store(c->y + j * c->y_q, v);
        else v_store_n(c->y + j * c->y_q, v, (int)n);
    }
}
static void one(const spot *c) {
    if (c->n == FN_VL) spot_(c, 1, 0, 1);
    else spot_(c, 1, 0, 0);
}
static void some(const spot *c) {
    const int64_t side = c->n == FN_VL && c->x_q == c->x_s ? c->S : 0;
    if (side == 3) spot_(c, PIXELS, 3, 1);
    else if (side == 5) spot_(c, PIXELS, 5, 1);
    else if (side == 7) spot_(c, PIXELS, 7, 1);
    else if (c->n == FN_VL) spot_(c, PIXELS, 0, 1);
    else spot_(c, PIXELS, 0, 0);
}

/* Packed weights [r][s][lane], zeros in lanes beyond the channels. */
static void pack(const pass *c, int64_t lanes, fn_t *packed, fn_team t) {
    int64_t lo, hi;
    fn_share(c->R * c->S, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++)
        for (int64_t k = 0; k < lanes; k++) packed[i * lanes + k] = k < c->K ? c->w[k * c->R * c->S + i] : 0;
}

/* Row p of image n, FN_VL channels from k on. */
static void row_of_channels(const pass *c, int64_t every, const axis *ways, const axis *columns, const fn_t *packed, int64_t n,
                            int64_t p, int64_t k) {
    const int64_t K = c->K, Q = c->Q, lanes = up(K, FN_VL);
    const axis h = ways[p % c->every];
    int64_t r0, r1;
    taps_at(&h, p / c->every, &r0, &r1);
    const fn_t *const x = c->x + n * c->x_n + (p / c->every * h.step + h.first + r0 * h.dil) * c->x_h;
    fn_t *const y = c->y + (n * c->P + p) * Q * K;
    for (int64_t q = 0; q < least(every, Q); q++) {
        const axis *const v = columns + q;
        const int64_t far = v->first + (v->taps - 1) * v->dil, m = least(FN_VL, K - k);
        const int64_t begin = least(v->first < 0 ? over(-v->first, v->step) : 0, v->out);        /* where no tap falls outside */
        const int64_t end = most(least(whole_of(v->in - 1 - far, v->step) + 1, v->out), begin);
        spot b = {.x_q = v->step * c->x_w, .x_r = h.dil * c->x_h, .x_s = v->dil * c->x_w, .y_q = every * K, .n = m,
                  .w_r = h.w_step * c->S * lanes, .w_s = v->w_step * lanes, .R = r1 - r0, .S = v->taps, .relu = c->relu,
                  .start = c->bias ? load(c->bias + k, m) : v_zero()};
        const fn_t *const w = packed + ((h.w0 + r0 * h.w_step) * c->S + v->w0) * lanes + k;
        const fn_t *const x_k = x + v->first * c->x_w + k;
        fn_t *const y_k = y + q * K + k;
        for (int64_t j = 0; j < v->out; j++) {
            b.y = y_k + j * b.y_q, b.x = x_k + j * b.x_q, b.w = w;
            if (j >= begin && j < end && end - begin >= PIXELS) {        /* the last pixels again */
                j = least(j, end - PIXELS), b.y = y_k + j * b.y_q, b.x = x_k + j * b.x_q, b.S = v->taps;
                some(&b), j += PIXELS - 1;
                continue;
            }
            int64_t s0, s1;
            taps_at(v, j, &s0, &s1);
            b.x += s0 * b.x_s, b.w += s0 * b.w_s, b.S = s1 - s0;
            one(&b);
        }
    }
}

static void channel_rows(const pass *c, int backward, const fn_t *packed, fn_t *room, fn_team t) {
    const int64_t K = c->K, at_once = c->R * c->S > 9 ? LINES : 1, blocks = over(c->P, at_once);
    const int64_t every = backward ? c->a->stride_w : 1;
    axis *const ways = (axis *)room, *const columns = ways + c->ways;
    for (int64_t p = 0; p < c->ways; p++) ways[p] = way_of(c->a, backward, 1, p);
    for (int64_t q = 0; q < least(every, c->Q); q++) columns[q] = way_of(c->a, backward, 0, q);
    int64_t lo, hi;
    fn_share(c->N * blocks, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++)
        for (int64_t k = 0; k < K; k += FN_VL)
            for (int64_t p = u % blocks * at_once; p < least(c->P, (u % blocks + 1) * at_once); p++)
                row_of_channels(c, every, ways, columns, packed, u / blocks, p, k);
}

FN_INLINE int64_t pass_work(const fn_conv_args *a, int backward, int64_t threads) {
    const pass c = pass_of(a, backward);
    if (a->planes) return c.room * threads * SIZE;
    return (up(c.R * c.S * up(c.K, FN_VL), 64) + up((c.ways + least(a->stride_w, c.Q)) * (int64_t)sizeof(axis) / SIZE, 64) * threads) * SIZE;
}
FN_INLINE void pass_run(const fn_conv_args *a, int backward, fn_team t) {
    const pass c = pass_of(a, backward);
    fn_t *const work = a->work;
    if (a->planes) {
        plane_rows(&c, backward, work + t.rank * c.room, t);
        return;
    }
    const int64_t packed = up(c.R * c.S * up(c.K, FN_VL), 64);
    pack(&c, up(c.K, FN_VL), work, t);
    fn_barrier(t);
    channel_rows(&c, backward, work, work + packed + t.rank * up((c.ways + least(a->stride_w, c.Q)) * (int64_t)sizeof(axis) / SIZE, 64), t);
}
FN_WORK(depthwise_fwd) { return pass_work(args, 0, threads); }
FN_WORK(depthwise_bwd_x) { return pass_work(args, 1, threads); }
FN_KERNEL(depthwise_fwd) { pass_run(args, 0, t); }
FN_KERNEL(depthwise_bwd_x) { pass_run(args, 1, t); }

