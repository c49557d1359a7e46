# Storages and the array over them: what a tensor is, its layouts, fresh ones and views. Part of _core.pyx.

# ---- storages: memory with a version ---------------------------------------------------------------------------------

cdef fn_pool *_general = NULL
fn_mem_init()
_general = fn_pool_new()
if _general == NULL:
    raise MemoryError("fastnn: no address space for the memory pool")
fn_run_init()


cdef class Storage:
    """One block of memory, shared by a tensor and its views. Its version counts the writes."""
    cdef void *ptr
    cdef int64_t nbytes
    cdef readonly int64_t version
    cdef readonly int64_t exports        # writable NumPy or DLPack views alive
    cdef bint writable, pooled, is_input
    cdef bint stands_in                  # holds what view() shows of a channels-last tensor: a copy, so not to be written
    cdef object owner                    # of foreign memory: keeps it alive
    cdef int64_t serial                  # of the recording that made it, see Recorder
    cdef object recording
    cdef object __weakref__

    def __dealloc__(self):
        if self.pooled:
            fn_free(self.ptr)


cdef Storage new_storage(int64_t nbytes):
    cdef Recorder recorder = None
    cdef fn_pool *pool = _general
    cdef Storage s
    cdef void *block = NULL
    if fn_tls_recorder != NULL:
        recorder = <Recorder>fn_tls_recorder
        pool = recorder.arena.pool
        block = recorder.reserved_for(nbytes)
    if block == NULL:
        block = fn_alloc(pool, nbytes)
    if block == NULL:
        raise MemoryError(f"fastnn: cannot allocate {nbytes} bytes")
    s = Storage.__new__(Storage)
    s.ptr, s.nbytes, s.writable, s.pooled = block, nbytes, True, True
    if recorder is not None:
        s.owner = recorder.arena
        s.recording = recorder.token
        s.serial = recorder.name_block(s)
    return s


cdef class Foreign:
    """Holds the buffer of an object whose memory a storage borrows."""
    cdef Py_buffer view
    cdef bint held

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


# ---- the array -------------------------------------------------------------------------------------------------------

cdef object _tensor_type = None          # the public class, fastnn.Tensor
cdef tuple _no_args = ()


def set_tensor_type(cls):
    global _tensor_type
    _tensor_type = cls


cdef class TensorBase:
    """Shape, strides and a storage, with the autograd fields. fastnn.Tensor adds the methods."""
    cdef Storage storage
    cdef int64_t offset, numel_
    cdef int ndim, dtype_
    cdef int64_t shape_[FN_DIMS]
    cdef int64_t stride_[FN_DIMS]
    cdef bint channels_last              # the layout tag: (N,C,H,W) or (C,H,W) that a layer left dense in the order N,H,W,C
    cdef bint requires_grad_             # of a leaf
    cdef bint retains
    cdef object grad_
    cdef Node node                       # what made it, read through node_of()
    cdef int node_index
    cdef TensorBase base                 # of a view: the tensor whose history it shares
    cdef int64_t history                 # in-place rewrites of this tensor's graph; of a view: its base's when node was set
    cdef object __weakref__

    @property
    def shape(self):
        cdef int i
        return Size([self.shape_[i] for i in range(self.ndim)])

    @property
    def dtype(self):
        return DTYPES[self.dtype_]

    def dim(self):
        return self.ndim

    def numel(self):
        return self.numel_

    def stride(self, dim=None):
        cdef int i
        strides = tuple([self.stride_[i] for i in range(self.ndim)])
        return strides if dim is None else strides[_dim(dim, self.ndim)]

    def storage_offset(self):
        return self.offset

    def data_ptr(self):
        host_read("data_ptr()")
        return <uintptr_t>address(self)

    def is_contiguous(self):
        return self.channels_last or is_dense(self)

    @property
    def _version(self):
        return self.storage.version

    @property
    def _storage(self):
        return self.storage

    @property
    def _base(self):
        return self.base

    @property
    def requires_grad(self):
        return self.requires_grad_ or node_of(self) is not None

    @requires_grad.setter
    def requires_grad(self, value):
        set_requires_grad(self, value)

    @property
    def is_leaf(self):
        return node_of(self) is None

    @property
    def grad_fn(self):
        return node_of(self)

    @property
    def grad(self):
        if fn_tls_recorder != NULL:
            (<Recorder>fn_tls_recorder).note_grad(self)
        return self.grad_

    @grad.setter
    def grad(self, value):
        cdef TensorBase g
        if value is not None:
            if not isinstance(value, TensorBase):
                raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            g = value
            if not same_shape(self, g) or g.dtype_ != self.dtype_:
                raise RuntimeError(f"grad: assigned gradient has shape {shape_of(g)} and dtype {DTYPES[g.dtype_].name}, but the "
                                   f"tensor has {shape_of(self)} and {DTYPES[self.dtype_].name}")
        set_grad(self, value)

    @property
    def retains_grad(self):
        return self.retains

    def __len__(self):
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape_[0]

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        raise BufferError("use .numpy()")


cdef inline void *address(TensorBase t) noexcept:
    return <char *>t.storage.ptr + t.offset * itemsize[t.dtype_]


cdef inline Py_ssize_t storage_refs(TensorBase t) noexcept:
    """How many refer to t's storage: 1 if t alone. Read through a plain pointer, which adds none."""
    cdef PyObject *s = <PyObject *>t.storage
    return s.ob_refcnt


cdef inline bint same_shape(TensorBase a, TensorBase b) noexcept:
    return a.ndim == b.ndim and memcmp(a.shape_, b.shape_, a.ndim * sizeof(int64_t)) == 0


cdef str shape_of(TensorBase t):
    cdef int i
    return str(tuple([t.shape_[i] for i in range(t.ndim)]))


cdef int64_t _dim(dim, int ndim) except -1:
    """dim counted from the front; IndexError as PyTorch words it."""
    cdef int64_t d = dim, n = max(ndim, 1)
    if d < -n or d >= n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})")
    return d + n if d < 0 else d


cdef inline TensorBase bare_tensor():
    """A new instance of the public class, fields to be filled. That class's own __new__ is Python, for users: it is passed over."""
    return <TensorBase>fn_new_object(<PyTypeObject *>TensorBase, <PyTypeObject *>_tensor_type, _no_args)


cdef int64_t count(int ndim, const int64_t *shape) except -1:
    cdef int64_t n = 1
    cdef int i
    cdef bint zero = False
    for i in range(ndim):
        if shape[i] < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {shape[i]}: {[shape[j] for j in range(ndim)]}")
        zero = zero or shape[i] == 0
    if zero:
        return 0
    for i in range(ndim):
        if shape[i] > (<int64_t>1 << 58) // n:
            raise RuntimeError(f"tensor of shape {[shape[j] for j in range(ndim)]} has more elements than an int64 byte count can hold")
        n *= shape[i]
    return n


cdef void row_major(TensorBase t) noexcept:
    cdef int64_t s = 1
    cdef int i
    for i in range(t.ndim - 1, -1, -1):
        t.stride_[i] = s
        s *= t.shape_[i] if t.shape_[i] > 1 else 1


cdef TensorBase empty(int dtype, int ndim, const int64_t *shape):
    """A fresh row-major tensor of any values."""
    if ndim > FN_DIMS:
        raise RuntimeError(f"a tensor has at most {FN_DIMS} dimensions, got {ndim}")
    cdef int64_t n = count(ndim, shape)
    cdef TensorBase t = bare_tensor()
    t.storage = new_storage(n * itemsize[dtype])
    t.numel_, t.ndim, t.dtype_ = n, ndim, dtype
    memcpy(t.shape_, shape, ndim * sizeof(int64_t))
    row_major(t)
    return t


cdef TensorBase empty_as(TensorBase x, int dtype):
    """A fresh tensor of x's shape, in x's stride order if x fills its memory without gaps, else row-major."""
    cdef TensorBase t = empty(dtype, x.ndim, x.shape_)
    if not is_dense(x) and fills(x):
        memcpy(t.stride_, x.stride_, x.ndim * sizeof(int64_t))
    t.channels_last = x.channels_last
    return t


cdef int lay_out(TensorBase t, const int64_t *like) except -1:
    """t's strides, without gaps, in the order of these; sizes of 1 and repeated ones stay where they are named."""
    cdef int order[FN_DIMS]
    cdef int i, k, d
    cdef int64_t s = 1
    for i in range(t.ndim):                                  # innermost first
        d, k = t.ndim - 1 - i, i
        while k > 0 and t.shape_[d] > 1 and 0 < like[d] < like[order[k - 1]]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = d
    for i in range(t.ndim):
        t.stride_[order[i]] = s
        s *= max(t.shape_[order[i]], 1)
    return 0


cdef TensorBase empty_in_order(TensorBase x, int dtype):
    """A fresh tensor of x's shape, in x's stride order though x may have gaps."""
    cdef TensorBase t = empty_as(x, dtype)
    if not is_dense(x) and not fills(x):
        lay_out(t, x.stride_)
    return t


cdef TensorBase empty_nhwc(int dtype, int64_t N, int64_t C, int64_t H, int64_t W):
    """A fresh tensor of shape (N,C,H,W) that lies in memory as N,H,W,C, and says so."""
    cdef int64_t *shape = [N, C, H, W]
    cdef TensorBase t = empty(dtype, 4, shape)
    t.stride_[0], t.stride_[1], t.stride_[2], t.stride_[3] = H * W * C, 1, W * C, C
    t.channels_last = True
    return t


cpdef bint is_nhwc(TensorBase t) noexcept:
    """Does (N,C,H,W) or (C,H,W) lie dense in the order N,H,W,C, whether a layer left it so or not?"""
    cdef int64_t s = 1
    cdef int i, d
    if t.ndim < 3 or t.ndim > 4:
        return False
    for i in range(t.ndim):
        d = t.ndim - 3 if i == 0 else t.ndim - i if i < 3 else 0
        if t.shape_[d] != 1:
            if t.stride_[d] != s and t.numel_:
                return False
            s *= t.shape_[d]
    return True


cpdef TensorBase nhwc(TensorBase x):
    """x (N,C,H,W) itself if it lies in the order N,H,W,C, else a copy that does."""
    if is_nhwc(x):
        return x
    cdef TensorBase y = empty_nhwc(x.dtype_, x.shape_[0], x.shape_[1], x.shape_[2], x.shape_[3])
    _copy(y, fresh(y), x)
    return y


cdef bint is_dense(TensorBase t) noexcept:
    """Row-major without gaps."""
    cdef int64_t s = 1
    cdef int i
    if t.numel_ == 0:
        return True
    for i in range(t.ndim - 1, -1, -1):
        if t.shape_[i] != 1:
            if t.stride_[i] != s:
                return False
            s *= t.shape_[i]
    return True


cdef bint fills(TensorBase t) noexcept:
    """Without gaps or overlaps, in any order of dimensions."""
    cdef int64_t want = 1
    cdef int i, found
    cdef unsigned done = 0
    if t.numel_ == 0:
        return False
    while True:
        found = -1
        for i in range(t.ndim):
            if not done & (1u << i) and t.shape_[i] != 1 and t.stride_[i] == want:
                found = i
        if found < 0:
            break
        done |= 1u << found
        want *= t.shape_[found]
    return want == t.numel_


cdef TensorBase dense(TensorBase t):
    return t if is_dense(t) else contiguous(t)


cdef TensorBase alias(TensorBase x, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset):
    """A view of x's storage; offset in elements from its start. Gradients come by attach(); history is shared with x's base."""
    cdef TensorBase t = bare_tensor()
    cdef int i
    t.storage, t.offset, t.ndim, t.dtype_, t.numel_ = x.storage, offset, ndim, x.dtype_, 1
    for i in range(ndim):
        t.shape_[i], t.stride_[i] = shape[i], stride[i]
        t.numel_ *= shape[i]
    t.base = x if x.base is None else x.base
    t.history = t.base.history
    return t


cpdef TensorBase detach(TensorBase x):
    """The same elements without a gradient."""
    cdef TensorBase t = alias(x, x.ndim, x.shape_, x.stride_, x.offset)
    t.base, t.history, t.channels_last = None, 0, x.channels_last
    return t


def make_subclass(cls, TensorBase data, bint requires_grad=False):
    """An instance of cls that shares data's storage, a leaf."""
    cdef TensorBase t = TensorBase.__new__(cls)
    set_data(t, data)
    if requires_grad:
        set_requires_grad(t, True)
    return t


def set_data(TensorBase t, TensorBase data):
    """t.data = data: t takes data's storage and geometry; history stays."""
    t.storage, t.offset, t.numel_, t.ndim, t.dtype_ = data.storage, data.offset, data.numel_, data.ndim, data.dtype_
    memcpy(t.shape_, data.shape_, sizeof(t.shape_))
    memcpy(t.stride_, data.stride_, sizeof(t.stride_))
    t.channels_last = data.channels_last
    touch()
