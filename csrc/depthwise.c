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

enum { ROWS = 7, TAPS = 3, WIDEST = 14, MANY = 7 };       /* most rows of a tile, and taps; pixels of a strip, and taps */

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
    UNROLL for (int t = 0; t < T; t++) acc[t] = c->add ? v_get(c->y + t * y_t, n) : c->start;
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
    UNROLL for (int t = 0; t < T; t++) v_put(c->y + t * y_t, c->relu ? v_relu(acc[t]) : acc[t], n);
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
    const fn_t *held = 0;
    fn_deal deal = fn_dealt(c->N * c->K * c->blocks, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
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

/* ---- strips ----------------------------------------------------------------------------------------------------------- */

/* A row of x beneath a row of a filter, and that row's weights. */
typedef struct {
    const fn_t *x, *w;
} beneath;

typedef struct {
    const beneath *rows;
    const int64_t *begin;        /* row p of y has rows[begin[p]] to rows[begin[p + 1]] beneath it */
    fn_t *y;
    int64_t lines, y_p, pixels, y_q, n;      /* rows of y; `pixels` of n lanes are stored */
    const mask *from;                        /* where in a vector of x each of the I inputs lies, for each lane; of one there is none */
    int64_t at, I, x_i, w_i;                 /* elements: of x; from vector to vector of inputs; from input to input of the weights */
    int64_t w_at, w_s, S, dil, step;
    vec start;
    int64_t relu;
} strip;

/* J pixels of some rows; S taps side by side and STEP between pixels, if S is not 0. Each pixel of x is loaded once for a row of
 * the filter, whose weights stay in registers. Lanes of GROUPS see one input after another. */
FN_INLINE void strip_(const strip *c, const int J, const int S, const int STEP, const int GROUPS) {
    const int64_t w_s = c->w_s, y_q = c->y_q, pixels = c->pixels, n = c->n;
    fn_t *y = c->y;
    for (int64_t p = 0; p < c->lines; p++, y += c->y_p) {
        vec acc[WIDEST];
        UNROLL for (int j = 0; j < J; j++) acc[j] = c->start;
        for (int64_t in = 0, w_at = c->w_at; in < (GROUPS ? c->I : 1); in++, w_at += c->w_i) {
            const int64_t at = c->at + in / FN_VL * c->x_i;
            mask from = GROUPS ? c->from[in] : m_set1(0);
            if (GROUPS) HOLD(from);
            for (const beneath *row = c->rows + c->begin[p]; row < c->rows + c->begin[p + 1]; row++) {
                const fn_t *x = row->x + at, *w = row->w + w_at;
                NEAR_BY(x);
                if (S) {
                    vec v[MANY];
                    UNROLL for (int s = 0; s < S; s++) {
                        v[s] = v_load(w), w += w_s;
                        HOLD(v[s]);
                    }
                    UNROLL for (int i = 0; i < (J - 1) * STEP + S; i++) {
                        vec x_i = GROUPS ? v_lanes(v_load(x + i * FN_VL), from) : v_load(x + i * FN_VL);
                        HOLD(x_i);
                        UNROLL for (int s = 0; s < S; s++)
                            if (i >= s && (i - s) % STEP == 0 && (i - s) / STEP < J)
                                acc[(i - s) / STEP] = v_fma(x_i, v[s], acc[(i - s) / STEP]);
                    }
                } else {
                    for (int64_t s = 0; s < c->S; s++) {
                        const vec w_v = v_load(w + s * w_s);
                        UNROLL for (int j = 0; j < J; j++) {
                            const vec x_j = v_load(x + s * c->dil + j * c->step);
                            acc[j] = v_fma(GROUPS ? v_lanes(x_j, from) : x_j, w_v, acc[j]);
                        }
                    }
                }
            }
        }
        if (c->relu) UNROLL for (int j = 0; j < J; j++) acc[j] = v_relu(acc[j]);
        if (pixels == J && n == FN_VL) {
            UNROLL for (int j = 0; j < J; j++) v_store(y + j * y_q, acc[j]);
        } else if (n == FN_VL) {
            UNROLL for (int j = 0; j < J; j++) if (j < pixels) v_store(y + j * y_q, acc[j]);
        } else {
            UNROLL for (int j = 0; j < J; j++) if (j < pixels) v_store_n(y + j * y_q, acc[j], (int)n);
        }
    }
}
#define STRIP(J, S, STEP) static void strip##J##_##S##_##STEP(const strip *c) { strip_(c, J, S, STEP, 0); } \
    static void groups##J##_##S##_##STEP(const strip *c) { strip_(c, J, S, STEP, 1); }
#define STRIPS(J) STRIP(J, 0, 1) STRIP(J, 1, 1) STRIP(J, 2, 1) STRIP(J, 3, 1) STRIP(J, 4, 1) STRIP(J, 5, 1) STRIP(J, 7, 1) \
    STRIP(J, 3, 2) STRIP(J, 5, 2) STRIP(J, 7, 2)
#define OF(f, J) {{f##J##_0_1, f##J##_1_1, f##J##_2_1, f##J##_3_1, f##J##_4_1, f##J##_5_1, f##J##_0_1, f##J##_7_1}, \
    {f##J##_0_1, f##J##_0_1, f##J##_0_1, f##J##_3_2, f##J##_0_1, f##J##_5_2, f##J##_0_1, f##J##_7_2}}
#define THOSE(J) {OF(strip, J), OF(groups, J)}
typedef void (*strip_fn)(const strip *c);
#if FN_ROWS1 == 14               /* registers for a pixel's sum, a filter's row and a pixel of x */
#define WIDTHS(f) f(4) f(7) f(8) f(14)
static const int64_t widths[] = {4, 7, 8, 14};
WIDTHS(STRIPS)
static const strip_fn strips[][2][2][8] = {THOSE(4), THOSE(7), THOSE(8), THOSE(14)};
#else
#define WIDTHS(f) f(4) f(7) f(8)
static const int64_t widths[] = {4, 7, 8};
WIDTHS(STRIPS)
static const strip_fn strips[][2][2][8] = {THOSE(4), THOSE(7), THOSE(8)};
#endif
static int64_t strip_width(int64_t outs) {
    int64_t best = widths[0];
    for (size_t i = 1; i < sizeof(widths) / sizeof(*widths); i++)
        if (over(outs, widths[i]) * (widths[i] + 1) <= over(outs, best) * (best + 1)) best = widths[i];
    return best;
}
static strip_fn strip_of(int64_t taps, int64_t dil, int64_t step, int64_t wide, int groups) {
    int64_t i = 0;
    while (widths[i] != wide) i++;
    return strips[i][groups][step == 2][taps < 8 && dil == 1 && step <= 2 ? taps : 0];
}

/* ---- lanes ----------------------------------------------------------------------------------------------------------- */

/* FN_VL channels side by side: rows of x, in a ring as long as a filter is high, as [pixel][lane] with zeros left and right.
 * A row of groups of I channels has as many vectors for each pixel as a vector of outputs has inputs. */
typedef struct {
    const fn_conv_args *a;
    const fn_t *x, *w, *bias;
    fn_t *y;
    int64_t x_n, x_c, x_h, x_w;
    int64_t N, K, I, R, S, H, W, P, Q, relu, backward, vectors;
    int64_t down, across;                    /* ways of rows and of columns: strides of dx */
    int64_t step, low_h, high_h, ring, low_w;            /* row p of y reads rows p/down*step + [low_h, high_h] of x */
    int64_t wide, cols, outs, pitch;         /* pixels of a strip; those of a window, of a row, each way; pixels of a ring's row */
    int64_t group;                           /* chunks of channels that go down the rows together, as the memory lies */
    int64_t height, blocks;                  /* rows of y of a visit */
    int64_t lines, depth;                    /* rows of x that are turned together; of y that are made together */
    int64_t packed, axes, rows, block, together, room;       /* elements */
} lanes;

/* From the first to the last position that output 0 reads, in any way. */
static void span_of(const fn_conv_args *a, int64_t backward, int rows, int64_t ways, int64_t *low, int64_t *high) {
    *low = INT64_MAX, *high = INT64_MIN;
    for (int64_t o = 0; o < ways; o++) {
        const axis v = way_of(a, (int)backward, rows, o);
        if (v.taps) *low = least(*low, v.first), *high = most(*high, v.first + (v.taps - 1) * v.dil);
    }
    if (*low > *high) *low = *high = 0;
}

static lanes lanes_of(const fn_conv_args *a, int64_t backward) {
    lanes c = backward ? (lanes){.x = a->dy, .y = a->dx, .x_n = a->dy_n, .x_c = a->dy_c, .x_h = a->dy_h, .x_w = a->dy_w, .K = a->C,
                                 .H = a->P, .W = a->Q, .P = a->H, .Q = a->W, .down = least(a->stride_h, a->H),
                                 .across = least(a->stride_w, a->W), .step = 1}
                       : (lanes){.x = a->x, .bias = a->b, .y = a->y, .x_n = a->x_n, .x_c = a->x_c, .x_h = a->x_h, .x_w = a->x_w,
                                 .K = a->K, .H = a->H, .W = a->W, .P = a->P, .Q = a->Q, .relu = a->act == FN_ACT_RELU, .down = 1,
                                 .across = 1, .step = a->stride_h};
    c.a = a, c.w = a->w, c.N = a->N, c.I = a->C / a->G, c.R = a->R, c.S = a->S, c.backward = backward, c.vectors = wide_of(c.I);
    int64_t high;
    const int64_t step = backward ? 1 : a->stride_w;
    span_of(a, backward, 1, c.down, &c.low_h, &c.high_h), span_of(a, backward, 0, c.across, &c.low_w, &high);
    const int64_t chunks = over(c.K, FN_VL), image = most(c.H * c.W, c.P * c.Q) * c.K * SIZE;
    const int64_t together = !a->planes && few_taps(a) && image > RINGS, span = least(c.high_h - c.low_h + 1, c.H);
    c.lines = lines_of(a, c.vectors, c.x_h, c.W, c.H), c.ring = least(span + c.lines - 1, c.H);
    c.outs = over(c.Q, c.across), c.wide = strip_width(c.outs);
    const int64_t strips = over(c.outs, c.wide), bytes = c.ring * c.vectors * FN_VBYTES;
    const int64_t fit = most((LANES / bytes - (high - c.low_w)) / (c.wide * step), 1);
    c.cols = over(strips, over(strips, fit)) * c.wide;
    c.pitch = (c.cols - 1) * step + high - c.low_w + 1;
    c.group = together ? least(chunks, most(RINGS / (span * c.pitch * FN_VBYTES), 1)) : 1;
    const int64_t depth = least(over(4 * FN_VL, c.Q), c.P), deep = least(c.ring + over(depth - 1, c.down) * c.step, c.H);
    c.depth = 1;
    if (c.vectors == 1 && !together && c.cols >= c.outs && deep * c.pitch * FN_VBYTES <= LANES) c.depth = depth, c.ring = deep;
    if (c.H * c.pitch * c.vectors * c.group * FN_VBYTES <= (together ? RINGS : LANES)) c.ring = most(c.ring, c.H);
    c.blocks = a->planes || together ? 1 : over(c.P, most(IMAGE / (c.W * c.K * SIZE * c.step), 2 * span) * c.down);
    const int64_t visits = c.N * over(chunks, c.group);
    if (visits * c.blocks < FEED) c.blocks = most(least(over(FEED, visits), c.P / 4), c.blocks);
    c.height = over(c.P, c.blocks), c.blocks = over(c.P, c.height);
    c.packed = up(chunks * c.I * c.R * c.S * FN_VL, 64);
    c.axes = up(c.across * (int64_t)(sizeof(axis) + sizeof(strip_fn)) / SIZE, 64);
    c.rows = up((c.P * c.R * (int64_t)sizeof(beneath) + (c.P + 1) * 8) / SIZE, 64);
    c.block = up(c.group * c.ring * c.vectors * c.pitch * FN_VL, 64);
    c.together = up(c.lines > 1 ? c.lines * c.W * FN_VL : 0, 64);
    c.room = c.axes + c.rows + c.block + c.together + up(a->planes ? c.depth * c.cols * c.across * FN_VL : 0, 64);
    return c;
}

/* Packed weights [chunk of channels][input of a group][r][s][lane]. */
static void pack(const lanes *c, fn_t *packed, fn_team t) {
    const int64_t taps = c->R * c->S, each = c->I * taps;
    int64_t lo, hi;
    fn_share(over(c->K, FN_VL), 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        const int64_t k = u * FN_VL, n = least(FN_VL, c->K - k);
        fn_t *const y = packed + k * each;
        if (!c->backward || c->I == 1) {
            turn(y, c->w + k * each, each, each, n, 0);
            continue;
        }
        for (int64_t i = 0; i < each; i++)
            for (int64_t l = 0; l < FN_VL; l++) {
                const int64_t out = k + least(l, n - 1);
                y[i * FN_VL + l] = c->w[((out / c->I * c->I + i / taps) * c->I + out % c->I) * taps + i % taps];
            }
    }
}

/* The rows beneath each row p of y, from begin[p] on: of the first chunk of channels in a ring, and of packed weights. */
static void list_rows(const lanes *c, beneath *rows, int64_t *begin, const fn_t *block, const fn_t *packed) {
    int64_t n = 0;
    for (int64_t p = 0; p < c->P; p++) {
        const axis h = way_of(c->a, (int)c->backward, 1, p % c->down);
        int64_t r0, r1;
        taps_at(&h, p / c->down, &r0, &r1);
        begin[p] = n;
        for (int64_t r = r0; r < r1; r++)
            rows[n++] = (beneath){block + slot(p / c->down * h.step + h.first + r * h.dil, c->ring) * c->vectors * c->pitch * FN_VL,
                                  packed + (h.w0 + r * h.w_step) * c->S * FN_VL};
    }
    begin[c->P] = n;
}

static void lane_rows(const lanes *c, const fn_t *packed, fn_t *room, fn_team t) {
    axis *const columns = (axis *)room;
    strip_fn *const strips_ = (strip_fn *)(columns + c->across);
    int64_t *const begin = (int64_t *)(room + c->axes);
    beneath *const rows = (beneath *)(begin + c->P + 1);
    fn_t *const block = room + c->axes + c->rows, *const together = block + c->block, *const turned = together + c->together;
    const int64_t K = c->K, P = c->P, Q = c->Q, I = c->I, taps = c->R * c->S, planes_ = c->a->planes;
    for (int64_t q = 0; q < c->across; q++) {
        columns[q] = way_of(c->a, (int)c->backward, 0, q);
        strips_[q] = strip_of(columns[q].taps, columns[q].dil, columns[q].step, c->wide, c->I > 1);
    }
    list_rows(c, rows, begin, block, packed);
    const int64_t groups = over(over(K, FN_VL), c->group), each = c->ring * c->vectors * c->pitch;
    window in = {.x_h = c->x_h, .x_w = c->x_w, .x_c = c->x_c, .W = c->W, .pitch = c->pitch, .ring = c->ring, .I = I, .wide = c->vectors,
                 .together = c->lines > 1 ? together : 0};
    const int64_t y_w = planes_ ? FN_VL : K;
    mask from[8];
    lanes_from(from, I);
    strip b = {.rows = rows, .from = from, .I = I, .x_i = c->pitch * FN_VL, .w_i = taps * FN_VL, .relu = c->relu, .y_p = Q * y_w,
               .y_q = c->across * y_w};
    fn_deal deal = fn_dealt(c->N * c->blocks * groups, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
        const int64_t k0 = u % groups * c->group * FN_VL, k1 = least(K, k0 + c->group * FN_VL), n = u / groups / c->blocks;
        const int64_t p0 = u / groups % c->blocks * c->height, p1 = least(P, p0 + c->height);
        for (int64_t j0 = 0; j0 < c->outs; j0 += c->cols) {
            const int64_t q0 = j0 * c->across, q1 = least(Q, (j0 + c->cols) * c->across);
            in.from = j0 * columns->step + c->low_w;
            for (int64_t p = p0, next = 0; p < p1; p += b.lines) {
                b.lines = least(c->depth, p1 - p), b.begin = begin + p;
                next = most(next, p / c->down * c->step + c->low_h);
                while (next <= least((p + b.lines - 1) / c->down * c->step + c->high_h, c->H - 1)) {
                    const int64_t end = least(next + c->lines, c->H);
                    for (int64_t k = k0; k < k1; k += FN_VL)
                        lane_lines(&in, block + (k - k0) * each, c->x + n * c->x_n, next, end, k, least(FN_VL, K - k),
                                   ahead_of(c->a, k));
                    next = end;
                }
                for (int64_t k = k0; k < k1; k += FN_VL) {
                    const int64_t m = least(FN_VL, K - k);
                    fn_t *const y = planes_ ? turned : c->y + ((n * P + p) * Q + q0) * K + k;
                    b.start = c->bias ? v_get(c->bias + k, m) : v_zero(), b.n = planes_ ? FN_VL : m;
                    for (int64_t q = 0; q < c->across; q++) {
                        const axis *const v = columns + q;
                        b.S = v->taps, b.dil = v->dil * FN_VL, b.step = v->step * FN_VL;
                        b.w_at = k * I * taps + v->w0 * FN_VL, b.w_s = v->w_step * FN_VL;
                        for (int64_t j = 0; j < least(c->cols, v->out - j0); j += c->wide) {
                            b.at = (k - k0) * each + (v->first - c->low_w + j * v->step) * FN_VL;
                            b.pixels = least(c->wide, v->out - j0 - j), b.y = y + q * y_w + j * b.y_q;
                            strips_[q](&b);
                        }
                    }
                }
                if (!planes_) continue;
                for (int64_t k = k0 + ahead_of(c->a, k0); k > k0 && k < least(K, k0 + 2 * FN_VL); k++)
                    fetch_lines(c->y + ((n * K + k) * P + p) * Q, b.lines * Q * SIZE, 1);
                planes(c->y + ((n * K + k0) * P + p) * Q + q0, P * Q, turned, FN_VL, c->depth > 1 ? b.lines * Q : q1 - q0, k1 - k0);
            }
        }
    }
}

FN_INLINE int64_t pass_work(const fn_conv_args *a, int backward, int64_t threads) {
    if (!in_lanes(a)) return pass_of(a, backward).room * threads * SIZE;
    const lanes c = lanes_of(a, backward);
    return (c.packed + c.room * threads) * SIZE;
}
FN_INLINE void pass_run(const fn_conv_args *a, int backward, fn_team t) {
    fn_t *const work = a->work;
    if (!in_lanes(a)) {
        const pass c = pass_of(a, backward);
        plane_rows(&c, backward, work + t.rank * c.room, t);
        return;
    }
    const lanes c = lanes_of(a, backward);
    pack(&c, work, t);
    fn_barrier(t);
    lane_rows(&c, work, work + c.packed + t.rank * c.room, t);
}
FN_WORK(depthwise_fwd) { return pass_work(args, 0, threads); }
FN_WORK(depthwise_bwd_x) { return pass_work(args, 1, threads); }
FN_KERNEL(depthwise_fwd) { pass_run(args, 0, t); }
FN_KERNEL(depthwise_bwd_x) { pass_run(args, 1, t); }

