# Scaled dot product attention. Leading dimensions may have any strides; rows must lie in one piece, and are copied where they do not.

cdef extern from "fn.h":
    enum: FN_OP_attention_fwd, FN_OP_attention_bwd

cdef extern from "args.h":
    ctypedef struct fn_attention_args:
        void *y
        void *lse
        uint64_t *drawn
        void *dq
        void *dk
        void *dv
        const void *q
        const void *k
        const void *v
        const void *dy
        const void *mask
        const uint64_t *rng
        int64_t offset, nb
        int64_t n[FN_DIMS]
        int64_t y_b[FN_DIMS]
        int64_t q_b[FN_DIMS]
        int64_t k_b[FN_DIMS]
        int64_t v_b[FN_DIMS]
        int64_t mask_b[FN_DIMS]
        int64_t dy_b[FN_DIMS]
        int64_t dq_b[FN_DIMS]
        int64_t dk_b[FN_DIMS]
        int64_t dv_b[FN_DIMS]
        int64_t L, S, E, Ev, y_l, q_l, k_s, v_s, mask_l, mask_s, dy_l, dq_l, dk_s, dv_s, mask_bool, causal
        double scale, drop


cdef TensorBase _whole_rows(TensorBase x):
    return x if x.stride_[x.ndim - 1] == 1 or x.shape_[x.ndim - 1] < 2 else contiguous(x)


cdef TensorBase _empty_rows(TensorBase like, int64_t rows, int64_t cols):
    """A fresh tensor of like's leading dimensions, (..., rows, cols), all but the last dimension in memory in like's order."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t order[FN_DIMS]
    cdef int last = like.ndim - 1
    cdef TensorBase t
    memcpy(n, like.shape_, sizeof(n))
    memcpy(order, like.stride_, sizeof(order))
    n[last - 1], n[last], order[last] = rows, cols, 1
    t = empty(like.dtype_, like.ndim, n)
    lay_out(t, order)
    return t


cdef int _row_strides(TensorBase x, int64_t *batch, int64_t *row) except -1:
    cdef int i
    for i in range(x.ndim - 2):
        batch[i] = x.stride_[i]
    row[0] = x.stride_[x.ndim - 2]
    return 0


cdef double _attention_ns(fn_attention_args *a, double products) noexcept:
    cdef double n = 1
    cdef int i
    for i in range(a.nb):
        n *= a.n[i]
    return 200 + n * (100 + <double>max(a.L, 6) * a.S * (0.1 + products * (a.E + a.Ev) / (100 if a.causal else 50)))


cdef int _attention_args(TensorBase q, TensorBase k, TensorBase v, TensorBase mask, bint causal, double scale, double p, fn_attention_args *a) except -1:
    """What both directions take; operands of equal leading dimensions, the mask broadcast over them."""
    cdef int last = q.ndim - 1
    memset(a, 0, sizeof(a[0]))
    a.nb, a.L, a.S, a.E, a.Ev = q.ndim - 2, q.shape_[last - 1], k.shape_[last - 1], q.shape_[last], v.shape_[last]
    memcpy(a.n, q.shape_, (q.ndim - 2) * sizeof(int64_t))
    _row_strides(q, a.q_b, &a.q_l)
    _row_strides(k, a.k_b, &a.k_s)
    _row_strides(v, a.v_b, &a.v_s)
    a.q, a.k, a.v, a.causal, a.scale, a.drop = rd(q), rd(k), rd(v), causal, scale, p
    if mask is not None:
        _row_strides(mask, a.mask_b, &a.mask_l)
        a.mask, a.mask_s, a.mask_bool = rd(mask), mask.stride_[last], mask.dtype_ == FN_BOOL
    return 0


cdef str _attention_said(TensorBase q, TensorBase k, TensorBase v):
    return f"scaled_dot_product_attention: query (..., L, E)={shape_of(q)}, key (..., S, E)={shape_of(k)}, value (..., S, Ev)={shape_of(v)}: "


def attention_rules(TensorBase q, TensorBase k, TensorBase v, TensorBase mask, double p):
    """The mask broadcast to (..., L, S); raises where operands or dropout do not fit."""
    cdef int i, last = q.ndim - 1
    if q.ndim < 2 or k.ndim < 2 or v.ndim < 2:
        raise RuntimeError(_attention_said(q, k, v) + "Expected query, key, and value to all be  at least 2 dimensional")
    if not attention_leads_agree(q, k, v):
        raise RuntimeError(_attention_said(q, k, v) + "leading dimensions differ")
    if q.shape_[last] != k.shape_[last]:
        raise RuntimeError(_attention_said(q, k, v) + f"query has E={q.shape_[last]}, but key has E={k.shape_[last]}")
    if k.shape_[last - 1] != v.shape_[last - 1]:
        raise RuntimeError(_attention_said(q, k, v) + f"key has S={k.shape_[last - 1]}, but value has S={v.shape_[last - 1]}")
    _check_real(q, "scaled_dot_product_attention")
    if q.dtype_ != k.dtype_ or q.dtype_ != v.dtype_:
        raise RuntimeError(f"Expected query, key, and value to have the same dtype, but got query.dtype: {DTYPE_NAMES[q.dtype_]} "
                           f"key.dtype: {DTYPE_NAMES[k.dtype_]} and value.dtype: {DTYPE_NAMES[v.dtype_]} instead: scaled_dot_product_attention")
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}: scaled_dot_product_attention")
    if mask is None:
        return None
    if mask.dtype_ != FN_BOOL and mask.dtype_ != q.dtype_:
        raise RuntimeError(f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                           f"{DTYPE_NAMES[mask.dtype_]} and query.dtype: {DTYPE_NAMES[q.dtype_]} instead: scaled_dot_product_attention")
    whole = tuple([q.shape_[i] for i in range(last)]) + (k.shape_[last - 1],)
    try:
        return expand(mask, whole)
    except RuntimeError:
        raise RuntimeError(_attention_said(q, k, v) + f"attn_mask {shape_of(mask)} does not broadcast to (..., L, S)={whole}") from None


def attention_leads_agree(TensorBase q, TensorBase k, TensorBase v):
    """Have they the same leading dimensions, so that none is to be broadcast?"""
    cdef size_t n = (q.ndim - 2) * sizeof(int64_t) if q.ndim > 2 else 0
    return q.ndim == k.ndim and q.ndim == v.ndim and memcmp(q.shape_, k.shape_, n) == 0 and memcmp(q.shape_, v.shape_, n) == 0


def attention(TensorBase q, TensorBase k, TensorBase v, TensorBase mask, bint causal, double scale, double p=0, generator=None):
    """(y, saved): y = softmax(scale q k' + mask) v over the last two dimensions, for equal leading ones; y lies in memory in q's order.
    q (..., L, E), k (..., S, E), v (..., S, Ev); mask None, bool (True: attended to) or of q's type, which broadcasts to (..., L, S);
    causal: row i sees columns 0..i; p: dropout of the softmax. saved is what attention_backward takes."""
    cdef fn_attention_args a
    cdef TensorBase y, lse, drawn = None
    cdef int last = q.ndim - 1
    cdef int64_t two = 2
    mask = attention_rules(q, k, v, mask, p)
    q, k, v = _whole_rows(q), _whole_rows(k), _whole_rows(v)
    y = _empty_rows(q, q.shape_[last - 1], v.shape_[last])
    lse = empty(q.dtype_, last, q.shape_)
    if p > 0:
        drawn = empty(FN_I64, 1, &two)
    if y.numel_ and p < 1:
        _attention_args(q, k, v, mask, causal, scale, p, &a)
        a.y, a.lse = fresh(y), fresh(lse)
        _row_strides(y, a.y_b, &a.y_l)
        if p > 0:
            a.drawn = <uint64_t *>fresh(drawn)
            take_count(_generator(generator), &a.rng, &a.offset)
        call(FN_OP_attention_fwd, q.dtype_, &a, sizeof(a), _attention_ns(&a, 1))
    else:
        fill_into(y, 0)
    return y, (q, k, v, mask, y, lse, drawn)


cdef TensorBase _gradient_rows(TensorBase x, TensorBase out, bint want):
    """`out`, whose rows lie in one piece, or a fresh tensor in x's order; None if it is not wanted."""
    if not want:
        return None
    return out if out is not None else _empty_rows(x, x.shape_[x.ndim - 2], x.shape_[x.ndim - 1])


def attention_backward(TensorBase dy, tuple saved, bint causal, double scale, double p=0, bint want_q=True, bint want_k=True, bint want_v=True,
                       TensorBase dq=None, TensorBase dk=None, TensorBase dv=None):
    """(dq, dk, dv) for what attention saved, None where it is not wanted; written to those that are given."""
    cdef fn_attention_args a
    cdef TensorBase q, k, v, mask, y, lse, drawn, t
    cdef bint made[3]
    q, k, v, mask, y, lse, drawn = saved
    if not same_shape(dy, y) or dy.dtype_ != y.dtype_:
        raise RuntimeError(f"scaled_dot_product_attention: the gradient {shape_of(dy)} of {DTYPE_NAMES[dy.dtype_]} does not fit the output {shape_of(y)} "
                           f"of {DTYPE_NAMES[y.dtype_]}")
    made[0], made[1], made[2] = dq is None, dk is None, dv is None
    dq, dk, dv = _gradient_rows(q, dq, want_q), _gradient_rows(k, dk, want_k), _gradient_rows(v, dv, want_v)
    if y.numel_ == 0 or k.numel_ == 0 and v.numel_ == 0 or p >= 1:
        for t in (dq, dk, dv):
            if t is not None:
                fill_into(t, 0)
        return dq, dk, dv
    dy = _whole_rows(dy)
    _attention_args(q, k, v, mask, causal, scale, p, &a)
    a.y, a.lse, a.dy = <void *>rd(y), <void *>rd(lse), rd(dy)
    _row_strides(y, a.y_b, &a.y_l)
    _row_strides(dy, a.dy_b, &a.dy_l)
    if drawn is not None:
        a.drawn = <uint64_t *>rd(drawn)
    if dq is not None:
        a.dq = fresh(dq) if made[0] else wr(dq)
        _row_strides(dq, a.dq_b, &a.dq_l)
    if dk is not None:
        a.dk = fresh(dk) if made[1] else wr(dk)
        _row_strides(dk, a.dk_b, &a.dk_s)
    if dv is not None:
        a.dv = fresh(dv) if made[2] else wr(dv)
        _row_strides(dv, a.dv_b, &a.dv_s)
    call(FN_OP_attention_bwd, q.dtype_, &a, sizeof(a), _attention_ns(&a, 2.5))
    return dq, dk, dv
