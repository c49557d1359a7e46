# Copies with conversion, fills and ranges; and what every strided call needs: merged dimensions, overlap.

from libc.math cimport isinf as _isinf

cdef extern from "fn.h":
    enum: FN_OP_copy, FN_OP_fill, FN_OP_arange

cdef extern from "args.h":
    ctypedef struct fn_copy_args:
        void *y
        const void *x
        int64_t x_dtype, ndim
        int64_t n[FN_DIMS]
        int64_t y_s[FN_DIMS]
        int64_t x_s[FN_DIMS]
        double s, s2
        int64_t k, k2

cdef double _BYTE_NS = 0.012             # time that a byte read or written takes one thread, from its own caches


cdef int merge(int ndim, const int64_t *shape, int sides, int64_t **s, int64_t *n) noexcept:
    """One index space for `sides` operands of strides s[k] (changed in place): dimensions by falling stride of s[0], those
    of size 1 dropped, neighbours joined where all operands allow it. Extents go to n; returns how many, at least 1."""
    cdef int i, j, k, d, kept = 0
    cdef bint joined
    cdef int64_t m
    cdef int64_t v[4]
    for i in range(ndim):
        m = shape[i]
        if m == 1:
            continue
        for k in range(sides):
            v[k] = s[k][i]
        j = kept
        while j > 0 and s[0][j - 1] < v[0]:
            n[j] = n[j - 1]
            for k in range(sides):
                s[k][j] = s[k][j - 1]
            j -= 1
        n[j] = m
        for k in range(sides):
            s[k][j] = v[k]
        kept += 1
    if kept == 0:
        n[0] = 1
        for k in range(sides):
            s[k][0] = 1
        return 1
    d = 0
    for i in range(1, kept):
        joined = True
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


cdef void spread(TensorBase x, int ndim, const int64_t *shape, int64_t *s) noexcept:
    """x's strides over the space it is broadcast to: 0 where it repeats."""
    cdef int i, lead = ndim - x.ndim
    for i in range(ndim):
        s[i] = 0 if i < lead or (x.shape_[i - lead] == 1 and shape[i] != 1) else x.stride_[i - lead]


cdef bint overlaps(TensorBase y, TensorBase x) noexcept:
    """Would writing y spoil x (or None) before it is read? Not if they share no memory or are the same elements in the same
    places."""
    cdef int64_t y_span, x_span
    cdef char *yp
    cdef char *xp
    cdef int i
    if x is None or y.numel_ == 0 or x.numel_ == 0:
        return False
    yp, xp, y_span, x_span = <char *>address(y), <char *>address(x), itemsize[y.dtype_], itemsize[x.dtype_]
    if yp == xp and y.dtype_ == x.dtype_ and same_shape(y, x) \
            and memcmp(y.stride_, x.stride_, y.ndim * sizeof(int64_t)) == 0:
        return False
    for i in range(y.ndim):
        y_span += (y.shape_[i] - 1) * y.stride_[i] * itemsize[y.dtype_]
    for i in range(x.ndim):
        x_span += (x.shape_[i] - 1) * x.stride_[i] * itemsize[x.dtype_]
    return yp < xp + x_span and xp < yp + y_span


cdef int _copy(TensorBase y, void *yp, TensorBase x) except -1:
    """y = x where x's shape is broadcast to y's."""
    cdef fn_copy_args a
    cdef int64_t *s[2]
    memset(&a, 0, sizeof(a))
    if y.numel_ == 0:
        return 0
    a.y, a.x, a.x_dtype = yp, rd(x), x.dtype_
    memcpy(a.y_s, y.stride_, y.ndim * sizeof(int64_t))
    spread(x, y.ndim, y.shape_, a.x_s)
    s[0], s[1] = a.y_s, a.x_s
    a.ndim = merge(y.ndim, y.shape_, 2, s, a.n)
    return call(FN_OP_copy, y.dtype_, &a, sizeof(a), y.numel_ * (itemsize[y.dtype_] + itemsize[x.dtype_]) * _BYTE_NS)


cdef int check_spread(TensorBase x, TensorBase y, str name) except -1:
    """Can x be broadcast to y's shape?"""
    cdef int i, lead = y.ndim - x.ndim
    if lead < 0:
        raise RuntimeError(f"{name}: the source of shape {shape_of(x)} has more dimensions than the destination "
                           f"of shape {shape_of(y)}")
    for i in range(x.ndim):
        if x.shape_[i] != y.shape_[i + lead] and x.shape_[i] != 1:
            raise RuntimeError(f"{name}: The size of tensor a ({y.shape_[i + lead]}) must match the size of tensor b "
                               f"({x.shape_[i]}) at non-singleton dimension {i + lead}: the destination has shape {shape_of(y)}, "
                               f"the source {shape_of(x)}")
    return 0


cpdef object copy_into(TensorBase dst, TensorBase src):
    """dst[...] = src, broadcast and converted; they may overlap."""
    check_spread(src, dst, "copy_")
    if overlaps(dst, src):
        src = _clone(src)
    _copy(dst, wr(dst), src)


cpdef TensorBase cast(TensorBase x, dtype kind):
    """x as another type; x itself if it has it."""
    if x.dtype_ == kind.code:
        return x
    cdef TensorBase y = empty_in_order(x, kind.code)
    _copy(y, fresh(y), x)
    return y


cpdef TensorBase contiguous(TensorBase x):
    """x itself if it is row-major without gaps, else a copy that is."""
    if is_dense(x):
        return x
    cdef TensorBase y = empty(x.dtype_, x.ndim, x.shape_)
    _copy(y, fresh(y), x)
    return y


cdef int64_t integer_of(value, int kind) except? -1:
    """value as an element of an integer type, cut to a whole number; RuntimeError where it does not fit."""
    cdef int64_t k = 0, most = 255 if kind == FN_U8 else 0x7FFFFFFF
    if kind == FN_BOOL:
        return 1 if value else 0
    try:
        k = int(value)
        if kind == FN_I64 or -most - (kind == FN_I32) <= k <= most:
            return k
    except (OverflowError, ValueError):                  # too large, infinite; NaN
        pass
    raise RuntimeError(f"value {value} cannot be converted to type {DTYPE_NAMES[kind]} without overflow")


cpdef object fill_into(TensorBase dst, value):
    """dst[...] = value, a number."""
    cdef fn_copy_args a
    cdef int64_t *s[1]
    if not isinstance(value, (int, float)):
        if not hasattr(value, "item"):
            raise TypeError(f"a tensor is filled with a number, not {type(value).__name__}")
        value = value.item()
    memset(&a, 0, sizeof(a))
    dst = _once(dst, dst)                # a repeated element may be filled, though not copied to
    if dst.dtype_ <= FN_F64:
        a.s = value
        if dst.dtype_ == FN_F32 and _isinf(<float>a.s) and not _isinf(a.s):
            raise RuntimeError(f"value {value} cannot be converted to type float32 without overflow")
    else:
        a.k = integer_of(value, dst.dtype_)
    a.y = wr(dst)
    if dst.numel_ == 0:
        return
    memcpy(a.y_s, dst.stride_, dst.ndim * sizeof(int64_t))
    s[0] = a.y_s
    a.ndim = merge(dst.ndim, dst.shape_, 1, s, a.n)
    call(FN_OP_fill, dst.dtype_, &a, sizeof(a), dst.numel_ * itemsize[dst.dtype_] * _BYTE_NS)


def arange(start, step, int64_t n, dtype kind):
    """start, start + step, ...: n elements."""
    cdef fn_copy_args a
    cdef TensorBase y = empty(kind.code, 1, &n)
    if n == 0:
        return y
    memset(&a, 0, sizeof(a))
    if kind.code <= FN_F64:
        a.s, a.s2 = start, step
    else:
        a.k, a.k2 = start, step
    a.y, a.ndim, a.n[0], a.y_s[0] = fresh(y), 1, n, 1
    call(FN_OP_arange, kind.code, &a, sizeof(a), n * itemsize[kind.code] * _BYTE_NS)
    return y
