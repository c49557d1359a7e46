# NumPy in and out without copies.

cdef dict _CODES = {("f", 4): FN_F32, ("f", 8): FN_F64, ("i", 8): FN_I64, ("i", 4): FN_I32, ("u", 1): FN_U8, ("b", 1): FN_BOOL}


cdef class Export:
    """A tensor's memory as a buffer. While one is alive and writable, its storage may change behind the version's back."""
    cdef TensorBase tensor
    cdef Py_ssize_t shape[FN_DIMS]
    cdef Py_ssize_t strides[FN_DIMS]

    def __getbuffer__(self, Py_buffer *b, int flags):
        cdef TensorBase t = self.tensor
        cdef int i, size = itemsize[t.dtype_]
        if flags & PyBUF_WRITABLE == PyBUF_WRITABLE and not t.storage.writable:
            raise BufferError("the memory of this tensor is read-only")
        for i in range(t.ndim):
            self.shape[i], self.strides[i] = t.shape_[i], t.stride_[i] * size
        b.buf, b.obj, b.len, b.itemsize, b.readonly = address(t), self, t.numel_ * size, size, not t.storage.writable
        b.ndim, b.format, b.shape, b.strides, b.suboffsets, b.internal = t.ndim, _FORMATS[t.dtype_], self.shape, self.strides, NULL, NULL
        if t.storage.writable:
            t.storage.exports += 1

    def __releasebuffer__(self, Py_buffer *b):
        if not b.readonly:
            self.tensor.storage.exports -= 1


def to_numpy(TensorBase t):
    """An array over the same memory."""
    import numpy
    host_read(".numpy()")
    if not fn_tls_no_grad or t.requires_grad_:
        if t.requires_grad_ or node_of(t) is not None:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    cdef Export e = Export.__new__(Export)
    e.tensor = detach(t)
    return numpy.asarray(memoryview(e))


def from_numpy(array):
    """A tensor over an array's memory, writes going both ways.

    Errors: TypeError for another type than float32, float64, int64, int32, uint8 or bool, or a foreign byte order; ValueError for negative
    strides or strides that are no multiple of the element. A read-only array gives a tensor that raises when written to.

    Example:
        >>> import fastnn, numpy as np
        >>> a = np.zeros(3, dtype=np.float32)
        >>> t = fastnn.from_numpy(a)
        >>> a[0] = 1
        >>> t[0].item()
        1.0
    """
    import numpy
    cdef Foreign f = Foreign.__new__(Foreign)
    cdef TensorBase t
    cdef Storage s
    cdef int i, size
    cdef int64_t low = 0, high = 0
    host_read("from_numpy()")
    if not isinstance(array, numpy.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    code = _CODES.get((array.dtype.kind, array.dtype.itemsize))
    if code is None or array.dtype.fields is not None:
        raise TypeError(f"can't convert np.ndarray of type {array.dtype}. The only supported types are: float64, float32, int64, int32, uint8, and bool.")
    if not array.dtype.isnative:
        raise ValueError("given numpy array has byte order different from the native byte order. Conversion between byte orders is currently not supported.")
    if array.ndim > FN_DIMS:
        raise RuntimeError(f"a tensor has at most {FN_DIMS} dimensions, got an array of {array.ndim}")
    size = itemsize[<int>code]
    for stride, n in zip(array.strides, array.shape):
        if stride < 0 and n > 1 and array.size:
            raise ValueError("At least one stride in the given numpy array is negative, and tensors with negative strides are not currently supported. "
                             "(You can probably work around this by making a copy of your array with array.copy().)")
        if stride % size and n > 1 and array.size:
            raise ValueError("given numpy array strides not a multiple of the element byte size. Copy the numpy array to reallocate the memory.")
    PyObject_GetBuffer(array, &f.view, PyBUF_STRIDED_RO | PyBUF_FORMAT)
    f.held = True
    t = bare_tensor()
    s = Storage.__new__(Storage)
    s.ptr, s.owner, s.writable = f.view.buf, f, not f.view.readonly
    s.exports = 1                        # the array itself can always be written to
    t.storage, t.ndim, t.dtype_, t.numel_ = s, f.view.ndim, code, 1
    for i in range(t.ndim):
        t.shape_[i] = f.view.shape[i]
        t.stride_[i] = max(<int64_t>0, <int64_t>f.view.strides[i] // size) if t.shape_[i] > 1 else 1
        t.numel_ *= t.shape_[i]
        high += (t.shape_[i] - 1) * t.stride_[i]
    if t.numel_ == 0:
        row_major(t)
        high = -1
    s.nbytes = (high + 1) * size
    return t


cdef object _item(TensorBase t):
    cdef void *p = address(t)
    if t.dtype_ == FN_F32:
        return <double>(<float *>p)[0]
    if t.dtype_ == FN_F64:
        return (<double *>p)[0]
    if t.dtype_ == FN_I64:
        return (<int64_t *>p)[0]
    if t.dtype_ == FN_I32:
        return (<int32_t *>p)[0]
    if t.dtype_ == FN_U8:
        return (<uint8_t *>p)[0]
    return (<uint8_t *>p)[0] != 0


def item(TensorBase t):
    """The value of a tensor of one element, as a Python number."""
    if t.numel_ != 1:
        raise RuntimeError(f"a Tensor with {t.numel_} elements cannot be converted to Scalar")
    host_read(".item()")
    return _item(t)
