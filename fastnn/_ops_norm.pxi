# Normalisation: batch_norm by the batch's or the running statistics, and its gradients.

cdef extern from "fn.h":
    enum: FN_OP_batch_norm_fwd, FN_OP_batch_norm_eval, FN_OP_batch_norm_bwd

cdef extern from "args.h":
    ctypedef struct fn_norm_args:
        void *y
        void *dx
        void *dw
        void *db
        double *stats
        void *running_mean
        void *running_var
        int64_t *tracked
        const void *x
        const void *w
        const void *b
        const void *dy
        const void *residual
        int64_t N, C, inner, act, train, summed
        double momentum, eps


cdef TensorBase _norm_input(TensorBase x, fn_norm_args *a):
    """x as (N, C, inner): as it lies if it is row-major or has its channels innermost. Other images go channels-last, the rest row-major."""
    cdef bint last = False
    cdef int i
    a.N, a.C, a.inner = x.shape_[0], x.shape_[1], 1
    if x.numel_ == 0:
        a.N = 0
        return x if is_dense(x) else contiguous(x)
    if x.ndim > 2 and (x.channels_last or not is_dense(x)):
        if x.ndim == 4:
            x = nhwc(x)
        last = _class_last(x)
    if last:
        a.N = x.numel_ // a.C
        return x
    for i in range(2, x.ndim):
        a.inner *= x.shape_[i]
    return dense(x)


cdef int _check_per_channel(str name, TensorBase x, TensorBase t) except -1:
    """t, where there is one, holds a number for each channel of x."""
    if t is None:
        return 0
    if t.numel_ != x.shape_[1] or t.ndim != 1:
        raise RuntimeError(f"{name} should contain {x.shape_[1]} elements not {t.numel_}: batch_norm: input (N,C{',...' if x.ndim > 2 else ''})={shape_of(x)} "
                           f"has C={x.shape_[1]}, but {name} (C)={shape_of(t)}")
    if t.dtype_ != x.dtype_:
        raise RuntimeError(f"mixed dtype (CPU): all inputs must share same datatype: batch_norm: input is {DTYPE_NAMES[x.dtype_]}, "
                           f"{name} is {DTYPE_NAMES[t.dtype_]}")
    return 0


def batch_norm(TensorBase x, TensorBase running_mean, TensorBase running_var, TensorBase w, TensorBase b, bint train, double momentum, double eps,
               TensorBase tracked=None, int act=0, TensorBase residual=None):
    """(y, x, stats): y = act((x - mean) / sqrt(var + eps) w + b + residual), x as the kernel took it and the statistics for backward.

    train: mean and var are the batch's and move the running ones by momentum, by 1 / tracked if that is below 0; tracked, one int64, is counted
    up. Else they are the running ones. y lies in memory as x was taken."""
    cdef fn_norm_args a
    cdef TensorBase y, stats, mean = running_mean, var = running_var
    cdef int64_t n[2]
    memset(&a, 0, sizeof(a))
    if x.ndim < 2:
        raise IndexError(f"Dimension out of range: batch_norm: input {shape_of(x)} has no dimension of channels; (N,C) or (N,C,...) is needed")
    _check_real(x, "batch_norm")
    if not train and running_mean is None:
        raise RuntimeError("running_mean must be defined in evaluation mode")
    if not train and running_var is None:
        raise RuntimeError("running_var must be defined in evaluation mode")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")
    _check_per_channel("running_mean", x, running_mean)
    _check_per_channel("running_var", x, running_var)
    _check_per_channel("weight", x, w)
    _check_per_channel("bias", x, b)
    if train:
        if not eps > 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
        if x.shape_[1] and x.numel_ == x.shape_[1]:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        if tracked is not None and (tracked.numel_ != 1 or tracked.dtype_ != FN_I64):
            raise RuntimeError(f"num_batches_tracked must be one int64, got {DTYPE_NAMES[tracked.dtype_]} of shape {shape_of(tracked)}")
    x = _norm_input(x, &a)
    y = empty_as(x, x.dtype_)
    n[0], n[1] = 2, a.C
    stats = empty(FN_F64, 2, n)
    a.y, a.stats, a.x, a.act, a.momentum, a.eps = fresh(y), <double *>fresh(stats), rd(x), act, momentum, eps
    if w is not None:
        w = dense(w)
        a.w = rd(w)
    if b is not None:
        b = dense(b)
        a.b = rd(b)
    if mean is not None:
        mean, var = dense(mean), dense(var)
        if train:
            a.running_mean, a.running_var = wr(mean), wr(var)
        else:
            a.running_mean, a.running_var = <void *>rd(mean), <void *>rd(var)
    if train and tracked is not None:
        a.tracked = <int64_t *>wr(tracked)
    if residual is not None:
        if not same_shape(residual, x) or residual.dtype_ != x.dtype_:
            raise RuntimeError(f"batch_norm: the residual {shape_of(residual)} of {DTYPE_NAMES[residual.dtype_]} does not fit the input {shape_of(x)} of "
                               f"{DTYPE_NAMES[x.dtype_]}")
        residual = in_layout_of(residual, x)
        a.residual = rd(residual)
    call(FN_OP_batch_norm_fwd if train else FN_OP_batch_norm_eval, x.dtype_, &a, sizeof(a),
         200 + (3 if train else 2) * x.numel_ * itemsize[x.dtype_] * _BYTE_NS)
    if train and mean is not running_mean:
        copy_into(running_mean, mean)
    if train and var is not running_var:
        copy_into(running_var, var)
    return y, x, stats


def batch_norm_backward(TensorBase dy, TensorBase x, TensorBase stats, TensorBase w, bint train, bint want_x=True, bint want_w=True, bint want_b=True,
                        int act=0, TensorBase b=None):
    """(dx, dw, db) of what batch_norm gave x and stats for, None where it is not wanted; dx lies in memory as x does. b: only where act needs it."""
    cdef fn_norm_args a
    cdef TensorBase dx = None, dw = None, db = None
    memset(&a, 0, sizeof(a))
    if not same_shape(dy, x) or dy.dtype_ != x.dtype_:
        raise RuntimeError(f"batch_norm: the gradient {shape_of(dy)} of {DTYPE_NAMES[dy.dtype_]} does not fit the input {shape_of(x)} of "
                           f"{DTYPE_NAMES[x.dtype_]}")
    x = _norm_input(x, &a)
    dy = in_layout_of(dy, x)
    a.x, a.dy, a.stats, a.train, a.act = rd(x), rd(dy), <double *>rd(stats), train, act
    if want_x:
        dx = empty_as(x, x.dtype_)
        a.dx = fresh(dx)
    if want_w:
        dw = empty(x.dtype_, 1, &a.C)
        a.dw = fresh(dw)
    if want_b:
        db = empty(x.dtype_, 1, &a.C)
        a.db = fresh(db)
    if w is not None:
        w = dense(w)
        a.w = rd(w)
    if b is not None:
        b = dense(b)
        a.b = rd(b)
    call(FN_OP_batch_norm_bwd, x.dtype_, &a, sizeof(a), 200 + 5 * x.numel_ * itemsize[x.dtype_] * _BYTE_NS)
    return dx, dw, db
