/* The transforms of Winograd's minimal filtering (winograd.c) for filters of TAPS_H x TAPS_W: 3x3, or as who includes it says.
 *
 * Along an axis m outputs of r taps see m + r - 1 numbers, F(m, r): six, with the points 0, 1, -1, 1/2, -2 and infinity, which give
 * all r the same B; of 2 taps five, with 0, -1, 1/2, 2 and infinity; of one tap one, as it is. */
#include "winograd.h"

#ifndef TAPS_H
#define TAPS_H 3
#define TAPS_W 3
#endif
#ifndef STRIDE
#define STRIDE 1                 /* 2, of three taps: d[0], d[2], ... meet taps 0 and 2, F(4, 2), and d[1], d[3], ... tap 1 */
#define BACKWARD 0               /* that the other way: 5 numbers of dy give 8 of dx */
#endif
#define NUMBERS(taps) (STRIDE == 2 ? 9 : (taps) == 1 ? 1 : (taps) == 2 ? 5 : 6)
#define OUTPUTS(taps) (STRIDE == 2 ? BACKWARD ? 8 : 4 : NUMBERS(taps) + 1 - (taps))
#define SEEN(taps) (STRIDE == 2 && BACKWARD ? 5 : NUMBERS(taps))             /* numbers of x that a tile sees */
#define WEIGHTS(taps) (STRIDE == 2 ? 6 : NUMBERS(taps))                      /* the last meets four of the nine numbers */
enum { D_H = NUMBERS(TAPS_H), D_W = NUMBERS(TAPS_W), SEEN_H = SEEN(TAPS_H), SEEN_W = SEEN(TAPS_W), OUT_H = OUTPUTS(TAPS_H), OUT_W = OUTPUTS(TAPS_W) };
enum { U_H = WEIGHTS(TAPS_H), U_W = WEIGHTS(TAPS_W), U_PLANES = U_H * U_W, FILTER = TAPS_H * TAPS_W };
enum { NEXT_H = STRIDE == 1 ? OUT_H : BACKWARD ? 4 : 8, NEXT_W = STRIDE == 1 ? OUT_W : NEXT_H };       /* to the next tile's */
#define AHEAD 4                  /* input channels whose weights are fetched ahead of their transform */

/* ---- the transforms of D numbers and of fewer, a vector of channels each ------------------------------------------ */

#if TAPS_W == 2 || STRIDE == 2
/* B' d */
FN_INLINE void spread_x(vec *v, const vec *d, const int numbers) {
    if (numbers == 1) {
        v[0] = d[0];
        return;
    }
    const vec c1 = v_set1((fn_t)1.5);
    v[0] = (d[0] + d[3]) - c1 * (d[1] + d[2]);
    v[1] = (d[1] + d[3]) - v_set1((fn_t)2.5) * d[2];
    v[2] = (d[3] - d[2]) - v_set1(2) * d[1];
    v[3] = v_fma(v_set1((fn_t)0.5), d[2] - d[1], d[3]);
    v[4] = (d[1] + d[4]) - c1 * (d[2] + d[3]);
}

/* G w, 5 of 2, and F dy, 5 of 4 */
FN_INLINE void spread_taps(vec *v, const vec *w, const int taps) {
    if (taps == 1) {
        v[0] = w[0];
        return;
    }
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
    if (outputs == 1) {
        y[0] = m[0];
        return;
    }
    const vec half = v_set1((fn_t)0.5), two = v_set1(2);
    y[0] = (m[0] + m[1]) + (m[2] + m[3]);
    y[1] = v_fma(half, m[2], two * m[3]) - m[1];
    if (outputs == 2) y[1] += m[4];
    if (outputs > 2) y[2] = v_fma(v_set1((fn_t)0.25), m[2], m[1]) + v_set1(4) * m[3];
    if (outputs > 2) y[3] = v_fma(v_set1((fn_t)0.125), m[2], m[4] - m[1]) + v_set1(8) * m[3];
}
#else
/* B' d */
FN_INLINE void spread_x(vec *v, const vec *d, const int numbers) {
    if (numbers == 1) {
        v[0] = d[0];
        return;
    }
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
    if (taps == 1) {
        v[0] = w[0];
        return;
    }
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
    if (outputs == 1) {
        y[0] = m[0];
        return;
    }
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

/* ---- an axis of so many taps: V of x, U of w, Z of dy, y of M, dw of dU ---------------------------------------------- */

/* odd: dx begins with a number that only the middle tap reaches. */
#if STRIDE == 2 && BACKWARD
FN_INLINE void v_of_x(vec *v, const vec *d, const int taps, const int odd) {
    spread_x(v, d, taps);
    UNROLL for (int k = 0; k < 4; k++) v[5 + k] = d[odd ? k : k + 1];
}
FN_INLINE void y_of_m(vec *y, const vec *m, const int taps, const int odd) {
    vec both[4];
    gather(both, m, taps + 1);
    UNROLL for (int k = 0; k < 4; k++) y[odd ? 2 * k + 1 : 2 * k] = both[k], y[odd ? 2 * k : 2 * k + 1] = m[5 + k];
}
#elif STRIDE == 2
FN_INLINE void v_of_x(vec *v, const vec *d, const int taps, const int odd) {
    (void)odd;
    const vec even[5] = {d[0], d[2], d[4], d[6], d[8]};
    spread_x(v, even, taps);
    UNROLL for (int k = 0; k < 4; k++) v[5 + k] = d[2 * k + 1];
}
FN_INLINE void y_of_m(vec *y, const vec *m, const int taps, const int odd) {
    (void)odd;
    gather(y, m, taps + 1);
    UNROLL for (int k = 0; k < 4; k++) y[k] += m[5 + k];
}
FN_INLINE void z_of_dy(vec *z, const vec *dy, const int taps) {
    spread_taps(z, dy, taps + 1);
    UNROLL for (int k = 0; k < 4; k++) z[5 + k] = dy[k];
}
FN_INLINE void w_of_u(vec *w, const vec *u, const int taps) {
    vec outer[2];
    gather(outer, u, taps - 1);
    w[0] = outer[0], w[1] = u[5], w[2] = outer[1];
}
#else
FN_INLINE void v_of_x(vec *v, const vec *d, const int taps, const int odd) { (void)odd, spread_x(v, d, NUMBERS(taps)); }
FN_INLINE void y_of_m(vec *y, const vec *m, const int taps, const int odd) { (void)odd, gather(y, m, OUTPUTS(taps)); }
#endif
#if STRIDE == 2
FN_INLINE void u_of_w(vec *u, const vec *w, const int taps) {
    const vec outer[2] = {w[0], w[2]};
    spread_taps(u, outer, taps - 1);
    u[5] = w[1];
}
#else
FN_INLINE void u_of_w(vec *u, const vec *w, const int taps) { spread_taps(u, w, taps); }
FN_INLINE void z_of_dy(vec *z, const vec *dy, const int taps) { spread_taps(z, dy, OUTPUTS(taps)); }
FN_INLINE void w_of_u(vec *w, const vec *u, const int taps) { gather(w, u, taps); }
#endif

/* ---- x, and weights ----------------------------------------------------------------------------------------------- */

/* V = B' d B of a vector of channels of a tile: d[a][b] at x + a x_h + b x_w, or, of one over the rim, at at[a][b] + i. Calls, since of
 * a loop's 72 addresses the compiler would keep each in memory. */
FN_INLINE void spread_tile(const int whole, const int odd, fn_t *v, int64_t plane, const fn_t *x, int64_t x_h, int64_t x_w, const fn_t *(*at)[SEEN_W],
                           int64_t i) {
    vec half[D_H][SEEN_W];
    for (int b = 0; b < SEEN_W; b++, x += x_w) {
        vec d[SEEN_H], s[D_H];
        UNROLL for (int a = 0; a < SEEN_H; a++) d[a] = v_load(whole ? x + a * x_h : at[a][b] + i);
        v_of_x(s, d, TAPS_H, odd);
        UNROLL for (int a = 0; a < D_H; a++) half[a][b] = s[a];
    }
    for (int a = 0; a < D_H; a++, v += D_W * plane) {
        vec s[D_W];
        v_of_x(s, half[a], TAPS_W, odd);
        UNROLL for (int b = 0; b < D_W; b++) v_store(v + b * plane, s[b]);
    }
}
FN_APART void spread_whole(fn_t *v, int64_t plane, const fn_t *x, int64_t x_h, int64_t x_w, int64_t odd) {
    if (BACKWARD && odd) spread_tile(1, 1, v, plane, x, x_h, x_w, 0, 0);
    else spread_tile(1, 0, v, plane, x, x_h, x_w, 0, 0);
}
FN_APART void spread_rim(fn_t *v, int64_t plane, const fn_t *(*at)[SEEN_W], int64_t i, int64_t odd) {
    if (BACKWARD && odd) spread_tile(0, 1, v, plane, at[0][0], 0, 0, at, i);
    else spread_tile(0, 0, v, plane, at[0][0], 0, 0, at, i);
}

FN_APART void tiles_folded(const filtering *g, fn_t *v, int64_t plane, int64_t per, int64_t at, fn_t *band, int64_t from, int64_t count) {
    const int64_t I = g->I;
    for (int64_t run; count > 0; from += run, count -= run) {
        const spot s = spot_of(g, from);
        run = least(s.left, count);
        const int64_t columns = band_columns(g, run);
        FN_NAME(winograd_fold)(g, band, s.n, s.row, s.column, D_H, columns);
        for (int64_t t = 0; t < run; t++, at++)
            for (int64_t i = 0; i < I; i += FN_VL)
                spread_whole(v + at / per * per * I + (at % per + i / FN_VL * per) * FN_VL, plane, band + t * OUT_W * I + i, columns * I, I, 0);
    }
}

static void transform_x(const filtering *g, fn_t *v, int64_t plane, int64_t per, int64_t at, fn_t *zeros, int64_t from, int64_t count, int fed) {
    if (g->fold) {
        tiles_folded(g, v, plane, per, at, zeros, from, count);
        return;
    }
    const int64_t I = g->I, down = g->dil_h * g->stride, along = g->dil_w * g->stride, x_h = down * g->x_h, x_w = along * g->x_w;
    int64_t phase = 0;
    spot to = spot_of(g, from);
    for (int64_t t = 0; t < count;) {
        const int64_t h = to.row * NEXT_H / OUT_H * g->stride - g->top + phase / g->stride, w = to.column * NEXT_W / OUT_W * g->stride - g->left + phase % g->stride;
        const int whole = h >= 0 && h + (SEEN_H - 1) * down < g->H && w >= 0 && w + (SEEN_W - 1) * along < g->W;
        const fn_t *const x = g->x + to.n * g->x_n + h * g->x_h + w * g->x_w;
        const fn_t *rim[SEEN_H][SEEN_W];
        if (!whole)
            for (int a = 0; a < SEEN_H; a++) {
                const int in = within(h + a * down, g->H);
                UNROLL for (int b = 0; b < SEEN_W; b++) rim[a][b] = in & within(w + b * along, g->W) ? x + a * x_h + b * x_w : zeros;
            }
        fn_t *v_t = v + at / per * per * I + (at % per + phase * per) * FN_VL;
        for (int64_t i = 0; i < g->C; i += FN_VL, v_t += g->phases * per * FN_VL) {
            if (!fed)
                UNROLL for (int a = SEEN_H - NEXT_H; a < SEEN_H; a++)        /* what the next tile shares with no earlier one */
                    UNROLL for (int b = SEEN_W; b < SEEN_W + NEXT_W; b++) __builtin_prefetch(x + a * x_h + b * x_w + i);
            if (whole) spread_whole(v_t, plane, x + i, x_h, x_w, g->odd);
            else spread_rim(v_t, plane, rim, i, g->odd);
        }
        if (++phase == g->phases) phase = 0, t++, at++, advance(g, &to);
    }
}

/* v[tap] = FN_VL filters' weights at one input channel, `at` the first's, of FN_PIECE taps */
FN_INLINE void load_piece(vec *v, const fn_t *at, int64_t w_o) {
    UNROLL for (int q = 0; q < FN_PIECE; q++) v[q] = v_pieces(at + q * w_o, FN_PIECE * w_o);
    v_transpose_pieces(v);
}
/* All of them: FILTER, for which loops are unrolled, or more. */
FN_INLINE void load_taps(vec *w, const fn_t *at, int64_t w_o, const int64_t taps) {
    if (taps < FN_PIECE) {
        fn_t some[FN_PIECE][FN_VL];
        for (int64_t l = 0; l < FN_VL; l++)
            for (int64_t t = 0; t < taps; t++) some[t][l] = at[l * w_o + t];
        for (int64_t t = 0; t < taps; t++) w[t] = v_load(some[t]);
        return;
    }
    for (int64_t t = 0; t < taps; t += FN_PIECE) {
        const int64_t first = least(t, taps - FN_PIECE);
        load_piece(w + first, at + first, w_o);
    }
}

/* Where each tap of each phase lies in a filter; those that none has behind all others. */
static void find_places(int64_t (*places)[FILTER], const filtering *g) {
    for (int64_t phase = 0; phase < g->phases; phase++)
        for (int64_t t = 0; t < FILTER; t++) {
            const int64_t at = tap_at(g, phase, t / TAPS_W, t % TAPS_W);
            places[phase][t] = at < 0 ? g->R * g->S : at;
        }
}

static void transform_w(const filtering *g, fn_t *u, int64_t width, int64_t plane, int64_t panel, int64_t i0, int64_t count) {
    const int64_t o = panel * width, w_o = g->w_o, w_i = g->w_i, left = g->O - o, taps = g->R * g->S, end = channels_before(g, i0 + count);
    int64_t c = channels_before(g, i0), places[MOST_STRIDE * MOST_STRIDE][FILTER];
    find_places(places, g);
    const fn_t *w = g->w + o * w_o + c * w_i;
    for (int64_t q = 0; q < U_PLANES && g->fold; q++) memset(u + q * plane + summed(g) * width, 0, (g->I - summed(g)) * width * SIZE);
    for (; c < end; c++, w += w_i) {
        for (int l = 0; l < width; l++) __builtin_prefetch(w + l * w_o + AHEAD * w_i);
        for (int l = 0; l < width; l += FN_VL) {
            vec all[MOST_TAPS + 1];          /* and a zero */
            if (l < left && taps == FILTER) load_taps(all, w + l * w_o, w_o, FILTER);
            else if (l < left) load_taps(all, w + l * w_o, w_o, taps);
            else for (int64_t t = 0; t < taps; t++) all[t] = v_zero();
            all[taps] = v_zero();
            for (int64_t phase = 0; phase < g->phases; phase++) {
                const int64_t *const place = places[phase];
                vec half[U_H][TAPS_W];
                UNROLL for (int s = 0; s < TAPS_W; s++) {
                    vec a[TAPS_H], b[U_H];
                    UNROLL for (int r = 0; r < TAPS_H; r++) a[r] = all[place[r * TAPS_W + s]];
                    u_of_w(b, a, TAPS_H);
                    UNROLL for (int q = 0; q < U_H; q++) half[q][s] = b[q];
                }
                fn_t *to = u + (place_of(g, c, phase) - i0) * width + l;
                UNROLL for (int q = 0; q < U_H; q++, to += U_W * plane) {
                    vec b[U_W];
                    u_of_w(b, half[q], TAPS_W);
                    UNROLL for (int s = 0; s < U_W; s++) v_store(to + s * plane, b[s]);
                }
            }
        }
    }
}

/* ---- y ---------------------------------------------------------------------------------------------------------- */

/* y = act(A' m A + bias), or with a residual, of a vector of filters of a tile, whose planes are so far apart and of whose rows and columns
 * so many lie in y; returns NaN if one of them is not finite. A call, as spread_whole. */
FN_INLINE vec gather_tile(const int more, const int odd, const filtering *g, fn_t *y, const fn_t *m, int64_t plane, vec bias, int64_t rows, int64_t columns) {
    const int64_t y_h = g->dil_h * g->y_h, y_w = g->dil_w * g->y_w, row = D_W * plane;
    const fn_t *r = more ? g->residual + (y - g->y) : 0, *gate = more && g->gate ? g->gate + (y - g->y) : 0;
    const vec zero = v_zero();
    vec half[OUT_H][D_W], seen[OUT_W];
    UNROLL for (int b = 0; b < OUT_W; b++) seen[b] = zero;
    for (int b = 0; b < D_W; b++, m += plane) {
        vec d[D_H], s[OUT_H];
        UNROLL for (int a = 0; a < D_H; a++) d[a] = v_load(m + a * row);
        y_of_m(s, d, TAPS_H, odd);
        UNROLL for (int a = 0; a < OUT_H; a++) half[a][b] = s[a];
    }
    for (int a = 0; a < OUT_H; a++, y += y_h, r += more ? y_h : 0, gate += gate ? y_h : 0) {
        vec s[OUT_W];
        if (a >= rows) break;
        y_of_m(s, half[a], TAPS_W, odd);
        UNROLL for (int b = 0; b < OUT_W; b++) {
            if (b >= columns) break;
            const vec z = s[b] + bias;
            seen[b] += z * zero;
            if (!more) v_store(y + b * y_w, g->relu ? v_relu(z) : z);
            else v_store(y + b * y_w, gate ? gated(z + v_load(r + b * y_w), v_load(gate + b * y_w)) : z + v_load(r + b * y_w));
        }
    }
    UNROLL for (int b = 1; b < OUT_W; b++) seen[0] += seen[b];
    return seen[0];
}
FN_APART vec gather_whole(const filtering *g, fn_t *y, const fn_t *m, int64_t plane, vec bias) {
    return BACKWARD && g->odd ? gather_tile(0, 1, g, y, m, plane, bias, OUT_H, OUT_W) : gather_tile(0, 0, g, y, m, plane, bias, OUT_H, OUT_W);
}
FN_APART vec gather_rim(const filtering *g, fn_t *y, const fn_t *m, int64_t plane, vec bias, int64_t rows, int64_t columns) {
    return BACKWARD && g->odd ? gather_tile(0, 1, g, y, m, plane, bias, rows, columns) : gather_tile(0, 0, g, y, m, plane, bias, rows, columns);
}
FN_APART vec gather_more(const filtering *g, fn_t *y, const fn_t *m, int64_t plane, vec bias, int64_t rows, int64_t columns) {
    return BACKWARD && g->odd ? gather_tile(1, 1, g, y, m, plane, bias, rows, columns) : gather_tile(1, 0, g, y, m, plane, bias, rows, columns);
}

static void transform_y(const filtering *g, const fn_t *m, int64_t width, int64_t plane, int64_t from, int64_t count, int64_t panel, vec *odd) {
    const int64_t o = panel * width, lanes = least(width, g->O - o), y_h = g->dil_h * g->y_h, y_w = g->dil_w * g->y_w;
    spot at = spot_of(g, from);
    for (int64_t t = 0; t < count; t++, m += width, advance(g, &at)) {
        const int64_t rows = rows_at(g, &at), columns = columns_at(g, &at), begin = at.n * g->y_n + at.row * g->y_h + at.column * g->y_w + o;
        for (int64_t l = 0; l < lanes; l += FN_VL) {
            fn_t *const y = g->y + begin + l;
            const vec bias = g->bias ? v_load(g->bias + o + l) : v_zero();
            if (g->residual) {
                UNROLL for (int a = 0; a < OUT_H; a++)       /* of the next tile */
                    UNROLL for (int b = OUT_W; b < 2 * OUT_W; b++) {
                        __builtin_prefetch(g->residual + begin + l + a * y_h + b * y_w);
                        if (g->gate) __builtin_prefetch(g->gate + begin + l + a * y_h + b * y_w);
                    }
                *odd += gather_more(g, y, m + l, plane, bias, rows, columns);
            } else if (rows == OUT_H && columns == OUT_W) *odd += gather_whole(g, y, m + l, plane, bias);
            else *odd += gather_rim(g, y, m + l, plane, bias, rows, columns);
        }
    }
}

/* ---- dy and dw, of taps whose errors allow it -------------------------------------------------------------------- */

#if TAPS_H < 5 && TAPS_W < 5 && !BACKWARD
/* Z = F dy F' of a vector of channels of a tile, of whose rows and columns so many lie in y. A call, as spread_whole. */
FN_INLINE void spread_dy(fn_t *z, int64_t plane, const fn_t *y, int64_t y_h, int64_t y_w, int64_t rows, int64_t columns) {
    vec half[D_H][OUT_W];
    for (int b = 0; b < OUT_W; b++, y += y_w) {
        vec d[OUT_H], s[D_H];
        UNROLL for (int a = 0; a < OUT_H; a++) d[a] = a < rows && b < columns ? v_load(y + a * y_h) : v_zero();
        z_of_dy(s, d, TAPS_H);
        UNROLL for (int a = 0; a < D_H; a++) half[a][b] = s[a];
    }
    for (int a = 0; a < D_H; a++, z += D_W * plane) {
        vec s[D_W];
        z_of_dy(s, half[a], TAPS_W);
        UNROLL for (int b = 0; b < D_W; b++) v_store(z + b * plane, s[b]);
    }
}
FN_APART void spread_dy_whole(fn_t *z, int64_t plane, const fn_t *y, int64_t y_h, int64_t y_w) { spread_dy(z, plane, y, y_h, y_w, OUT_H, OUT_W); }
FN_APART void spread_dy_rim(fn_t *z, int64_t plane, const fn_t *y, int64_t y_h, int64_t y_w, int64_t rows, int64_t columns) {
    spread_dy(z, plane, y, y_h, y_w, rows, columns);
}

static void transform_dy(const filtering *g, const weight_plan *p, fn_t *z, int64_t at, int64_t from, int64_t count) {
    const int64_t y_h = g->dil_h * g->y_h, y_w = g->dil_w * g->y_w, plane = p->z_plane;
    spot s = spot_of(g, from);
    for (int64_t t = 0; t < count; t++, advance(g, &s)) {
        const fn_t *const y = g->y + s.n * g->y_n + s.row * g->y_h + s.column * g->y_w;
        const int64_t rows = rows_at(g, &s), columns = columns_at(g, &s);
        fn_t *to = z + (at + t) * p->width;
        for (int64_t k = 0; k < g->O; k += p->width, to += p->chunk * p->width)
            for (int64_t l = 0; l < p->width && k + l < g->O; l += FN_VL) {
                const fn_t *const y_l = y + k + l;
                UNROLL for (int a = 0; a < OUT_H; a++)
                    UNROLL for (int b = 0; b < OUT_W; b++) __builtin_prefetch(y_l + a * y_h + (b + OUT_W) * y_w);
                if (rows == OUT_H && columns == OUT_W) spread_dy_whole(to + l, plane, y_l, y_h, y_w);
                else spread_dy_rim(to + l, plane, y_l, y_h, y_w, rows, columns);
            }
    }
}

/* FN_VL filters' weights at one input channel, as load_taps */
FN_INLINE void store_taps(fn_t *to, int64_t w_o, const vec *w, const int64_t taps) {
    for (int64_t t = 0; t < taps && taps < FN_PIECE; t++)
        for (int64_t l = 0; l < FN_VL; l++) to[l * w_o + t] = w[t][l];
    for (int64_t t = 0; t < taps && taps >= FN_PIECE; t += FN_PIECE) {               /* the last taps overlap */
        const int64_t first = least(t, taps - FN_PIECE);
        vec turned[FN_PIECE];
        UNROLL for (int q = 0; q < FN_PIECE; q++) turned[q] = w[first + q];
        v_transpose_pieces(turned);
        v_store_pieces(to + first, w_o, turned, FN_VL);
    }
}

static void transform_dw(const filtering *g, const weight_plan *p, const fn_t *du, int64_t apart, int64_t j, int64_t from, int64_t end, vec *odd) {
    const int64_t i0 = j % p->across * p->deep;
    int64_t places[MOST_STRIDE * MOST_STRIDE][FILTER];
    find_places(places, g);
    vec seen[TAPS_W];
    UNROLL for (int b = 0; b < TAPS_W; b++) seen[b] = v_zero();
    const int64_t o0 = j / p->across * p->wide * FN_NR, o1 = least(g->O, o0 + p->wide * FN_NR);
    for (int64_t o = o0; o < o1; o += FN_VL)
        for (int64_t c = channels_before(g, from); c < channels_before(g, end); c++) {
            fn_t *const to = g->w + o * g->w_o + c * g->w_i;
            vec all[MOST_TAPS + 1];
            for (int64_t phase = 0; phase < g->phases; phase++) {
                const fn_t *const at = du + (o - o0) / FN_NR * U_PLANES * p->u_plane + (place_of(g, c, phase) - i0) * FN_NR + o % FN_NR;
                vec half[TAPS_H][U_W], w[FILTER];
                UNROLL for (int b = 0; b < U_W; b++) {
                    vec d[U_H], s[TAPS_H];
                    UNROLL for (int a = 0; a < U_H; a++) d[a] = v_load(at + (a * U_W + b) * p->u_plane);
                    for (int64_t k = 1; k < p->parts; k++)
                        UNROLL for (int a = 0; a < U_H; a++) d[a] += v_load(at + k * apart + (a * U_W + b) * p->u_plane);
                    w_of_u(s, d, TAPS_H);
                    UNROLL for (int a = 0; a < TAPS_H; a++) half[a][b] = s[a];
                }
                UNROLL for (int a = 0; a < TAPS_H; a++) {
                    w_of_u(w + a * TAPS_W, half[a], TAPS_W);
                    UNROLL for (int b = 0; b < TAPS_W; b++) seen[b] += w[a * TAPS_W + b] * v_zero();
                }
                if (g->phases == 1) store_taps(to, g->w_o, w, FILTER);
                else UNROLL for (int t = 0; t < FILTER; t++) all[places[phase][t]] = w[t];
            }
            if (g->phases > 1) store_taps(to, g->w_o, all, g->R * g->S);
        }
    UNROLL for (int b = 0; b < TAPS_W; b++) *odd += seen[b];
}
#else
#define transform_dy 0
#define transform_dw 0
#endif

#ifndef NAME
#define NAME_(h, w) winograd_##h##x##w
#define OF_TAPS(h, w) NAME_(h, w)
#define NAME OF_TAPS(TAPS_H, TAPS_W)
#endif
const sizes FN_NAME(NAME) = {TAPS_H, TAPS_W, D_H, D_W, OUT_H, OUT_W, U_H, U_W, STRIDE, BACKWARD, transform_x, transform_w, transform_y, transform_dy, transform_dw};
