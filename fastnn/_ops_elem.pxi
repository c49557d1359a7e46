# Elementwise calls: y = f(a), f(a, b) or f(a, b, c) with broadcasting. Tensors have one dtype already (see
# ops/promote.py); either of a and b may be a Python number. `out`, if given, has exactly the broadcast shape; it may be
# one of the operands, or overlap one.

from libc.stdint cimport INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN

cdef extern from "fn.h":
    enum:
        FN_OP_add, FN_OP_sub, FN_OP_mul, FN_OP_div, FN_OP_floor_divide, FN_OP_trunc_divide, FN_OP_remainder, FN_OP_pow
        FN_OP_maximum, FN_OP_minimum, FN_OP_eq, FN_OP_ne, FN_OP_lt, FN_OP_le
        FN_OP_logical_and, FN_OP_logical_or, FN_OP_logical_xor, FN_OP_logical_not
        FN_OP_bitwise_and, FN_OP_bitwise_or, FN_OP_bitwise_xor, FN_OP_bitwise_not
        FN_OP_neg, FN_OP_abs, FN_OP_sign, FN_OP_reciprocal, FN_OP_exp, FN_OP_log, FN_OP_log1p, FN_OP_sqrt, FN_OP_rsqrt
        FN_OP_sin, FN_OP_cos, FN_OP_erf, FN_OP_floor, FN_OP_ceil, FN_OP_round, FN_OP_trunc
        FN_OP_isnan, FN_OP_isinf, FN_OP_isfinite, FN_OP_clamp, FN_OP_where, FN_OP_addcmul

cdef extern from "args.h":
    ctypedef struct fn_elem_args:
        void *y
        const void *a
        const void *b
        const void *c
        int64_t ndim
        int64_t n[FN_DIMS]
        int64_t y_s[FN_DIMS]
        int64_t a_s[FN_DIMS]
        int64_t b_s[FN_DIMS]
        int64_t c_s[FN_DIMS]
        double s, s2
        int64_t k, k2
        int64_t swap

cdef double _ELEM_NS[FN_OPS]             # time of an element beyond that of its bytes, one thread
memset(_ELEM_NS, 0, sizeof(_ELEM_NS))
for _i, _ns in ((FN_OP_exp, 0.4), (FN_OP_log, 0.5), (FN_OP_log1p, 0.6), (FN_OP_sin, 0.7), (FN_OP_cos, 0.7), (FN_OP_erf, 0.9),
                (FN_OP_sqrt, 0.3), (FN_OP_rsqrt, 0.5), (FN_OP_pow, 4.0), (FN_OP_div, 0.2), (FN_OP_trunc_divide, 0.5),
                (FN_OP_floor_divide, 2.0), (FN_OP_remainder, 2.0)):
    _ELEM_NS[_i] = _ns


cdef int _broadcast(TensorBase x, int64_t *shape, int *ndim, tuple operands, str name) except -1:
    """shape, of *ndim sizes, broadcast with x's, which is one of the operands."""
    cdef int i, lead = x.ndim - ndim[0]
    cdef int64_t m
    if lead > 0:
        for i in range(x.ndim - 1, -1, -1):
            shape[i] = shape[i - lead] if i >= lead else 1
        ndim[0] = x.ndim
    lead = ndim[0] - x.ndim
    for i in range(x.ndim):
        m = x.shape_[i]
        if m != 1 and m != shape[i + lead]:
            if shape[i + lead] != 1:
                shapes = ", ".join([shape_of(t) for t in operands if t is not None])
                raise RuntimeError(f"{name}: The size of tensor a ({shape[i + lead]}) must match the size of tensor b ({m}) at "
                                   f"non-singleton dimension {i + lead}; the shapes are {shapes}")
            shape[i + lead] = m
    return 0


cdef inline bint _has_shape(TensorBase x, int ndim, const int64_t *shape) noexcept:
    return x is not None and x.ndim == ndim and memcmp(x.shape_, shape, ndim * sizeof(int64_t)) == 0


cdef bint can_cast(int source, int to) noexcept:
    """May a result of one type be written into a tensor of another? Not reals into integers, nor numbers into bools."""
    return (source > FN_F64 or to <= FN_F64) and (source == FN_BOOL or to != FN_BOOL)


cdef TensorBase elementwise(int op, str name, int y_kind, fn_elem_args *p, TensorBase a, TensorBase b, TensorBase c,
                            TensorBase out):
    """Runs op with the scalars and `swap` that p holds already; a gives the element type. Shared with _ops_act.pxi."""
    cdef int64_t shape[FN_DIMS]
    cdef int64_t *s[4]
    cdef int ndim = a.ndim, sides = 2
    cdef TensorBase y
    cdef double bytes
    memcpy(shape, a.shape_, ndim * sizeof(int64_t))
    if b is not None and not same_shape(a, b):
        _broadcast(b, shape, &ndim, (a, b, c), name)
    if c is not None and not _has_shape(c, ndim, shape):
        _broadcast(c, shape, &ndim, (a, b, c), name)
    if out is None:
        if _has_shape(a, ndim, shape):
            y = empty_in_order(a, y_kind)
        elif _has_shape(b, ndim, shape):
            y = empty_in_order(b, y_kind)
        elif _has_shape(c, ndim, shape):
            y = empty_in_order(c, y_kind)
        else:
            y = empty(y_kind, ndim, shape)
    else:
        if not _has_shape(out, ndim, shape):
            raise RuntimeError(f"{name}: output with shape {list(out.shape)} doesn't match the broadcast shape "
                               f"{[shape[i] for i in range(ndim)]}")
        if out.dtype_ != y_kind or overlaps(out, a) or overlaps(out, b) or overlaps(out, c):
            if not can_cast(y_kind, out.dtype_):
                raise RuntimeError(f"{name}: result type {DTYPE_NAMES[y_kind]} can't be cast to the desired output type "
                                   f"{DTYPE_NAMES[out.dtype_]}")
            copy_into(out, elementwise(op, name, y_kind, p, a, b, c, None))
            return out
        y = out
    p.a = rd(a)
    bytes = itemsize[y_kind] + itemsize[a.dtype_]
    s[0], s[1] = p.y_s, p.a_s
    if b is not None:
        p.b = rd(b)
        s[sides] = p.b_s
        sides += 1
        bytes += itemsize[b.dtype_]
    if c is not None:
        p.c = rd(c)
        s[sides] = p.c_s
        sides += 1
        bytes += itemsize[c.dtype_]
    p.y = fresh(y) if out is None else wr(y)
    if y.numel_ == 0:
        return y
    if is_dense(y) and is_dense(a) and same_shape(y, a) and (b is None or (same_shape(y, b) and is_dense(b))) and (
            c is None or (same_shape(y, c) and is_dense(c))):
        p.ndim, p.n[0], p.y_s[0], p.a_s[0], p.b_s[0], p.c_s[0] = 1, y.numel_, 1, 1, b is not None, c is not None
    else:
        memcpy(p.y_s, y.stride_, ndim * sizeof(int64_t))
        spread(a, ndim, shape, p.a_s)
        if b is not None:
            spread(b, ndim, shape, p.b_s)
        if c is not None:
            spread(c, ndim, shape, p.c_s)
        p.ndim = merge(ndim, shape, sides, s, p.n)
    call(op, a.dtype_, p, sizeof(p[0]), y.numel_ * (bytes * _BYTE_NS + _ELEM_NS[op]))
    return y


cdef int64_t whole(value, int kind) except? -1:
    """The operand `value` of an integer op, wrapped by the kernel as the type wraps."""
    if kind == FN_BOOL:
        return 1 if value else 0
    if isinstance(value, float):
        raise TypeError(f"a {DTYPE_NAMES[kind]} operation got the float {value}")
    return value


cdef int _scalar(fn_elem_args *p, int kind, value) except -1:
    if kind <= FN_F64:
        p.s = value
    else:
        p.k = whole(value, kind)
    return 0


cdef TensorBase _unary(int op, str name, TensorBase x, TensorBase out, int y_kind=-1):
    cdef fn_elem_args p
    memset(&p, 0, sizeof(p))
    return elementwise(op, name, x.dtype_ if y_kind < 0 else y_kind, &p, x, None, None, out)


cdef TensorBase _binary(int op, str name, a, b, TensorBase out, int y_kind=-1, alpha=None):
    cdef fn_elem_args p
    cdef TensorBase x, y = None
    memset(&p, 0, sizeof(p))
    if not isinstance(a, TensorBase):
        if not isinstance(b, TensorBase):
            raise TypeError(f"{name}(): one operand must be a Tensor, got {type(a).__name__} and {type(b).__name__}")
        x = b
        p.swap = 1
        _scalar(&p, x.dtype_, a)
    else:
        x = a
        if isinstance(b, TensorBase):
            y = b
            if x.dtype_ != y.dtype_:
                raise TypeError(f"{name}: operands of {DTYPE_NAMES[x.dtype_]} and {DTYPE_NAMES[y.dtype_]}")
        else:
            _scalar(&p, x.dtype_, b)
    if alpha is not None:
        if x.dtype_ <= FN_F64:
            p.s2 = alpha
        else:
            p.k2 = whole(alpha, x.dtype_)
    return elementwise(op, name, x.dtype_ if y_kind < 0 else y_kind, &p, x, y, None, out)


cpdef bint agree(a, b, bint real=False):
    """Do a and b go into one kernel as they are: tensors of one dtype, or a tensor and a number of a kind that the tensor's
    includes? With real, a real type is asked for too."""
    cdef TensorBase x
    if isinstance(a, TensorBase):
        x = a
        if isinstance(b, TensorBase):
            return x.dtype_ == (<TensorBase>b).dtype_ and (not real or x.dtype_ <= FN_F64)
    elif isinstance(b, TensorBase):
        x, b = b, a
    else:
        return False
    if x.dtype_ <= FN_F64:
        return type(b) is float or type(b) is int or type(b) is bool
    return not real and (type(b) is bool or (type(b) is int and x.dtype_ != FN_BOOL))


def crosswise(a, b):
    """Each of two factors if the gradient of the other needs it, else None."""
    return (a if _any_needs((b,)) else None, b if _any_needs((a,)) else None)


cdef object _broadcast_shape(TensorBase y, x):
    return None if not isinstance(x, TensorBase) or same_shape(y, <TensorBase>x) else (<TensorBase>x).shape


def broadcast_shapes(TensorBase y, *operands):
    """For each operand of y its shape if it was broadcast to y's, else None: what reduce_to() needs later."""
    return tuple([_broadcast_shape(y, x) for x in operands])


# ---- arithmetic ------------------------------------------------------------------------------------------------------

cpdef TensorBase add(a, b, TensorBase out=None, alpha=1):
    """a + alpha b"""
    return _binary(FN_OP_add, "add", a, b, out, -1, alpha)


cpdef TensorBase sub(a, b, TensorBase out=None, alpha=1):
    """a - alpha b"""
    return _binary(FN_OP_sub, "sub", a, b, out, -1, alpha)


cpdef TensorBase mul(a, b, TensorBase out=None):
    return _binary(FN_OP_mul, "mul", a, b, out)


cpdef TensorBase div(a, b, TensorBase out=None):
    return _binary(FN_OP_div, "div", a, b, out)


cdef int _check_divisor(a, b, str name) except -1:
    """Integers are not divided by zero."""
    cdef TensorBase x = b if isinstance(b, TensorBase) else a
    cdef TensorBase zero
    if x.dtype_ <= FN_F64:
        return 0
    if not isinstance(b, TensorBase):
        zero = None
    else:
        host_read(f"{name} by a tensor of integers")
        zero = eq(b, 0)
    if (not b) if zero is None else item(any_(zero)):
        raise RuntimeError("ZeroDivisionError")
    return 0


def floor_divide(a, b, TensorBase out=None):
    """The whole number at or below a / b."""
    _check_divisor(a, b, "floor_divide")
    return _binary(FN_OP_floor_divide, "floor_divide", a, b, out)


def trunc_divide(a, b, TensorBase out=None):
    """a / b without its fraction."""
    _check_divisor(a, b, "div")
    return _binary(FN_OP_trunc_divide, "div", a, b, out)


def remainder(a, b, TensorBase out=None):
    """a - b floor(a / b)"""
    _check_divisor(a, b, "remainder")
    return _binary(FN_OP_remainder, "remainder", a, b, out)


def pow_(a, b, TensorBase out=None):
    return _binary(FN_OP_pow, "pow", a, b, out)


def addcmul(TensorBase a, TensorBase b, TensorBase c, s=1, TensorBase out=None):
    """a + s b c"""
    cdef fn_elem_args p
    memset(&p, 0, sizeof(p))
    if not a.dtype_ == b.dtype_ == c.dtype_:
        raise TypeError(f"addcmul: operands of {a.dtype.name}, {b.dtype.name} and {c.dtype.name}")
    _scalar(&p, a.dtype_, s)
    return elementwise(FN_OP_addcmul, "addcmul", a.dtype_, &p, a, b, c, out)


def maximum(a, b, TensorBase out=None):
    """NaN wins."""
    return _binary(FN_OP_maximum, "maximum", a, b, out)


def minimum(a, b, TensorBase out=None):
    """NaN wins."""
    return _binary(FN_OP_minimum, "minimum", a, b, out)


def clamp(TensorBase x, low=None, high=None, TensorBase out=None):
    """min(max(x, low), high); None is no bound."""
    cdef fn_elem_args p
    cdef int kind = x.dtype_
    cdef int64_t least = INT64_MIN, most = INT64_MAX
    memset(&p, 0, sizeof(p))
    if kind <= FN_F64:
        p.s = -float("inf") if low is None else low
        p.s2 = float("inf") if high is None else high
    else:
        if kind == FN_I32:
            least, most = INT32_MIN, INT32_MAX
        elif kind == FN_U8:
            least, most = 0, 255
        p.k = least if low is None else whole(low, kind)
        p.k2 = most if high is None else whole(high, kind)
        if not (least <= p.k <= most and least <= p.k2 <= most):
            raise RuntimeError(f"clamp: bounds {low} and {high} cannot be converted to type {x.dtype.name} without overflow")
    return elementwise(FN_OP_clamp, "clamp", kind, &p, x, None, None, out)


def where(TensorBase c, a, b, TensorBase out=None):
    """c ? a : b; c is bool or uint8, one of a and b may be a number."""
    cdef fn_elem_args p
    cdef TensorBase x, y = None
    memset(&p, 0, sizeof(p))
    if c.dtype_ < FN_U8:
        raise RuntimeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {c.dtype.name}")
    if isinstance(a, TensorBase):
        x = a
        if isinstance(b, TensorBase):
            y = b
            if x.dtype_ != y.dtype_:
                raise TypeError(f"where: operands of {DTYPE_NAMES[x.dtype_]} and {DTYPE_NAMES[y.dtype_]}")
        else:
            _scalar(&p, x.dtype_, b)
    else:
        x = b
        p.swap = 1
        _scalar(&p, x.dtype_, a)
    return elementwise(FN_OP_where, "where", x.dtype_, &p, x, y, c, out)


# ---- comparison and logic: bool out ----------------------------------------------------------------------------------

cpdef TensorBase eq(a, b, TensorBase out=None):
    return _binary(FN_OP_eq, "eq", a, b, out, FN_BOOL)


def ne(a, b, TensorBase out=None):
    return _binary(FN_OP_ne, "ne", a, b, out, FN_BOOL)


def lt(a, b, TensorBase out=None):
    return _binary(FN_OP_lt, "lt", a, b, out, FN_BOOL)


def le(a, b, TensorBase out=None):
    return _binary(FN_OP_le, "le", a, b, out, FN_BOOL)


def gt(a, b, TensorBase out=None):
    return _binary(FN_OP_lt, "gt", b, a, out, FN_BOOL)


def ge(a, b, TensorBase out=None):
    return _binary(FN_OP_le, "ge", b, a, out, FN_BOOL)


def logical_and(a, b, TensorBase out=None):
    return _binary(FN_OP_logical_and, "logical_and", a, b, out, FN_BOOL)


def logical_or(a, b, TensorBase out=None):
    return _binary(FN_OP_logical_or, "logical_or", a, b, out, FN_BOOL)


def logical_xor(a, b, TensorBase out=None):
    return _binary(FN_OP_logical_xor, "logical_xor", a, b, out, FN_BOOL)


def logical_not(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_logical_not, "logical_not", x, out, FN_BOOL)


def isnan(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_isnan, "isnan", x, out, FN_BOOL)


def isinf(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_isinf, "isinf", x, out, FN_BOOL)


def isfinite(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_isfinite, "isfinite", x, out, FN_BOOL)


def bitwise_and(a, b, TensorBase out=None):
    return _binary(FN_OP_bitwise_and, "bitwise_and", a, b, out)


def bitwise_or(a, b, TensorBase out=None):
    return _binary(FN_OP_bitwise_or, "bitwise_or", a, b, out)


def bitwise_xor(a, b, TensorBase out=None):
    return _binary(FN_OP_bitwise_xor, "bitwise_xor", a, b, out)


def bitwise_not(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_bitwise_not, "bitwise_not", x, out)


# ---- functions of one operand ----------------------------------------------------------------------------------------

def neg(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_neg, "neg", x, out)


def abs_(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_abs, "abs", x, out)


def sign(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_sign, "sign", x, out)


def reciprocal(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_reciprocal, "reciprocal", x, out)


def exp(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_exp, "exp", x, out)


def log(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_log, "log", x, out)


def log1p(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_log1p, "log1p", x, out)


def sqrt(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_sqrt, "sqrt", x, out)


def rsqrt(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_rsqrt, "rsqrt", x, out)


def sin(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_sin, "sin", x, out)


def cos(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_cos, "cos", x, out)


def erf(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_erf, "erf", x, out)


def floor(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_floor, "floor", x, out)


def ceil(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_ceil, "ceil", x, out)


def round_(TensorBase x, TensorBase out=None):
    """Halves to even."""
    return _unary(FN_OP_round, "round", x, out)


def trunc(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_trunc, "trunc", x, out)
