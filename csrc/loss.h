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

typedef void (*part_losses)(const fn_loss_args *a, part p, part_sum *sum);
typedef void (*part_slopes)(const fn_loss_args *a, part p);

FN_INLINE int counts(const fn_loss_args *a, int64_t class) { return class != a->ignore_index; }
FN_INLINE int valid(const fn_loss_args *a, int64_t class) { return class >= 0 && class < a->C; }
FN_INLINE fn_t weight_of(const fn_loss_args *a, int64_t class) { return a->weight ? ((const fn_t *)a->weight)[class] : 1; }
FN_INLINE fn_t weight_at(const fn_loss_args *a, int64_t class) { return !counts(a, class) ? 0 : valid(a, class) ? weight_of(a, class) : 1; }

/* What mean divides by, for every thread, before there is a loss. */
FN_INLINE fn_t total_ahead(const fn_loss_args *a, parting ps, part_sum *sums, fn_team t) {
    double total = 0;
    int64_t lo, hi;
    fn_share(ps.count, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        const part p = part_at(a, ps, i);
        sums[i].total = a->soft ? (double)(p.j1 - p.j0) : 0;
        for (int64_t j = p.j0; j < p.j1 && !a->soft; j++) sums[i].total += (double)weight_at(a, ((const int64_t *)a->target)[p.r * a->inner + j]);
    }
    if (ps.count > 1) fn_barrier(t);
    for (int64_t i = 0; i < ps.count; i++) total += sums[i].total;
    return (fn_t)total;
}

/* This thread's parts of the losses, which are then added up; and if there is a place for them, of the gradients, while the part is in
 * the cache. One part needs neither scratch nor barrier. */
FN_INLINE void run_losses(const fn_loss_args *given, parting ps, fn_team t, part_losses losses, part_slopes slopes) {
    fn_loss_args a = *given;
    part_sum alone = {0, 0}, *const sums = ps.count > 1 && a.reduction != NONE ? a.work : &alone;
    const int both = a.dx || a.dt || a.dv;
    fn_t ahead = 0;
    int64_t lo, hi;
    if (both && a.total) ahead = total_ahead(&a, ps, sums, t), a.total = &ahead;
    fn_share(ps.count, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        part_sum s = {0, 0}, *const to = &sums[sums == &alone ? 0 : i];
        losses(&a, part_at(&a, ps, i), &s);
        to->loss = s.loss;
        if (a.total != &ahead) to->total = s.total;          /* else others may be reading it */
        if (both) slopes(&a, part_at(&a, ps, i));
    }
    if (a.reduction == NONE) return;
    if (ps.count > 1) fn_barrier(t);
    if (ps.count == 1 ? hi == lo : t.rank != 0) return;
    double loss = 0, total = 0;
    for (int64_t i = 0; i < ps.count; i++) loss += sums[i].loss, total += sums[i].total;
    if (given->total) *(fn_t *)given->total = (fn_t)total;
    *(fn_t *)a.y = (fn_t)(a.reduction == MEAN ? loss / total : loss);
}
FN_INLINE void run_slopes(const fn_loss_args *a, parting ps, fn_team t, part_slopes slopes) {
    int64_t lo, hi;
    fn_share(ps.count, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) slopes(a, part_at(a, ps, i));
}

/* dL: the same for all items (mean, sum), or one for each. */
FN_INLINE fn_t gradient(const fn_loss_args *a) {
    const fn_t dy = a->reduction == NONE ? 0 : a->dy ? *(const fn_t *)a->dy : 1;
    return a->reduction == MEAN ? dy / (a->total ? *(const fn_t *)a->total : (fn_t)a->rows) : dy;
}
FN_INLINE fn_t gradient_of(const fn_loss_args *a, int64_t item, fn_t all) {
    return a->reduction == NONE ? ((const fn_t *)a->dy)[item] : all;
}
#endif
