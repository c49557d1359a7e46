/* Softmax along an axis of n elements: outer x n x inner, see fn_softmax_args.
 *
 *   softmax      y = exp(x - max) / sum exp(x - max)        dx = y (dy - sum dy y)
 *   log_softmax  y = (x - max) - log sum exp(x - max)       dx = dy - exp(y) sum dy
 *   logsumexp    y = max + log sum exp(x - max)
 *
 * inner 1: a row lies in one piece and its sums run over lanes. Else each lane walks down its own column.
 * A row that holds a NaN, or whose maximum is infinite, becomes NaN, as in PyTorch; logsumexp takes infinities as they are. */
#include "kernel.h"
#include "softmax.h"

/* This thread's rows (inner 1), or its vectors of columns: column group u is outer u / groups, columns u % groups * FN_VL on. */
#define SHARE(a) \
    const int64_t n = (a)->n, inner = (a)->inner, groups = (inner + FN_VL - 1) / FN_VL; \
    int64_t lo, hi; \
    if (n < 1) return; \
    fn_share(inner == 1 ? (a)->outer : (a)->outer * groups, inner == 1 ? 1 + 256 / n : 1, t, &lo, &hi)
#define COLUMNS(u) \
    const int64_t o = (u) / groups, j = (u) % groups * FN_VL, at = o * n * inner + j; \
    const int m = (int)(inner - j < FN_VL ? inner - j : FN_VL)

#define TILED \
    fn_t tile[COLUMN_TILE * FN_VL] __attribute__((aligned(FN_ALIGN))); \
    const int tiled = n <= COLUMN_TILE; \
    const int64_t hop = tiled ? FN_VL : inner

/* ---- softmax --------------------------------------------------------------------------------------------- */

FN_KERNEL(softmax_fwd) {
    const fn_softmax_args *a = args;
    const fn_t *const x = a->x;
    fn_t *const y = a->y;
    SHARE(a);
    if (inner == 1 && n <= FN_VL) {
        const int m = (int)n;
        for (int64_t r = lo; r < hi; r++) {
            const vec v = m == FN_VL ? v_load(x + r * n) : v_load_or(x + r * n, m, (fn_t)-INFINITY);
            const vec e = v_exp_neg(v - v_set1(v_most(v)));
            v_put(y + r * n, e * v_set1(1 / v_sum(e)), m);
        }
    } else if (inner == 1) {
        for (int64_t r = lo; r < hi; r++) {
            const fn_t most = row_max(x + r * n, n);
            if (r + 1 < hi) fetch_lines(x + (r + 1) * n, n * SIZE, 0);          /* three sweeps over this one leave the memory idle */
            const fn_t sum = row_exp(y + r * n, x + r * n, n, most, v_exp_neg);
            row_scale(y + r * n, n, 1 / sum);
        }
    } else {
        TILED;
        for (int64_t u = lo; u < hi; u++) {
            COLUMNS(u);
            const vec most = column_max(x + at, n, inner, m, tiled ? tile : NULL);
            const fn_t *const p = tiled ? tile : x + at;
            fn_t *const e = tiled ? tile : y + at;
            vec s = v_zero();
            for (int64_t i = 0; i < n; i++) {
                const vec v = v_exp_neg(v_get(p + i * hop, m) - most);
                v_put(e + i * hop, v, m);
                s += v;
            }
            s = v_set1(1) / s;
            for (int64_t i = 0; i < n; i++) v_put(y + at + i * inner, v_get(e + i * hop, m) * s, m);
        }
    }
}

/* dx = y (dy - s), s = sum dy y; of log_softmax dx = dy - exp(y) s, s = sum dy */
FN_INLINE vec added(const int logarithm, vec s, vec dy, vec y) { return logarithm ? s + dy : v_fma(dy, y, s); }
FN_INLINE vec slope(const int logarithm, vec s, vec dy, vec y) { return logarithm ? dy - v_exp_neg(y) * s : y * (dy - s); }
FN_INLINE void backward(const int logarithm, const fn_softmax_args *a, fn_team t) {
    const fn_t *const dy = a->x, *const y = a->saved;
    fn_t *const dx = a->y;
    SHARE(a);
    if (inner == 1) {
        for (int64_t r = lo; r < hi; r++) {
            const fn_t *const p = y + r * n, *const g = dy + r * n;
            fn_t *const d = dx + r * n;
            const int tail = (int)(n % FN_VL);
            const int64_t full = n - tail;
            vec s = v_zero();
            for (int64_t i = 0; i < full; i += FN_VL) s = added(logarithm, s, v_load(g + i), v_load(p + i));
            if (tail) s = added(logarithm, s, v_load_n(g + full, tail), v_load_n(p + full, tail));
            s = v_set1(v_sum(s));
            for (int64_t i = 0; i < full; i += FN_VL) v_store(d + i, slope(logarithm, s, v_load(g + i), v_load(p + i)));
            if (tail) v_store_n(d + full, slope(logarithm, s, v_load_n(g + full, tail), v_load_n(p + full, tail)), tail);
        }
    } else {
        for (int64_t u = lo; u < hi; u++) {
            COLUMNS(u);
            vec s = v_zero();
            for (int64_t i = 0, k = at; i < n; i++, k += inner) s = added(logarithm, s, v_get(dy + k, m), v_get(y + k, m));
            for (int64_t i = 0, k = at; i < n; i++, k += inner) v_put(dx + k, slope(logarithm, s, v_get(dy + k, m), v_get(y + k, m)), m);
        }
    }
}
FN_KERNEL(softmax_bwd) { backward(0, args, t); }

/* ---- log_softmax ------------------------------------------------------------------------------------------- */

FN_KERNEL(log_softmax_fwd) {
    const fn_softmax_args *a = args;
    const fn_t *const x = a->x;
    fn_t *const y = a->y;
    SHARE(a);
    if (inner == 1) {
        for (int64_t r = lo; r < hi; r += FN_VL) {           /* one logarithm serves FN_VL rows */
            const int rows = (int)(hi - r < FN_VL ? hi - r : FN_VL);
            fn_t most[FN_VL], sum[FN_VL];
            for (int k = 0; k < rows; k++) {
                most[k] = row_max(x + (r + k) * n, n);
                sum[k] = row_exp(NULL, x + (r + k) * n, n, most[k], v_exp_neg);
            }
            v_put(sum, v_log(v_get(sum, rows)), rows);
            for (int k = 0; k < rows; k++) {
                const vec m = v_set1(most[k]), s = v_set1(sum[k]);
                const fn_t *const p = x + (r + k) * n;
                fn_t *const q = y + (r + k) * n;
                int64_t i = 0;
                for (; i + FN_VL <= n; i += FN_VL) v_store(q + i, v_load(p + i) - m - s);
                if (i < n) v_store_n(q + i, v_load_n(p + i, (int)(n - i)) - m - s, (int)(n - i));
            }
        }
    } else {
        TILED;
        for (int64_t u = lo; u < hi; u++) {
            COLUMNS(u);
            const vec most = column_max(x + at, n, inner, m, tiled ? tile : NULL);
            const fn_t *const p = tiled ? tile : x + at;
            vec s = v_zero();
            for (int64_t i = 0; i < n; i++) s += v_exp_neg(v_get(p + i * hop, m) - most);
            s = v_log(s);
            for (int64_t i = 0; i < n; i++) v_put(y + at + i * inner, v_get(p + i * hop, m) - most - s, m);
        }
    }
}

FN_KERNEL(log_softmax_bwd) { backward(1, args, t); }

/* ---- logsumexp: an infinite maximum is not taken off ------------------------------------------------------- */

FN_KERNEL(logsumexp) {
    const fn_softmax_args *a = args;
    const fn_t *const x = a->x;
    fn_t *const y = a->y;
    SHARE(a);
    const vec inf = v_set1((fn_t)INFINITY);
    if (inner == 1) {
        for (int64_t r = lo; r < hi; r += FN_VL) {
            const int rows = (int)(hi - r < FN_VL ? hi - r : FN_VL);
            fn_t most[FN_VL], sum[FN_VL];
            for (int k = 0; k < rows; k++) {
                const fn_t *const p = x + (r + k) * n, m = row_max(p, n);
                most[k] = m < (fn_t)INFINITY && m > (fn_t)-INFINITY ? m : 0;
                sum[k] = row_exp(NULL, p, n, most[k], v_exp);
            }
            v_put(y + r, v_get(most, rows) + v_log(v_get(sum, rows)), rows);
        }
    } else {
        TILED;
        for (int64_t u = lo; u < hi; u++) {
            COLUMNS(u);
            vec most = column_max(x + at, n, inner, m, tiled ? tile : NULL), s = v_zero();
            const fn_t *const p = tiled ? tile : x + at;
            most = v_select(v_abs(most) < inf, most, v_zero());
            for (int64_t i = 0; i < n; i++) s += v_exp(v_get(p + i * hop, m) - most);
            v_put(y + o * inner + j, most + v_log(s), m);
        }
    }
}
