/* 2-D convolution of one input channel and few output channels, a first layer: the gradients of weight and bias, and all
 * passes where a 2x2 maximum follows, which never see the map between (a->tap, from fastnn/_fusion_pool.pxi).
 *
 *   dw[k,r,s] = sum over n,p,q of dy[n,k,p,q] x[n, p - pad + r, q - pad + s]
 *
 * Vectors run along a whole filter, and a last lane of ones makes db. What a filter sees at (p,q) moves on by a row as
 * the lanes shift by a filter row. Windows of 2x2 pixels are taken one by one, and within a part, which the shape alone
 * fixes, every lane is one chain. Behind a maximum a window's gradient has one number that is not zero, whose place is
 * its tap: the zeros are left out, which no bit shows, unless they meet an infinity or a NaN of x. */
#include "conv.h"

#if FN_FIRST
#define NEAR 16384               /* bytes of a unit's rows of x */
#define PARTS 16                 /* enough to feed a team */
#define PART_PIXELS 256          /* at least, in a part */
#define LONG_PART 8192           /* pixels: a longer sum loses accuracy */

typedef struct {
    int64_t taps, vectors, pitch;            /* of a filter; of a row of x with zeros at its sides */
    int64_t pairs, blocks, units, parts;     /* pairs of rows of a unit; units of an image; in all */
    int64_t sums, dy_at, x_at, room;         /* elements: of a part; where in a thread's room things lie */
} plan;
static plan plan_of(const fn_conv_args *a) {
    plan d = {.taps = a->R * a->S, .pitch = a->Q + a->S - 1};
    d.vectors = over(d.taps + 1, FN_VL);
    const int64_t pairs = over(a->P, 2), fit = most((NEAR / SIZE / d.pitch - a->R) / 2, 1);
    d.blocks = most(over(pairs, fit), least(least(over(4, most(a->N, 1)), over(a->P * a->Q, PART_PIXELS)), pairs));
    d.pairs = most(over(pairs, most(d.blocks, 1)), 1), d.blocks = over(pairs, d.pairs), d.units = a->N * d.blocks;
    const int64_t pixels = a->N * a->P * a->Q, feed = least(PARTS, pixels / PART_PIXELS);
    d.parts = most(least(d.units, most(feed, pixels / LONG_PART)), 1);
    d.sums = a->K * d.vectors * FN_VL;
    d.dy_at = over(a->Q, 2) * 4 * d.vectors * FN_VL, d.x_at = up(d.dy_at + 2 * a->Q * a->K, FN_VL) + 2 * FN_VL;
    d.room = up(d.x_at + (2 * d.pairs + a->R) * d.pitch + SPARE, 64);
    return d;
}

int64_t FN_NAME(conv_first_bwd_w_work)(const fn_conv_args *a, int threads) {
    const plan d = plan_of(a);
    return (up(d.parts * d.sums, 64) + d.room * threads) * SIZE;
}

/* What a filter sees of a row's pixels: of a pair of rows `seen` has, window by window, tap by tap, `vectors` each. */
typedef struct {
    int64_t Q, R, S, pitch;
    __m512i low, high;                       /* lanes after a shift by a filter row */
    __mmask16 in_low, in_high;               /* where the next row comes in, */
    int64_t in;                              /* so many lanes on */
    fn_t *seen;
    const fn_t *x;                           /* the first row of the first pair's windows */
} view;
static view view_of(const fn_conv_args *a, const plan *d, fn_t *seen, const fn_t *x) {
    view v = {.Q = a->Q, .R = a->R, .S = a->S, .pitch = d->pitch, .seen = seen, .x = x, .in = (a->R - 1) * a->S};
    int32_t from[2 * 16];
    for (int l = 0; l < 2 * 16; l++) from[l] = l < v.in ? l + (int)a->S : l;
    v.low = _mm512_loadu_si512(from), v.high = _mm512_loadu_si512(from + 16);
    const uint32_t row = ((1u << a->S) - 1) << v.in;
    v.in_low = (__mmask16)row, v.in_high = (__mmask16)(row >> 16);
    return v;
}
FN_INLINE void move_on(const int V, __m512 *s, const view *w, const fn_t *x) {
    s[0] = _mm512_permutex2var_ps(s[0], w->low, s[V - 1]);
    if (V == 1 || w->in_low) s[0] = _mm512_mask_loadu_ps(s[0], w->in_low, x);
    if (V == 2) s[1] = _mm512_mask_loadu_ps(_mm512_permutexvar_ps(w->high, s[1]), w->in_high, x + FN_VL);
}
/* Before the first pair: the lower row of the pair before it. Its own first row, which goes, is not filled in. */
FN_INLINE void look(const int V, const view *view_, int64_t R) {
    const view w = *view_;
    for (int64_t q = 0; q < w.Q; q++) {
        fn_t *const at = w.seen + (q / 2 * 4 + q % 2 + 2) * V * FN_VL;
        __m512 s[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        const __mmask16 one = (__mmask16)(1u << (w.in + w.S) % FN_VL);
        s[V - 1] = _mm512_mask_mov_ps(s[V - 1], one, _mm512_set1_ps(1));
        for (int64_t r = 0; r + 1 < R; r++) move_on(V, s, &w, w.x + r * w.pitch + q - w.in);
        UNROLL for (int v = 0; v < V; v++) _mm512_storeu_ps(at + v * FN_VL, s[v]);
    }
}
/* A pair of rows; x is the row that comes in with the first, back by `in`. */
FN_INLINE void see_pixel(const int V, const view *w, fn_t *at, const fn_t *x) {
    __m512 s[2];
    UNROLL for (int v = 0; v < V; v++) s[v] = _mm512_loadu_ps(at + (2 * V + v) * FN_VL);
    move_on(V, s, w, x);
    UNROLL for (int v = 0; v < V; v++) _mm512_storeu_ps(at + v * FN_VL, s[v]);
    move_on(V, s, w, x + w->pitch);
    UNROLL for (int v = 0; v < V; v++) _mm512_storeu_ps(at + (2 * V + v) * FN_VL, s[v]);
}
FN_INLINE void see(const int V, const view *view_, const fn_t *x) {
    const view w = *view_;
    fn_t *at = w.seen;
    int64_t q = 0;
    for (; q + 2 <= w.Q; q += 2, at += 4 * V * FN_VL, x += 2) {
        see_pixel(V, &w, at, x);
        see_pixel(V, &w, at + V * FN_VL, x + 1);
    }
    if (q < w.Q) see_pixel(V, &w, at, x);
}

/* sums[k] += sum over the pixels of a pair of rows, one where `rows` is, of dy seen */
typedef struct {
    const fn_t *dy;                          /* K numbers to a pixel, pixels side by side */
    int64_t dy_h;
    const uint8_t *tap;                      /* of maxima, or null */
    int64_t pairs, rows;                     /* rows of dy */
} gradient;
FN_INLINE void add_pixel(const int V, const int K, vec acc[][2], const fn_t *seen, const fn_t *dy) {
    vec s[2];
    UNROLL for (int v = 0; v < V; v++) {
        s[v] = v_load(seen + v * FN_VL);
        HOLD(s[v]);
    }
    UNROLL for (int k = 0; k < K; k++) {
        vec g = v_set1(dy[k]);
        if (V == 2) HOLD(g);
        UNROLL for (int v = 0; v < V; v++) acc[k][v] = v_fma(g, s[v], acc[k][v]);
    }
}
FN_INLINE void add_all(const int V, const int K, const view *w, const gradient *g, fn_t *sums) {
    const int64_t Q = w->Q, dy_h = g->dy_h;
    vec acc[FN_FIRST][2];
    UNROLL for (int k = 0; k < K; k++) UNROLL for (int v = 0; v < V; v++) acc[k][v] = v_load(sums + (k * V + v) * FN_VL);
    for (int64_t i = 0; i < g->pairs; i++) {
        const int both = 2 * i + 1 < g->rows;
        const fn_t *dy = g->dy + 2 * i * dy_h, *s = w->seen;
        int64_t q = 0;
        see(V, w, w->x + (2 * i + w->R - 1) * w->pitch - w->in);
        for (; q + 2 <= Q && both; q += 2, s += 4 * V * FN_VL, dy += 2 * K) {
            add_pixel(V, K, acc, s, dy);
            add_pixel(V, K, acc, s + V * FN_VL, dy + K);
            add_pixel(V, K, acc, s + 2 * V * FN_VL, dy + dy_h);
            add_pixel(V, K, acc, s + 3 * V * FN_VL, dy + dy_h + K);
        }
        for (; q < Q; q++, dy += K) {
            s = w->seen + (q / 2 * 4 + q % 2) * V * FN_VL;
            add_pixel(V, K, acc, s, dy);
            if (both) add_pixel(V, K, acc, s + 2 * V * FN_VL, dy + dy_h);
        }
    }
    UNROLL for (int k = 0; k < K; k++) UNROLL for (int v = 0; v < V; v++) v_store(sums + (k * V + v) * FN_VL, acc[k][v]);
}
FN_INLINE void add_largest(const int V, const int K, const view *w, const gradient *g, fn_t *sums) {
    const int64_t Q = w->Q / 2;
    const fn_t *dy = g->dy;
    const uint8_t *tap = g->tap;
    vec acc[FN_FIRST][2];
    UNROLL for (int k = 0; k < K; k++) UNROLL for (int v = 0; v < V; v++) acc[k][v] = v_load(sums + (k * V + v) * FN_VL);
    for (int64_t i = 0; i < g->pairs; i++) {
        const fn_t *s = w->seen;
        see(V, w, w->x + (2 * i + w->R - 1) * w->pitch - w->in);
        for (int64_t q = 0; q < Q; q++, s += 4 * V * FN_VL, dy += K, tap += K)
            UNROLL for (int k = 0; k < K; k++) {
                const fn_t *const at = s + tap[k] * (V * FN_VL);
                vec d = v_set1(dy[k]);
                if (V == 2) HOLD(d);
                UNROLL for (int v = 0; v < V; v++) acc[k][v] = v_fma(d, v_load(at + v * FN_VL), acc[k][v]);
            }
    }
    UNROLL for (int k = 0; k < K; k++) UNROLL for (int v = 0; v < V; v++) v_store(sums + (k * V + v) * FN_VL, acc[k][v]);
}
#define ADD_ARGS const view *w, const gradient *g, fn_t *sums
#define ADD(V, K) static void all_##V##x##K(ADD_ARGS) { add_all(V, K, w, g, sums); } \
    static void largest_##V##x##K(ADD_ARGS) { add_largest(V, K, w, g, sums); }
#define EACH(F) F(1, 3) F(1, 4) F(1, 5) F(1, 6) F(1, 7) F(1, 8) F(2, 3) F(2, 4) F(2, 5) F(2, 6) F(2, 7) F(2, 8)
EACH(ADD)
#define ALL(V, K) all_##V##x##K,
#define LARGEST(V, K) largest_##V##x##K,
typedef void (*add_fn)(ADD_ARGS);
static const add_fn add_of[2][2 * (FN_FIRST - 2)] = {{EACH(ALL)}, {EACH(LARGEST)}};

/* A unit: pairs of rows of an image. */
static void add_unit(const fn_conv_args *a, const plan *d, int64_t n, int64_t i0, int64_t i1, fn_t *room, fn_t *sums) {
    const int64_t P = a->P, Q = a->Q, K = a->K, rows = 2 * (i1 - i0) + a->R - 1, h0 = 2 * i0 - a->pad_h;
    const axis across = forward_axis(a->W, Q, a->S, 1, a->pad_w, 1);
    fn_t *const x = room + d->x_at, *const dense = room + d->dy_at;
    const fn_t *const x_n = (const fn_t *)a->x + n * a->x_n;
    copy_block_planes(x, 0, &across, d->pitch, x_n, a->x_h, a->x_w, a->x_c, a->H, h0, h0 + rows, 1);
    view w = view_of(a, d, room, x);
    if (d->vectors == 1) look(1, &w, a->R);
    else look(2, &w, a->R);
    const int64_t which = (d->vectors - 1) * (FN_FIRST - 2) + K - 3, largest = a->tap ? least(i1, P / 2) - i0 : 0;
    const fn_t *dy = (const fn_t *)a->dy + (a->tap ? (n * (P / 2) + i0) * (Q / 2) * K : n * a->dy_n + 2 * i0 * a->dy_h);
    const uint8_t *tap = a->tap ? (const uint8_t *)a->tap + (n * (P / 2) + i0) * (Q / 2) * K : 0;
    if (a->tap && are_finite(x, rows * d->pitch)) {
        const gradient g = {.dy = dy, .tap = tap, .pairs = largest};
        add_of[1][which](&w, &g, sums);
        return;
    }
    if (!a->tap && a->dy_c == 1 && a->dy_w == K) {
        const gradient g = {dy, a->dy_h, 0, i1 - i0, P - 2 * i0};
        add_of[0][which](&w, &g, sums);
        return;
    }
    for (int64_t i = i0; i < i1; i++, w.x += 2 * d->pitch) {
        const gradient g = {dense, Q * K, 0, 1, P - 2 * i};
        if (a->tap) {
            clear(dense, 2 * Q * K);
            for (int64_t j = 0; j < Q / 2 * K && i < i0 + largest; j++, dy++, tap++)
                dense[(*tap / 2 * Q + j / K * 2 + *tap % 2) * K + j % K] = *dy;
        } else {
            for (int64_t p = 2 * i; p < least(P, 2 * i + 2); p++, dy += a->dy_h)
                copy_pixels(dense + p % 2 * Q * K, K, dy, a->dy_w, a->dy_c, Q, K);
        }
        add_of[0][which](&w, &g, sums);
    }
}

void FN_NAME(conv_first_bwd_w)(const fn_conv_args *a, fn_team t) {
    const plan d = plan_of(a);
    fn_t *const sums = a->work, *const room = sums + up(d.parts * d.sums, 64) + t.rank * d.room, *const dw = a->dw, *const db = a->db;
    const int64_t pairs = over(a->P, 2), lanes = d.vectors * FN_VL;
    fn_deal deal = fn_dealt(d.parts, t);
    for (int64_t i; (i = fn_take(&deal)) >= 0;) {
        clear(sums + i * d.sums, d.sums);
        for (int64_t u = d.units * i / d.parts; u < d.units * (i + 1) / d.parts; u++) {
            const int64_t n = u / d.blocks, i0 = u % d.blocks * d.pairs;
            add_unit(a, &d, n, i0, least(pairs, i0 + d.pairs), room, sums + i * d.sums);
        }
    }
    int64_t lo, hi;
    fn_barrier(t);
    fn_share(a->K, 1, t, &lo, &hi);
    for (int64_t k = lo; k < hi; k++) {
        fn_t sum[2 * FN_VL];
        for (int64_t l = 0; l < lanes; l += FN_VL) {
            vec v = v_zero();
            for (int64_t i = 0; i < d.parts; i++) v += v_load(sums + i * d.sums + k * lanes + l);
            v_store(sum + l, v);
        }
        if (dw) memcpy(dw + k * d.taps, sum, (size_t)(d.taps * SIZE));
        if (db) db[k] = sum[d.taps];
    }
}

/* ---- forward, and the maximum behind it -------------------------------------------------------------------------- */

/* Rows of x fall into even and odd columns, so that vectors run along windows: x[2j + u] lies at (u & 1) half + u / 2 + j. */
typedef struct {
    int64_t cols, half, rows, room;          /* of a row with zeros at its sides; output rows of a unit */
} split;
static split split_of(const fn_conv_args *a) {
    split d = {.cols = a->Q + a->S - 1, .half = up(up(a->Q / 2, FN_VL) + a->S / 2 + 1, FN_VL)};
    const int64_t P = a->P / 2, fit = most((NEAR / SIZE / (2 * d.half) - a->R) / 2, 1);
    d.rows = over(P, most(over(P, fit), 1));
    const int64_t rows = 2 * d.rows + a->R - 1;
    d.room = up(a->R * a->S * a->K + FN_VL + rows * (d.cols + 2 * d.half) + SPARE, 64);
    return d;
}
int64_t FN_NAME(conv_first_fwd_work)(const fn_conv_args *a, int threads) { return split_of(a).room * threads * SIZE; }

/* v takes the place of best where it is larger or NaN, as in max_pool.c. */
FN_INLINE void contend(vec *best, vec *which, vec v, int tap) {
    const __m512 a = (__m512)v, b = (__m512)*best;
    const __mmask16 k = _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) | _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    *best = (vec)_mm512_mask_mov_ps(b, k, a);
    *which = (vec)_mm512_mask_mov_epi32((__m512i)*which, k, _mm512_set1_epi32(tap));
}
/* FN_VL windows of a row, K output channels of all K_all: x at the first window's upper row. */
FN_INLINE void first_tile(const int K, const fn_conv_args *a, const split *d, const fn_t *x, const fn_t *w, const fn_t *bias, vec *best,
                          vec *which) {
    const int64_t S = a->S, half = d->half, row = 2 * half, K_all = a->K;
    vec acc[6][4];
    UNROLL for (int k = 0; k < K; k++) UNROLL for (int i = 0; i < 4; i++) acc[k][i] = v_zero();
    for (int64_t r = 0; r < a->R; r++, x += row) {
        vec upper = v_load(x), lower = v_load(x + row);
        for (int64_t s = 0; s < S; s++, w += K_all) {
            const int64_t at = ((s + 1) & 1) * half + (s + 1) / 2;
            vec upper_odd = v_load(x + at), lower_odd = v_load(x + row + at);
            HOLD(upper_odd);
            HOLD(lower_odd);
            UNROLL for (int k = 0; k < K; k++) {
                vec v = v_set1(w[k]);
                HOLD(v);
                acc[k][0] = v_fma(v, upper, acc[k][0]), acc[k][1] = v_fma(v, upper_odd, acc[k][1]);
                acc[k][2] = v_fma(v, lower, acc[k][2]), acc[k][3] = v_fma(v, lower_odd, acc[k][3]);
            }
            upper = upper_odd, lower = lower_odd;
        }
    }
    UNROLL for (int k = 0; k < K; k++) {
        if (bias) UNROLL for (int i = 0; i < 4; i++) acc[k][i] += v_set1(bias[k]);
        best[k] = acc[k][0], which[k] = v_zero();
        UNROLL for (int i = 1; i < 4; i++) contend(&best[k], &which[k], acc[k][i], i);
        if (a->act == FN_ACT_RELU) best[k] = v_relu(best[k]);
    }
}
FN_INLINE void first_row(const int K, const fn_conv_args *a, const split *d, const fn_t *x, const fn_t *w, fn_t *y, uint8_t *tap) {
    const fn_t *const b = a->b;
    for (int64_t j = 0, rest = a->Q / 2 * K; rest > 0; j += FN_VL, rest -= K * FN_VL) {
        vec best[8], which[8], z[8];
        if (K == 8) {
            first_tile(4, a, d, x + j, w, b, best, which);
            first_tile(4, a, d, x + j, w + 4, b ? b + 4 : 0, best + 4, which + 4);
        } else {
            first_tile(K, a, d, x + j, w, b, best, which);
        }
        weave(K, z, best);
        UNROLL for (int k = 0; k < K; k++) {
            const int64_t m = rest - k * FN_VL;
            if (m >= FN_VL) v_store(y + j * K + k * FN_VL, z[k]);
            else if (m > 0) v_store_n(y + j * K + k * FN_VL, z[k], (int)m);
        }
        weave(K, z, which);
        UNROLL for (int k = 0; k < K; k++) {
            const int64_t m = rest - k * FN_VL;
            if (m > 0) m_put_bytes(tap + j * K + k * FN_VL, (mask)z[k], (int)least(m, FN_VL));
        }
    }
}
#define FIRST_ROW(K) FN_APART void first_row_##K(const fn_conv_args *a, const split *d, const fn_t *x, const fn_t *w, \
    fn_t *y, uint8_t *tap) { first_row(K, a, d, x, w, y, tap); }
FIRST_ROW(4) FIRST_ROW(6) FIRST_ROW(8)

void FN_NAME(conv_first_fwd)(const fn_conv_args *a, fn_team t) {
    const split d = split_of(a);
    const int64_t P = a->P / 2, Q = a->Q / 2, K = a->K, taps = a->R * a->S, row = 2 * d.half;
    const int64_t each = t.size > 1 ? least(d.rows, most(over(P, over(2 * t.size, a->N)), 1)) : d.rows, blocks = over(P, each);
    const axis across = forward_axis(a->W, a->Q, a->S, 1, a->pad_w, 1);
    fn_t *const w = (fn_t *)a->work + t.rank * d.room, *const halves = w + up(taps * K, FN_VL);
    fn_t *const x = halves + (2 * d.rows + a->R - 1) * row;
    for (int64_t k = 0; k < K; k++)
        for (int64_t i = 0; i < taps; i++) w[i * K + k] = ((const fn_t *)a->w)[k * taps + i];
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    fn_deal deal = fn_dealt(a->N * blocks, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
        const int64_t n = u / blocks, i0 = u % blocks * each, i1 = least(P, i0 + each), rows = 2 * (i1 - i0) + a->R - 1;
        const int64_t h0 = 2 * i0 - a->pad_h;
        copy_block_planes(x, 0, &across, d.cols, (const fn_t *)a->x + n * a->x_n, a->x_h, a->x_w, a->x_c, a->H, h0, h0 + rows, 1);
        for (int64_t h = 0; h < rows; h++)
            for (int64_t j = 0; j < d.half && 2 * j < d.cols; j += FN_VL) {
                const __m512 l = _mm512_loadu_ps(x + h * d.cols + 2 * j), r = _mm512_loadu_ps(x + h * d.cols + 2 * j + FN_VL);
                _mm512_storeu_ps(halves + h * row + j, _mm512_permutex2var_ps(l, even, r));
                _mm512_storeu_ps(halves + h * row + d.half + j, _mm512_permutex2var_ps(l, odd, r));
            }
        for (int64_t i = i0; i < i1; i++) {
            const int64_t at = (n * P + i) * Q * K;
            fn_t *const y = (fn_t *)a->y + at;
            uint8_t *const tap = (uint8_t *)a->tap + at;
            const fn_t *const x_i = halves + 2 * (i - i0) * row;
            if (K == 4) first_row_4(a, &d, x_i, w, y, tap);
            else if (K == 6) first_row_6(a, &d, x_i, w, y, tap);
            else first_row_8(a, &d, x_i, w, y, tap);
        }
    }
}
#endif

/* ---- any convolution and a maximum: the map between in scratch --------------------------------------------------- */

#define MAXIMUM(a) {.N = (a)->N, .C = (a)->K, .H = (a)->P, .W = (a)->Q, .P = (a)->P / 2, .Q = (a)->Q / 2, .R = 2, .S = 2, .sh = 2, .sw = 2, \
    .dh = 1, .dw = 1, .last = 1}
static int64_t map_of(const fn_conv_args *a) { return up(a->N * a->P * a->Q * a->K, 64); }
int64_t FN_NAME(conv_map_work)(const fn_conv_args *a, int threads) {
    const fn_pool2d_args p = MAXIMUM(a);
    return (map_of(a) + up(FN_NAME(max_pool2d_bwd_work)(&p, threads) / SIZE, 64)) * SIZE;
}

void FN_NAME(conv_maximum)(const fn_conv_args *a, fn_team t) {
    fn_conv_args b = *a;
    fn_pool2d_args p = MAXIMUM(a);
    b.y = a->work, b.work = (char *)a->work + FN_NAME(conv_map_work)(a, t.size), b.tap = 0, b.act = FN_ACT_NONE;
    FN_NAME(conv2d_fwd)(&b, t);
    fn_barrier(t);
    p.y = a->y, p.tap = a->tap, p.x = b.y;
    FN_NAME(max_pool2d_fwd)(&p, t);
    if (a->act != FN_ACT_RELU) return;
    fn_barrier(t);
    int64_t lo, hi;
    fn_share(a->N * p.P * p.Q * a->K, 64, t, &lo, &hi);
    fn_t *const y = a->y;
    for (int64_t i = lo; i < hi; i += FN_VL) {
        const vec v = v_relu(v_get(y + i, hi - i));
        if (hi - i >= FN_VL) v_store(y + i, v);
        else v_store_n(y + i, v, (int)(hi - i));
    }
}
fn_conv_args FN_NAME(conv_spread)(const fn_conv_args *a, fn_team t) {
    fn_conv_args b = *a;
    fn_pool2d_args p = MAXIMUM(a);
    p.dx = a->work, p.work = (fn_t *)a->work + map_of(a), p.tap = a->tap, p.dy = a->dy;
    FN_NAME(max_pool2d_bwd)(&p, t);
    fn_barrier(t);
    b.dy = a->work, b.work = (char *)a->work + FN_NAME(conv_map_work)(a, t.size), b.tap = 0;
    b.dy_c = 1, b.dy_w = a->K, b.dy_h = a->Q * a->K, b.dy_n = a->P * b.dy_h;
    return b;
}
