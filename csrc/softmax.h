/* A row of n >= 1 values next to each other, and FN_VL columns side by side: the largest value, exp(x - max) and its sum.
 * For softmax.c, loss.c and norm.c. */
#ifndef FN_SOFTMAX_H
#define FN_SOFTMAX_H
#include "vmath.h"

FN_INLINE mask m_first(int n) { return m_lanes() < m_set1(n); }
FN_INLINE vec v_load_or(const fn_t *p, int n, fn_t other) { return v_select(m_first(n), v_load_n(p, n), v_set1(other)); }

FN_INLINE fn_t row_max(const fn_t *x, int64_t n) {
    if (n < FN_VL) return v_most(v_load_or(x, (int)n, (fn_t)-INFINITY));
    vec m0 = v_load(x + n - FN_VL), m1 = m0, m2 = m0, m3 = m0;
    int64_t i = 0;
    for (; i + 4 * FN_VL <= n; i += 4 * FN_VL) {
        m0 = v_max(v_load(x + i), m0), m1 = v_max(v_load(x + i + FN_VL), m1);
        m2 = v_max(v_load(x + i + 2 * FN_VL), m2), m3 = v_max(v_load(x + i + 3 * FN_VL), m3);
    }
    for (; i + FN_VL <= n; i += FN_VL) m0 = v_max(v_load(x + i), m0);
    return v_most(v_max(v_max(m0, m1), v_max(m2, m3)));
}

/* y = f(x - max) where y is not null; gives the sum. f is v_exp_neg, or v_exp where max need not be the largest. */
FN_INLINE fn_t row_exp(fn_t *y, const fn_t *x, int64_t n, fn_t max, vec f(vec)) {
    const vec m = v_set1(max);
    vec s0 = v_zero(), s1 = v_zero();
    int64_t i = 0;
    for (; i + 2 * FN_VL <= n; i += 2 * FN_VL) {
        const vec a = f(v_load(x + i) - m), b = f(v_load(x + i + FN_VL) - m);
        if (y) v_store(y + i, a), v_store(y + i + FN_VL, b);
        s0 += a, s1 += b;
    }
    if (i + FN_VL <= n) {
        const vec a = f(v_load(x + i) - m);
        if (y) v_store(y + i, a);
        s0 += a, i += FN_VL;
    }
    if (i < n) {
        const vec a = f(v_load_or(x + i, (int)(n - i), (fn_t)-INFINITY) - m);
        if (y) v_store_n(y + i, a, (int)(n - i));
        s1 += a;
    }
    return v_sum(s0 + s1);
}

FN_INLINE void row_scale(fn_t *y, int64_t n, fn_t scale) {
    const vec r = v_set1(scale);
    int64_t i = 0;
    for (; i + FN_VL <= n; i += FN_VL) v_store(y + i, v_load(y + i) * r);
    if (i < n) v_store_n(y + i, v_load_n(y + i, (int)(n - i)) * r, (int)(n - i));
}

/* Largest value of each of m columns, n values `step` apart. Copied to the tile, FN_VL to a value, if there is one: up to
 * COLUMN_TILE values the later passes then stay in the first-level cache, where a step of a power of two would not let them. */
enum { COLUMN_TILE = 128 };
FN_INLINE vec column_max(const fn_t *x, int64_t n, int64_t step, int m, fn_t *tile) {
    vec most = v_set1((fn_t)-INFINITY);
    for (int64_t i = 0; i < n; i++) {
        const vec v = v_get(x + i * step, m);
        if (tile) v_put(tile + i * FN_VL, v, m);
        most = v_max(v, most);
    }
    return most;
}
#endif
