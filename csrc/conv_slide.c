/* Tiles of a convolution whose 3 or 5 taps slide along a row by one pixel and whose output channels fill one vector: a
 * number of the input is loaded once for all taps of a filter row. Every element is one chain. */
#include "conv.h"

/* c[q] = act(init + sum over rows j, channels i, taps s of x[j][q + s][i] w[j][s][i]) for strands of `length` pixels:
 * in turn their sums are far enough apart for the latency of a multiply-add. */
FN_INLINE void rows_tile(const int S, const int strands, const int length, const slide *p, int64_t q0) {
    const int Q = strands * length, pixels = Q + S - 1;
    const int64_t I = p->I, pixel = p->pixel, step = I * FN_VL;
    const vec init = p->init ? v_load(p->init) : v_zero();
    vec acc[26];
    UNROLL for (int q = 0; q < Q; q++) acc[q] = init;
    for (int64_t j = 0; j < p->rows; j++) {
        const fn_t *x[10], *w = p->w + j * S * step;
        UNROLL for (int u = 0; u < pixels; u += 3) x[u / 3] = p->x + j * p->x_r + (q0 + u) * pixel;
        for (int64_t i = 0; i < I; i++, w += FN_VL) {
            vec taps[5];
            UNROLL for (int s = 0; s < S; s++) taps[s] = v_load(w + s * step);
            UNROLL for (int u = 0; u < length + S - 1; u++)
                UNROLL for (int t = 0; t < strands; t++) {
                    const int at = t * length + u;
                    const vec v = v_set1(x[at / 3][at % 3 * pixel]);
                    UNROLL for (int s = 0; s < S; s++)
                        if (u >= s && u - s < length) acc[at - s] = v_fma(v, taps[s], acc[at - s]);
                }
            UNROLL for (int u = 0; u < pixels; u += 3) x[u / 3]++;
        }
    }
    UNROLL for (int q = 0; q < Q; q++) v_store(p->c + (q0 + q) * p->c_q, p->relu ? v_relu(acc[q]) : acc[q]);
}
#define ROWS(S, t, l) static void rows_##S##_##t##x##l(const slide *p, int64_t q) { rows_tile(S, t, l, p, q); }
#define EACH(F, S) F(S, 1, 4) F(S, 2, 4) F(S, 3, 4) F(S, 4, 4) F(S, 5, 4) F(S, 6, 4) \
    F(S, 1, 5) F(S, 2, 5) F(S, 3, 5) F(S, 4, 5) F(S, 5, 5)
EACH(ROWS, 3)
EACH(ROWS, 5)
#define NAME(S, t, l) rows_##S##_##t##x##l,
static void (*const rows_of_3[])(const slide *, int64_t) = {EACH(NAME, 3)};
static void (*const rows_of_5[])(const slide *, int64_t) = {EACH(NAME, 5)};

void FN_NAME(conv_slide)(const slide *p) {
    const int64_t length = p->Q % 4 ? 5 : 4, n = p->Q / length, tiles = over(n, length == 4 ? 6 : 5);
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t from = n * t / tiles, strands = n * (t + 1) / tiles - from;
        const int64_t i = (length == 4 ? 0 : 6) + strands - 1;
        if (p->S == 3) rows_of_3[i](p, from * length);
        else rows_of_5[i](p, from * length);
    }
}

/* c[s][i] += sum over rows j, pixels q of x[j][q + s][i] dy[j][q]: a pixel of x meets dy's by taps `from` to `to`, not
 * all at the ends of a row. */
FN_INLINE void add_pixel(const int channels, const int from, const int to, vec acc[][8], const fn_t *x, const fn_t *dy,
                         int64_t dy_w) {
    vec w[5];
    UNROLL for (int s = from; s < to; s++) {
        w[s] = v_load(dy - s * dy_w);
        HOLD(w[s]);
    }
    UNROLL for (int i = 0; i < channels; i++) {
        vec v = v_set1(x[i]);
        if (to - from > 1) HOLD(v);
        UNROLL for (int s = from; s < to; s++) acc[s][i] = v_fma(v, w[s], acc[s][i]);
    }
}
FN_INLINE void taps_tile(const int S, const int channels, const slide_sum *p, int64_t i0) {
    const int64_t Q = p->Q, pixel = p->pixel, dy_w = p->dy_w;
    fn_t *const c = p->c + i0 * FN_VL;
    vec acc[5][8];
    UNROLL for (int s = 0; s < S; s++)
        UNROLL for (int i = 0; i < channels; i++) acc[s][i] = p->first ? v_zero() : v_load(c + s * p->c_s + i * FN_VL);
    for (int64_t j = 0; j < p->rows; j++) {
        const fn_t *x = p->x + p->x_at[j] + i0, *dy = p->dy + p->dy_at[j];
        UNROLL for (int u = 0; u < S - 1; u++, x += pixel, dy += dy_w) add_pixel(channels, 0, u + 1, acc, x, dy, dy_w);
        for (int64_t u = S - 1; u < Q; u++, x += pixel, dy += dy_w) add_pixel(channels, 0, S, acc, x, dy, dy_w);
        UNROLL for (int u = 1; u < S; u++, x += pixel, dy += dy_w) add_pixel(channels, u, S, acc, x, dy, dy_w);
    }
    UNROLL for (int s = 0; s < S; s++)
        UNROLL for (int i = 0; i < channels; i++) v_store(c + s * p->c_s + i * FN_VL, acc[s][i]);
}
#define TAPS(S, i) static void taps_##S##x##i(const slide_sum *p, int64_t i0) { taps_tile(S, i, p, i0); }
#define TAPS_NAME(S, i) taps_##S##x##i,
#define TO_5(F, S) F(S, 1) F(S, 2) F(S, 3) F(S, 4) F(S, 5)
TO_5(TAPS, 3) TAPS(3, 6) TAPS(3, 7) TAPS(3, 8)
TO_5(TAPS, 5)
static void (*const taps_of_3[])(const slide_sum *, int64_t) = {TO_5(TAPS_NAME, 3) taps_3x6, taps_3x7, taps_3x8};
static void (*const taps_of_5[])(const slide_sum *, int64_t) = {TO_5(TAPS_NAME, 5)};

void FN_NAME(conv_slide_sum)(const slide_sum *p) {
    const int64_t tiles = over(p->I, p->S == 3 ? 8 : 5);
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t from = p->I * t / tiles, n = p->I * (t + 1) / tiles - from;
        if (p->S == 3) taps_of_3[n - 1](p, from);
        else taps_of_5[n - 1](p, from);
    }
}
