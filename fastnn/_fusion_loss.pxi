# A loss and its gradient at once: where backward follows, forward's kernel makes the gradient of a part of its items right after their losses, while
# the part is in the cache; cross_entropy then keeps no probabilities. Where the gradient of the loss is 1, as at the end of most steps, both stand where
# forward stood. Else they stand where backward did: what forward read must be as it was, and nobody may have read the loss.

cdef dict _LOSSES = {FN_OP_cross_entropy_bwd: FN_OP_cross_entropy_fwd, **{back: fwd for fwd, back, _, _, _ in _PAIRS.values()}}


cdef int64_t _loss_before(Tape t, int64_t i) except -2:
    """The place of the loss that backward at place i is of, or -1: it reads the same, from the same blocks, and makes no gradient yet."""
    cdef Op back = t.ops[i], fwd
    cdef fn_loss_args *b = <fn_loss_args *>back.words()
    cdef fn_loss_args *f
    for k in range(i - 1, -1, -1):
        fwd = t.ops[k]
        if fwd is None or fwd.op != _LOSSES[back.op] or fwd.dtype != back.dtype:
            continue
        f = <fn_loss_args *>fwd.words()
        if f.prob == b.prob and (f.prob != NULL or f.x == b.x) and f.target == b.target and f.weight == b.weight and f.v == b.v \
                and f.total == b.total and f.rows == b.rows and f.C == b.C and f.inner == b.inner and f.reduction == b.reduction \
                and f.ignore_index == b.ignore_index and f.soft == b.soft and f.smoothing == b.smoothing and f.s == b.s and f.s2 == b.s2 \
                and f.dx == f.dt == f.dv == NULL:
            return k
    return -1


cdef bint _is_one(Tape t, uint64_t dy, int64_t i) except -1:
    """Is dy, as place i reads it, filled with 1?"""
    cdef int64_t j = t.before(_block(dy), i) if _begins(dy) else -1
    return j >= 0 and (<Op>t.ops[j]).op == FN_OP_fill and _overwritten(t, j) == _block(dy) and (<fn_copy_args *>(<Op>t.ops[j]).words()).s == 1


cdef bint _unchanged(Tape t, uint64_t x, int64_t after, int64_t until, list storages) except -1:
    """Does nobody write what x points to in after+1 .. until? storages: those from outside that the step writes."""
    cdef _memory span
    if x & _NAMED:
        return not t.written(_block(x), after, until)
    return not _add_storage(&span, 0, storages, <const void *>x)


cdef int _loss_at_once(Tape t, int64_t i, list storages) except -1:
    cdef Op back = t.ops[i], fwd
    cdef fn_loss_args *b = <fn_loss_args *>back.words()
    cdef fn_loss_args *f
    cdef int64_t k = _loss_before(t, i), place
    cdef const void *dy
    if k < 0:
        return 0
    fwd = t.ops[k]
    f = <fn_loss_args *>fwd.words()
    for kept in (<uint64_t>f.prob, <uint64_t>f.total):
        if kept and not (kept & _NAMED and t.only(_block(kept), [k, i])):
            return 0
    for made in (<uint64_t>b.dx, <uint64_t>b.dt, <uint64_t>b.dv):
        if made and not (made & _NAMED and t.first(_block(made), i)):
            return 0
    if f.reduction != _NONE and _is_one(t, <uint64_t>b.dy, i):
        dy, place = NULL, k              # whoever fills it for nobody else is forgotten
    else:
        dy, place = b.dy, i
        if not <uint64_t>f.y & _NAMED or not t.first(_block(<uint64_t>f.y), k) or t.before(_block(<uint64_t>f.y), i + 1) != k:
            return 0
        for read in (<uint64_t>f.x, <uint64_t>f.target, <uint64_t>f.weight, <uint64_t>f.v):
            if read and not _unchanged(t, read, k, i, storages):
                return 0
    t.drop(i)
    t.drop(k)
    f.prob, f.dx, f.dt, f.dv, f.dy = NULL, b.dx, b.dt, b.dv, dy
    fwd.work += back.work
    fwd.renamed()
    t.enter(place, fwd)
    return 0


cdef bint with_gradient(fn_call *c):
    cdef const fn_loss_args *a = <const fn_loss_args *>c.args
    return c.op in _LOSSES.values() and (a.dx != NULL or a.dt != NULL or a.dv != NULL)
