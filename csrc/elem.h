/* The walk that elementwise and copying kernels share: sides y, a, b, ... over one index space, any strides, zero too.
 *
 * A body sees only dense runs. Where a side has no dense run to offer, a chunk of it is moved through a buffer that stays
 * in the first-level cache. Rows long enough are taken one by one, shorter ones many at once. */
#ifndef FN_ELEM_H
#define FN_ELEM_H
#include "kernel.h"
#include <string.h>

/* The loop's elements do not depend on each other, though y may be one of the operands. */
#ifdef __clang__
#define ELEM_APART _Pragma("clang loop vectorize(assume_safety)")
#else
#define ELEM_APART _Pragma("GCC ivdep")
#endif

enum { ELEM_BUFFER = 4096, ELEM_ROW = 32, ELEM_SIDES = 4 };

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
    } else if (ds == 1 && ss == 2) {
        for (int64_t i = 0; i < n; i++) memcpy(d + i * size, s + i * 2 * size, (size_t)size);
    } else if (ds == 1 && ss == -1) {
        for (int64_t i = 0; i < n; i++) memcpy(d + i * size, s - i * size, (size_t)size);
    } else {
        for (int64_t i = 0; i < n; i++) memcpy(d + i * ds * size, s + i * ss * size, (size_t)size);
    }
}

FN_APART void elem_move(char *d, int64_t ds, const char *s, int64_t ss, int64_t n, int size) {
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

/* m elements from coordinates `from` on, between two sides; null strides: that side is a dense buffer, begun at its p. */
FN_APART void elem_copy(elem_side y, elem_side x, int64_t ndim, const int64_t *n, const int64_t *from, int64_t m) {
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

typedef struct {
    int64_t ndim;
    const int64_t *n;
    const elem_side *e;
    int sides;
    elem_body body;
    const void *args;
} elem_space;

/* Elements lo to hi, by rows: a side that is not dense along the row goes through its buffer. */
static void elem_rows(const elem_space *w, int64_t lo, int64_t hi, char (*buffer)[ELEM_BUFFER]) {
    const int64_t last = w->ndim - 1, *n = w->n, N = n[last];
    const elem_side *e = w->e;
    char *row[ELEM_SIDES];
    const char *held[ELEM_SIDES] = {0};          /* the value that a buffer repeats, and how often */
    int64_t step[ELEM_SIDES], holds[ELEM_SIDES] = {0}, at[FN_DIMS], most = N;
    elem_at(lo, w->ndim, n, at);
    for (int k = 0; k < w->sides; k++) {
        step[k] = e[k].s ? e[k].s[last] : 0;
        row[k] = e[k].p + (e[k].s ? elem_offset(last, at, e[k].s) * e[k].size : 0);
        if (step[k] != 1 && most > ELEM_BUFFER / e[k].size) most = ELEM_BUFFER / e[k].size;
    }
    for (int64_t i = lo, j = at[last], m; i < hi; i += m) {
        void *x[ELEM_SIDES];
        m = N - j < most ? N - j : most;
        m = hi - i < m ? hi - i : m;
        for (int k = 0; k < w->sides; k++) {
            x[k] = step[k] == 1 ? row[k] + j * e[k].size : buffer[k];
            if (step[k] > 1 && k > 0) {
                elem_move(buffer[k], 1, row[k] + j * step[k] * e[k].size, step[k], m, e[k].size);
            } else if (step[k] == 0 && (held[k] != row[k] || holds[k] < m)) {
                elem_move(buffer[k], 1, row[k], 0, m, e[k].size);
                held[k] = row[k];
                holds[k] = m;
            }
        }
        w->body(w->args, m, x);
        if (step[0] != 1) elem_move(row[0] + j * step[0] * e[0].size, step[0], buffer[0], 1, m, e[0].size);
        if ((j += m) < N) continue;
        j = 0;
        for (int64_t d = last - 1; d >= 0; d--) {
            const int64_t over = ++at[d] == n[d] ? n[d] : 0;
            for (int k = 0; k < w->sides; k++)
                if (e[k].s) row[k] += (1 - over) * e[k].s[d] * e[k].size;
            if (!over) break;
            at[d] = 0;
        }
    }
}

/* Elements lo to hi, many short rows at once: a side that is not dense over the whole space goes through its buffer. */
static void elem_chunks(const elem_space *w, int64_t lo, int64_t hi, char (*buffer)[ELEM_BUFFER]) {
    const elem_side *e = w->e;
    int dense[ELEM_SIDES];
    int64_t at[FN_DIMS], most = hi - lo;
    for (int k = 0; k < w->sides; k++) {
        dense[k] = e[k].s && elem_dense(w->ndim, w->n, e[k].s);
        if (!dense[k] && most > ELEM_BUFFER / e[k].size) most = ELEM_BUFFER / e[k].size;
    }
    for (int k = 0; k < w->sides; k++)
        if (!e[k].s) elem_move(buffer[k], 1, e[k].p, 0, most, e[k].size);
    for (int64_t i = lo, m; i < hi; i += m) {
        void *x[ELEM_SIDES];
        m = hi - i < most ? hi - i : most;
        elem_at(i, w->ndim, w->n, at);
        for (int k = 0; k < w->sides; k++) {
            x[k] = dense[k] ? e[k].p + i * e[k].size : buffer[k];
            if (dense[k] || !e[k].s || k == 0) continue;
            elem_copy((elem_side){buffer[k], 0, e[k].size}, e[k], w->ndim, w->n, at, m);
        }
        w->body(w->args, m, x);
        if (!dense[0]) elem_copy(e[0], (elem_side){buffer[0], 0, e[0].size}, w->ndim, w->n, at, m);
    }
}

FN_APART void elem_walk(const elem_space *w, fn_team t) {
    char buffer[ELEM_SIDES][ELEM_BUFFER] __attribute__((aligned(FN_ALIGN)));
    int64_t lo, hi;
    fn_share(elem_count(w->ndim, w->n), FN_ALIGN, t, &lo, &hi);
    if (lo == hi) return;
    int dense = w->ndim == 1;
    for (int k = 0; k < w->sides; k++) dense = dense && w->e[k].s && w->e[k].s[0] == 1;
    if (dense) {
        void *x[ELEM_SIDES];
        for (int k = 0; k < w->sides; k++) x[k] = w->e[k].p + lo * w->e[k].size;
        w->body(w->args, hi - lo, x);
    } else if (w->ndim == 1 || w->n[w->ndim - 1] >= ELEM_ROW) {
        elem_rows(w, lo, hi, buffer);
    } else {
        elem_chunks(w, lo, hi, buffer);
    }
}

/* The sides of an fn_elem_args: y of y_size bytes, a, then b or the scalar (binary), then c of c_size bytes. */
FN_APART void elem_run(const fn_elem_args *p, fn_team t, elem_body body, int sides, int y_size, int c_size) {
#if FN_REAL
    fn_t value = (fn_t)p->s;
#else
    fn_t value = (fn_t)p->k;
#endif
    const int size = sizeof(fn_t);
    elem_side e[ELEM_SIDES] = {{p->y, p->y_s, y_size}, {(char *)p->a, p->a_s, size}, {(char *)p->b, p->b_s, size},
                               {(char *)p->c, p->c_s, c_size}};
    if (!p->b) e[2] = (elem_side){(char *)&value, 0, size};
    if (p->swap) {
        const elem_side a = e[1];
        e[1] = e[2];
        e[2] = a;
    }
    elem_walk(&(elem_space){p->ndim, p->n, e, sides, body, p}, t);
}
#endif
