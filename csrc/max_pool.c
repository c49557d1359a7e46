/* Max pooling over fn_pool2d_args, see pool.h:
 *
 *   y[p,q] = x at the tap that is largest: the first of equals, the last NaN if there is any; tap[p,q] = r S + s
 *   dx[h,w] = sum of dy[p,q] over the windows whose tap lies there, by rising p, then q */
#include "pool.h"

enum { BYTES, WORDS };                       /* how taps are saved: uint8, int32 */

/* ---- taps ------------------------------------------------------------------------------------------------ */

FN_INLINE mask taps_get(const void *tap, int64_t at, int m, int kept) {
    if (kept == BYTES) return m_bytes((const uint8_t *)tap + at, m);
    const int32_t *const p = (const int32_t *)tap + at;
#if defined(__AVX512F__)
    const __m512i v = _mm512_maskz_loadu_epi32((__mmask16)((1u << m) - 1), p);
    return (mask)(FN_DT == 0 ? v : _mm512_cvtepi32_epi64(_mm512_castsi512_si256(v)));
#else
    mask v = {0};
    for (int i = 0; i < m; i++) v[i] = p[i];
    return v;
#endif
}
FN_INLINE void taps_put(void *tap, int64_t at, mask v, int m, int kept) {
    if (kept == BYTES) {
        m_put_bytes((uint8_t *)tap + at, v, m);
        return;
    }
    int32_t *const p = (int32_t *)tap + at;
#if defined(__AVX512F__)
    if (FN_DT == 0) _mm512_mask_storeu_epi32(p, (__mmask16)((1u << m) - 1), (__m512i)v);
    else _mm512_mask_cvtepi64_storeu_epi32(p, (__mmask8)((1u << m) - 1), (__m512i)v);
#else
    for (int i = 0; i < m; i++) p[i] = (int32_t)v[i];
#endif
}
FN_INLINE int64_t tap_at(const void *tap, int64_t at, int kept) {
    return kept == BYTES ? ((const uint8_t *)tap)[at] : ((const int32_t *)tap)[at];
}

/* v takes the place of best where it is larger or NaN. */
FN_INLINE void contend(vec *best, mask *which, vec v, int64_t tap) {
#if defined(__AVX512F__) && FN_DT == 0
    const __mmask16 k = _mm512_cmp_ps_mask((__m512)v, (__m512)*best, _CMP_GT_OQ) | _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
    *best = (vec)_mm512_mask_mov_ps((__m512)*best, k, (__m512)v);
    *which = (mask)_mm512_mask_mov_epi32((__m512i)*which, k, _mm512_set1_epi32((int)tap));
#elif defined(__AVX512F__)
    const __mmask8 k = _mm512_cmp_pd_mask((__m512d)v, (__m512d)*best, _CMP_GT_OQ) | _mm512_cmp_pd_mask((__m512d)v, (__m512d)v, _CMP_UNORD_Q);
    *best = (vec)_mm512_mask_mov_pd((__m512d)*best, k, (__m512d)v);
    *which = (mask)_mm512_mask_mov_epi64((__m512i)*which, k, _mm512_set1_epi64(tap));
#else
    const mask k = (v > *best) | m_nan(v);
    *best = v_select(k, v, *best);
    *which = (k & m_set1((fn_i)tap)) | (~k & *which);
#endif
}

/* x in the lanes where a is b, else y. */
FN_INLINE vec where_equal(vec a, vec b, vec x, vec y) {
#if defined(__AVX512F__) && FN_DT == 0
    return (vec)_mm512_mask_mov_ps((__m512)y, _mm512_cmpeq_ps_mask((__m512)a, (__m512)b), (__m512)x);
#elif defined(__AVX512F__)
    return (vec)_mm512_mask_mov_pd((__m512d)y, _mm512_cmpeq_pd_mask((__m512d)a, (__m512d)b), (__m512d)x);
#else
    return v_select(a == b, x, y);
#endif
}
/* Whom n x n numbers, of taps tap0, tap0 + 1, ... in rows S apart, would find by contending one after another, without a chain of
 * comparisons: the first row that has the largest, then the first of that row. Their sum tells whether any is NaN: then they contend. */
FN_INLINE vec champion(const vec *v, const int n, int64_t tap0, int64_t S, mask *which) {
    vec best, sum = v[0], largest[3], of_row[3];
    UNROLL for (int r = 0; r < n; r++) {
        largest[r] = v[r * n];
        UNROLL for (int s = 1; s < n; s++) largest[r] = v_max(v[r * n + s], largest[r]);
        best = r ? v_max(largest[r], best) : largest[r];
    }
    UNROLL for (int j = 1; j < n * n; j++) sum += v[j];
    if (v_any_nan(sum)) {
        best = v_set1((fn_t)-INFINITY), *which = m_set1((fn_i)tap0);
        for (int j = 0; j < n * n; j++) contend(&best, which, v[j], tap0 + j / n * S + j % n);
        return best;
    }
    vec row = (vec)m_set1((fn_i)(tap0 + (n - 1) * S)), column = (vec)m_set1((fn_i)(n - 1));
    UNROLL for (int s = 0; s < n - 1; s++) of_row[s] = v[(n - 1) * n + s];
    UNROLL for (int r = n - 2; r >= 0; r--) {
        UNROLL for (int s = 0; s < n - 1; s++) of_row[s] = where_equal(largest[r], best, v[r * n + s], of_row[s]);
        row = where_equal(largest[r], best, (vec)m_set1((fn_i)(tap0 + r * S)), row);
    }
    UNROLL for (int s = n - 2; s >= 0; s--) column = where_equal(of_row[s], best, (vec)m_set1((fn_i)s), column);
    *which = (mask)row + (mask)column;
    return best;
}

/* acc + v where which is tap. */
FN_INLINE vec add_where(vec acc, vec v, mask which, mask tap) {
#if defined(__AVX512F__) && FN_DT == 0
    return (vec)_mm512_mask_add_ps((__m512)acc, _mm512_cmpeq_epi32_mask((__m512i)which, (__m512i)tap), (__m512)acc, (__m512)v);
#elif defined(__AVX512F__)
    return (vec)_mm512_mask_add_pd((__m512d)acc, _mm512_cmpeq_epi64_mask((__m512i)which, (__m512i)tap), (__m512d)acc, (__m512d)v);
#else
    return acc + (vec)((which == tap) & (mask)v);
#endif
}

/* ---- few channels: 2x2 windows side by side, n pixels to a vector -------------------------------------------- */

typedef struct {
    int64_t n;                               /* 0: not of this kind */
    mask even, odd;                          /* where the left and right pixels of n windows lie in two vectors of x */
    mask low, high;                          /* and where those two vectors lie in the left and right ones */
} few;
static few few_of(const fn_pool2d_args *a) {
    few f = {0};
#if defined(__AVX512F__)
    const int64_t C = a->C;
    if (!a->last || 2 * C > FN_VL || a->R != 2 || a->S != 2 || a->sh != 2 || a->sw != 2 || a->ph || a->pw || a->dh != 1 || a->dw != 1 || 2 * a->P > a->H ||
        2 * a->Q > a->W)
        return f;
    f.n = FN_VL / C;
    for (int64_t l = 0, c = 0, at = 0; l < FN_VL; l++, at++) {
        f.even[l] = (fn_i)at, f.odd[l] = (fn_i)(at + C);
        if (++c == C) c = 0, at += C;
    }
    for (int64_t l = 0, c = 0, side = 0, at = 0; l < 2 * FN_VL; l++) {
        const fn_i lane = (fn_i)(side * FN_VL + at + c);
        if (l < FN_VL) f.low[l] = lane;
        else f.high[l - FN_VL] = lane;
        if (++c == C) c = 0, at += side ? C : 0, side = !side;
    }
#else
    (void)a;
#endif
    return f;
}
/* Lane l is lane i[l] of a and b end to end. */
FN_INLINE vec v_pick(vec a, mask i, vec b) {
#if defined(__AVX512F__) && FN_DT == 0
    return (vec)_mm512_permutex2var_ps((__m512)a, (__m512i)i, (__m512)b);
#elif defined(__AVX512F__)
    return (vec)_mm512_permutex2var_pd((__m512d)a, (__m512i)i, (__m512d)b);
#else
    (void)i;
    return a + b;
#endif
}

/* A row of outputs at `at`; x is the upper row of their windows. */
static void max_few(const fn_pool2d_args *a, const few *f, const fn_t *x, int64_t at) {
    const int64_t C = a->C, lanes = f->n * C;
    for (int64_t q = 0, rest = a->Q * C; rest > 0; q += lanes, rest -= lanes) {
        const int m = (int)(rest < lanes ? rest : lanes);
        vec best = v_set1((fn_t)-INFINITY);
        mask which = m_set1(0);
        for (int r = 0; r < 2; r++) {
            const fn_t *const p = x + r * a->W * C + 2 * q;
            const vec u = v_get_any(p, 2 * m), v = v_get_any(p + FN_VL, 2 * m - FN_VL);
            contend(&best, &which, v_pick(u, f->even, v), 2 * r);
            contend(&best, &which, v_pick(u, f->odd, v), 2 * r + 1);
        }
        v_store_n((fn_t *)a->y + at + q, best, m);
        taps_put(a->tap, at + q, which, m, BYTES);
    }
}
/* Row r of two that the row of windows at `at` holds. */
static void max_few_bwd(const fn_pool2d_args *a, const few *f, fn_t *dx, int64_t at, int64_t r) {
    const int64_t C = a->C, lanes = f->n * C;
    for (int64_t q = 0, rest = a->Q * C; rest > 0; q += lanes, rest -= lanes) {
        const int m = (int)(rest < lanes ? rest : lanes);
        const vec dy = v_load_n((const fn_t *)a->dy + at + q, m);
        const mask which = taps_get(a->tap, at + q, m, BYTES);
        const vec left = add_where(v_zero(), dy, which, m_set1((fn_i)(2 * r))), right = add_where(v_zero(), dy, which, m_set1((fn_i)(2 * r + 1)));
        v_put(dx + 2 * q, v_pick(left, f->low, right), 2 * m < FN_VL ? 2 * m : FN_VL);
        if (2 * m > FN_VL) v_store_n(dx + 2 * q + FN_VL, v_pick(left, f->high, right), 2 * m - FN_VL);
    }
    memset(dx + 2 * a->Q * C, 0, (size_t)((a->W - 2 * a->Q) * C) * sizeof(fn_t));
}

/* ---- forward -------------------------------------------------------------------------------------------- */

/* One output pixel of C channels: x and tap0 at the first of its nr x ns taps; made: both, if they are 2 or 3, else 0. */
FN_INLINE void max_pixel(fn_t *y, void *tap, int64_t at, const fn_t *x, int64_t tap0, int64_t nr, int64_t ns, int64_t down, int64_t right, int64_t S,
                         int64_t C, int kept, const int made) {
    FN_VECTORS(C, {
        vec best = v_set1((fn_t)-INFINITY);
        mask which = m_set1((fn_i)tap0);
        if (made) {
            vec v[9];
            UNROLL for (int j = 0; j < made * made; j++) v[j] = v_get(x + j / made * down + j % made * right + i, m);
            best = champion(v, made, tap0, S, &which);
        } else for (int64_t r = 0; r < nr; r++)
            for (int64_t s = 0; s < ns; s++) contend(&best, &which, v_get(x + r * down + s * right + i, m), tap0 + r * S + s);
        v_put(y + at + i, best, m);
        taps_put(tap, at + i, which, m, kept);
    });
}
/* Outputs q..end of a row from `at` on; x is the plane. */
FN_INLINE void max_pixels(const fn_pool2d_args *a, const axis *across, window u, const fn_t *x, int64_t at, int64_t q, int64_t end, int64_t C, int kept) {
    const int64_t S = a->S, down = a->dh * a->W * C, right = a->dw * C, nr = u.to - u.from;
    const int made = kept == BYTES && C != 1;
    const int64_t ahead = made && in_memory(a) && u.lo + a->R + a->sh <= a->H ? a->sh : 0;      /* rows new to the next windows */
    fn_t *const y = a->y;
    x += (u.lo + u.from * a->dh) * a->W * C;
    for (; q < end; q++) {
        const window v = window_of(across, q);
        const int64_t ns = v.to - v.from, tap0 = u.from * S + v.from, o = at + q * C;
        const fn_t *const p = x + (v.lo + v.from * a->dw) * C;
        for (int64_t r = 0; r < ahead; r++) fetch_lines(p + (a->R + r) * a->W * C, a->sw * C * SIZE, 0);
        if (made && nr == 2 && ns == 2) max_pixel(y, a->tap, o, p, tap0, nr, ns, down, right, S, C, kept, 2);
        else if (made && nr == 3 && ns == 3) max_pixel(y, a->tap, o, p, tap0, nr, ns, down, right, S, C, kept, 3);
        else max_pixel(y, a->tap, o, p, tap0, nr, ns, down, right, S, C, kept, 0);
    }
}
FN_APART void max_border(const fn_pool2d_args *a, const axis *across, window u, const fn_t *x, int64_t at, int64_t q, int64_t end) {
    max_pixels(a, across, u, x, at, q, end, 1, BYTES);
}

/* Outputs of a row that have whole windows. dw is 1 if kind is TWO; nr is the rows of their windows if those are S too, of 2 or 3, and
 * kind is TWO, else 0. */
FN_INLINE void max_row_inside(const fn_pool2d_args *a, window u, range in, const int nr, int64_t S, const fn_t *x, int64_t at, int kind) {
    const int64_t W = a->W, sw = a->sw, dw = a->dw, dh = a->dh;
    fn_t *const y = (fn_t *)a->y + at;
    x += u.lo * W + in.first * sw - a->pw;
    FN_COVER(in.end - in.first, {
        vec best = v_set1((fn_t)-INFINITY);
        mask which = m_set1((fn_i)(u.from * S));
        if (nr) {
            vec v[9];
            UNROLL for (int r = 0; r < nr; r++)
                UNROLL for (int s = 0; s < nr; s += 2) {
                    const pair w = v_pairs(x + (u.from + r) * dh * W + i * 2 + s, m, s + 1 == nr);
                    v[r * nr + s] = w.even;
                    if (s + 1 < nr) v[r * nr + s + 1] = w.odd;
                }
            best = champion(v, nr, u.from * S, S, &which);
        } else for (int64_t r = u.from; r < u.to; r++) {
            const fn_t *const p = x + r * dh * W + i * sw;
            if (kind == ONE) for (int64_t s = 0; s < S; s++) contend(&best, &which, v_get(p + s * dw, m), r * S + s);
            else for (int64_t s = 0; s < S; s += 2) {
                const pair v = v_pairs(p + s, m, s + 1 == S);
                contend(&best, &which, v.even, r * S + s);
                if (s + 1 < S) contend(&best, &which, v.odd, r * S + s + 1);
            }
        }
        v_put(y + in.first + i, best, m);
        taps_put(a->tap, at + in.first + i, which, m, BYTES);
    });
}
/* The first output of a row of windows that have three rows and three columns, of which one is padding: as max_pixel, number by number. */
FN_INLINE void max_first(const fn_pool2d_args *a, window u, const fn_t *x, int64_t at) {
    fn_t v[6], best = (fn_t)-INFINITY, sum = 0;
    int which = 0;
    UNROLL for (int j = 0; j < 6; j++) v[j] = x[(u.lo + (u.from + j / 2) * a->dh) * a->W + j % 2];
    UNROLL for (int j = 0; j < 6; j++) best = v[j] > best ? v[j] : best, sum += v[j];
    UNROLL for (int j = 5; j >= 0; j--) which = v[j] == best ? j / 2 * 3 + j % 2 + 1 : which;
    if (sum != sum)                      /* perhaps NaN */
        for (int j = 0; j < 6; j++)
            if (v[j] != v[j]) best = v[j], which = j / 2 * 3 + j % 2 + 1;
    ((fn_t *)a->y)[at] = best, ((uint8_t *)a->tap)[at] = (uint8_t)(u.from * 3 + which);
}
static void max_row(const fn_pool2d_args *a, const axis *across, range in, window u, const fn_t *x, int64_t at) {
    const int two = a->sw == 2;
    const int64_t nr = u.to - u.from;
    if (in.first == 1 && a->pw == 1 && two && a->S == 3 && nr == 3) max_first(a, u, x, at);
    else if (in.first) max_border(a, across, u, x, at, 0, in.first);
    if (two && a->S == 2 && nr == 2) max_row_inside(a, u, in, 2, 2, x, at, TWO);
    else if (two && a->S == 3 && nr == 3) max_row_inside(a, u, in, 3, 3, x, at, TWO);
    else if (two) max_row_inside(a, u, in, 0, a->S, x, at, TWO);
    else max_row_inside(a, u, in, 0, a->S, x, at, ONE);
    if (in.end < a->Q) max_border(a, across, u, x, at, in.end, a->Q);
}

/* Wider steps, and windows of many taps: the maxima of columns first. They stand, -inf in the padding, in `top`, and behind them r S of
 * the rows where they are. */
enum { NO_TAP = 1 << 30 };
static int64_t columns_first(const fn_pool2d_args *a) {     /* how many there are, in whole vectors; 0: not of this kind */
    if (a->last || a->Q < 1 || (a->R * a->S <= 256 && (a->sw == 1 || (a->sw == 2 && a->dw == 1)))) return 0;
    return up((a->Q - 1) * a->sw + (a->S - 1) * a->dw + 1, FN_VL);
}
/* v takes the place of best as if taps had contended by rising t. */
FN_INLINE void settle(vec *best, mask *which, vec v, mask t) {
#if defined(__AVX512F__) && FN_DT == 0
    const __m512 x = (__m512)v, y = (__m512)*best;
    const __mmask16 less = _mm512_cmplt_epi32_mask((__m512i)t, (__m512i)*which), nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __mmask16 k = _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ) | (_mm512_cmp_ps_mask(x, y, _CMP_EQ_OQ) & less) |
                        (nan & (_mm512_cmp_ps_mask(y, y, _CMP_ORD_Q) | ~less));
    *best = (vec)_mm512_mask_mov_ps(y, k, x), *which = (mask)_mm512_mask_mov_epi32((__m512i)*which, k, (__m512i)t);
#else
    const mask less = t < *which, k = (v > *best) | ((v == *best) & less) | (m_nan(v) & (~m_nan(*best) | ~less));
    *best = v_select(k, v, *best), *which = (k & t) | (~k & *which);
#endif
}
static void max_columns(const fn_pool2d_args *a, const axis *across, window u, const fn_t *x, int64_t at, fn_t *top, int kept) {
    const int64_t S = a->S, sw = a->sw, dw = a->dw, n = columns_first(a);
    fn_t *const row = top + n, *const y = (fn_t *)a->y + at;
    x += u.lo * a->W;
    FN_VECTORS(least(a->W, n - a->pw), {
        vec best = v_set1((fn_t)-INFINITY);
        mask which = m_set1((fn_i)(u.from * S));
        for (int64_t r = u.from; r < u.to; r++) contend(&best, &which, v_get(x + r * a->dh * a->W + i, m), r * S);
        v_put(top + a->pw + i, best, m), v_put(row + a->pw + i, (vec)which, m);
    });
    if (S >= 2 * FN_VL && dw == 1) {                         /* vectors along one window */
        for (int64_t q = 0; q < a->Q; q++) {
            vec best = v_set1((fn_t)-INFINITY);
            mask which = m_set1((fn_i)(u.from * S + window_of(across, q).from));
            FN_COVER(S, settle(&best, &which, v_get(top + q * sw + i, m), (mask)v_get(row + q * sw + i, m) + m_lanes() + m_set1((fn_i)i)););
            for (int w = FN_VL / 2; w; w /= 2) {
                const mask other = m_lanes() ^ m_set1(w);
                settle(&best, &which, v_lanes(best, other), (mask)v_lanes((vec)which, other));
            }
            v_store_n(y + q, best, 1), taps_put(a->tap, at + q, which, 1, kept);
        }
        return;
    }
    FN_VECTORS(a->Q, {
        vec best = v_set1((fn_t)-INFINITY);
        mask which = m_set1((fn_i)(u.from * S));
        for (int l = 0; l < m && (i + l) * sw < a->pw; l++) which[l] += (fn_i)window_of(across, i + l).from;
        for (int64_t s = 0; s < S; s++) {
            const int64_t from = i * sw + s * dw;
            settle(&best, &which, v_every(top + from, sw, m), (mask)v_every(row + from, sw, m) + m_set1((fn_i)s));
        }
        v_put(y + i, best, m);
        taps_put(a->tap, at + i, which, m, kept);
    });
}

/* h W + w for the outputs of a row from `at` on, C to a pixel. */
static void flat_row(const fn_pool2d_args *a, window u, int64_t at, int64_t C, int kept) {
    for (int64_t q = 0; q < a->Q; q++)
        for (int64_t c = 0; c < C; c++, at++) {
            const int64_t tap = tap_at(a->tap, at, kept);
            a->flat[at] = (u.lo + tap / a->S * a->dh) * a->W + q * a->sw - a->pw + tap % a->S * a->dw;
        }
}

FN_WORK(max_pool2d_fwd) { return 2 * columns_first(args) * SIZE * threads; }
FN_INLINE void max_forward(const fn_pool2d_args *a, fn_team t, int kept) {
    const axis down = rows_of(a), across = columns_of(a);
    const range in = whole_windows(&across);
    const int64_t C = a->last ? a->C : 1, P = a->P, Q = a->Q;
    const few f = few_of(a);
    const int far = in_memory(a);
    const int64_t n = columns_first(a);
    fn_t *const top = (fn_t *)a->work + 2 * n * t.rank;
    for (int64_t i = 0; i < n; i += FN_VL) v_store(top + i, v_set1((fn_t)-INFINITY)), v_store(top + n + i, (vec)m_set1(NO_TAP));
    ROWS(a, P, {
        const window u = window_of(&down, row);
        const fn_t *const x = (const fn_t *)a->x + plane * a->H * a->W * C;
        const int64_t at = i * Q * C;
        if (far && !a->last) fetch_lines(x + row * a->sh * a->W + BEYOND, a->sh * a->W * SIZE, 0);
        if (f.n) max_few(a, &f, x + 2 * row * a->W * C, at);
        else if (a->last) max_pixels(a, &across, u, x, at, 0, Q, C, kept);
        else if (n) max_columns(a, &across, u, x, at, top, kept);
        else max_row(a, &across, in, u, x, at);
        if (a->flat) flat_row(a, u, at, C, kept);
    });
}
FN_KERNEL(max_pool2d_fwd) {
    const fn_pool2d_args *a = args;
    if (a->R * a->S <= 256) max_forward(a, t, BYTES);
    else max_forward(a, t, WORDS);
}

/* ---- backward ------------------------------------------------------------------------------------------- */

/* One input pixel of C channels in nu x nv windows, the first at `at` with tap0. */
FN_INLINE void max_pixel_bwd(fn_t *dx, const fn_t *dy, const void *tap, int64_t at, int64_t tap0, int64_t nu, int64_t nv, int64_t down, int64_t right,
                             int64_t tap_down, int64_t tap_right, int64_t C, int kept) {
    FN_VECTORS(C, {
        vec acc = v_zero();
        for (int64_t u = 0; u < nu; u++)
            for (int64_t v = 0; v < nv; v++) {
                const int64_t k = at + u * down + v * right + i;
                acc = add_where(acc, v_get(dy + k, m), taps_get(tap, k, m, kept), m_set1((fn_i)(tap0 - u * tap_down - v * tap_right)));
            }
        v_put(dx + i, acc, m);
    });
}
/* Columns w..end of a row of dx, which the windows from row u.at on hold; `at` is that row in dy. */
FN_INLINE void max_pixels_bwd(const fn_pool2d_args *a, held rows, held columns, holders u, fn_t *dx, int64_t at, int64_t w, int64_t end, int64_t C, int kept) {
    const int64_t S = a->S, down = rows.hop * a->Q * C, right = columns.hop * C, tap_down = rows.tap_hop * S, tap_right = columns.tap_hop;
    const int made = kept == BYTES && C != 1, far = made && in_memory(a);
    const fn_t *const dy = a->dy;
    const void *const tap = a->tap;
    for (; w < end; w++) {
        const holders v = columns.of[w];
        const int64_t k = at + v.at * C, tap0 = u.tap * S + v.tap;
        fn_t *const d = dx + w * C;
        if (far) fetch_lines(dy + k + BEYOND, C * SIZE, 0), fetch_lines((const uint8_t *)tap + k + BEYOND, C, 0), fetch_lines(d + BEYOND, C * SIZE, 1);
        if (made && u.n == 1 && v.n == 1) max_pixel_bwd(d, dy, tap, k, tap0, 1, 1, down, right, tap_down, tap_right, C, kept);
        else if (made && u.n == 1 && v.n == 2) max_pixel_bwd(d, dy, tap, k, tap0, 1, 2, down, right, tap_down, tap_right, C, kept);
        else if (made && u.n == 2 && v.n == 1) max_pixel_bwd(d, dy, tap, k, tap0, 2, 1, down, right, tap_down, tap_right, C, kept);
        else if (made && u.n == 2 && v.n == 2) max_pixel_bwd(d, dy, tap, k, tap0, 2, 2, down, right, tap_down, tap_right, C, kept);
        else max_pixel_bwd(d, dy, tap, k, tap0, u.n, v.n, down, right, tap_down, tap_right, C, kept);
    }
}
/* x, or 0, without a branch, which would be taken at random. */
FN_INLINE fn_t here(fn_t x, int is) {
    union { fn_t x; fn_i bits; } v = {x};
    v.bits &= -(fn_i)is;
    return v.x;
}
/* A row of windows, and the one that lies `down` behind it: each next one on the way to the right and down has as many taps less. */
typedef struct {
    const fn_t *dy;
    const void *tap;
    int64_t tap0, right, down, tap_right, tap_down;
} gather;

/* Columns w..end of one channel, number by number. nv: the windows of a column, if they are told, or 0. */
FN_INLINE void max_border_bwd(const gather *c, const holders *of, int64_t nu, int64_t nv, fn_t *dx, int64_t at, int64_t w, int64_t end, int kept) {
    for (; w < end; w++) {
        const holders v = of[w];
        fn_t sum = 0;
        for (int64_t i = 0; i < nu; i++)
            for (int64_t j = 0; j < (nv ? nv : v.n); j++) {
                const int64_t k = at + v.at + i * c->down + j * c->right;
                sum += here(c->dy[k], tap_at(c->tap, k, kept) == c->tap0 + v.tap - i * c->tap_down - j * c->tap_right);
            }
        dx[w] = sum;
    }
}

/* The sums of columns w, w + sw, w + 2 sw, ..., m of them: v is w's, and each next one is held by the next windows. */
FN_INLINE vec max_gather(const gather *c, holders v, int64_t nu, int64_t nv, int64_t at, int m, int kept) {
    vec acc = v_zero();
    for (int64_t i = 0; i < nu; i++)
        for (int64_t j = 0; j < nv; j++) {
            const int64_t k = at + v.at + i * c->down + j * c->right;
            const mask tap = m_set1((fn_i)(c->tap0 + v.tap - i * c->tap_down - j * c->tap_right));
            acc = add_where(acc, v_get(c->dy + k, m), taps_get(c->tap, k, m, kept), tap);
        }
    return acc;
}
/* nv, nw: the windows of the first two columns, if they are told, or 0. */
FN_INLINE void max_row_inside_bwd(const gather *c, const holders *v, int64_t n, int64_t nu, int64_t nv, int64_t nw, fn_t *dx, int64_t at,
                                  int kind) {
    if (!n) return;
    const holders first = v[0], second = v[kind == TWO];
    FN_COVER(n, {
        if (kind == ONE) v_put(dx + i, max_gather(c, first, nu, first.n, at + i, m, BYTES), m);
        else {
            const vec even = max_gather(c, first, nu, nv ? nv : first.n, at + i, m, BYTES);
            v_put_pairs(dx + 2 * i, even, max_gather(c, second, nu, nw ? nw : second.n, at + i, m, BYTES), m);
        }
    });
}
static void max_row_bwd(const fn_pool2d_args *a, const gather *c, held columns, range in, int64_t nu, fn_t *dx, int64_t at) {
    const int two = a->sw == 2, made = two && a->dw == 1;
    const int64_t sw = a->sw, n = (in.end - in.first) / sw;
    const holders *const v = columns.of + in.first;
    fn_t *const inside = dx + in.first;
    if (in.first) max_border_bwd(c, columns.of, nu, 0, dx, at, 0, in.first, BYTES);
    if (made && a->S == 2 && nu == 1) max_row_inside_bwd(c, v, n, 1, 1, 1, inside, at, TWO);
    else if (made && a->S == 3 && nu == 1 && v->n == 1) max_row_inside_bwd(c, v, n, 1, 1, 2, inside, at, TWO);
    else if (made && a->S == 3 && nu == 2 && v->n == 1) max_row_inside_bwd(c, v, n, 2, 1, 2, inside, at, TWO);
    else if (made && a->S == 3 && nu == 1) max_row_inside_bwd(c, v, n, 1, 2, 1, inside, at, TWO);
    else if (made && a->S == 3 && nu == 2) max_row_inside_bwd(c, v, n, 2, 2, 1, inside, at, TWO);
    else if (two) max_row_inside_bwd(c, v, n, nu, 0, 0, inside, at, TWO);
    else max_row_inside_bwd(c, v, n, nu, 0, 0, inside, at, ONE);
    const int ones = in.end + 2 == a->W && columns.of[in.end].n == 1 && columns.of[in.end + 1].n == 1;
    if (ones && nu == 1) max_border_bwd(c, columns.of, 1, 1, dx, at, in.end, in.end + 2, BYTES);
    else if (ones && nu == 2) max_border_bwd(c, columns.of, 2, 1, dx, at, in.end, in.end + 2, BYTES);
    else max_border_bwd(c, columns.of, nu, 0, dx, at, in.end, a->W, BYTES);
}

/* Wider steps, and windows of many taps. Of each of n columns, in whole vectors: the first window that holds it, counted from that of
 * the first column of its vector, and the tap in it, a negative one being none; of each vector the first window of its first column. */
typedef struct { int64_t n; fn_i *from, *tap, *first; } spread;
static int64_t spread_columns(const fn_pool2d_args *a) {                 /* 0: not of this kind */
    return !a->last && a->dw == 1 && (a->sw > 2 || a->R * a->S > 256) ? up(a->W, FN_VL) : 0;
}
static int64_t spread_bytes(const fn_pool2d_args *a) { return 3 * spread_columns(a) * SIZE; }
static void spread_make(const fn_pool2d_args *a, const spread *s) {
    for (int64_t w = 0, first = 0; w < s->n; w++) {
        const int64_t window = over(most(w + a->pw - a->S + 1, 0), a->sw);
        if (w % FN_VL == 0) s->first[w / FN_VL] = (fn_i)(first = window);
        s->from[w] = (fn_i)(window - first), s->tap[w] = (fn_i)(w + a->pw - window * a->sw);
    }
}
FN_INLINE void max_spread_bwd(const fn_pool2d_args *a, const gather *c, const spread *of, int64_t nu, fn_t *dx, int64_t at, int kept) {
    const int64_t W = a->W, Q = a->Q, nv = over(a->S, a->sw);
    for (int64_t w = 0; w < W; w += FN_VL) {
        const int64_t first = of->first[w / FN_VL], some = least(nv, Q - first);
        mask from, tap;
        memcpy(&from, of->from + w, sizeof from), memcpy(&tap, of->tap + w, sizeof tap);
        vec acc = v_zero();
        for (int64_t i = 0; i < nu; i++)
            for (int64_t j = 0; j < some; j++) {
                const int64_t k = at + first + i * c->down + j;
                const int m = (int)least(Q - first - j, FN_VL);
                const mask here = tap - m_set1((fn_i)(j * a->sw)), which = (mask)v_lanes((vec)taps_get(c->tap, k, m, kept), from);
                acc = add_where(acc, v_lanes(v_get(c->dy + k, m), from), which, (here + m_set1((fn_i)(c->tap0 - i * c->tap_down))) | (here < 0));
            }
        v_put(dx + w, acc, W - w);
    }
}

FN_WORK(max_pool2d_bwd) { return held_bytes(args, threads) + spread_bytes(args) * threads; }
FN_INLINE void max_backward(const fn_pool2d_args *a, fn_team t, int kept) {
    const axis down = rows_of(a), across = columns_of(a);
    const int64_t C = a->last ? a->C : 1, H = a->H, W = a->W, Q = a->Q;
    holders *const of = (holders *)a->work + t.rank * (H + W);
    const held rows = held_in(&down, of), columns = held_in(&across, of + H);
    range in = inputs_of(&across, (range){0, Q});
    if (a->sw == 2 && in.first == 1 && in.end > 3 && columns.of[0].n == columns.of[2].n && columns.of[0].tap == columns.of[2].tap)
        in.first--, in.end--;            /* where rows are aligned, as most are, stores then are too */
    const few f = few_of(a);
    const int far = in_memory(a);
    const int64_t n = spread_columns(a);
    fn_i *const place = (fn_i *)((char *)a->work + held_bytes(a, t.size) + spread_bytes(a) * t.rank);
    const spread s = {n, place, place + n, place + 2 * n};
    spread_make(a, &s);
    ROWS(a, H, {
        const holders u = rows.of[row];
        fn_t *const dx = (fn_t *)a->dx + i * W * C;
        const int64_t at = (plane * a->P + u.at) * Q * C;
        const gather c = {a->dy, a->tap, u.tap * a->S, columns.hop, rows.hop * Q, columns.tap_hop, rows.tap_hop * a->S};
        if (far && !a->last) {
            fetch_lines(dx + BEYOND, W * SIZE, 1);
            if (u.n) fetch_lines((const fn_t *)a->dy + at + BEYOND, Q * SIZE, 0), fetch_lines((const uint8_t *)a->tap + at + BEYOND, Q, 0);
        }
        if (!u.n) memset(dx, 0, (size_t)(W * C) * sizeof(fn_t));
        else if (f.n) max_few_bwd(a, &f, dx, at, u.tap);
        else if (a->last) max_pixels_bwd(a, rows, columns, u, dx, at, 0, W, C, kept);
        else if (s.n) max_spread_bwd(a, &c, &s, u.n, dx, at, kept);
        else if (a->sw <= 2 && kept == BYTES) max_row_bwd(a, &c, columns, in, u.n, dx, at);
        else max_border_bwd(&c, columns.of, u.n, 0, dx, at, 0, W, kept);
    });
}
FN_KERNEL(max_pool2d_bwd) {
    const fn_pool2d_args *a = args;
    if (a->R * a->S <= 256) max_backward(a, t, BYTES);
    else max_backward(a, t, WORDS);
}
