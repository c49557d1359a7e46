/* What losses share: items cut into parts by shape alone, the sums of parts added in order, and the gradient each item gets. For loss.c. */
#ifndef FN_LOSS_H
#define FN_LOSS_H
#include "kernel.h"

enum { NONE, MEAN, SUM };

typedef struct { double loss, total; } part_sum;

/* The items of part i: row r, columns j0..j1 (inner > 1), or rows j0..j1 (inner 1, r is 0). */
typedef struct { int64_t size, across, count; } parting;
typedef struct { int64_t r, j0, j1; } part;
static parting parts_of(const fn_loss_args *a, int64_t size) {
    const int64_t items = a->inner == 1 ? a->rows : a->inner, across = (items + size - 1) / size;
    return (parting){size, across, a->inner == 1 ? across : a->rows * across};
}
static part part_at(const fn_loss_args *a, parting ps, int64_t i) {
    const int64_t items = a->inner == 1 ? a->rows : a->inner, j0 = i % ps.across * ps.size, j1 = j0 + ps.size;
    return (part){i / ps.across, j0, j1 < items ? j1 : items};
}
static int64_t work_for(const fn_loss_args *a, parting ps) {
    return a->reduction != NONE && ps.count > 1 ? ps.count * (int64_t)sizeof(part_sum) : 0;
}

typedef void (*part_body)(const fn_loss_args *a, part p, part_sum *sum);

/* Runs body over this thread's parts, then adds them up. One part needs neither scratch nor barrier. */
FN_INLINE void reduce_parts(const fn_loss_args *a, parting ps, fn_team t, part_body body) {
    part_sum alone = {0, 0}, *const sums = ps.count > 1 && a->reduction != NONE ? a->work : &alone;
    int64_t lo, hi;
    fn_share(ps.count, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        part_sum s = {0, 0};
        body(a, part_at(a, ps, i), &s);
        sums[sums == &alone ? 0 : i] = s;
    }
    if (a->reduction == NONE) return;
    if (ps.count > 1) fn_barrier(t);
    if (ps.count == 1 ? hi == lo : t.rank != 0) return;
    double loss = 0, total = 0;
    for (int64_t i = 0; i < ps.count; i++) loss += sums[i].loss, total += sums[i].total;
    if (a->total) *(fn_t *)a->total = (fn_t)total;
    *(fn_t *)a->y = (fn_t)(a->reduction == MEAN ? loss / total : loss);
}

/* dL: the same for all items (mean, sum), or one for each. */
FN_INLINE fn_t gradient(const fn_loss_args *a) {
    const fn_t *const dy = a->dy;
    return a->reduction == NONE ? 0 : a->reduction == MEAN ? dy[0] / (a->total ? *(const fn_t *)a->total : (fn_t)a->rows) : dy[0];
}
FN_INLINE fn_t gradient_of(const fn_loss_args *a, int64_t item, fn_t all) {
    return a->reduction == NONE ? ((const fn_t *)a->dy)[item] : all;
}
FN_INLINE int counts(const fn_loss_args *a, int64_t class) { return class != a->ignore_index; }
FN_INLINE int valid(const fn_loss_args *a, int64_t class) { return class >= 0 && class < a->C; }
FN_INLINE fn_t weight_of(const fn_loss_args *a, int64_t class) { return a->weight ? ((const fn_t *)a->weight)[class] : 1; }
#endif
