# What a program does otherwise than the step it was recorded from, with the same bits: passes over memory that fall away. A rule looks at a
# few neighbours in the list. What it may conclude rests on one thing, which operation names which block of the step (Tape, _tape.pxi), and on which
# blocks are seen from outside: those still alive when the recording ended. Lifetimes, and so places, follow from what is left (_places.pxi).
#
#   pattern                                  becomes                        because
#   a block written over from end to end     two blocks                     what it held before is not what it holds after
#   copy d <- s                              d is s from there on           neither is written while both are read
#   norm y, add t <- y,r, relu z <- t        norm z <- residual r, relu     the sum is rounded as before; r holds no denormals (the norm flushes)
#   norm | product y, relu z <- y            norm | product z, relu         an activation of the result before it is stored
#   relu_bwd d <- dz,z, norm_bwd <- d        norm_bwd <- dz, relu           the sign of z is found anew from x, by forward's own formula
#   winograd_bwd_x c, add s <- c,r, and      winograd_bwd_x d <- r, z       as with a residual forward: what reads d flushes (_fusion_gradient.pxi)
#       relu_bwd d <- s,z or norm_bwd <- s
#   relu r, max pool p <- r, and backward    pool, relu on fewer numbers    the largest of relus is the relu of the largest; where ties move
#                                                                           to another tap, the gradient is 0
#   convolution of one channel c, pool p <- c    convolution p           the map between is neither written nor read (_fusion_pool.pxi);
#       and pool_bwd d <- dp, weights <- d   weights <- dp, taps         its gradient's zeros add nothing
#   winograd_fwd y, norm <- y                winograd_fwd y, its sums        the norm's parts, taken in its order (_fusion_stats.pxi)
#   loss_fwd, loss_bwd dx                    loss_fwd, dx                   the same kernels on the same parts (_fusion_loss.pxi)
#   results that nobody reads                nothing                        or that are overwritten whole before anyone does
#   dense_bwd_w dw, sgd | adam .. w <- dw    dense_step w                   nobody reads w in between (_fusion_step.pxi)
#   dense_bwd_x dx, dense_step w of one row    dense_step w, dx             w is read once for both
#   result y, operand a read for the last    y in a's place                 kernels that say "may be x"
#
# nn.Sequential joins the same layers in eager steps (nn/fusion.py).

cdef extern from "args.h":
    enum: FN_ACT_NONE, FN_ACT_RELU, FN_ACT_SIGMOID, FN_ACT_TANH


# ---- what operations do ------------------------------------------------------------------------------------------------

cdef int64_t _run(fn_elem_args *e) noexcept:
    """The count of elements if all operands are walked in the one order that they lie in, else 0."""
    if e.ndim != 1 or e.y_s[0] != 1 or e.a_s[0] != 1 or (e.b != NULL and e.b_s[0] != 1) or (e.c != NULL and e.c_s[0] != 1):
        return 0
    return e.n[0]


cdef int64_t _copied(Tape t, Op o) except -1:
    """The count of elements if it copies a whole block to another as it is, else 0."""
    cdef fn_copy_args *c = <fn_copy_args *>o.words()
    cdef int64_t n = c.n[0]
    cdef uint64_t y = <uint64_t>c.y, x = <uint64_t>c.x
    if o.op != FN_OP_copy or c.x_dtype != o.dtype or c.ndim != 1 or c.y_s[0] != 1 or c.x_s[0] != 1 or not _begins(y) or not _begins(x):
        return 0
    return n if t.bytes[_block(y)] == n * itemsize[o.dtype] == t.bytes[_block(x)] and y != x else 0


cdef int64_t _overwritten(Tape t, int64_t i) except -2:
    """The block that a copy or a fill writes from end to end and does not read, or -1."""
    cdef Op o = t.ops[i]
    cdef fn_copy_args *c = <fn_copy_args *>o.words()
    cdef int64_t y
    if (o.op != FN_OP_copy and o.op != FN_OP_fill) or c.ndim != 1 or c.y_s[0] != 1 or not _begins(<uint64_t>c.y):
        return -1
    y = _block(<uint64_t>c.y)
    if c.n[0] * itemsize[o.dtype] != t.bytes[y] or (o.op == FN_OP_copy and <uint64_t>c.x & _NAMED and _block(<uint64_t>c.x) == y):
        return -1
    return y


cdef struct _result:                     # of an operation that can apply an activation before it stores
    void **y
    int64_t *act
    int64_t n                            # elements of y; 0: this is no such operation


cdef _result _result_of(Op o, bint norm):
    cdef _result r
    cdef fn_norm_args *b
    cdef fn_conv_args *c
    cdef fn_dense_args *d
    cdef fn_gemm_args *g
    memset(&r, 0, sizeof(r))
    if norm:
        if o.op == FN_OP_batch_norm_fwd or o.op == FN_OP_batch_norm_eval:
            b = <fn_norm_args *>o.words()
            r.y, r.act, r.n = &b.y, &b.act, b.N * b.C * b.inner
    elif o.op == FN_OP_conv2d_fwd or o.op == FN_OP_depthwise_fwd or o.op == FN_OP_winograd_fwd:
        c = <fn_conv_args *>o.words()
        r.y, r.act, r.n = &c.y, &c.act, c.N * c.K * (c.P * c.Q if c.tap == NULL else (c.P // 2) * (c.Q // 2))
    elif o.op == FN_OP_dense_fwd:
        d = <fn_dense_args *>o.words()
        r.y, r.act, r.n = &d.y, &d.act, d.M * d.N if d.ldy == d.N else 0
    elif o.op == FN_OP_gemm:
        g = <fn_gemm_args *>o.words()
        r.y, r.act, r.n = &g.c, &g.act, g.batch * g.M * g.N if g.ldc == g.N and (g.batch == 1 or g.c_batch == g.M * g.N) else 0
    if r.n and r.act[0] != FN_ACT_NONE:
        r.n = 0
    return r


cdef bint _flushed(Tape t, int64_t b, int64_t until) except -1:
    """Has all that was written to block b before place `until` come from kernels that flush denormals, or been copied from such?"""
    cdef Op o
    cdef fn_pool2d_args *q
    cdef uint64_t x
    cdef bint any_ = False
    for i in t.uses[b]:
        o = t.ops[i]
        if i >= until:
            break
        if o.touches(b):
            any_ = True
            q = <fn_pool2d_args *>o.words()
            if o.op == FN_OP_copy or (o.op == FN_OP_avg_pool2d_fwd and q.R == q.S == 1):         # each stride-th pixel
                x = <uint64_t>(<fn_copy_args *>o.words()).x if o.op == FN_OP_copy else <uint64_t>q.x
                if not x & _NAMED or _block(x) == b or not _flushed(t, _block(x), i):
                    return False
            elif not fn_ops[o.op].flags & FN_FLUSH and not (o.op == FN_OP_fill and (<fn_copy_args *>o.words()).s == 0):
                return False
    return any_


# ---- the rules: each looks at place i of the list ------------------------------------------------------------------------

cdef int _part_values(Tape t, int64_t i) except -1:
    """A block that is written over has lived: what it held before is another block from here on, which nobody sees."""
    cdef int64_t b = _overwritten(t, i)
    if b >= 0 and not t.first(b, i):
        t.rename(b, t.new_block(t.bytes[b]), 0, i)
    return 0


cdef int _follow_copy(Tape t, int64_t i) except -1:
    cdef Op o = t.ops[i]
    cdef fn_copy_args *c = <fn_copy_args *>o.words()
    cdef int64_t d, s, last
    if not _copied(t, o):
        return 0
    d, s = _block(<uint64_t>c.y), _block(<uint64_t>c.x)
    last = max(t.last(d), t.last(s))
    if d not in t.seen and ((s not in t.seen and t.last(s) == i) or not (t.written(d, i, last) or t.written(s, i, t.last(d)))):
        t.drop(i)
        t.rename(d, s, i, len(t.ops))
    elif s not in t.seen and t.first(d, i) and (t.last(s) == i or not (t.written(d, i, last) or t.written(s, i, last))):
        t.drop(i)                        # made in the place it was to be copied to
        t.rename(s, d, 0, len(t.ops))
    return 0


cdef int _join_residual(Tape t, int64_t i) except -1:
    cdef Op relu = t.ops[i], add, norm
    cdef fn_elem_args *z = <fn_elem_args *>relu.words()
    cdef fn_elem_args *s
    cdef fn_norm_args *n
    cdef _result r
    cdef uint64_t y, other
    cdef int64_t j, k
    if not (_run(z) and <uint64_t>z.a & _NAMED and _begins(<uint64_t>z.y)):
        return 0
    j = t.before(_block(<uint64_t>z.a), i)
    if j < 0 or not t.only(_block(<uint64_t>z.a), [j, i]) or not t.first(_block(<uint64_t>z.y), i):
        return 0
    add = t.ops[j]
    s = <fn_elem_args *>add.words()
    if add.op != FN_OP_add or s.b == NULL or s.s2 != 1 or s.y != <void *>z.a or _run(s) != z.n[0] or add.dtype != relu.dtype:
        return 0
    for y, other in ((<uint64_t>s.a, <uint64_t>s.b), (<uint64_t>s.b, <uint64_t>s.a)):
        if not (y & _NAMED and other & _NAMED) or y == other:
            continue
        k = t.before(_block(y), j)
        if k < 0 or not t.only(_block(y), [k, j]):
            continue
        norm = t.ops[k]
        r = _result_of(norm, True)
        if r.n != z.n[0] or r.y[0] != <void *>y or norm.dtype != relu.dtype or t.written(_block(other), k - 1, j) \
                or not _flushed(t, _block(other), k):
            continue
        t.leave(k)
        n = <fn_norm_args *>norm.words()
        if n.residual == NULL:
            n.y, n.residual, n.act = z.y, <const void *>other, FN_ACT_RELU
            t.drop(i)
            t.drop(j)
        norm.renamed()
        t.enter(k, norm)
        return 0
    return 0


cdef int _activate(Tape t, int64_t i, bint norm) except -1:
    cdef Op act = t.ops[i], o
    cdef fn_elem_args *z = <fn_elem_args *>act.words()
    cdef _result r
    cdef int64_t k, y
    if not (_run(z) and <uint64_t>z.a & _NAMED and _begins(<uint64_t>z.y)):
        return 0
    y = _block(<uint64_t>z.a)
    k = t.before(y, i)
    if k < 0 or not (z.y == z.a or (t.only(y, [k, i]) and t.first(_block(<uint64_t>z.y), i))):
        return 0
    o = t.ops[k]
    r = _result_of(o, norm)
    if r.n != z.n[0] or r.y[0] != <void *>z.a or o.dtype != act.dtype:
        return 0
    if act.op != FN_OP_relu_fwd and (norm or (o.op != FN_OP_dense_fwd and o.op != FN_OP_gemm)):
        return 0
    t.leave(k)
    r.y[0] = z.y
    r.act[0] = FN_ACT_RELU if act.op == FN_OP_relu_fwd else FN_ACT_SIGMOID if act.op == FN_OP_sigmoid_fwd else FN_ACT_TANH
    o.renamed()
    t.enter(k, o)
    t.drop(i)
    return 0


cdef int _activate_norm(Tape t, int64_t i) except -1:
    return _activate(t, i, True)


cdef int _activate_product(Tape t, int64_t i) except -1:
    return _activate(t, i, False)


cdef int _join_slope(Tape t, int64_t i) except -1:
    """What backward reads of forward's is as forward left it, or the tape would have raised: so it is enough that the operands are forward's."""
    cdef Op bwd = t.ops[i], relu, fwd
    cdef fn_norm_args *b = <fn_norm_args *>bwd.words()
    cdef fn_norm_args *f
    cdef fn_elem_args *d
    cdef int64_t k
    if b.act != FN_ACT_NONE or not <uint64_t>b.dy & _NAMED:
        return 0
    k = t.before(_block(<uint64_t>b.dy), i)
    if k < 0 or not t.only(_block(<uint64_t>b.dy), [k, i]):
        return 0
    relu = t.ops[k]
    d = <fn_elem_args *>relu.words()
    if relu.op != FN_OP_relu_bwd or d.y != <void *>b.dy or _run(d) != b.N * b.C * b.inner or relu.dtype != bwd.dtype \
            or not <uint64_t>d.a & _NAMED or not <uint64_t>d.b & _NAMED or t.written(_block(<uint64_t>d.a), k, i):
        return 0
    fwd = t.ops[t.uses[_block(<uint64_t>d.b)][0]]
    f = <fn_norm_args *>fwd.words()
    if fwd.op != (FN_OP_batch_norm_fwd if b.train else FN_OP_batch_norm_eval) or f.act != FN_ACT_RELU or f.residual != NULL \
            or f.y != <void *>d.b or f.x != b.x or f.stats != b.stats or f.w != b.w or f.N != b.N or f.C != b.C or f.inner != b.inner:
        return 0
    t.leave(i)
    b.dy, b.act, b.b = d.a, FN_ACT_RELU, f.b
    bwd.renamed()
    t.enter(i, bwd)
    t.drop(k)
    return 0


cdef int _pool_first(Tape t, int64_t i) except -1:
    """Only with the gradient: without one the product before takes the activation for nothing."""
    cdef Op slope = t.ops[i], back, relu, pool
    cdef fn_elem_args *d = <fn_elem_args *>slope.words()
    cdef fn_elem_args *z
    cdef fn_pool2d_args *q
    cdef fn_pool2d_args *p
    cdef int64_t j, k, l, n, r
    cdef uint64_t inner
    if not (_run(d) and <uint64_t>d.a & _NAMED and _begins(<uint64_t>d.b) and _begins(<uint64_t>d.y) and t.first(_block(<uint64_t>d.y), i)):
        return 0
    r = _block(<uint64_t>d.b)
    l = t.before(_block(<uint64_t>d.a), i)
    if l < 0 or not t.only(_block(<uint64_t>d.a), [l, i]) or r in t.seen or len(t.uses[r]) != 3:
        return 0
    j, k = t.uses[r][0], t.uses[r][1]
    relu, pool, back = t.ops[j], t.ops[k], t.ops[l]
    if relu.op != FN_OP_relu_fwd or pool.op != FN_OP_max_pool2d_fwd or back.op != FN_OP_max_pool2d_bwd:
        return 0
    z, p, q = <fn_elem_args *>relu.words(), <fn_pool2d_args *>pool.words(), <fn_pool2d_args *>back.words()
    n = p.N * p.C * p.P * p.Q
    if z.y != <void *>d.b or _run(z) != d.n[0] or z.y == z.a or p.x != d.b or p.flat != NULL or p.dh != 1 or p.dw != 1 or q.dx != <void *>d.a \
            or q.tap != p.tap or p.N * p.C * p.H * p.W != d.n[0] or not (_begins(<uint64_t>p.y) and _begins(<uint64_t>p.tap) and <uint64_t>q.dy & _NAMED):
        return 0
    if not (t.first(_block(<uint64_t>p.y), k) and t.only(_block(<uint64_t>p.tap), [k, l])) or t.written(_block(<uint64_t>p.y), k, l) \
            or t.written(_block(<uint64_t>q.dy), l - 1, i):
        return 0
    for o in (j, k, l, i):
        t.leave(o)
    p.x, z.a, z.y, z.n[0] = z.a, p.y, p.y, n
    inner = _NAMED | <uint64_t>t.new_block(n * itemsize[pool.dtype]) << 40
    d.a, d.b, q.dx, d.y, d.n[0] = q.dy, p.y, d.y, <void *>inner, n
    q.dy = <const void *>inner
    relu.work, slope.work = relu.work * n / (p.N * p.C * p.H * p.W), slope.work * n / (p.N * p.C * p.H * p.W)
    for o in (relu, pool, back, slope):
        (<Op>o).renamed()
    t.enter(j, pool)
    t.enter(k, relu)
    t.enter(l, slope)
    t.enter(i, back)
    return 0


cdef int _forget(Tape t, int64_t i) except -1:
    cdef Op o = t.ops[i]
    cdef uint64_t *w = o.words()
    cdef int64_t b, k
    if o.writes < 0:
        return 0
    for m in range(1, o.writes):
        if w[<int>m] == 0:
            continue
        if not w[<int>m] & _NAMED:
            return 0
        b = _block(w[<int>m])
        k = bisect_left(t.uses[b], i + 1)
        if k == len(t.uses[b]):
            if b in t.seen:
                return 0
            continue
        if _overwritten(t, t.uses[b][k]) != b:
            return 0
    t.drop(i)
    return 0


# Of the ops that say so: the word of the result, and those of the operands whose place it may take.
_MAY_BE = {"batch_norm_fwd": (1, (13, 9)), "batch_norm_eval": (1, (13, 9)), "batch_norm_bwd": (2, (12,)), "layer_norm_fwd": (1, (6,)),
           "layer_norm_bwd": (2, (9,)), "group_norm_fwd": (1, (6,)), "group_norm_bwd": (2, (9,)), "softmax_fwd": (1, (2,)), "softmax_bwd": (1, (2,)),
           "log_softmax_fwd": (1, (2,)), "log_softmax_bwd": (1, (2,)), "dropout_fwd": (1, (3,)), "dropout_bwd": (1, (3,))}


cdef int _share_place(Tape t, int64_t i) except -1:
    cdef Op o = t.ops[i]
    cdef uint64_t *w = o.words()
    cdef int64_t y, x
    cdef int out, k
    if fn_ops[o.op].family == b"elem":
        out, sides = 1, (2, 3, 4) if _run(<fn_elem_args *>w) else ()
    else:
        out, sides = _MAY_BE.get(fn_ops[o.op].name.decode(), (1, ()))
    if not sides or not _begins(w[out]) or not t.first(_block(w[out]), i):
        return 0
    y = _block(w[out])
    for side in sides:
        k = side
        if not _begins(w[k]):
            continue
        x = _block(w[k])
        if x in t.seen or t.last(x) != i or t.bytes[x] != t.bytes[y] or sum([_block(w[<int>m]) == x for m in o.at]) != 1:
            continue
        if y in t.seen:
            t.rename(x, y, 0, len(t.ops))
        else:
            t.rename(y, x, 0, len(t.ops))
        return 0
    return 0


ctypedef int (*_rule)(Tape t, int64_t i) except -1


cdef int _everywhere(Tape t, _rule rule, tuple ops) except -1:
    cdef int64_t i
    for i in range(len(t.ops)):
        if t.ops[i] is not None and (<Op>t.ops[i]).op in ops:
            rule(t, i)
    return 0


cdef int fuse(Tape t, list storages) except -1:
    """storages: those from outside that the step writes."""
    cdef int64_t i
    cdef tuple soft = (FN_OP_relu_fwd, FN_OP_sigmoid_fwd, FN_OP_tanh_fwd)
    _everywhere(t, _part_values, (FN_OP_copy, FN_OP_fill))
    _everywhere(t, _follow_copy, (FN_OP_copy,))
    _everywhere(t, _join_residual, (FN_OP_relu_fwd,))
    _everywhere(t, _activate_norm, (FN_OP_relu_fwd,))
    _everywhere(t, _join_slope, (FN_OP_batch_norm_bwd,))
    _everywhere(t, _join_gradients, (FN_OP_add,))
    _everywhere(t, _pool_first, (FN_OP_relu_bwd,))
    _everywhere(t, _largest_at_once, (FN_OP_max_pool2d_fwd,))        # before an activation behind it can join,
    _everywhere(t, _activate_product, soft)
    _everywhere(t, _largest_at_once, (FN_OP_max_pool2d_fwd,))        # and where one before it has joined
    _everywhere(t, _gradient_of_largest, (FN_OP_conv2d_bwd_w,))
    _everywhere(t, _sum_ahead, (FN_OP_batch_norm_fwd,))
    for i in range(len(t.ops)):
        if t.ops[i] is not None and (<Op>t.ops[i]).op in _LOSSES:
            _loss_at_once(t, i, storages)
    for i in range(len(t.ops) - 1, -1, -1):                  # from the end: what fed a result that nobody reads is not read either
        if t.ops[i] is not None:
            _forget(t, i)
    for o in [o for o in t.ops if o is not None and (<Op>o).op in (FN_OP_sgd, FN_OP_adam, FN_OP_rmsprop, FN_OP_adagrad)]:
        _step_at_once(t, o, storages)
    for i in range(len(t.ops)):
        if t.ops[i] is not None:
            _share_place(t, i)
    t.ops = [o for o in t.ops if o is not None]
    t.index()
    return 0
