# Indexing by integer tensors, sorting, nonzero, flip. Indices arrive as int64; a wrong one raises here, before the kernel runs.

cdef extern from "fn.h":
    enum: FN_OP_take, FN_OP_put, FN_OP_put_add, FN_OP_gather, FN_OP_scatter, FN_OP_scatter_add, FN_OP_sort, FN_OP_nonzero

cdef extern from "args.h":
    ctypedef struct fn_index_args:
        void *y
        int64_t *order
        const void *x
        const int64_t *idx[FN_DIMS]
        int64_t nidx
        int64_t extent[FN_DIMS]
        int64_t step[FN_DIMS]
        int64_t ni
        int64_t i_n[FN_DIMS]
        int64_t i_dense[FN_DIMS]
        int64_t i_idx[FN_DIMS][FN_DIMS]
        int64_t nj
        int64_t j_n[FN_DIMS]
        int64_t j_dense[FN_DIMS]
        int64_t j_at[FN_DIMS]
        int64_t axis, flag

cdef double _ROW_NS = 5                  # work of one index


cdef int _run_unrecorded(int op, int kind, void *args) except -1:
    """One thread, no recorder: for what the host alone wants to know. Only ops without scratch."""
    cdef fn_call c
    memset(&c, 0, sizeof(c))
    c.kernel, c.args, c.op, c.dtype, c.threads = fn_find(fn_table_now(), op, kind).kernel, args, op, kind, 1
    fn_run(&c, 1, 1)
    return 0


cdef TensorBase _apart(TensorBase t, TensorBase x):
    """t, or a copy of it if writing x might change it."""
    return _clone(t) if t.storage is x.storage or overlaps(x, t) else t


cdef int64_t _extreme_of(int op, TensorBase idx):
    """The value where argmin or argmax finds it."""
    cdef fn_reduce_args a
    cdef int64_t *s[1]
    cdef int64_t at = 0, left
    cdef int d
    memset(&a, 0, sizeof(a))
    a.y, a.x = &left, address(idx)
    memcpy(a.r_n, idx.shape_, sizeof(a.r_n))
    memcpy(a.r_x, idx.stride_, sizeof(a.r_x))
    s[0] = a.r_x
    a.nred = join(idx.ndim, a.r_n, 1, s)
    _run_unrecorded(op, FN_I64, &a)
    for d in range(idx.ndim - 1, -1, -1):
        at += left % idx.shape_[d] * idx.stride_[d]
        left //= idx.shape_[d]
    return (<int64_t *>address(idx))[at]


cdef int index_check(TensorBase idx, TensorBase said, int64_t low, int64_t n, kind, str rule) except -1:
    """Raise `kind` where an index is not in low..n-1; rule says so, with {k} for the index. said: the indices as the caller gave them."""
    cdef int64_t bad
    if idx.numel_ == 0:
        return 0
    if not (is_dense(idx) and _all_within(<const int64_t *>address(idx), idx.numel_, low, n)):
        bad = _extreme_of(FN_OP_argmax, idx)
        if bad < n:
            bad = _extreme_of(FN_OP_argmin, idx)
        if not low <= bad < n:
            raise kind(rule.format(k=bad))
    return watch(said, low, n, low, kind, rule) if fn_tls_recorder != NULL else 0


cdef bint _all_within(const int64_t *p, int64_t count, int64_t low, int64_t n) noexcept:
    """Are all from low to n - 1? One that is not makes one of the differences negative, even where they wrap."""
    cdef uint64_t signs = 0
    cdef int64_t i
    for i in range(count):
        signs |= (<uint64_t>p[i] - <uint64_t>low) | (<uint64_t>(n - 1) - <uint64_t>p[i])
    return signs >> 63 == 0


cdef int64_t first_outside(TensorBase t, int64_t low, int64_t n, int64_t but) except -2:
    """The flat index of the first of dense int64 numbers that is neither in low..n-1 nor `but`, or -1."""
    cdef const int64_t *p = <const int64_t *>rd(t)
    cdef uint64_t begin = <uint64_t>low, count = <uint64_t>(n - low)
    cdef int64_t i
    cdef bint outside = False
    for i in range(t.numel_):
        outside |= <uint64_t>p[i] - begin >= count
    for i in range(t.numel_ if outside else 0):
        if <uint64_t>p[i] - begin >= count and p[i] != but:
            return i
    return -1


cdef TensorBase _int64(TensorBase idx, str name):
    if idx.dtype_ == FN_I32:
        return cast(idx, DTYPES[FN_I64])
    if idx.dtype_ != FN_I64:
        raise RuntimeError(f"{name}: Expected dtype int32/int64 for index, but got {DTYPES[idx.dtype_].name} of shape {shape_of(idx)}")
    return idx


# ---- rows: take, put -------------------------------------------------------------------------------------------------

cdef int _index_rows(fn_index_args *a, TensorBase t, tuple indices, tuple said, bint negative, int64_t *shape, TensorBase values) except -1:
    """Fills a for t[indices]: an int64 tensor or None for each dimension, missing ones at the end are None; are negative ones
    counted from the end, or wrong? shape is the result's, its dimension count is returned. The dense side is values, broadcast
    to it; None: a fresh row-major tensor."""
    cdef int64_t value_s[FN_DIMS]
    cdef int64_t ishape[FN_DIMS]
    cdef int64_t wide[FN_DIMS]
    cdef int64_t rows_s[FN_DIMS]
    cdef int64_t *s[FN_DIMS + 1]
    cdef int64_t step
    cdef int d, i, ni = 0, nj = 0, first = -1, last = -1, used = 0, ndim, lead
    cdef bint adjacent
    cdef TensorBase idx
    if len(indices) > t.ndim:
        raise IndexError(f"too many indices for tensor of dimension {t.ndim}")
    for d in range(len(indices)):
        if indices[d] is None:
            continue
        idx = indices[d]
        index_check(idx, said[d], -t.shape_[d] if negative else 0, t.shape_[d], IndexError,
                    f"index {{k}} is out of bounds for dimension {d} with size {t.shape_[d]}")
        first = d if first < 0 else first
        last = d
        used += 1
        lead = idx.ndim - ni
        if lead > 0:
            for i in range(idx.ndim - 1, -1, -1):
                ishape[i] = ishape[i - lead] if i >= lead else 1
            ni = idx.ndim
        for i in range(idx.ndim):
            if idx.shape_[i] != 1 and ishape[ni - idx.ndim + i] != idx.shape_[i]:
                if ishape[ni - idx.ndim + i] != 1:
                    raise IndexError("shape mismatch: indexing tensors could not be broadcast together with shapes "
                                     + ", ".join([str(list(k.shape)) for k in indices if k is not None]))
                ishape[ni - idx.ndim + i] = idx.shape_[i]
    adjacent = last - first + 1 == used
    lead = first if adjacent else 0                          # where the index dimensions stand in the result
    ndim = ni + t.ndim - used
    if ndim > FN_DIMS:
        raise RuntimeError(f"a tensor has at most {FN_DIMS} dimensions, got {ndim}")
    i = 0
    for d in range(t.ndim):
        if i == lead:
            i += ni
        if d >= len(indices) or indices[d] is None:
            shape[i] = t.shape_[d]
            i += 1
    memcpy(shape + lead, ishape, ni * sizeof(int64_t))
    if values is None:
        step = 1
        for i in range(ndim - 1, -1, -1):
            value_s[i] = step
            step *= shape[i] if shape[i] > 1 else 1
    else:
        _check_values(values, ndim, shape)
        spread(values, ndim, shape, value_s)
    memcpy(a.i_n, ishape, ni * sizeof(int64_t))
    memcpy(a.i_dense, value_s + lead, ni * sizeof(int64_t))
    s[0] = a.i_dense
    i = 0
    for d in range(t.ndim):
        if d < len(indices) and indices[d] is not None:
            idx = indices[d]
            a.idx[a.nidx], a.extent[a.nidx], a.step[a.nidx] = <const int64_t *>rd(idx), t.shape_[d], t.stride_[d]
            spread(idx, ni, ishape, a.i_idx[a.nidx])
            a.nidx += 1
            s[a.nidx] = a.i_idx[a.nidx - 1]
        else:
            i += ni if i == lead else 0
            wide[nj], rows_s[nj], a.j_at[nj] = t.shape_[d], value_s[i], t.stride_[d]
            nj += 1
            i += 1
    a.ni = join(ni, a.i_n, used + 1, s)
    memcpy(a.j_dense, rows_s, nj * sizeof(int64_t))
    s[0], s[1] = a.j_dense, a.j_at
    a.nj = merge(nj, wide, 2, s, a.j_n)
    return ndim


cdef int _check_values(TensorBase v, int ndim, const int64_t *shape) except -1:
    cdef int i, lead = ndim - v.ndim
    for i in range(v.ndim):
        if lead < 0 or (v.shape_[i] != 1 and v.shape_[i] != shape[i + lead]):
            raise RuntimeError(f"shape mismatch: value tensor of shape {list(v.shape)} cannot be broadcast to indexing result of shape "
                               f"{[shape[k] for k in range(ndim)]}")
    return 0


cdef tuple _indices(indices, str name):
    return tuple([None if k is None else _int64(k, name) for k in indices])


cdef double _rows_work(fn_index_args *a, int dtype, int64_t n):
    """Rows come from anywhere in memory: three times what bytes in a cache take."""
    cdef double rows = 1
    cdef int i
    for i in range(a.ni):
        rows *= a.i_n[i]
    return 20 + rows * _ROW_NS * a.nidx + n * itemsize[dtype] * 6 * _BYTE_NS


def take(TensorBase x, indices, bint negative=True):
    """x[indices]: for each dimension an int64 tensor or None (all of it); index tensors broadcast together, and their dimensions
    stand where the first of them did, or in front if they are not neighbours."""
    cdef fn_index_args a
    cdef int64_t shape[FN_DIMS]
    cdef TensorBase y
    cdef tuple said = tuple(indices)
    cdef int ndim
    memset(&a, 0, sizeof(a))
    indices = _indices(said, "index")                        # a holds addresses in them
    ndim = _index_rows(&a, x, indices, said, negative, shape, None)
    y = empty(x.dtype_, ndim, shape)
    a.y, a.x = fresh(y), rd(x)
    if y.numel_:
        call(FN_OP_take, x.dtype_, &a, sizeof(a), _rows_work(&a, x.dtype_, y.numel_))
    return y


def put(TensorBase x, indices, TensorBase values, bint accumulate=False, bint negative=True):
    """x[indices] = or += values, which broadcast; where an index repeats, the last value stays."""
    cdef fn_index_args a
    cdef int64_t shape[FN_DIMS]
    cdef int64_t n = 1
    cdef tuple said = tuple(indices)
    cdef int ndim, i
    if values.dtype_ != x.dtype_:
        raise RuntimeError(f"Index put requires the source and destination dtypes match, got {DTYPES[x.dtype_].name} for the destination and "
                           f"{DTYPES[values.dtype_].name} for the source.")
    values = _apart(values, x)
    indices = tuple([None if k is None else _apart(k, x) for k in _indices(said, "index")])
    memset(&a, 0, sizeof(a))
    ndim = _index_rows(&a, x, indices, said, negative, shape, values)
    for i in range(ndim):
        n *= shape[i]
    a.y, a.x = wr(x), rd(values)
    if n:
        call(FN_OP_put_add if accumulate else FN_OP_put, x.dtype_, &a, sizeof(a), _rows_work(&a, x.dtype_, n))


# ---- one coordinate replaced: gather, scatter ------------------------------------------------------------------------

cdef int _check_along(str name, TensorBase t, int d, TensorBase idx, str said) except -1:
    """idx addresses dim d of t: as many dimensions, no longer than t along the others."""
    cdef int i
    if max(idx.ndim, 1) != max(t.ndim, 1):
        raise RuntimeError(f"{name}: Index tensor must have the same number of dimensions as {said} tensor: index has shape {shape_of(idx)}, "
                           f"{said} {shape_of(t)}")
    for i in range(idx.ndim if t.ndim else 0):
        if i != d and idx.shape_[i] > t.shape_[i]:
            raise RuntimeError(f"{name}: Size does not match at dimension {i}: expected index {list(idx.shape)} to be no larger than {said} "
                               f"{list(t.shape)} apart from dimension {d}")
    return 0


cdef int _along_dim(fn_index_args *a, str name, TensorBase t, int d, TensorBase idx, TensorBase said, TensorBase den) except -1:
    """Fills a for the elements idx names along dim d of t; said: idx as the caller gave it; den is dense, of idx's shape."""
    cdef int64_t n = t.shape_[d] if t.ndim else 1
    cdef int i
    index_check(idx, said, 0, n, RuntimeError, f"{name}: index {{k}} is out of bounds for dimension {d} with size {n}")
    a.nidx, a.extent[0], a.step[0], a.axis = 1, n, t.stride_[d] if t.ndim else 1, d
    a.ni = max(idx.ndim, 1)
    a.i_n[0] = 1
    for i in range(idx.ndim):
        a.i_n[i], a.i_idx[0][i], a.i_dense[i] = idx.shape_[i], idx.stride_[i], den.stride_[i] if den.ndim else 0
        a.j_at[i] = 0 if i == d or t.ndim == 0 else t.stride_[i]
    return 0


def gather(TensorBase x, dim, TensorBase index):
    """y[i] = x[i with coordinate dim replaced by index[i]]."""
    cdef fn_index_args a
    cdef int d = _dim(dim, x.ndim)
    cdef TensorBase y, said = index
    index = _int64(index, "gather()")
    _check_along("gather()", x, d, index, "input")
    y = empty(x.dtype_, index.ndim, index.shape_)
    memset(&a, 0, sizeof(a))
    _along_dim(&a, "gather()", x, d, index, said, y)
    a.y, a.x, a.idx[0] = fresh(y), rd(x), <const int64_t *>rd(index)
    if y.numel_:
        call(FN_OP_gather, x.dtype_, &a, sizeof(a), 20 + y.numel_ * 2.0)
    return y


def scatter(TensorBase x, dim, TensorBase index, TensorBase src, bint accumulate=False):
    """x[i with coordinate dim replaced by index[i]] = or += src[i], in place; src has index's shape or none."""
    cdef fn_index_args a
    cdef int d = _dim(dim, x.ndim)
    cdef str name = "scatter_add()" if accumulate else "scatter()"
    cdef TensorBase said = index
    index = _int64(index, name)
    _check_along(name, x, d, index, "self")
    if src.dtype_ != x.dtype_:
        raise RuntimeError(f"{name}: Expected self.dtype to be equal to src.dtype, got {DTYPES[x.dtype_].name} and {DTYPES[src.dtype_].name}")
    src, index = _apart(src, x), _apart(index, x)
    memset(&a, 0, sizeof(a))
    _along_dim(&a, name, x, d, index, said, src)
    a.y, a.x, a.idx[0] = wr(x), rd(src), <const int64_t *>rd(index)
    if index.numel_:
        call(FN_OP_scatter_add if accumulate else FN_OP_scatter, x.dtype_, &a, sizeof(a), 20 + index.numel_ * 2.0)


# ---- order -----------------------------------------------------------------------------------------------------------

def sort(TensorBase x, dim, bint descending=False, int64_t k=-1):
    """(values, order) along dim, the first k of them if k is not -1: stable, NaN counts as the greatest."""
    cdef fn_index_args a
    cdef int64_t shape[FN_DIMS]
    cdef int d = _dim(dim, x.ndim)
    cdef int64_t n = x.shape_[d] if x.ndim else 1
    cdef int64_t passes = (8 if itemsize[x.dtype_] == 8 else 4) if k < 0 or 2 * k > n else 1
    cdef TensorBase rows = x, y, order
    cdef tuple swap = ()
    k = n if k < 0 or x.ndim == 0 else k
    if x.ndim and d != x.ndim - 1:
        swap = tuple([x.ndim - 1 if i == d else d if i == x.ndim - 1 else i for i in range(x.ndim)])
        rows = permute(x, swap)
    rows = _as_number(dense(rows))
    memcpy(shape, rows.shape_, sizeof(shape))
    if x.ndim:
        shape[x.ndim - 1] = k
    y, order = empty(x.dtype_, rows.ndim, shape), empty(FN_I64, rows.ndim, shape)
    memset(&a, 0, sizeof(a))
    a.x, a.y, a.order, a.flag, a.ni = rd(rows), fresh(y), <int64_t *>fresh(order), descending, 2
    if y.numel_:
        a.i_n[0], a.i_n[1], a.i_n[2] = x.numel_ // n, n, k
        call(FN_OP_sort, rows.dtype_, &a, sizeof(a), 20 + x.numel_ * (2.0 * passes + 4))
    return (contiguous(permute(y, swap)), contiguous(permute(order, swap))) if swap else (y, order)


def nonzero(TensorBase x):
    """The coordinates of the elements that are not zero, (count, ndim) int64."""
    cdef fn_index_args a
    cdef int64_t shape[2]
    cdef int64_t found = 0
    cdef TensorBase y
    host_read("nonzero() or a boolean mask, whose result's shape depends on data,")
    x = dense(x)
    memset(&a, 0, sizeof(a))
    a.x, a.order, a.ni = address(x), &found, x.ndim
    memcpy(a.i_n, x.shape_, x.ndim * sizeof(int64_t))
    if x.numel_:
        _run_unrecorded(FN_OP_nonzero, x.dtype_, &a)
    shape[0], shape[1] = found, x.ndim
    y = empty(FN_I64, 2, shape)
    a.y = fresh(y)
    if found and x.ndim:
        _run_unrecorded(FN_OP_nonzero, x.dtype_, &a)
    return y


def flip(TensorBase x, dims):
    """x with the elements of dims in reverse order."""
    cdef fn_copy_args a
    cdef unsigned which = _dim_set(tuple(dims), x.ndim)
    cdef int64_t *s[2]
    cdef int64_t offset = x.offset
    cdef TensorBase y = empty(x.dtype_, x.ndim, x.shape_)
    cdef int d
    if y.numel_ == 0:
        return y
    memset(&a, 0, sizeof(a))
    memcpy(a.y_s, y.stride_, sizeof(a.y_s))
    memcpy(a.x_s, x.stride_, sizeof(a.x_s))
    for d in range(x.ndim):
        if which & (1u << d):
            offset += (x.shape_[d] - 1) * x.stride_[d]
            a.x_s[d] = -x.stride_[d]
    a.y, a.x, a.x_dtype = fresh(y), rd(alias(x, 0, x.shape_, x.stride_, offset)), x.dtype_
    s[0], s[1] = a.y_s, a.x_s
    a.ndim = merge(x.ndim, x.shape_, 2, s, a.n)
    call(FN_OP_copy, x.dtype_, &a, sizeof(a), x.numel_ * itemsize[x.dtype_] * 2 * _BYTE_NS)
    return y
