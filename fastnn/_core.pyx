# The Cython floor: storages and the array, the one door to the kernels, and what rides on it (tape, recorder, random state).
#
# A checked call (in _ops_<family>.pxi) checks shapes, makes outputs with empty(), fills the args struct and passes call().
# There are no loops over elements here and no mathematics. A call named like a Python builtin has a trailing underscore
# (sum_ max_ min_ abs_ all_ any_ pow_ round_), so that the builtin keeps its meaning in this module.

from cpython.object cimport PyObject, PyTypeObject
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (NOWAIT_LOCK, PY_LOCK_ACQUIRED, PyLockStatus, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock,
                               PyThread_release_lock, PyThread_type_lock)
from cpython.ref cimport Py_REFCNT
from cpython.buffer cimport (PyObject_GetBuffer, PyBuffer_Release, PyBUF_STRIDED_RO, PyBUF_FORMAT, PyBUF_WRITABLE)
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport malloc, realloc, free
from libc.string cimport memcpy, memset, memcmp

import threading
import time
import weakref

cdef extern from *:
    """
    #if defined(_MSC_VER) && !defined(__clang__)
    #define FN_TLS __declspec(thread)
    #else
    #define FN_TLS _Thread_local
    #endif
    static FN_TLS int fn_tls_no_grad;             /* 1: this thread records no tape */
    static FN_TLS PyObject *fn_tls_recorder;      /* borrowed: the recorder open on this thread, or NULL */
    static FN_TLS uint64_t fn_tls_rng[2];         /* seed and counter of the random op under way, eager */
    static PyObject *fn_new_object(PyTypeObject *by, PyTypeObject *type, PyObject *args) { return by->tp_new(type, args, NULL); }
    """
    int fn_tls_no_grad
    PyObject *fn_tls_recorder
    uint64_t fn_tls_rng[2]
    object fn_new_object(PyTypeObject *by, PyTypeObject *type, object args)


class CaptureError(RuntimeError):
    """A captured step did something that a replay could not repeat."""


# ---- element types ---------------------------------------------------------------------------------------------------

cdef class dtype:
    """The type of a tensor's elements; the six instances are fastnn.float32, float64, int64, int32, uint8 and bool."""
    cdef readonly str name
    cdef readonly int code, itemsize
    cdef readonly bint is_floating_point
    is_complex = False
    is_signed = property(lambda self: self.code < FN_U8)

    def __init__(self, str name, int code, int itemsize, bint is_floating_point):
        self.name, self.code, self.itemsize, self.is_floating_point = name, code, itemsize, is_floating_point

    def __repr__(self):
        return "fastnn." + self.name

    def __reduce__(self):
        return _dtype_of_name, (self.name,)


DTYPES = (dtype("float32", FN_F32, 4, True), dtype("float64", FN_F64, 8, True), dtype("int64", FN_I64, 8, False),
          dtype("int32", FN_I32, 4, False), dtype("uint8", FN_U8, 1, False), dtype("bool", FN_BOOL, 1, False))
DTYPE_NAMES = tuple(d.name for d in DTYPES)
cdef int itemsize[FN_DTYPES]
for _i in range(FN_DTYPES):
    itemsize[_i] = DTYPES[_i].itemsize
cdef tuple _FORMATS = (b"f", b"d", b"q", b"i", b"B", b"?")


def _dtype_of_name(name):
    return DTYPES[DTYPE_NAMES.index(name)]


class Size(tuple):
    """The shape of a tensor: a tuple of ints."""
    __slots__ = ()

    def numel(self):
        n = 1
        for s in self:
            n *= s
        return n

    def __repr__(self):
        return f"fastnn.Size({list(self)})"

    def __getitem__(self, key):
        item = tuple.__getitem__(self, key)
        return Size(item) if isinstance(key, slice) else item


include "_tensor.pxi"


# ---- pointers, and what the recorder must know of them -----------------------------------------------------------------

cdef const void *rd(TensorBase t) except NULL:
    cdef void *p = address(t)
    if fn_tls_recorder != NULL:
        (<Recorder>fn_tls_recorder).note(t.storage, p)
    return p


cdef void *wr(TensorBase t) except NULL:
    cdef void *p = address(t)
    cdef Storage s = t.storage
    cdef int i
    if not s.writable:
        raise ValueError(f"cannot write to a tensor of shape {shape_of(t)} whose NumPy memory is read-only")
    if s.stands_in:
        raise RuntimeError(f"cannot write to a tensor of shape {shape_of(t)} that is a view of a channels-last one: the view is a copy, and what it "
                           "shows would stay as it was. Please clone() the view, or write to the tensor itself.")
    for i in range(t.ndim):
        if t.stride_[i] == 0 and t.shape_[i] > 1:
            raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single memory "
                               f"location (shape {shape_of(t)}, stride {t.stride()}). Please clone() the tensor before performing the operation.")
    if fn_tls_recorder != NULL:
        if s.is_input:
            raise CaptureError(f"capture: the step writes to its input of shape {shape_of(t)}; clone() it first")
        (<Recorder>fn_tls_recorder).note(s, p)
        (<Recorder>fn_tls_recorder).note_write(s)
    s.version += 1
    return p


cdef void *fresh(TensorBase t) except NULL:
    cdef void *p = address(t)
    if fn_tls_recorder != NULL:
        (<Recorder>fn_tls_recorder).note(t.storage, p)
    return p


# ---- the door --------------------------------------------------------------------------------------------------------

cdef int _threads = fn_threads_default()
cdef double _GRAIN = 7000                # ns of work that a thread of a team must get: it waits for the others, and reads what they have written
cdef double _PROGRAM_GRAIN = 100000      # ns of work of a program, below which one thread keeps all of it in its own caches
cdef double _KEEP_GIL = 50000            # ns of work below which the GIL is kept


def set_num_threads(n):
    """Threads that an operation may use, 1 or more."""
    global _threads
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n < 1:
        raise RuntimeError(f"set_num_threads: expected a positive number of threads, got {n}")
    _threads = min(<int>min(n, 1 << 20), FN_MAX_THREADS)
    touch()


def get_num_threads():
    """Threads that an operation may use."""
    return _threads


cdef inline int team_for(double work) noexcept:
    if work < 2 * _GRAIN or _threads == 1:
        return 1
    return <int>min(work / _GRAIN, <double>_threads)


cdef int call(int op, int dtype, void *args, size_t bytes, double work) except -1:
    """Run op now; if this thread has a recorder open, append it. work: rough ns on one thread."""
    cdef const fn_slot *slot = fn_find(fn_table_now(), op, dtype)
    cdef fn_call c
    cdef Recorder recorder = <Recorder>fn_tls_recorder if fn_tls_recorder != NULL else None
    cdef Storage scratch = None
    cdef int64_t need
    if slot.kernel == NULL:
        raise NotImplementedError(f'"{fn_ops[op].name.decode()}" not implemented for {DTYPE_NAMES[dtype]}')
    if slot.scratch != NULL:
        need = slot.scratch(args, team_for(work))
        if need > 0:
            scratch = new_storage(need)
            (<void **>args)[0] = scratch.ptr
            if recorder is not None:
                recorder.note(scratch, scratch.ptr)
    c.kernel, c.args, c.op, c.flags, c.dtype = slot.kernel, args, op, fn_ops[op].flags, dtype
    c.threads = team_for(work)
    if work < _KEEP_GIL:
        fn_run(&c, 1, c.threads)
    else:
        with nogil:
            fn_run(&c, 1, c.threads)
    if recorder is not None:
        recorder.append(&c, bytes, work)
    return 0


cdef int host_read(str what) except -1:
    """The host wants values: fine when eager, an error while recording (or, if not strict, the end of the recording)."""
    if fn_tls_recorder != NULL:
        (<Recorder>fn_tls_recorder).refuse(f"capture: {what} inside a captured step reads values on the host; a replay would not repeat it")
    return 0


def host_reads(str what):
    host_read(what)


# ---- random state ----------------------------------------------------------------------------------------------------

cdef class Generator:
    """Random numbers by (seed, counter): each random operation takes one count.

    Example:
        >>> import fastnn
        >>> g = fastnn.Generator().manual_seed(1)
        >>> g.initial_seed()
        1
    """
    cdef uint64_t seed_
    cdef uint64_t counter_

    def __init__(self, device="cpu"):
        self.seed_, self.counter_ = 67280421310721, 0

    def manual_seed(self, seed):
        host_read("manual_seed()")
        self.seed_ = <uint64_t>(int(seed) & 0xFFFFFFFFFFFFFFFF)
        self.counter_ = 0
        return self

    def seed(self):
        import secrets
        self.manual_seed(secrets.randbits(63))
        return self.seed_

    def initial_seed(self):
        return self.seed_

    def get_state(self):
        """(seed, counter): two integers."""
        return self.seed_, self.counter_

    def set_state(self, state):
        host_read("set_state()")
        seed, counter = state
        self.seed_, self.counter_ = seed, counter
        return self

    def __reduce__(self):
        return _generator_of_state, (self.seed_, self.counter_)


def _generator_of_state(seed, counter):
    return Generator().set_state((seed, counter))


default_generator = Generator()
_of_thread = threading.local()


def use_generator(g):
    """Let g take default_generator's place on this thread (None: no longer), as loader workers do; returns what did before."""
    before = getattr(_of_thread, "generator", None)
    _of_thread.generator = g
    return before


cdef int take_count(Generator g, const uint64_t **rng, int64_t *offset) except -1:
    """One count of g for one random op: rng points to (seed, counter) and the op adds offset to the counter."""
    if g is default_generator:
        g = getattr(_of_thread, "generator", None) or g
    if fn_tls_recorder != NULL:
        (<Recorder>fn_tls_recorder).take_count(g, rng, offset)
    else:
        fn_tls_rng[0], fn_tls_rng[1] = g.seed_, g.counter_
        rng[0], offset[0] = fn_tls_rng, 0
    g.counter_ += 1
    return 0


include "_autograd.pxi"
include "_recorder.pxi"
include "_program.pxi"
include "_capture.pxi"
include "_exchange.pxi"
include "_ops_shape.pxi"
include "_ops_copy.pxi"
include "_ops_elem.pxi"
include "_ops_act.pxi"
include "_ops_reduce.pxi"
include "_ops_index.pxi"
include "_ops_gemm.pxi"
include "_ops_conv.pxi"
include "_ops_pool.pxi"
include "_ops_upsample.pxi"
include "_ops_softmax.pxi"
include "_ops_loss.pxi"
include "_ops_norm.pxi"
include "_ops_layer_norm.pxi"
include "_ops_random.pxi"
include "_ops_attention.pxi"
include "_ops_optim.pxi"
include "_tape.pxi"
include "_fusion.pxi"
include "_fusion_gradient.pxi"
include "_fusion_loss.pxi"
include "_fusion_stats.pxi"
include "_fusion_pool.pxi"
include "_fusion_step.pxi"
include "_places.pxi"
include "_info.pxi"
