# Where two branches meet: the gradient that winograd_bwd_x makes of the one takes that of the other along, and the ReLU before the branches
# too. The sum is then flushed as kernels of its kind do, which an add by itself does not: so whoever reads it does, and the other branch's
# gradient holds no denormals.

cdef int _join_gradients(Tape t, int64_t i) except -1:
    cdef Op add = t.ops[i], conv, reader
    cdef fn_elem_args *s = <fn_elem_args *>add.words()
    cdef fn_elem_args *d
    cdef fn_conv_args *c
    cdef uint64_t made, other, sum_ = <uint64_t>s.y, y = sum_, z = 0
    cdef int64_t j, k
    if s.b == NULL or s.s2 != 1 or not _run(s) or not _begins(sum_) or not t.first(_block(sum_), i) or _block(sum_) in t.seen \
            or len(t.uses[_block(sum_)]) != 2:
        return 0
    j = t.last(_block(sum_))
    reader = t.ops[j]
    d = <fn_elem_args *>reader.words()
    if reader.dtype != add.dtype:
        return 0
    if reader.op == FN_OP_relu_bwd:
        y, z = <uint64_t>d.y, <uint64_t>d.b
        if d.a != s.y or d.b == s.y or _run(d) != s.n[0] or not _begins(y) or not t.first(_block(y), j) or not z & _NAMED or _block(z) == _block(y):
            return 0
    elif reader.op != FN_OP_batch_norm_bwd or (<fn_norm_args *>reader.words()).dy != s.y or (<fn_norm_args *>reader.words()).x == s.y:
        return 0
    for made, other in ((<uint64_t>s.a, <uint64_t>s.b), (<uint64_t>s.b, <uint64_t>s.a)):
        if not (made & _NAMED and other & _NAMED) or _block(made) == _block(other):
            continue
        k = t.before(_block(made), i)
        if k < 0 or not t.only(_block(made), [k, i]):
            continue
        conv = t.ops[k]
        c = <fn_conv_args *>conv.words()
        if conv.op != FN_OP_winograd_bwd_x or c.dx != <void *>made or c.residual != NULL or c.N * c.C * c.H * c.W != s.n[0] or conv.dtype != add.dtype \
                or t.written(_block(other), k - 1, i) or not _flushed(t, _block(other), k) or (z and t.written(_block(z), k - 1, j)):
            continue
        t.leave(k)
        c.dx, c.residual, c.gate = <void *>y, <const void *>other, <const void *>z
        conv.renamed()
        t.enter(k, conv)
        t.drop(i)
        if z:
            t.drop(j)
        return 0
    return 0
