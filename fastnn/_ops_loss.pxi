# Losses: cross_entropy, nll and those of single elements, forward and backward. Reductions: 0 none, 1 mean, 2 sum.

cdef extern from "fn.h":
    enum:
        FN_OP_cross_entropy_fwd, FN_OP_cross_entropy_bwd, FN_OP_nll_fwd, FN_OP_nll_bwd, FN_OP_mse_fwd, FN_OP_mse_bwd
        FN_OP_l1_fwd, FN_OP_l1_bwd, FN_OP_huber_fwd, FN_OP_huber_bwd, FN_OP_bce_fwd, FN_OP_bce_bwd
        FN_OP_bce_logits_fwd, FN_OP_bce_logits_bwd, FN_OP_gaussian_nll_fwd, FN_OP_gaussian_nll_bwd
        FN_OP_kl_div_fwd, FN_OP_kl_div_bwd, FN_OP_kl_div_log_fwd, FN_OP_kl_div_log_bwd

cdef extern from "args.h":
    ctypedef struct fn_loss_args:
        void *y
        void *total
        void *dx
        void *dt
        void *dv
        void *prob
        const void *x
        const void *target
        const void *v
        const void *weight
        const void *dy
        int64_t rows, C, inner, reduction, ignore_index, soft
        double smoothing, s, s2

cdef enum: _NONE, _MEAN, _SUM


cdef str _class_axes(int ndim):
    return "(C)" if ndim == 1 else "(N,C)" if ndim == 2 else "(N,C,...)"


cdef bint _class_last(TensorBase x) noexcept:
    """Does (N, C, d...) lie in memory as (N, d..., C)?"""
    cdef int64_t want = x.shape_[1]
    cdef int i
    if x.shape_[1] != 1 and x.stride_[1] != 1:
        return False
    for i in range(x.ndim - 1, -1, -1):
        if i != 1 and x.shape_[i] != 1:
            if x.stride_[i] != want:
                return False
            want *= x.shape_[i]
    return True


cdef TensorBase _class_rows(TensorBase x, fn_loss_args *a):
    """x as (rows, C, inner): as it lies if it is row-major or has its classes innermost, else copied."""
    if x.ndim > 2 and x.numel_ and not is_dense(x) and _class_last(x):
        a.C, a.inner = x.shape_[1], 1
        a.rows = x.numel_ // a.C
        return x
    a.rows, a.C, a.inner = (1 if x.ndim == 1 else x.shape_[0]), x.shape_[0 if x.ndim == 1 else 1], 1
    cdef int i
    for i in range(2, x.ndim):
        a.inner *= x.shape_[i]
    return dense(x)


cdef int _check_classes(str name, TensorBase x, TensorBase target) except -1:
    """target holds a class for every item of x."""
    cdef int i
    cdef bint fit = x.ndim > 0 and target.ndim == x.ndim - 1
    if target.dtype_ == FN_I64 or target.dtype_ == FN_U8:
        for i in range(target.ndim if fit else 0):
            fit = fit and target.shape_[i] == x.shape_[i + (i > 0)]
        if fit:
            return 0
    if x.ndim == 0:
        raise ValueError(f"Expected 1 or more dimensions (got 0): {name}: the input is a 0-d tensor")
    if target.dtype_ != FN_I64 and target.dtype_ != FN_U8:
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {DTYPE_NAMES[target.dtype_]}: {name} takes classes as int64")
    shape = tuple([x.shape_[i] for i in range(x.ndim) if i != (x.ndim > 1)])
    rule = f"{name}: input {_class_axes(x.ndim)}={shape_of(x)} needs a target of classes of shape {shape}, got {shape_of(target)}"
    if x.ndim > 1 and target.ndim and target.shape_[0] != x.shape_[0]:
        raise ValueError(f"Expected input batch_size ({x.shape_[0]}) to match target batch_size ({target.shape_[0]}): {rule}")
    raise RuntimeError(rule)


cdef int _check_range(str name, TensorBase x, TensorBase target, TensorBase said, int64_t C, int64_t ignore_index) except -1:
    """Every class of target, which is dense int64, is ignore_index or one of 0..C-1; said: as the caller gave them."""
    cdef int64_t at = first_outside(target, 0, C, ignore_index)
    if at < 0 and fn_tls_recorder == NULL:
        return 0
    rule = (f"Target {{k}} is out of bounds. {name}: target {shape_of(target)} holds class {{k}} at flat index {{at}}, but input "
            f"{_class_axes(x.ndim)}={shape_of(x)} has C={C}, so classes are 0..{C - 1} (or ignore_index={ignore_index})")
    if at >= 0:
        raise IndexError(rule.format(k=(<const int64_t *>rd(target))[at], at=at))
    return watch(said, 0, C, ignore_index, IndexError, rule)


def class_range(TensorBase target):
    """(least, greatest) of int64 classes; (0, -1) of none. For checks: a recorder does not mind."""
    cdef TensorBase t = dense(target)
    cdef const int64_t *p = <const int64_t *>rd(t)
    cdef int64_t i, least = 0, greatest = -1
    for i in range(t.numel_):
        if i == 0:
            least = greatest = p[0]
        least = min(least, p[i])
        greatest = max(greatest, p[i])
    return least, greatest


cdef object _unrecorded(f):
    """f(), which checks values and gives a number: a recorder does not see it, so a replay does not repeat it."""
    global fn_tls_recorder
    cdef PyObject *recorder = fn_tls_recorder
    fn_tls_recorder = NULL
    try:
        return f()
    finally:
        fn_tls_recorder = recorder


def all_within(TensorBase x, double low, double high):
    """Are all elements of x in [low, high]? NaN is not. For checks: a recorder does not mind."""
    return x.numel_ == 0 or _unrecorded(lambda: item(min_(x)) >= low and item(max_(x)) <= high)


def any_below(TensorBase x, low):
    """Is an element of x below low? NaN is not. For checks: a recorder does not mind."""
    return _unrecorded(lambda: item(any_(lt(x, low))))


cdef TensorBase _class_weight(str name, TensorBase x, TensorBase weight, int64_t C):
    if weight is None:
        return None
    if weight.ndim != 1 or weight.shape_[0] != C:
        raise RuntimeError(f"weight tensor should be defined either for all {C} classes or no classes but got weight tensor of shape: "
                           f"{list(weight.shape)} ({name}: input {_class_axes(x.ndim)}={shape_of(x)} has C={C})")
    if weight.dtype_ != x.dtype_:
        raise RuntimeError(f"expected scalar type {DTYPE_NAMES[x.dtype_]} but found {DTYPE_NAMES[weight.dtype_]}: {name}: weight must have input's type")
    return dense(weight)


cdef TensorBase _loss_output(TensorBase x, TensorBase items, TensorBase total, fn_loss_args *a):
    """y: a scalar, or without reduction like items."""
    cdef TensorBase y = empty(x.dtype_, 0 if a.reduction else items.ndim, items.shape_)
    a.y = fresh(y)
    if total is not None:
        a.total = fresh(total)
    return y


# ---- cross_entropy -----------------------------------------------------------------------------------------------------

def cross_entropy(TensorBase x, TensorBase target, TensorBase weight, int reduction, ignore_index, double smoothing, bint want_prob):
    """(y, prob, target, weight, total): the loss of logits x, and what its backward takes; prob is softmax(x), if it is wanted."""
    cdef fn_loss_args a
    cdef TensorBase y, prob = None, total = empty(x.dtype_, 0, NULL) if reduction == _MEAN else None, given = x, said = target, items
    memset(&a, 0, sizeof(a))
    a.reduction, a.smoothing, a.ignore_index = reduction, smoothing, ignore_index
    if not 0 <= smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {smoothing}")
    a.soft = same_shape(x, target)
    if a.soft:
        if target.dtype_ > FN_F64:
            raise RuntimeError(f"Expected floating point type for target with class probabilities, got {DTYPE_NAMES[target.dtype_]}: cross_entropy: "
                               f"input {shape_of(x)} and target have the same shape")
        if target.dtype_ != x.dtype_:
            raise RuntimeError(f"cross_entropy: class probabilities are {DTYPE_NAMES[target.dtype_]}, but input is {DTYPE_NAMES[x.dtype_]}")
        if a.ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        if x.ndim == 0:
            raise RuntimeError("cross_entropy: input has no dimension of classes (got a 0-d tensor)")
    else:
        _check_classes("cross_entropy", x, target)
    _check_real(x, "cross_entropy")
    x = _class_rows(x, &a)
    weight = _class_weight("cross_entropy", x, weight, a.C)
    if a.soft:
        target = in_layout_of(target, x)
        items = select(x, 1 if x.ndim > 1 else 0, 0) if a.C and reduction == _NONE else x
    else:
        target = items = dense(cast(target, DTYPES[FN_I64]))
        _check_range("cross_entropy", given, target, said, a.C, a.ignore_index)
    y = _loss_output(x, items, total, &a)
    if want_prob:
        prob = empty_as(x, x.dtype_)
        a.prob = fresh(prob)
    a.x, a.target = rd(x), rd(target)
    if weight is not None:
        a.weight = rd(weight)
    if a.C == 0:
        a.rows = 0
        if reduction == _NONE:
            fill_into(y, 0)
    call(FN_OP_cross_entropy_fwd, x.dtype_, &a, sizeof(a), x.numel_ * (0.15 * itemsize[x.dtype_]) + 15 * a.rows * a.inner)
    return y, prob, target, weight, total


def cross_entropy_backward(TensorBase dy, TensorBase prob, TensorBase target, TensorBase weight, TensorBase total, int reduction, ignore_index,
                           double smoothing):
    """dx from dy and what the forward call gave."""
    cdef fn_loss_args a
    cdef TensorBase dx = empty_as(prob, prob.dtype_)
    memset(&a, 0, sizeof(a))
    if prob.numel_ == 0:
        return dx
    _class_rows(prob, &a)
    a.reduction, a.smoothing, a.ignore_index, a.soft = reduction, smoothing, ignore_index, same_shape(prob, target)
    dy = dense(dy)
    a.dx, a.prob, a.target, a.dy = fresh(dx), <void *>rd(prob), rd(target), rd(dy)
    if weight is not None:
        a.weight = rd(weight)
    if total is not None:
        a.total = <void *>rd(total)
    call(FN_OP_cross_entropy_bwd, dx.dtype_, &a, sizeof(a), dx.numel_ * (0.06 * itemsize[dx.dtype_]) + 4 * a.rows * a.inner)
    return dx


# ---- nll ---------------------------------------------------------------------------------------------------------------

def nll_loss(TensorBase x, TensorBase target, TensorBase weight, int reduction, ignore_index):
    """(y, target, weight, total): the loss of log-probabilities x, and what its backward takes."""
    cdef fn_loss_args a
    cdef TensorBase y, total = empty(x.dtype_, 0, NULL) if reduction == _MEAN else None, given = x, said = target
    memset(&a, 0, sizeof(a))
    a.reduction, a.ignore_index = reduction, ignore_index
    _check_classes("nll_loss", x, target)
    _check_real(x, "nll_loss")
    x = _class_rows(x, &a)
    weight = _class_weight("nll_loss", x, weight, a.C)
    target = dense(cast(target, DTYPES[FN_I64]))
    _check_range("nll_loss", given, target, said, a.C, a.ignore_index)
    y = _loss_output(x, target, total, &a)
    a.x, a.target = rd(x), rd(target)
    if weight is not None:
        a.weight = rd(weight)
    call(FN_OP_nll_fwd, x.dtype_, &a, sizeof(a), 3 * target.numel_)
    return y, target, weight, total


def nll_loss_backward(TensorBase dy, shape, TensorBase target, TensorBase weight, TensorBase total, int reduction, ignore_index):
    """dx of that shape from dy and what the forward call gave."""
    cdef fn_loss_args a
    cdef int64_t n[FN_DIMS]
    cdef int i
    cdef TensorBase dx
    memset(&a, 0, sizeof(a))
    for i in range(len(shape)):
        n[i] = shape[i]
    dx = empty(dy.dtype_, len(shape), n)
    if dx.numel_ == 0:
        return dx
    _class_rows(dx, &a)
    a.reduction, a.ignore_index = reduction, ignore_index
    dy = dense(dy)
    a.dx, a.target, a.dy = fresh(dx), rd(target), rd(dy)
    if weight is not None:
        a.weight = rd(weight)
    if total is not None:
        a.total = <void *>rd(total)
    call(FN_OP_nll_bwd, dx.dtype_, &a, sizeof(a), dx.numel_ * itemsize[dx.dtype_] * _BYTE_NS + 3 * target.numel_)
    return dx


# ---- of single elements --------------------------------------------------------------------------------------------------

# name: forward, backward, the function's name in messages, time of an element's forward and backward beyond that of its bytes
cdef dict _PAIRS = {
    "mse": (FN_OP_mse_fwd, FN_OP_mse_bwd, "mse_loss", 0.0, 0.0), "l1": (FN_OP_l1_fwd, FN_OP_l1_bwd, "l1_loss", 0.0, 0.0),
    "huber": (FN_OP_huber_fwd, FN_OP_huber_bwd, "huber_loss", 0.1, 0.1),
    "bce": (FN_OP_bce_fwd, FN_OP_bce_bwd, "binary_cross_entropy", 1.0, 0.3),
    "bce_logits": (FN_OP_bce_logits_fwd, FN_OP_bce_logits_bwd, "binary_cross_entropy_with_logits", 1.0, 0.5),
    "gaussian_nll": (FN_OP_gaussian_nll_fwd, FN_OP_gaussian_nll_bwd, "gaussian_nll_loss", 0.7, 0.3),
    "kl_div": (FN_OP_kl_div_fwd, FN_OP_kl_div_bwd, "kl_div", 0.5, 0.1),
    "kl_div_log": (FN_OP_kl_div_log_fwd, FN_OP_kl_div_log_bwd, "kl_div", 0.4, 0.4)}


cdef TensorBase _beside(str name, str what, TensorBase w, TensorBase x):
    """w, an operand that is broadcast to x, of x's type: as x lies in memory."""
    cdef TensorBase t
    if w is None:
        return None
    if w.dtype_ != x.dtype_:
        raise RuntimeError(f"{name}: {what} is {DTYPE_NAMES[w.dtype_]}, but input is {DTYPE_NAMES[x.dtype_]}")
    if same_shape(w, x):
        return in_layout_of(w, x)
    check_spread(w, x, f"{name}: {what}")
    t = empty_as(x, x.dtype_)
    _copy(t, fresh(t), w)
    return t


cdef int _pair_args(fn_loss_args *a, TensorBase x, TensorBase target, TensorBase weight, TensorBase v, int reduction, double s, double s2) except -1:
    memset(a, 0, sizeof(a[0]))
    a.rows, a.C, a.inner, a.reduction, a.s, a.s2 = x.numel_, 1, 1, reduction, s, s2
    a.x, a.target = rd(x), rd(target)
    if weight is not None:
        a.weight = rd(weight)
    if v is not None:
        a.v = rd(v)
    return 0


def pair_loss(str name, TensorBase x, TensorBase target, TensorBase weight, TensorBase v, int reduction, double s=0, double s2=0):
    """(y, x, target, weight, v): the loss `name` of loss.c for x and target of one shape and type, and what its backward takes. weight, a
    factor of each loss, and v, the loss's third operand, are broadcast to x, or None."""
    cdef fn_loss_args a
    cdef TensorBase y
    op, _, what, ns, _ = _PAIRS[name]
    if not same_shape(x, target) or x.dtype_ != target.dtype_:
        raise RuntimeError(f"{what}: input {shape_of(x)} of {DTYPE_NAMES[x.dtype_]} and target {shape_of(target)} of {DTYPE_NAMES[target.dtype_]} differ")
    _check_real(x, what)
    x = _filling(x)
    target, weight, v = in_layout_of(target, x), _beside(what, "weight", weight, x), _beside(what, "pos_weight" if name == "bce_logits" else "var", v, x)
    _pair_args(&a, x, target, weight, v, reduction, s, s2)
    y = empty_as(x, x.dtype_) if reduction == _NONE else empty(x.dtype_, 0, NULL)
    a.y = fresh(y)
    call(op, x.dtype_, &a, sizeof(a), x.numel_ * (<double>ns + (2 + (weight is not None) + (v is not None)) * itemsize[x.dtype_] * _BYTE_NS))
    return y, x, target, weight, v


def pair_loss_backward(str name, TensorBase dy, TensorBase x, TensorBase target, TensorBase weight, TensorBase v, int reduction, double s=0,
                       double s2=0, bint want_x=True, bint want_target=False, bint want_v=False):
    """(dx, dtarget, dv) from dy and what the forward call gave; None where it is not wanted."""
    cdef fn_loss_args a
    cdef TensorBase dx = None, dt = None, dv = None
    cdef bint fits = same_shape(dy, x) if reduction == _NONE else dy.numel_ == 1
    _, op, what, _, ns = _PAIRS[name]
    if not fits or dy.dtype_ != x.dtype_:
        raise RuntimeError(f"{what}: the gradient is {DTYPE_NAMES[dy.dtype_]} {shape_of(dy)}, but the loss is {DTYPE_NAMES[x.dtype_]} "
                           f"{shape_of(x) if reduction == _NONE else '()'}")
    _pair_args(&a, x, target, weight, v, reduction, s, s2)
    dy = in_layout_of(dy, x) if reduction == _NONE else dense(dy)
    a.dy = rd(dy)
    if want_x:
        dx = empty_as(x, x.dtype_)
        a.dx = fresh(dx)
    if want_target:
        dt = empty_as(x, x.dtype_)
        a.dt = fresh(dt)
    if want_v:
        dv = empty_as(x, x.dtype_)
        a.dv = fresh(dv)
    call(op, x.dtype_, &a, sizeof(a), x.numel_ * ((<double>ns) * (1 + want_target + want_v) + 3 * itemsize[x.dtype_] * _BYTE_NS))
    return dx, dt, dv
