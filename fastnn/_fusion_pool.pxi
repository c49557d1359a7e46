# A first layer and the 2x2 maximum behind it: the map between, of which the maximum leaves a quarter, is neither written nor read. Forward takes
# the maximum of its sums as they are made; of the map's gradient, zeros but for a number a window, the weight's gradient takes those numbers.

cdef bint _halves(fn_pool2d_args *p, fn_conv_args *c):
    """Is it the maximum of 2x2 windows side by side, channels last, of what c makes? And is c one of those that gain (conv_first.c)?"""
    return (p.R == p.S == p.sh == p.sw == 2 and p.ph == p.pw == 0 and p.dh == p.dw == 1 and p.last and not p.adaptive and p.flat == NULL
            and p.P == p.H // 2 and p.Q == p.W // 2 and p.N == c.N and p.C == c.K and p.H == c.P and p.W == c.Q and c.tap == NULL
            and c.C == 1 and c.stride_h == c.stride_w == c.dil_h == c.dil_w == 1 and 2 < c.K <= 8 and 8 <= c.R * c.S < 32)


cdef int _largest_at_once(Tape t, int64_t i) except -1:
    cdef Op pool = t.ops[i], conv
    cdef fn_pool2d_args *p = <fn_pool2d_args *>pool.words()
    cdef fn_conv_args *c
    cdef int64_t j
    if not (_begins(<uint64_t>p.x) and _begins(<uint64_t>p.y) and _begins(<uint64_t>p.tap)):
        return 0
    j = t.before(_block(<uint64_t>p.x), i)
    if j < 0 or not t.only(_block(<uint64_t>p.x), [j, i]) or not t.first(_block(<uint64_t>p.y), i) or not t.first(_block(<uint64_t>p.tap), i):
        return 0
    conv = t.ops[j]
    c = <fn_conv_args *>conv.words()
    if conv.op != FN_OP_conv2d_fwd or c.y != <void *>p.x or conv.dtype != pool.dtype or conv.dtype != FN_F32 or not _halves(p, c) \
            or (c.act != FN_ACT_NONE and not t.only(_block(<uint64_t>p.tap), [i])):     # of equals another tap may win behind the activation
        return 0
    t.leave(j)
    c.y, c.tap = p.y, p.tap
    conv.work += pool.work
    conv.renamed()
    t.enter(j, conv)
    t.drop(i)
    return 0


cdef int _gradient_of_largest(Tape t, int64_t i) except -1:
    """The map's gradient may have no other reader: a first layer's input needs none."""
    cdef Op conv = t.ops[i], back
    cdef fn_conv_args *c = <fn_conv_args *>conv.words()
    cdef fn_pool2d_args *q
    cdef int64_t j
    if not _begins(<uint64_t>c.dy):
        return 0
    j = t.before(_block(<uint64_t>c.dy), i)
    if j < 0 or not t.only(_block(<uint64_t>c.dy), [j, i]):
        return 0
    back = t.ops[j]
    q = <fn_pool2d_args *>back.words()
    if back.op != FN_OP_max_pool2d_bwd or q.dx != <void *>c.dy or back.dtype != conv.dtype or conv.dtype != FN_F32 or not _halves(q, c) \
            or c.dy_c != 1 or c.dy_w != c.K or c.dy_h != c.Q * c.K or c.dy_n != c.P * c.Q * c.K \
            or not (_begins(<uint64_t>q.dy) and _begins(<uint64_t>q.tap)) or t.written(_block(<uint64_t>q.dy), j, i) \
            or t.written(_block(<uint64_t>q.tap), j, i):
        return 0
    t.leave(i)
    c.dy, c.tap = q.dy, q.tap
    conv.renamed()
    t.enter(i, conv)
    t.drop(j)
    return 0
