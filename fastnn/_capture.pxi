# The captured function: keys, programs for them, recording and replaying.

cdef extern from "pythread.h":
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int until_signal) nogil


cdef struct _mode:                       # the part of a key that holds for all calls as they come
    int no_grad, threads
    const fn_table *table


cdef _mode _mode_now() noexcept:
    return _mode(fn_tls_no_grad != 0, _threads, fn_table_now())


cdef bint _same_mode(_mode a, _mode b) noexcept:
    return a.no_grad == b.no_grad and a.threads == b.threads and a.table == b.table


cdef class Entry:
    """One key of a captured function: recorded once, then a program, or left eager."""
    cdef tuple arguments, options        # _parts of them
    cdef _mode mode
    cdef Guards guards
    cdef list first                      # calls of the first recording
    cdef object first_plain
    cdef dict lasting                    # serial -> size of the blocks that outlived the first recording
    cdef Program program
    cdef str eager                       # why this key stays eager
    cdef int64_t valid                   # guard counter when the guards last held
    cdef int64_t used                    # tick of the last call


cdef class Captured:
    """What fastnn.capture returns."""
    cdef readonly object step
    cdef readonly int limit
    cdef readonly bint strict
    cdef Arena arena
    cdef PyThread_type_lock lock         # one call at a time
    cdef list entries
    cdef Entry last
    cdef int64_t ticks
    cdef readonly int64_t recordings, replays
    cdef object __weakref__
    cdef dict __dict__

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError

    def __init__(self, step, int limit, bint strict):
        self.step, self.limit, self.strict = step, limit, strict
        self.arena, self.entries = Arena(), []

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef int acquire(self) except -1:
        """Ctrl-C ends the wait."""
        cdef PyLockStatus got
        if PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            return 0
        while True:
            with nogil:
                got = PyThread_acquire_lock_timed(self.lock, -1, 1)
            if got == PY_LOCK_ACQUIRED:
                return 0
            PyErr_CheckSignals()

    def __get__(self, instance, owner):
        import types
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args, **kwargs):
        cdef Entry entry
        if fn_tls_recorder != NULL:
            host_read("calling a captured function")
            return self.step(*args, **kwargs)
        self.acquire()
        try:
            self.ticks += 1
            entry = self.last
            if entry is None or kwargs or not _matches(entry, args) or not self.fits(entry):
                entry = self.find(tuple([_part(a) for a in args]), tuple([(k, _part(v)) for k, v in kwargs.items()]))
            entry.used = self.ticks
            self.last = entry if not kwargs else None
            if entry.eager is not None:
                pass
            elif entry.program is not None and not entry.program.held():
                return self.replay(entry, args, kwargs)
            else:
                return self.record(entry, args, kwargs)
        finally:
            PyThread_release_lock(self.lock)
        return _detached(self.step(*args, **kwargs))

    cdef bint fits(self, Entry entry) except -1:
        """Do the guards hold? One comparison if nothing has moved."""
        if entry.valid == _guard_counter:
            return True
        if entry.guards is None or entry.guards.check() != HOLDS:
            return False
        entry.valid = _guard_counter
        return True

    cdef Entry find(self, tuple arguments, tuple options):
        """The entry for this call; stale ones of the same key go, and beyond the limit the least lately used."""
        cdef Entry entry, oldest
        cdef int state
        cdef _mode mode = _mode_now()
        for entry in list(self.entries):
            if _same_mode(entry.mode, mode) and entry.arguments == arguments and entry.options == options:
                state = entry.guards.check() if entry.guards is not None else STALE
                if state == HOLDS:
                    entry.valid = _guard_counter
                    return entry
                if state == STALE:
                    self.entries.remove(entry)
        while len(self.entries) >= self.limit:
            oldest = self.entries[0]
            for entry in self.entries:
                if entry.used < oldest.used:
                    oldest = entry
            self.entries.remove(oldest)
        entry = Entry.__new__(Entry)
        entry.arguments, entry.options, entry.mode = arguments, options, mode
        self.entries.append(entry)
        return entry

    cdef object record(self, Entry entry, tuple args, dict kwargs):
        global fn_tls_recorder
        cdef Recorder r = Recorder(self.arena, self.strict, entry.lasting or {})
        cdef Program program
        cdef list buffers = []
        cdef str differs
        cdef bint grad_mode = not fn_tls_no_grad
        program = None
        entry.program = None
        self.arena.clear()
        self.recordings += 1
        call_args = tuple([_input(r, a, buffers) for a in args])
        call_kwargs = {k: _input(r, v, buffers) for k, v in kwargs.items()}
        fn_tls_recorder = <PyObject *>r
        try:
            result = self.step(*call_args, **call_kwargs)
        except BaseException:
            if self.last is entry:
                self.last = None
            if entry in self.entries:
                self.entries.remove(entry)
            raise
        finally:
            fn_tls_recorder = NULL
            r.release()
        call_args = call_kwargs = None
        differs = r.closed
        plain = _plain(result)
        result = _each(result, detach)               # its history would hold what the step made
        if differs is None and (not fn_tls_no_grad) != grad_mode:
            differs = "the step changes the gradient mode"
        if differs is None and entry.first is not None:
            differs = _difference(entry.first, r.calls)
            if differs is None and plain != entry.first_plain:
                differs = f"the step returned {entry.first_plain} in the first call and {plain} in the second"
            if differs is not None:
                differs = ("capture: two calls with the same key differ, and a replay could only repeat one of them: " + differs)
                if self.strict:
                    self.entries.remove(entry)
                    self.last = None
                    raise CaptureError(differs)
        if differs is not None:
            entry.eager = differs
            import logging                       # a tenth of the import time of fastnn, and needed here alone
            logging.getLogger("fastnn").warning("%s; this key stays eager", differs)
        elif entry.first is None:
            entry.first, entry.first_plain, entry.lasting = r.calls, plain, r.lasting()
        else:
            program = Program.__new__(Program)
            program.build(r, tuple(buffers), result)
            program.settle()
            fn_pool_trim(self.arena.pool, 0)         # of the recording's own pages
            entry.program = program
        entry.guards = Guards(r)
        if entry.guards.check() == HOLDS and program is not None:
            entry.valid = _guard_counter
        else:
            entry.valid = 0
        return _detached(result)

    cdef object replay(self, Entry entry, tuple args, dict kwargs):
        cdef Program program = entry.program
        cdef int64_t i = 0
        for a in args:
            if isinstance(a, TensorBase):
                _refill(program.inputs[i], a)
                i += 1
        for a in kwargs.values():
            if isinstance(a, TensorBase):
                _refill(program.inputs[i], a)
                i += 1
        for w in program.watches:
            (<Watch>w).check()
        counter = _guard_counter
        if program.run():
            entry.first = None
            return self.record(entry, args, kwargs)
        self.replays += 1
        if counter == _guard_counter and entry.valid == counter:
            pass
        else:
            entry.valid = 0
        return _detached(program.result)

    def clear(self):
        """Forget all programs."""
        self.acquire()
        try:
            self.entries, self.last = [], None
        finally:
            PyThread_release_lock(self.lock)

    def info(self):
        """Programs held, keys left eager and why, recordings, replays, bytes of the arena; of each program its operations and how many were
        recorded, the bytes of its temporaries and how many of them are alive at the worst moment, and the threads that replays take."""
        cdef Entry e
        cdef fn_pool_stats stats = fn_pool_info(self.arena.pool)
        return {"programs": len([1 for e in self.entries if e.program is not None]), "keys": len(self.entries),
                "eager": [e.eager for e in self.entries if e.eager is not None], "recordings": self.recordings, "replays": self.replays,
                "arena_bytes": stats.resident, "operations": [e.program.n for e in self.entries if e.program is not None],
                "recorded": [e.program.recorded for e in self.entries if e.program is not None],
                "temporaries": [e.program.need for e in self.entries if e.program is not None],
                "alive": [e.program.live for e in self.entries if e.program is not None],
                "threads": [e.program.threads for e in self.entries if e.program is not None]}

    def operations(self):
        """Of each program: the (name, dtype name) of its operations, in order; a norm whose sums the convolution before it takes
        says so, and a loss that makes its gradient at once."""
        cdef Entry e
        cdef int64_t i
        programs = []
        for e in self.entries:
            if e.program is not None:
                programs.append([_described(e.program.calls + i) for i in range(e.program.n)])
        return programs


cdef tuple _described(fn_call *c):
    return fn_ops[c.op].name.decode() + " of sums" * summed_ahead(c) + " with gradient" * with_gradient(c), DTYPE_NAMES[c.dtype]


cdef int64_t _input_strides(TensorBase t, int64_t *s) noexcept:
    """The strides of the buffer for an input, and returned, the elements it spans. They are t's, but gaps shrink to one element: whatever a kernel
    may ask of strides (which are 0 or 1, which dimensions join, how they are ordered) has the same answer, so results have the same bits."""
    cdef int64_t joins = 1, joined = 1, span = 1         # the stride of a dimension that continues those before, in t and in the buffer
    cdef int i, k, least
    cdef unsigned done = 0
    for k in range(t.ndim):
        least = -1
        for i in range(t.ndim):
            if not done & (1u << i) and (least < 0 or t.stride_[i] < t.stride_[least]):
                least = i
        done |= 1u << least
        s[least] = t.stride_[least]
        if t.shape_[least] != 1 and s[least] != 0:
            s[least] = joined + (t.stride_[least] != joins)
            joins, joined = t.stride_[least] * t.shape_[least], s[least] * t.shape_[least]
            span += (t.shape_[least] - 1) * s[least]
    return span


cdef tuple _layout_of(TensorBase t):
    cdef int64_t s[FN_DIMS]
    cdef int i
    _input_strides(t, s)
    return tuple([s[i] for i in range(t.ndim)])


cdef object _part(a):
    cdef TensorBase t
    if isinstance(a, TensorBase):
        t = a
        if not fn_tls_no_grad and (t.requires_grad_ or node_of(t) is not None):
            raise CaptureError(f"capture: an input of shape {shape_of(t)} requires grad; inputs are copied into the program, so detach() it")
        return (t.dtype_, t.shape, None if is_dense(t) else (t.channels_last, _layout_of(t)))
    try:
        hash(a)
    except TypeError:
        raise TypeError(f"capture: an argument of type {type(a).__name__} cannot be part of a key; pass tensors and hashable values") from None
    return (type(a), a)


cdef bint _matches(Entry entry, tuple args) except -1:
    """Is this the entry's key, without options? The quick form of what find() compares."""
    cdef TensorBase t
    cdef tuple part
    cdef int i, k
    if len(entry.arguments) != len(args) or len(entry.options) or not _same_mode(entry.mode, _mode_now()):
        return False
    for i in range(len(args)):
        a, part = args[i], <tuple>entry.arguments[i]
        if isinstance(a, TensorBase):
            t = a
            if len(part) != 3 or part[0] != t.dtype_ or part[2] is not None or not is_dense(t) or len(part[1]) != t.ndim \
                    or (not fn_tls_no_grad and (t.requires_grad_ or node_of(t) is not None)):
                return False
            for k in range(t.ndim):
                if <int64_t>(<tuple>part[1])[k] != t.shape_[k]:
                    return False
        elif len(part) != 2 or part[0] is not type(a) or part[1] != a:
            return False
    return True


cdef object _input(Recorder r, a, list buffers):
    """A tensor argument's fixed buffer, filled; other values as they are."""
    cdef TensorBase t, y
    cdef int64_t span
    if not isinstance(a, TensorBase):
        return a
    t = a
    y = bare_tensor()
    y.ndim, y.dtype_, y.numel_ = t.ndim, t.dtype_, t.numel_
    memcpy(y.shape_, t.shape_, sizeof(y.shape_))
    row_major(y)
    y.channels_last = t.channels_last
    span = t.numel_ if is_dense(t) else _input_strides(t, y.stride_)
    y.storage = r.block(span * itemsize[t.dtype_])
    _refill(y, t)
    y.storage.is_input = True
    buffers.append(y)
    return y


cdef int _refill(TensorBase y, TensorBase x) except -1:
    """y = x, where y is a program's input."""
    cdef int64_t bytes = x.numel_ * itemsize[x.dtype_]
    if bytes < 1 << 18 and memcmp(y.stride_, x.stride_, x.ndim * sizeof(int64_t)) == 0 and (is_dense(x) or fills(x)):
        memcpy(address(y), address(x), bytes)
    else:
        copy_into(_once(y, y), _once(x, y))
    return 0


cdef TensorBase _once(TensorBase t, TensorBase y):
    """t without the repetitions that y has, dimensions of stride 0."""
    cdef int64_t n[FN_DIMS]
    cdef int i
    cdef bint repeats = False
    for i in range(t.ndim):
        n[i] = 1 if y.stride_[i] == 0 else t.shape_[i]
        repeats = repeats or n[i] != t.shape_[i]
    return alias(t, t.ndim, n, t.stride_, t.offset) if repeats else t


def capture(step=None, *, limit=8, strict=True):
    """Record a training step once and replay it as one C call.

    The first two calls with a key (shapes, types and layouts of the tensor arguments, the other arguments, grad mode, training flags,
    the parameters and which of them have gradients, threads) run the step with a recorder open; later ones replay the list of kernels
    with the same results, bit for bit. Tensors returned are fresh and detached.

    Args:
        step: a function of tensors and hashable values. Each tensor argument is copied into the program; none may require grad.
        limit: programs kept; beyond it the one used longest ago goes.
        strict: raise CaptureError where a replay would not repeat what the step does (``.item()``, ``.numpy()``, printing, values that
            change between the first two calls). If False, such a key runs eagerly and the reason is logged once.

    Raises:
        CaptureError: as above, at the user's line.

    Example:
        >>> import fastnn
        >>> @fastnn.capture
        ... def double(x):
        ...     return x * 2
        >>> [double(fastnn.tensor([float(i)])).item() for i in range(4)]
        [0.0, 2.0, 4.0, 6.0]
    """
    if step is None:
        return lambda f: capture(f, limit=limit, strict=strict)
    if not callable(step):
        raise TypeError(f"capture expects a function, got {type(step).__name__}")
    if limit < 1:
        raise ValueError(f"capture: limit must be 1 or more, got {limit}")
    return Captured(step, limit, strict)
