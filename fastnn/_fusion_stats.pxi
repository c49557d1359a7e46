# Batch norm's statistics where its input is made: winograd_fwd, with a part of y just written, sums it up into the norm's work (norm_parts.h).
# The parts and the order within them are the norm's own, only the place changes; a pass over y from memory falls away.

cdef int _sum_ahead(Tape t, int64_t i) except -1:
    """Nobody names y between the two, so it is still what was summed up."""
    cdef Op norm = t.ops[i], conv
    cdef fn_norm_args *n = <fn_norm_args *>norm.words()
    cdef fn_conv_args *c
    cdef uint64_t x = <uint64_t>n.x, work = norm.words()[0]
    cdef int64_t k
    if not _begins(x) or not _begins(work) or n.inner != 1 or not t.only(_block(work), [i]):
        return 0
    k = t.before(_block(x), i)
    if k < 0:
        return 0
    conv = t.ops[k]
    c = <fn_conv_args *>conv.words()
    if conv.op != FN_OP_winograd_fwd or conv.dtype != norm.dtype or c.y != <void *>x or c.K != n.C or c.N * c.P * c.Q != n.N \
            or c.G > 1 or c.dil_h > 1 or c.dil_w > 1:
        return 0
    t.leave(k)
    c.sums, n.summed = <double *>work, 1
    conv.renamed()
    t.enter(k, conv)
    return 0


cdef bint summed_ahead(fn_call *c):
    return c.op == FN_OP_batch_norm_fwd and (<const fn_norm_args *>c.args).summed
