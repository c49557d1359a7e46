# Softmax and kin along one dimension. A tensor that fills its memory is read as it lies: outer x n x inner in memory order.

cdef extern from "fn.h":
    enum: FN_OP_softmax_fwd, FN_OP_softmax_bwd, FN_OP_log_softmax_fwd, FN_OP_log_softmax_bwd, FN_OP_logsumexp

cdef extern from "args.h":
    ctypedef struct fn_softmax_args:
        void *y
        const void *x
        const void *saved
        int64_t outer, n, inner


cdef TensorBase in_layout_of(TensorBase x, TensorBase like):
    """x, or a copy of it, with the strides of `like`, which has its shape."""
    cdef TensorBase t
    if same_layout(x, like):
        return x
    t = empty_as(like, x.dtype_)
    _copy(t, fresh(t), x)
    return t


cdef TensorBase _filling(TensorBase x):
    return x if is_dense(x) or fills(x) else contiguous(x)


cdef int _softmax_axis(TensorBase x, int d, fn_softmax_args *a) except -1:
    """outer, n and inner of dimension d of x, which fills its memory."""
    memset(a, 0, sizeof(a[0]))
    a.n = x.shape_[d] if x.ndim else 1
    a.inner = x.stride_[d] if a.n > 1 else 1
    a.outer = x.numel_ // (a.n * a.inner) if x.numel_ else 0
    return 0


cdef double _softmax_work(TensorBase x, fn_softmax_args *a) noexcept:
    return x.numel_ * (0.12 * itemsize[x.dtype_]) + (4 * a.outer if a.inner == 1 else 0)


cdef int _check_real(TensorBase x, str name) except -1:
    if x.dtype_ > FN_F64:
        raise NotImplementedError(f'"{name}" not implemented for {DTYPE_NAMES[x.dtype_]}; cast the input of shape {shape_of(x)} to a real type first')
    return 0


cdef TensorBase _softmax(int op, str name, TensorBase x, dim):
    cdef fn_softmax_args a
    cdef TensorBase y
    cdef int d = _dim(dim, x.ndim)
    _check_real(x, name)
    x = _filling(x)
    y = empty_as(x, x.dtype_)
    if x.numel_ == 0:
        return y
    _softmax_axis(x, d, &a)
    a.y, a.x = fresh(y), rd(x)
    call(op, x.dtype_, &a, sizeof(a), _softmax_work(x, &a))
    return y


cdef TensorBase _softmax_backward(int op, str name, TensorBase dy, TensorBase y, dim):
    cdef fn_softmax_args a
    cdef TensorBase dx
    cdef int d = _dim(dim, y.ndim)
    if not same_shape(dy, y) or dy.dtype_ != y.dtype_:
        raise RuntimeError(f"{name}: the gradient has shape {shape_of(dy)} and type {DTYPE_NAMES[dy.dtype_]}, but the output has {shape_of(y)} and "
                           f"{DTYPE_NAMES[y.dtype_]}")
    y = _filling(y)
    dy = in_layout_of(dy, y)
    dx = empty_as(y, y.dtype_)
    if y.numel_ == 0:
        return dx
    _softmax_axis(y, d, &a)
    a.y, a.x, a.saved = fresh(dx), rd(dy), rd(y)
    call(op, y.dtype_, &a, sizeof(a), _softmax_work(y, &a))
    return dx


def softmax(TensorBase x, dim):
    """exp(x) / sum exp(x) along dim"""
    return _softmax(FN_OP_softmax_fwd, "softmax", x, dim)


def softmax_backward(TensorBase dy, TensorBase y, dim):
    """y (dy - sum dy y)"""
    return _softmax_backward(FN_OP_softmax_bwd, "softmax", dy, y, dim)


def log_softmax(TensorBase x, dim):
    """x - log sum exp(x) along dim"""
    return _softmax(FN_OP_log_softmax_fwd, "log_softmax", x, dim)


def log_softmax_backward(TensorBase dy, TensorBase y, dim):
    """dy - exp(y) sum dy"""
    return _softmax_backward(FN_OP_log_softmax_bwd, "log_softmax", dy, y, dim)


def logsumexp(TensorBase x, dim):
    """log sum exp(x) along dim, which stays with size 1; -inf where there is nothing to sum."""
    cdef fn_softmax_args a
    cdef TensorBase y
    cdef int64_t shape[FN_DIMS]
    cdef int d = _dim(dim, x.ndim)
    _check_real(x, "logsumexp")
    x = dense(x)
    memcpy(shape, x.shape_, sizeof(shape))
    if x.ndim:
        shape[d] = 1
    y = empty(x.dtype_, x.ndim, shape)
    if y.numel_ == 0:
        return y
    if x.numel_ == 0:
        fill_into(y, -float("inf"))
        return y
    _softmax_axis(x, d, &a)
    a.y, a.x = fresh(y), rd(x)
    call(FN_OP_logsumexp, x.dtype_, &a, sizeof(a), _softmax_work(x, &a))
    return y
