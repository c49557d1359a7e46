/* The walk that elementwise and copying kernels share: sides y, a, b, ... over one index space, any strides, zero included.
 *
 * A body sees only dense runs. Where a side has no dense run to offer, a chunk of it is gathered into a buffer that stays
 * in the first-level cache (y: scattered from it); rows long enough are taken one by one, shorter ones together. */
#ifndef FN_ELEM_H
#define FN_ELEM_H
#include "kernel.h"
#include <string.h>

#ifndef FN_INLINE
#define FN_INLINE static inline __attribute__((always_inline, unused))
#endif

enum { ELEM_BUFFER = 4096, ELEM_ROW = 256, ELEM_SIDES = 4 };

typedef struct {
    char *p;                     /* element 0 */
    const int64_t *s;            /* strides in elements; null: the one value at p everywhere */
    int size;                    /* bytes of an element: 1, 4 or 8 */
} elem_side;

/* n elements; at[0] is y, at[1] a, ... ; y may be one of the others. */
typedef void (*elem_body)(const void *args, int64_t n, void *const *at);

/* d[i*ds] = s[i*ss], with the common strides made known to the compiler. */
FN_INLINE void elem_move_sized(char *d, int64_t ds, const char *s, int64_t ss, int64_t n, const int size) {
    if (ds == 1 && ss == 1) {
        memcpy(d, s, (size_t)(n * size));
    } else if (ds == 1 && ss == 0) {
        for (int64_t i = 0; i < n; i++) memcpy(d + i * size, s, (size_t)size);
    } else {
        for (int64_t i = 0; i < n; i++) memcpy(d + i * ds * size, s + i * ss * size, (size_t)size);
    }
}

static __attribute__((unused, noinline)) void elem_move(char *d, int64_t ds, const char *s, int64_t ss, int64_t n, int size) {
    switch (size) {
    case 1: elem_move_sized(d, ds, s, ss, n, 1); break;
    case 4: elem_move_sized(d, ds, s, ss, n, 4); break;
    default: elem_move_sized(d, ds, s, ss, n, 8);
    }
}

/* Coordinates of flat index i. */
FN_INLINE void elem_at(int64_t i, int64_t ndim, const int64_t *n, int64_t *at) {
    for (int64_t d = ndim - 1; d > 0; d--) {
        at[d] = i % n[d];
        i /= n[d];
    }
    at[0] = i;
}

FN_INLINE int64_t elem_offset(int64_t ndim, const int64_t *at, const int64_t *s) {
    int64_t o = 0;
    for (int64_t d = 0; d < ndim; d++) o += at[d] * s[d];
    return o;
}

FN_INLINE int64_t elem_count(int64_t ndim, const int64_t *n) {
    int64_t m = 1;
    for (int64_t d = 0; d < ndim; d++) m *= n[d];
    return m;
}

/* Is the side row-major over the whole space? */
FN_INLINE int elem_dense(int64_t ndim, const int64_t *n, const int64_t *s) {
    int64_t want = 1;
    for (int64_t d = ndim - 1; d >= 0; d--) {
        if (n[d] != 1 && s[d] != want) return 0;
        want *= n[d];
    }
    return 1;
}

/* m elements from coordinates `from` on, between two strided sides; null strides: that side is a dense buffer, begun at its p. */
static __attribute__((unused, noinline)) void elem_copy(elem_side y, elem_side x, int64_t ndim, const int64_t *n, const int64_t *from,
                                                        int64_t m) {
    const int64_t last = ndim - 1, size = y.size;
    int64_t at[FN_DIMS];
    for (int64_t d = 0; d < ndim; d++) at[d] = from[d];
    if (y.s) y.p += elem_offset(ndim, at, y.s) * size;
    if (x.s) x.p += elem_offset(ndim, at, x.s) * size;
    while (m > 0) {
        const int64_t left = n[last] - at[last], run = left < m ? left : m;
        elem_move(y.p, y.s ? y.s[last] : 1, x.p, x.s ? x.s[last] : 1, run, y.size);
        m -= run;
        y.p += y.s ? -at[last] * y.s[last] * size : run * size;
        x.p += x.s ? -at[last] * x.s[last] * size : run * size;
        at[last] = 0;
        for (int64_t d = last - 1; d >= 0; d--) {
            const int64_t over = ++at[d] == n[d] ? n[d] : 0;
            if (y.s) y.p += (1 - over) * y.s[d] * size;
            if (x.s) x.p += (1 - over) * x.s[d] * size;
            if (!over) break;
            at[d] = 0;
        }
    }
}

static __attribute__((unused)) void elem_walk(int64_t ndim, const int64_t *n, const elem_side *e, int sides, elem_body body,
                                              const void *args, fn_team t) {
    enum { DENSE, ROW, ROW_VALUE, VALUE, GATHER } how[ELEM_SIDES];
    char buffer[ELEM_SIDES][ELEM_BUFFER] __attribute__((aligned(FN_ALIGN)));
    const char *held[ELEM_SIDES] = {0};          /* the value that a buffer repeats, and how often */
    int64_t holds[ELEM_SIDES] = {0}, at[FN_DIMS], lo, hi;
    const int64_t last = ndim - 1;
    const int rows = n[last] >= ELEM_ROW;
    int64_t most = INT64_MAX;                    /* elements in a chunk */
    for (int k = 0; k < sides; k++) {
        const int64_t *s = e[k].s;
        if (!s) how[k] = VALUE;
        else if (elem_dense(ndim, n, s)) how[k] = DENSE;
        else if (rows && s[last] == 1) how[k] = ROW;
        else how[k] = rows && s[last] == 0 ? ROW_VALUE : GATHER;
        if (how[k] >= ROW_VALUE && most > ELEM_BUFFER / e[k].size) most = ELEM_BUFFER / e[k].size;
    }
    fn_share(elem_count(ndim, n), FN_ALIGN, t, &lo, &hi);
    for (int64_t i = lo, m; i < hi; i += m) {
        void *x[ELEM_SIDES];
        elem_at(i, ndim, n, at);
        m = hi - i < most ? hi - i : most;
        if (rows && n[last] - at[last] < m) m = n[last] - at[last];
        for (int k = 0; k < sides; k++) {
            const char *p = e[k].p;
            if (how[k] == DENSE) {
                x[k] = e[k].p + i * e[k].size;
                continue;
            }
            if (how[k] == ROW || how[k] == ROW_VALUE) p += elem_offset(ndim, at, e[k].s) * e[k].size;
            x[k] = how[k] == ROW ? (char *)p : buffer[k];
            if (how[k] == GATHER) {
                if (k) elem_copy((elem_side){buffer[k], 0, e[k].size}, e[k], ndim, n, at, m);
            } else if (how[k] != ROW && (held[k] != p || holds[k] < m)) {
                elem_move(buffer[k], 1, p, 0, m, e[k].size);
                held[k] = p;
                holds[k] = m;
            }
        }
        body(args, m, x);
        if (how[0] == GATHER) elem_copy(e[0], (elem_side){buffer[0], 0, e[0].size}, ndim, n, at, m);
    }
}

/* The sides of an fn_elem_args: y of y_size bytes, a, then b or the scalar (binary), then c of c_size bytes. */
static __attribute__((unused, noinline)) void elem_run(const fn_elem_args *p, fn_team t, elem_body body, int sides, int y_size, int c_size) {
#if FN_REAL
    fn_t value = (fn_t)p->s;
#else
    fn_t value = (fn_t)p->k;
#endif
    const int size = sizeof(fn_t);
    elem_side e[ELEM_SIDES] = {{p->y, p->y_s, y_size}, {(char *)p->a, p->a_s, size}, {0}, {(char *)p->c, p->c_s, c_size}};
    if (p->b) e[2] = (elem_side){(char *)p->b, p->b_s, size};
    else e[2] = (elem_side){(char *)&value, 0, size};
    if (p->swap) {
        const elem_side a = e[1];
        e[1] = e[2];
        e[2] = a;
    }
    elem_walk(p->ndim, p->n, e, sides, body, p, t);
}
#endif
