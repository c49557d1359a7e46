# Normalisation of rows: layer_norm (and rms_norm) over the last dimensions, group_norm over groups of channels, and their gradients.

cdef extern from "fn.h":
    enum: FN_OP_layer_norm_fwd, FN_OP_layer_norm_bwd, FN_OP_group_norm_fwd, FN_OP_group_norm_bwd

cdef extern from "args.h":
    ctypedef struct fn_layer_norm_args:
        void *y
        void *dx
        void *dw
        void *db
        double *stats
        const void *x
        const void *w
        const void *b
        const void *dy
        int64_t N, G, D, inner, rms, last
        double eps


cdef int _layer_norm_rows(str name, TensorBase x, tuple shape, fn_layer_norm_args *a) except -1:
    """x as N rows of D numbers, its last dimensions, which must be `shape`."""
    cdef int i, first = x.ndim - len(shape)
    if not shape:
        raise RuntimeError(f"Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
                           f"normalized_shape = []: {name}")
    if first < 0 or tuple(x.shape[first:]) != shape:
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], "
                           f"but got input of size{list(x.shape)}: {name}: the last dimensions of input {shape_of(x)} are not {shape}")
    a.N = a.G = a.D = a.inner = 1
    for i in range(x.ndim):
        if i < first:
            a.N *= x.shape_[i]
        else:
            a.D *= x.shape_[i]
    return 0


cdef int _check_row_dtype(str name, TensorBase x, str argument, TensorBase t) except -1:
    if t.dtype_ != x.dtype_:
        raise RuntimeError(f"mixed dtype (CPU): {name}: input is {DTYPE_NAMES[x.dtype_]}, {argument} is {DTYPE_NAMES[t.dtype_]}; they must be the same")
    return 0


cdef tuple _row_norm(int op, TensorBase x, TensorBase w, TensorBase b, fn_layer_norm_args *a):
    """(y, x, stats), x as the kernel took it."""
    cdef TensorBase y, stats
    cdef int64_t n[3]
    x = nhwc(x) if a.last else dense(x)
    y = empty_nhwc(x.dtype_, x.shape_[0], x.shape_[1], x.shape_[2], x.shape_[3]) if a.last else empty(x.dtype_, x.ndim, x.shape_)
    n[0], n[1], n[2] = 2, a.N, a.G
    stats = empty(FN_F64, 3, n)
    a.y, a.stats, a.x = fresh(y), <double *>fresh(stats), rd(x)
    if w is not None:
        w = dense(w)
        a.w = rd(w)
    if b is not None:
        b = dense(b)
        a.b = rd(b)
    call(op, x.dtype_, a, sizeof(fn_layer_norm_args), 200 + 20 * a.N * a.G + 2 * x.numel_ * itemsize[x.dtype_] * _BYTE_NS)
    return y, x, stats


cdef tuple _row_norm_backward(int op, str name, TensorBase dy, TensorBase x, TensorBase stats, TensorBase w, bint want_x, bint want_w, bint want_b,
                              int ndim, const int64_t *shape, fn_layer_norm_args *a):
    """(dx, dw, db), None where it is not wanted; dw and db of `shape`."""
    cdef TensorBase dx = None, dw = None, db = None
    if not same_shape(dy, x) or dy.dtype_ != x.dtype_:
        raise RuntimeError(f"{name}: the gradient {shape_of(dy)} of {DTYPE_NAMES[dy.dtype_]} does not fit the input {shape_of(x)} of {DTYPE_NAMES[x.dtype_]}")
    if a.last:
        x, dy = nhwc(x), nhwc(dy)
    else:
        x, dy = dense(x), dense(dy)
    a.x, a.dy, a.stats = rd(x), rd(dy), <double *>rd(stats)
    if want_x:
        dx = empty_nhwc(x.dtype_, x.shape_[0], x.shape_[1], x.shape_[2], x.shape_[3]) if a.last else empty(x.dtype_, x.ndim, x.shape_)
        a.dx = fresh(dx)
    if want_w:
        dw = empty(x.dtype_, ndim, shape)
        a.dw = fresh(dw)
    if want_b:
        db = empty(x.dtype_, ndim, shape)
        a.db = fresh(db)
    if w is not None:
        w = dense(w)
        a.w = rd(w)
    call(op, x.dtype_, a, sizeof(fn_layer_norm_args), 200 + 20 * a.N * a.G + 4 * x.numel_ * itemsize[x.dtype_] * _BYTE_NS)
    return dx, dw, db


def layer_norm(TensorBase x, shape, TensorBase w, TensorBase b, double eps, bint rms=False):
    """(y, x, stats): y = (x - mean) / sqrt(var + eps) w + b over the last dimensions, which are `shape`, and so are w's and b's; rms: the mean
    counts as 0. x row-major as the kernel took it; stats for backward."""
    cdef fn_layer_norm_args a
    cdef TensorBase t
    cdef str name = "rms_norm" if rms else "layer_norm"
    memset(&a, 0, sizeof(a))
    shape = tuple(shape)
    _layer_norm_rows(name, x, shape, &a)
    for argument, t in (("weight", w), ("bias", b)):
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(f"Expected {argument} to be of same shape as normalized_shape, but got {argument} of shape {list(t.shape)} "
                               f"and normalized_shape = {list(shape)}: {name}")
    _check_real(x, name)
    for argument, t in (("weight", w), ("bias", b)):
        if t is not None:
            _check_row_dtype(name, x, argument, t)
    a.rms, a.eps = rms, eps
    return _row_norm(FN_OP_layer_norm_fwd, x, w, b, &a)


def layer_norm_backward(TensorBase dy, TensorBase x, TensorBase stats, TensorBase w, shape, bint rms=False,
                        bint want_x=True, bint want_w=True, bint want_b=True):
    """(dx, dw, db) of what layer_norm gave x and stats for, None where it is not wanted."""
    cdef fn_layer_norm_args a
    cdef int k = len(shape)
    memset(&a, 0, sizeof(a))
    _layer_norm_rows("layer_norm", x, tuple(shape), &a)
    a.rms = rms
    return _row_norm_backward(FN_OP_layer_norm_bwd, "rms_norm" if rms else "layer_norm", dy, x, stats, w, want_x, want_w, want_b,
                              k, x.shape_ + x.ndim - k, &a)


cdef void _group_rows(TensorBase x, int64_t groups, fn_layer_norm_args *a) noexcept:
    """x as (N, G, D, inner), or images that are not row-major channels-last."""
    cdef int i
    a.last = x.ndim == 4 and x.numel_ and (x.channels_last or not is_dense(x))
    a.N, a.G, a.D, a.inner = x.shape_[0], groups, x.shape_[1] // groups, 1
    for i in range(2, x.ndim):
        a.inner *= x.shape_[i]


def group_norm(TensorBase x, int64_t groups, TensorBase w, TensorBase b, double eps):
    """(y, x, stats): y = (x - mean) / sqrt(var + eps) w + b, a mean and a variance for each sample and group of channels; w and b (C). x row-major
    or channels-last as the kernel took it, and so is y; stats (2, N, groups) for backward."""
    cdef fn_layer_norm_args a
    cdef TensorBase t
    memset(&a, 0, sizeof(a))
    if x.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {x.ndim}: group_norm: input (N,C,...)={shape_of(x)}")
    if groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {groups}: group_norm")
    if x.shape_[1] % groups:
        raise RuntimeError(f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(x.shape)} "
                           f"and num_groups={groups}: group_norm")
    for argument, t in (("weight", w), ("bias", b)):
        if t is not None and (t.ndim != 1 or t.numel_ != x.shape_[1]):
            raise RuntimeError(f"Expected {argument} to be a vector of size equal to the number of channels in input, but got {argument} of shape "
                               f"{list(t.shape)} and input of shape {list(x.shape)}: group_norm: C={x.shape_[1]}")
    _check_real(x, "group_norm")
    for argument, t in (("weight", w), ("bias", b)):
        if t is not None:
            _check_row_dtype("group_norm", x, argument, t)
    _group_rows(x, groups, &a)
    a.eps = eps
    return _row_norm(FN_OP_group_norm_fwd, x, w, b, &a)


def group_norm_backward(TensorBase dy, TensorBase x, TensorBase stats, TensorBase w, bint want_x=True, bint want_w=True, bint want_b=True):
    """(dx, dw, db) of what group_norm gave x and stats for, None where it is not wanted; dx lies in memory as x does."""
    cdef fn_layer_norm_args a
    memset(&a, 0, sizeof(a))
    _group_rows(x, stats.shape_[2], &a)
    return _row_norm_backward(FN_OP_group_norm_bwd, "group_norm", dy, x, stats, w, want_x, want_w, want_b, 1, x.shape_ + 1, &a)
