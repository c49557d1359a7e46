# Reductions: y = f over dims of x. dims is None (all) or a tuple of ints; a reduced dimension is dropped, or kept with size 1.

cdef extern from "fn.h":
    enum:
        FN_OP_sum, FN_OP_sumsq, FN_OP_sumabs, FN_OP_sumdev2, FN_OP_prod, FN_OP_max, FN_OP_min, FN_OP_argmax, FN_OP_argmin
        FN_OP_any, FN_OP_all, FN_OP_cumsum

cdef extern from "args.h":
    ctypedef struct fn_reduce_args:
        void *y
        const void *x
        int64_t nout, nred
        int64_t o_n[FN_DIMS]
        int64_t o_y[FN_DIMS]
        int64_t o_x[FN_DIMS]
        int64_t r_n[FN_DIMS]
        int64_t r_x[FN_DIMS]
        int64_t y_r
        double scale


cdef unsigned _dim_set(dims, int ndim) except? 0xFFFFFFFF:
    """dims as bits; None is all of them."""
    cdef unsigned which = 0
    cdef int d
    if dims is None:
        return (1u << ndim) - 1
    for i in dims:
        d = _dim(i, ndim)
        if which & (1u << d):
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        which |= 1u << d
    return which


cdef int join(int ndim, int64_t *n, int sides, int64_t **s) noexcept:
    """Neighbouring dimensions of one index space made one where all sides allow it; the order stays. Returns how many."""
    cdef int d = -1, i, k
    cdef bint joined
    for i in range(ndim):
        if n[i] == 1:
            continue
        joined = d >= 0
        for k in range(sides):
            joined = joined and s[k][d] == n[i] * s[k][i]
        if joined:
            n[d] *= n[i]
        else:
            d += 1
            n[d] = n[i]
        for k in range(sides):
            s[k][d] = s[k][i]
    return d + 1


cdef TensorBase _reduce(int op, int y_kind, TensorBase x, dims, bint keepdim, double scale=1):
    cdef fn_reduce_args a
    cdef unsigned which = _dim_set(dims, x.ndim)
    cdef int64_t shape[FN_DIMS]
    cdef int64_t *s[2]
    cdef int d, kept = 0, nout = 0, nred = 0
    cdef bint counts = op == FN_OP_argmax or op == FN_OP_argmin
    cdef TensorBase y
    if x.dtype_ <= FN_F64 and not (counts or op == FN_OP_any or op == FN_OP_all or is_dense(x) or fills(x)):
        x = contiguous(x)        # roundings follow the order in memory, and a program's copy of its input has no gaps
    memset(&a, 0, sizeof(a))
    for d in range(x.ndim):
        if not which & (1u << d):
            shape[kept] = x.shape_[d]
            kept += 1
        elif keepdim:
            shape[kept] = 1
            kept += 1
    y = empty(y_kind, kept, shape)
    a.y, a.x, a.scale = fresh(y), rd(x), scale
    if y.numel_ == 0:
        return y
    kept = 0
    for d in range(x.ndim):
        if which & (1u << d):
            a.r_n[nred], a.r_x[nred] = x.shape_[d], x.stride_[d]
            nred += 1
            kept += keepdim
        else:
            shape[nout], a.o_x[nout], a.o_y[nout] = x.shape_[d], x.stride_[d], y.stride_[kept]
            nout += 1
            kept += 1
    s[0], s[1] = a.o_x, a.o_y
    a.nout = merge(nout, shape, 2, s, a.o_n)
    memcpy(shape, a.r_n, sizeof(shape))
    s[0] = a.r_x
    if counts:                   # in the order of the dimensions
        a.nred = join(nred, a.r_n, 1, s)
    else:
        a.nred = merge(nred, shape, 1, s, a.r_n)
    call(op, x.dtype_, &a, sizeof(a), 20 + x.numel_ * (itemsize[x.dtype_] * _BYTE_NS + (0 if x.dtype_ <= FN_F64 else 0.2)))
    return y


cdef TensorBase _as_number(TensorBase x):
    """A bool tensor as uint8, in the same memory."""
    cdef TensorBase t = x
    if x.dtype_ == FN_BOOL:
        t = detach(x)
        t.dtype_ = FN_U8
    return t


cdef TensorBase _fold(int op, TensorBase x, dims, bint keepdim, dtype kind, double scale):
    cdef TensorBase y
    x = _as_number(x if kind is None else cast(x, kind))
    y = _reduce(op, x.dtype_ if x.dtype_ <= FN_F64 else FN_I64, x, dims, keepdim, scale)
    return y if kind is None else cast(y, kind)


cpdef TensorBase sum_(TensorBase x, dims=None, bint keepdim=False, dtype kind=None, double scale=1):
    """scale * the sum; integers give int64, and take no scale."""
    return _fold(FN_OP_sum, x, dims, keepdim, kind, scale)


cpdef TensorBase prod(TensorBase x, dims=None, bint keepdim=False, dtype kind=None):
    """The product; integers give int64."""
    return _fold(FN_OP_prod, x, dims, keepdim, kind, 1)


cpdef TensorBase sumsq(TensorBase x, dims=None, bint keepdim=False):
    """The sum of x^2."""
    return _reduce(FN_OP_sumsq, x.dtype_, x, dims, keepdim)


cpdef TensorBase sumabs(TensorBase x, dims=None, bint keepdim=False):
    """The sum of |x|."""
    return _reduce(FN_OP_sumabs, x.dtype_, x, dims, keepdim)


cpdef TensorBase sumdev2(TensorBase x, dims=None, bint keepdim=False, double scale=1):
    """scale * the sum of (x - mean of x)^2."""
    return _reduce(FN_OP_sumdev2, x.dtype_, x, dims, keepdim, scale)


cdef TensorBase _extreme(int op, str name, int y_kind, TensorBase x, dims, bint keepdim):
    cdef unsigned which = _dim_set(dims, x.ndim)
    if x.numel_ == 0:
        if dims is None:
            raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0, input has shape {shape_of(x)}. "
                               "Specify the reduction dim with the 'dim' argument.")
        for d in range(x.ndim):
            if which & (1u << <int>d) and x.shape_[d] == 0:
                raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size, input has shape {shape_of(x)}")
    return _reduce(op, y_kind, x, dims, keepdim)


cpdef TensorBase max_(TensorBase x, dims=None, bint keepdim=False, str name="amax"):
    """The greatest element; NaN where there is one."""
    return _extreme(FN_OP_max, name, x.dtype_, x, dims, keepdim)


cpdef TensorBase min_(TensorBase x, dims=None, bint keepdim=False, str name="amin"):
    """The least element; NaN where there is one."""
    return _extreme(FN_OP_min, name, x.dtype_, x, dims, keepdim)


cpdef TensorBase argmax(TensorBase x, dims=None, bint keepdim=False, str name="argmax"):
    """The first place of the greatest element, counted over the reduced dimensions."""
    return _extreme(FN_OP_argmax, name, FN_I64, x, dims, keepdim)


cpdef TensorBase argmin(TensorBase x, dims=None, bint keepdim=False, str name="argmin"):
    """The first place of the least element, counted over the reduced dimensions."""
    return _extreme(FN_OP_argmin, name, FN_I64, x, dims, keepdim)


cpdef TensorBase any_(TensorBase x, dims=None, bint keepdim=False):
    """Is one element not zero?"""
    return _reduce(FN_OP_any, FN_BOOL, x, dims, keepdim)


cpdef TensorBase all_(TensorBase x, dims=None, bint keepdim=False):
    """Is no element zero?"""
    return _reduce(FN_OP_all, FN_BOOL, x, dims, keepdim)


cpdef TensorBase cumsum(TensorBase x, dim, dtype kind=None):
    """Sums of the elements up to each along dim; integers give int64."""
    cdef fn_reduce_args a
    cdef int64_t shape[FN_DIMS]
    cdef int64_t *s[2]
    cdef int d = _dim(dim, x.ndim), i, n = 0
    cdef TensorBase y
    x = _as_number(x if kind is None else cast(x, kind))
    y = empty_as(x, x.dtype_ if x.dtype_ <= FN_F64 else FN_I64)
    memset(&a, 0, sizeof(a))
    memset(shape, 0, sizeof(shape))
    a.y, a.x = fresh(y), rd(x)
    if y.numel_ == 0:
        return y if kind is None else cast(y, kind)
    for i in range(x.ndim):
        if i != d:
            shape[n], a.o_x[n], a.o_y[n] = x.shape_[i], x.stride_[i], y.stride_[i]
            n += 1
    s[0], s[1] = a.o_x, a.o_y
    a.nout = merge(n, shape, 2, s, a.o_n)
    a.nred, a.r_n[0] = 1, 1
    if x.ndim:
        a.r_n[0], a.r_x[0], a.y_r = x.shape_[d], x.stride_[d], y.stride_[d]
    call(FN_OP_cumsum, x.dtype_, &a, sizeof(a), 20 + x.numel_ * 1.2)
    return y if kind is None else cast(y, kind)
