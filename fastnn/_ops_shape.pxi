# Views: the same storage under another shape. Nothing runs, so nothing is recorded.


def as_strided(TensorBase x, shape, stride, offset=None):
    """A view of x's storage with the given geometry, which must lie inside it; offset None: x's own."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int64_t o = x.offset if offset is None else offset, last
    cdef int i, ndim = len(shape)
    if len(stride) != ndim:
        raise RuntimeError(f"as_strided: mismatch in length of strides {tuple(stride)} and shape {tuple(shape)}")
    if ndim > FN_DIMS:
        raise RuntimeError(f"a tensor has at most {FN_DIMS} dimensions, got {ndim}")
    last = o
    for i in range(ndim):
        n[i], s[i] = shape[i], stride[i]
        if n[i] < 0 or s[i] < 0:
            raise RuntimeError(f"as_strided: shape {tuple(shape)} and stride {tuple(stride)} must not be negative")
        last += (n[i] - 1) * s[i]
    if o < 0 or (count(ndim, n) > 0 and (last + 1) * itemsize[x.dtype_] > x.storage.nbytes):
        raise RuntimeError(f"as_strided: shape {tuple(shape)}, stride {tuple(stride)}, offset {o} reach outside a storage of "
                           f"{x.storage.nbytes} bytes")
    return alias(x, ndim, n, s, o)


def select(TensorBase x, dim, index):
    """x[..., index, ...]: dim is gone."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int i, j = 0, d
    cdef int64_t k = index
    if x.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = _dim(dim, x.ndim)
    if k < -x.shape_[d] or k >= x.shape_[d]:
        raise IndexError(f"index {k} is out of bounds for dimension {d} with size {x.shape_[d]}")
    if k < 0:
        k += x.shape_[d]
    for i in range(x.ndim):
        if i != d:
            n[j], s[j] = x.shape_[i], x.stride_[i]
            j += 1
    cdef TensorBase y = alias(x, x.ndim - 1, n, s, x.offset + k * x.stride_[d])
    y.channels_last = x.channels_last and x.ndim == 4 and d == 0
    return y


def slice_dim(TensorBase x, dim, int64_t start, int64_t stop, int64_t step):
    """x[..., start:stop:step, ...] with 0 <= start, step >= 1, already clipped."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int d = _dim(dim, x.ndim)
    memcpy(n, x.shape_, sizeof(n))
    memcpy(s, x.stride_, sizeof(s))
    n[d] = max(<int64_t>0, (stop - start + step - 1) // step)
    s[d] = x.stride_[d] * step
    cdef TensorBase y = alias(x, x.ndim, n, s, x.offset + (start * x.stride_[d] if n[d] else 0))
    y.channels_last = x.channels_last and x.ndim == 4 and d == 0 and step == 1
    return y


def permute(TensorBase x, tuple dims):
    """y's dimension i is x's dimension dims[i]."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int i, d
    cdef unsigned seen = 0
    if len(dims) != x.ndim:
        raise RuntimeError(f"permute(dims={dims}): number of dimensions in the tensor input does not match the length of the desired ordering "
                           f"of dimensions i.e. input.dim() = {x.ndim} is not equal to len(dims) = {len(dims)}")
    for i in range(x.ndim):
        d = _dim(dims[i], x.ndim)
        if seen & (1u << d):
            raise RuntimeError(f"permute(dims={dims}): duplicate dims are not allowed")
        seen |= 1u << d
        n[i], s[i] = x.shape_[d], x.stride_[d]
    return alias(x, x.ndim, n, s, x.offset)


def expand(TensorBase x, tuple shape):
    """x with size-1 dimensions repeated by stride 0 and new ones put in front; -1 keeps a size."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int i, lead = len(shape) - x.ndim
    if lead < 0:
        raise RuntimeError(f"expand: the number of sizes provided ({len(shape)}: {shape}) must be greater or equal to the number of dimensions in "
                           f"the tensor ({x.ndim}: {shape_of(x)})")
    if len(shape) > FN_DIMS:
        raise RuntimeError(f"a tensor has at most {FN_DIMS} dimensions, got {len(shape)}")
    for i in range(len(shape)):
        n[i] = shape[i]
        if i < lead:
            if n[i] < 0:
                raise RuntimeError(f"expand: the expanded size {n[i]} isn't allowed in a leading, non-existing dimension {i} of {shape}")
            s[i] = 0
        else:
            s[i] = x.stride_[i - lead]
            if n[i] == -1:
                n[i] = x.shape_[i - lead]
            elif n[i] != x.shape_[i - lead]:
                if x.shape_[i - lead] != 1 or n[i] < 0:
                    raise RuntimeError(f"The expanded size of the tensor ({n[i]}) must match the existing size ({x.shape_[i - lead]}) at "
                                       f"non-singleton dimension {i}. Target sizes: {list(shape)}. Tensor sizes: {list(x.shape)}")
                s[i] = 0
    count(len(shape), n)
    return alias(x, len(shape), n, s, x.offset)


def squeeze(TensorBase x, dims=None):
    """x without its size-1 dimensions (of dims, if given)."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int i, j = 0
    cdef unsigned which = 0xFFFFFFFF
    if dims is not None:
        which = 0
        for d in dims:
            which |= 1u << <int>_dim(d, x.ndim)
    for i in range(x.ndim):
        if x.shape_[i] != 1 or not which & (1u << i):
            n[j], s[j] = x.shape_[i], x.stride_[i]
            j += 1
    cdef TensorBase y = alias(x, j, n, s, x.offset)
    y.channels_last = x.channels_last and (j == x.ndim or (j == 3 and s[0] == x.stride_[1] and n[0] == x.shape_[1] and n[1] == x.shape_[2]))
    return y


def unsqueeze(TensorBase x, dim):
    """x with a dimension of size 1 at dim."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int i, d = _dim(dim, x.ndim + 1)
    if x.ndim == FN_DIMS:
        raise RuntimeError(f"a tensor has at most {FN_DIMS} dimensions, got {x.ndim + 1}")
    for i in range(d):
        n[i], s[i] = x.shape_[i], x.stride_[i]
    n[d], s[d] = 1, (x.shape_[d] * x.stride_[d] if d < x.ndim else 1)
    for i in range(d, x.ndim):
        n[i + 1], s[i + 1] = x.shape_[i], x.stride_[i]
    cdef TensorBase y = alias(x, x.ndim + 1, n, s, x.offset)
    y.channels_last = x.channels_last and x.ndim == 3 and d == 0
    return y


cdef int _wanted_shape(TensorBase x, shape, int64_t *n, str name) except -1:
    """shape with its one -1 filled in; returns its length."""
    cdef int i, hole = -1, ndim = len(shape)
    cdef int64_t rest = 1
    if ndim > FN_DIMS:
        raise RuntimeError(f"a tensor has at most {FN_DIMS} dimensions, got {ndim}")
    for i in range(ndim):
        n[i] = shape[i]
        if n[i] == -1:
            if hole >= 0:
                raise RuntimeError(f"{name}: only one dimension can be inferred, shape {tuple(shape)} has several -1")
            hole = i
        elif n[i] < 0:
            raise RuntimeError(f"{name}: invalid shape dimension {n[i]} in {tuple(shape)}")
    if hole >= 0:
        n[hole] = 1
        rest = count(ndim, n)
        if rest == 0:
            raise RuntimeError(f"{name}: cannot reshape tensor of {x.numel_} elements into shape {list(shape)} because the unspecified dimension "
                               "size -1 can be any value and is ambiguous")
        n[hole] = x.numel_ // rest
    if count(ndim, n) != x.numel_:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {x.numel_} ({name} of {shape_of(x)})")
    return ndim


cdef bint _view_strides(TensorBase x, int ndim, const int64_t *n, int64_t *s) noexcept:
    """Strides that show x's elements, in row-major order, as shape n without a copy; False if there are none."""
    cdef int64_t xn[FN_DIMS]
    cdef int64_t xs[FN_DIMS]
    cdef int64_t have, step = 1
    cdef int i = -1, j = ndim - 1, k
    if x.numel_ == 0:
        for j in range(ndim - 1, -1, -1):
            s[j] = step
            step *= max(n[j], <int64_t>1)
        return True
    for k in range(x.ndim):
        if x.shape_[k] != 1:
            i += 1
            xn[i], xs[i] = x.shape_[k], x.stride_[k]
    while i >= 0:
        have, step = xn[i], xs[i]
        while i > 0 and xs[i - 1] == xn[i] * xs[i]:
            i -= 1
            have *= xn[i]
        i -= 1
        while j >= 0 and (have > 1 or n[j] == 1):
            if have % n[j]:
                return False
            s[j] = step
            step *= n[j]
            have //= n[j]
            j -= 1
        if have != 1:
            return False
    while j >= 0:
        s[j] = step
        j -= 1
    return True


def view(TensorBase x, shape):
    """x under another shape, without a copy; but what a layer left channels-last is shown as a row-major copy."""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int ndim = _wanted_shape(x, shape, n, "view")
    cdef TensorBase y
    if x.channels_last and not is_dense(x):
        if ndim == x.ndim and memcmp(n, x.shape_, ndim * sizeof(int64_t)) == 0:
            y = alias(x, ndim, n, x.stride_, x.offset)
            y.channels_last = True
            return y
        y = contiguous(x)
        y.storage.stands_in = True
        y.ndim = ndim
        memcpy(y.shape_, n, ndim * sizeof(int64_t))
        row_major(y)
        return y
    if not _view_strides(x, ndim, n, s):
        raise RuntimeError(f"view size is not compatible with input tensor's size and stride (shape {shape_of(x)}, stride {x.stride()} cannot be "
                           f"seen as {tuple(shape)} without a copy). Use .reshape(...) instead.")
    return alias(x, ndim, n, s, x.offset)


def can_view(TensorBase x, shape):
    """Would view(x, shape) succeed without a copy?"""
    cdef int64_t n[FN_DIMS]
    cdef int64_t s[FN_DIMS]
    cdef int ndim = _wanted_shape(x, shape, n, "reshape")
    return x.channels_last or _view_strides(x, ndim, n, s)


def full(shape, value, dtype kind, bint last=False):
    """A fresh tensor filled with value; None leaves it as it comes. last: images (N,C,H,W), channels last."""
    cdef int64_t n[FN_DIMS]
    cdef int i
    if len(shape) > FN_DIMS:
        raise RuntimeError(f"a tensor has at most {FN_DIMS} dimensions, got {len(shape)}")
    for i in range(len(shape)):
        if shape[i] > (1 << 62):
            raise RuntimeError(f"shape {tuple(shape)} overflows")
        n[i] = shape[i]
    cdef TensorBase y = empty_nhwc(kind.code, n[0], n[1], n[2], n[3]) if last else empty(kind.code, len(shape), n)
    if value is not None:
        fill_into(y, value)
        y.storage.version = 0
    return y
