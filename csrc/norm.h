/* Sums over lines and over columns, for norm.c and layer_norm.c:
 *   GUESS  a += x              ABOUT  a += x - m, b += (x - m)^2              SLOPE  a += dy, b += dy (x - m)
 *   SLOPE_RELU: as SLOPE, where dy counts as 0 if y = (x - m) s + t <= 0 */
#ifndef FN_NORM_H
#define FN_NORM_H
#include "softmax.h"

enum { GUESS, ABOUT, SLOPE, SLOPE_RELU };
enum { ROWS = 32, WIDE = 512 };

FN_INLINE vec passed(vec dy, vec y) { return v_select(y <= v_zero(), v_zero(), dy); }
FN_INLINE void step(const int kind, vec *a, vec *b, vec x, vec dy, vec m, vec s, vec t) {
    const vec e = x - m;
    switch (kind) {
    case GUESS: *a += x; break;
    case ABOUT: *a += e, *b = v_fma(e, e, *b); break;
    case SLOPE_RELU: dy = passed(dy, v_fma(e, s, t)); /* fall through */
    default: *a += dy, *b = v_fma(dy, e, *b);
    }
}

/* A line of len elements into four pairs of accumulators. What is read `ahead` elements further on is fetched meanwhile. */
FN_INLINE void line_sums(const int kind, vec *a, vec *b, const fn_t *x, const fn_t *dy, int64_t len, int64_t ahead, fn_t m, fn_t s, fn_t t) {
    const vec vm = v_set1(m), vs = v_set1(s), vt = v_set1(t);
    int64_t i = 0;
    for (; i + 4 * FN_VL <= len; i += 4 * FN_VL) {
        if (kind != GUESS && ahead) fetch_lines(x + i + ahead, 4 * FN_VBYTES, 0);
        if (kind >= SLOPE && ahead) fetch_lines(dy + i + ahead, 4 * FN_VBYTES, 0);
        UNROLL for (int j = 0; j < 4; j++)
            step(kind, a + j, b + j, v_load(x + i + j * FN_VL), kind >= SLOPE ? v_load(dy + i + j * FN_VL) : vm, vm, vs, vt);
    }
    for (; i + FN_VL <= len; i += FN_VL) step(kind, a, b, v_load(x + i), kind >= SLOPE ? v_load(dy + i) : vm, vm, vs, vt);
    if (i < len) {                                           /* lanes beyond the end add nothing */
        const int n = (int)(len - i);
        step(kind, a, b, v_load_or(x + i, n, kind == GUESS ? 0 : m), kind >= SLOPE ? v_load_n(dy + i, n) : vm, vm, vs, vt);
    }
}
FN_INLINE double sum4(const vec *a) { return (double)v_sum((a[0] + a[1]) + (a[2] + a[3])); }

/* ---- columns, at most WIDE of them, ROWS rows at a time ---------------------------------------------------------- */

typedef struct { fn_t m[WIDE], s[WIDE], t[WIDE], q[WIDE], r[WIDE]; } terms;   /* a value for each column, or in [0] of a line */

/* nv vectors of columns, the last of m lanes, down the rows, which lie ld apart. */
FN_INLINE void strip_sums(const int kind, const int nv, const int m, fn_t *a, fn_t *b, const fn_t *x, const fn_t *dy, int64_t ld,
                          int64_t rows, const fn_t *km, const fn_t *ks, const fn_t *kt) {
    vec va[4], vb[4], vm[4], vs[4], vt[4];
    UNROLL for (int j = 0; j < nv; j++) {
        va[j] = vb[j] = vm[j] = vs[j] = vt[j] = v_zero();
        if (kind != GUESS) vm[j] = v_get(km + j * FN_VL, m);
        if (kind == SLOPE_RELU) vs[j] = v_get(ks + j * FN_VL, m), vt[j] = v_get(kt + j * FN_VL, m);
    }
    for (int64_t i = 0; i < rows; i++, x += ld, dy += kind >= SLOPE ? ld : 0)
        UNROLL for (int j = 0; j < nv; j++) {
            if (kind == ABOUT) __builtin_prefetch(x + j * FN_VL + FN_BEYOND / SIZE);
            step(kind, va + j, vb + j, v_get(x + j * FN_VL, m), kind >= SLOPE ? v_get(dy + j * FN_VL, m) : v_zero(), vm[j], vs[j], vt[j]);
        }
    UNROLL for (int j = 0; j < nv; j++) {
        v_put(a + j * FN_VL, va[j], m);
        if (kind != GUESS) v_put(b + j * FN_VL, vb[j], m);
    }
}
FN_INLINE void column_sums(const int kind, fn_t *a, fn_t *b, const fn_t *x, const fn_t *dy, int64_t ld, int64_t rows, int64_t w,
                           const terms *k) {
    int64_t j = 0;
#define STRIP(nv, lanes) strip_sums(kind, nv, lanes, a + j, b + j, x + j, kind >= SLOPE ? dy + j : dy, ld, rows, k->m + j, k->s + j, k->t + j)
    for (; j + 4 * FN_VL <= w; j += 4 * FN_VL) STRIP(4, FN_VL);
    const int64_t left = (w - j) / FN_VL;
    if (left == 3) STRIP(3, FN_VL);
    else if (left == 2) STRIP(2, FN_VL);
    else if (left == 1) STRIP(1, FN_VL);
    j += left * FN_VL;
    if (j < w) STRIP(1, (int)(w - j));
#undef STRIP
}
#endif
