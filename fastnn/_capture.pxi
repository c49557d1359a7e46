# Capture: one real step with the recorder open becomes a program, a flat list of (kernel, args) replayed in one C call.
#
#   Recorder  what one run of the step passed through the door, and every outside thing it leant on
#   Program   that list with its memory, its guards and what to do around a replay
#   Captured  the callable: finds the program for a call, or records one
#
# While a recorder is open, memory comes from the captured function's arena and returns to it when Python drops it, so the order of
# allocation in one real step is the memory plan. Addresses inside the arena are compared between two recordings by name (which
# block, counted in the recording, and how far in), addresses outside as they are.

cdef int64_t _guard_counter = 1
cdef uint64_t _NAMED = <uint64_t>1 << 63


cpdef touch():
    """Something that a program's guards look at has changed."""
    global _guard_counter
    _guard_counter += 1


cdef class Arena:
    """The memory of one captured function's programs."""
    cdef fn_pool *pool

    def __cinit__(self):
        self.pool = fn_pool_new()
        if self.pool == NULL:
            raise MemoryError("fastnn: no address space for a capture arena")

    def __dealloc__(self):
        if self.pool != NULL:
            fn_pool_drop(self.pool)


cdef class Recorder:
    cdef Arena arena
    cdef object token                    # storages made in this recording carry it
    cdef int64_t blocks
    cdef bint strict
    cdef readonly str closed             # why the recording ended early, or None
    cdef list calls                      # (op, dtype, work, args, args with named pointers)
    cdef dict names                      # address -> name of a pointer into this recording's blocks
    cdef dict keep, written              # id -> storages from outside: read, written
    cdef dict grads                      # id -> (leaf, its .grad before the step touched it)
    cdef dict leaves                     # id -> leaf that requires grad
    cdef dict modules                    # id -> snapshot
    cdef list optimizers
    cdef dict generators                 # id -> [generator, block, counts taken]

    def __init__(self, Arena arena, bint strict):
        self.arena, self.strict, self.token = arena, strict, object()
        self.calls, self.optimizers = [], []
        self.names, self.keep, self.written, self.grads = {}, {}, {}, {}
        self.leaves, self.modules, self.generators = {}, {}, {}

    cdef int64_t name_block(self) noexcept:
        self.blocks += 1
        return self.blocks

    cdef Storage block(self, int64_t nbytes):
        """Arena memory made while the recorder is not (yet) open on this thread."""
        global fn_tls_recorder
        cdef PyObject *open_now = fn_tls_recorder
        fn_tls_recorder = <PyObject *>self
        try:
            return new_storage(nbytes)
        finally:
            fn_tls_recorder = open_now

    cdef int note(self, Storage s, void *p) except -1:
        if s.recording is self.token:
            self.names[<uintptr_t>p] = _NAMED | (<uint64_t>s.serial << 40) | <uint64_t>(<char *>p - <char *>s.ptr)
        else:
            self.keep[id(s)] = s
        return 0

    cdef int note_write(self, Storage s) except -1:
        if s.recording is not self.token:
            self.written[id(s)] = s
        return 0

    cdef int note_grad(self, TensorBase t) except -1:
        if id(t) not in self.grads:
            self.grads[id(t)] = (t, t.grad_)
        return 0

    cdef int note_leaf(self, TensorBase t) except -1:
        self.leaves[id(t)] = t
        return 0

    cdef int take_count(self, Generator g, const uint64_t **rng, int64_t *offset) except -1:
        """Seed and counter lie outside the arena: a replay writes them before its first kernel runs, and a block of the arena
        may serve an earlier kernel of the same program."""
        global fn_tls_recorder
        cdef Storage s
        entry = self.generators.get(id(g))
        if entry is None:
            fn_tls_recorder = NULL
            try:
                s = new_storage(2 * sizeof(uint64_t))
            finally:
                fn_tls_recorder = <PyObject *>self
            (<uint64_t *>s.ptr)[0], (<uint64_t *>s.ptr)[1] = g.seed_, g.counter_
            self.names[<uintptr_t>s.ptr] = _NAMED | (<uint64_t>self.name_block() << 40)
            entry = self.generators[id(g)] = [g, s, 0]
        s = entry[1]
        rng[0], offset[0] = <const uint64_t *>s.ptr, entry[2]
        entry[2] += 1
        return 0

    cdef int append(self, fn_call *c, size_t size, double work) except -1:
        cdef bytes args = (<const char *>c.args)[:size]
        cdef bytearray named = bytearray(args)
        cdef uint64_t *words = <uint64_t *><char *>named
        cdef size_t i
        for i in range(size // 8):
            name = self.names.get(words[i])
            if name is not None:
                words[i] = name
        self.calls.append((c.op, c.dtype, work, args, bytes(named)))
        return 0

    cdef int refuse(self, str why) except -1:
        global fn_tls_recorder
        if self.strict:
            raise CaptureError(why)
        self.closed = why
        fn_tls_recorder = NULL
        return 0


def is_recording():
    """Is a captured step being recorded on this thread?"""
    return fn_tls_recorder != NULL


def note_optimizer(optimizer):
    """This step runs optimizer: its _sync() is called before each replay."""
    if fn_tls_recorder != NULL and not any([o is optimizer for o in (<Recorder>fn_tls_recorder).optimizers]):
        (<Recorder>fn_tls_recorder).optimizers.append(optimizer)


cdef list _tensor_states(values):
    """What a module's parameter or buffer must still be for a program to fit."""
    cdef list states = []
    cdef TensorBase t
    for v in values:
        if isinstance(v, TensorBase):
            t = v
            states.append((t, <uintptr_t>address(t), t.requires_grad_, t.dtype_))
        else:
            states.append((v, 0, False, 0))
    return states


def enter_module(module):
    """A module is called: while recording, remember what its forward may depend on."""
    cdef Recorder recorder
    if fn_tls_recorder == NULL:
        return
    recorder = <Recorder>fn_tls_recorder
    if id(module) not in recorder.modules:
        recorder.modules[id(module)] = (module, module.training, _tensor_states(module._parameters.values()),
                                        _tensor_states(module._buffers.values()), list(module._modules.values()), _hooks_of(module))


cdef list _hooks_of(module):
    return [*module._forward_pre_hooks.values(), *module._forward_hooks.values(), *module._backward_pre_hooks.values(),
            *module._backward_hooks.values()]


cdef dict _numbers_of(module):
    """The attributes that its forward may read as options, such as the p of a dropout."""
    return {k: v for k, v in module.__dict__.items() if k != "training" and type(v) in (int, float, bool, str, type(None))}


cdef enum: HOLDS, OTHER, STALE


cdef int _states_hold(list states, values) except -1:
    cdef TensorBase t
    cdef int result = HOLDS
    values = list(values)
    if len(values) != len(states):
        return STALE
    for v, state in zip(values, states):
        if v is not state[0]:
            return STALE
        if isinstance(v, TensorBase):
            t = v
            if <uintptr_t>address(t) != state[1] or t.dtype_ != state[3]:
                return STALE
            if t.requires_grad_ != state[2]:
                result = OTHER
    return result


cdef bint _same_objects(list a, b) except -1:
    b = list(b)
    return len(a) == len(b) and all([x is y for x, y in zip(a, b)])


cdef class Guards:
    """What must be as it was when a program was recorded, besides the signature of the call."""
    cdef list modules, leaves, grads

    def __init__(self, Recorder r):
        cdef TensorBase t
        self.modules = [(*m, _numbers_of(m[0])) for m in r.modules.values()]
        self.leaves = _tensor_states(r.leaves.values())
        self.grads = []
        for leaf, before in r.grads.values():
            t = before
            used = before is not None and id(t.storage) in r.keep
            self.grads.append((leaf, before is not None, <uintptr_t>address(t) if used else 0))

    cdef int check(self) except -1:
        cdef TensorBase t, g
        cdef int state, result = HOLDS
        for m, training, parameters, buffers, children, hooks, numbers in self.modules:
            for states, values in ((parameters, m._parameters.values()), (buffers, m._buffers.values())):
                state = _states_hold(states, values)
                if state == STALE:
                    return STALE
                result = max(result, state)
            if not (_same_objects(children, m._modules.values()) and _same_objects(hooks, _hooks_of(m))):
                return STALE
            if m.training != training or _numbers_of(m) != numbers:
                result = OTHER
        state = _states_hold(self.leaves, [s[0] for s in self.leaves])
        if state == STALE:
            return STALE
        result = max(result, state)
        for leaf, existed, place in self.grads:
            t = leaf
            g = t.grad_
            if (g is not None) != existed:
                result = OTHER
            elif place and <uintptr_t>address(g) != place:
                return STALE
        return result


# ---- programs ------------------------------------------------------------------------------------------------------------

cdef class Program:
    cdef fn_call *calls
    cdef char *args
    cdef int64_t n
    cdef int team
    cdef double work
    cdef Arena arena
    cdef tuple inputs                    # fixed buffers, one per tensor argument
    cdef object result                   # what the step returned, with tensors that live in the arena
    cdef list keep, written, optimizers, generators, scratch
    cdef list exits                      # (leaf, its .grad after the step, was it made in the step?)

    def __dealloc__(self):
        free(self.calls)
        free(self.args)

    cdef int build(self, Recorder r, tuple inputs, result) except -1:
        cdef int64_t i, total = 0
        cdef char *p
        cdef fn_call *c
        cdef TensorBase t
        self.arena, self.inputs, self.result, self.n = r.arena, inputs, result, len(r.calls)
        self.keep, self.written, self.optimizers = list(r.keep.values()), list(r.written.values()), r.optimizers
        self.generators = list(r.generators.values())
        self.exits = []
        for leaf, _ in r.grads.values():
            g = (<TensorBase>leaf).grad_
            self.exits.append((leaf, g, g is not None and (<TensorBase>g).storage.recording is r.token))
        for call_ in r.calls:
            total += (len(call_[3]) + 63) // 64 * 64
            self.work += call_[2]
        self.calls = <fn_call *>malloc(max(self.n, <int64_t>1) * sizeof(fn_call))
        self.args = <char *>malloc(total + 64)
        if self.calls == NULL or self.args == NULL:
            raise MemoryError("fastnn: no memory for a captured program")
        p = self.args + (64 - <uintptr_t>self.args % 64)
        self.team = 1
        for i in range(self.n):
            op, dtype, work, args, _ = r.calls[i]
            c = &self.calls[i]
            memcpy(p, <const char *>args, len(args))
            c.kernel, c.args, c.op, c.dtype = fn_table_now().slot[<int>op][<int>dtype].kernel, p, op, dtype
            c.flags = fn_ops[<int>op].flags
            c.threads = team_for(work, _REPLAY_GRAIN) if self.work > 2 * _EAGER_GRAIN else 1
            self.team = max(self.team, c.threads)
            p += (len(args) + 63) // 64 * 64
        return 0

    cdef bint held(self) except -1:
        """Does anyone else hold a gradient that a replay would overwrite but a fresh step would not?"""
        cdef TensorBase leaf, g
        for exit in self.exits:
            if exit[2]:
                leaf, g = exit[0], exit[1]
                if Py_REFCNT(g) > 2 + (leaf.grad_ is g) or storage_refs(g) > 1:
                    return True
        return False

    cdef int run(self) except -1:
        """0, or 1 if nothing was run: the program does not fit any more."""
        cdef Storage s
        cdef Generator g
        cdef TensorBase leaf
        for o in self.optimizers:
            if o._sync():                # it has state that this program does not know
                return 1
        for entry in self.generators:
            g, s = entry[0], entry[1]
            (<uint64_t *>s.ptr)[0], (<uint64_t *>s.ptr)[1] = g.seed_, g.counter_
            g.counter_ += <uint64_t>entry[2]
        for s in self.written:
            s.version += 1
        if self.work < _KEEP_GIL:
            fn_run(self.calls, self.n, self.team)
        else:
            with nogil:
                fn_run(self.calls, self.n, self.team)
        for exit in self.exits:
            leaf = exit[0]
            if leaf.grad_ is not exit[1]:
                leaf.grad_ = exit[1]
                touch()
        return 0


cdef object _detached(value):
    """value with fresh copies of its tensors, outside any arena."""
    cdef TensorBase t, y
    if isinstance(value, TensorBase):
        t = value
        y = empty_as(t, t.dtype_)
        if is_dense(t) and is_dense(y):
            memcpy(y.storage.ptr, address(t), t.numel_ * itemsize[t.dtype_])
        else:
            copy_into(y, t)
        return y
    if isinstance(value, tuple):
        parts = [_detached(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [_detached(v) for v in value]
    if isinstance(value, dict):
        return {k: _detached(v) for k, v in value.items()}
    return value


cdef object _plain(value):
    """value without its tensors, for comparing what two recordings returned."""
    if isinstance(value, TensorBase):
        return (shape_of(<TensorBase>value), (<TensorBase>value).dtype_)
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return [(k, _plain(v)) for k, v in value.items()]
    return value


cdef str _word(uint64_t w):
    """A word of args, as a reader would want to see it."""
    cdef double d
    memcpy(&d, &w, 8)
    if w & _NAMED and d == d and not 1e-30 < abs(d) < 1e30 and d != 0 and <int64_t>w < -(<int64_t>1 << 53):
        return "a tensor made in the step"
    if -(<int64_t>1 << 40) < <int64_t>w < (<int64_t>1 << 40):
        return str(<int64_t>w)
    if d != d or 1e-30 < abs(d) < 1e30:
        return repr(d)
    return f"a tensor at {w:#x}"


cdef str _difference(list first, list second):
    """None, or what two recordings of a step disagree on."""
    cdef const uint64_t *a
    cdef const uint64_t *b
    cdef size_t k
    for i in range(min(len(first), len(second))):
        op1, dtype1, _, _, args1 = first[i]
        op2, dtype2, _, _, args2 = second[i]
        name = fn_ops[<int>op1].name.decode()
        if op1 != op2 or dtype1 != dtype2:
            return (f"operation {i} was {name} ({DTYPE_NAMES[dtype1]}) in the first call and {fn_ops[<int>op2].name.decode()} "
                    f"({DTYPE_NAMES[dtype2]}) in the second")
        if args1 != args2:
            if len(args1) != len(args2):
                return f"operation {i}, {name}: {len(args1)} bytes of arguments in the first call, {len(args2)} in the second"
            a, b = <const uint64_t *><const char *>args1, <const uint64_t *><const char *>args2
            for k in range(len(args1) // 8):
                if a[k] != b[k]:
                    return f"operation {i}, {name}: {_word(a[k])} in the first call, {_word(b[k])} in the second"
    if len(first) != len(second):
        return f"{len(first)} operations in the first call, {len(second)} in the second"
    return None


cdef class Entry:
    """One key of a captured function: recorded once, then a program, or left eager."""
    cdef object signature
    cdef Guards guards
    cdef list first                      # calls of the first recording
    cdef object first_plain
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
    cdef object lock
    cdef list entries
    cdef Entry last
    cdef int64_t ticks
    cdef readonly int64_t recordings, replays
    cdef object __weakref__
    cdef dict __dict__

    def __init__(self, step, int limit, bint strict):
        self.step, self.limit, self.strict = step, limit, strict
        self.arena, self.entries, self.lock = Arena(), [], threading.Lock()

    def __get__(self, instance, owner):
        import types
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args, **kwargs):
        cdef Entry entry
        if fn_tls_recorder != NULL:
            host_read("calling a captured function")
            return self.step(*args, **kwargs)
        if not self.lock.acquire(False):
            self.lock.acquire()
        try:
            self.ticks += 1
            signature = None
            entry = self.last
            if entry is None or kwargs or not _matches(entry.signature, args) or not self.fits(entry):
                signature = _signature(args, kwargs)
                entry = self.find(signature)
            entry.used = self.ticks
            self.last = entry if not kwargs else None
            if entry.eager is not None:
                pass
            elif entry.program is not None and not entry.program.held():
                return self.replay(entry, args, kwargs)
            else:
                return self.record(entry, args, kwargs)
        finally:
            self.lock.release()
        return _detached(self.step(*args, **kwargs))

    cdef bint fits(self, Entry entry) except -1:
        """Do the guards hold? One comparison if nothing has moved."""
        if entry.valid == _guard_counter:
            return True
        if entry.guards is None or entry.guards.check() != HOLDS:
            return False
        entry.valid = _guard_counter
        return True

    cdef Entry find(self, signature):
        """The entry for this call; stale ones of the same signature go, and beyond the limit the least lately used."""
        cdef Entry entry, oldest
        cdef int state
        for entry in list(self.entries):
            if entry.signature == signature:
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
        entry.signature = signature
        self.entries.append(entry)
        return entry

    cdef object record(self, Entry entry, tuple args, dict kwargs):
        global fn_tls_recorder
        cdef Recorder r = Recorder(self.arena, self.strict)
        cdef Program program
        cdef list buffers = []
        cdef str differs
        cdef bint grad_mode = not fn_tls_no_grad
        program = None
        entry.program = None
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
        call_args = call_kwargs = None
        differs = r.closed
        plain = _plain(result)
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
            entry.first, entry.first_plain = r.calls, plain
        else:
            program = Program.__new__(Program)
            program.build(r, tuple(buffers), result)
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
        with self.lock:
            self.entries, self.last = [], None

    def info(self):
        """Programs held, keys left eager and why, recordings, replays, bytes of the arena."""
        cdef Entry e
        cdef fn_pool_stats stats = fn_pool_info(self.arena.pool)
        return {"programs": len([1 for e in self.entries if e.program is not None]), "keys": len(self.entries),
                "eager": [e.eager for e in self.entries if e.eager is not None], "recordings": self.recordings, "replays": self.replays,
                "arena_bytes": stats.resident, "operations": [e.program.n for e in self.entries if e.program is not None]}

    def operations(self):
        """Of each program: the (name, dtype name) of its operations, in order."""
        cdef Entry e
        cdef int64_t i
        programs = []
        for e in self.entries:
            if e.program is not None:
                programs.append([(fn_ops[e.program.calls[i].op].name.decode(), DTYPE_NAMES[e.program.calls[i].dtype]) for i in range(e.program.n)])
        return programs


cdef tuple _signature(tuple args, dict kwargs):
    """The part of a key that the call itself shows."""
    return (tuple([_part(a) for a in args]), tuple([(k, _part(v)) for k, v in kwargs.items()]), bool(fn_tls_no_grad), _threads,
            <uintptr_t>fn_table_now())


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


cdef bint _matches(tuple signature, tuple args) except -1:
    """Do args have this signature? The quick form of _signature(args, {}) == signature."""
    cdef TensorBase t
    cdef tuple parts = signature[0], part
    cdef int i, k
    if len(parts) != len(args) or signature[1] or signature[2] != bool(fn_tls_no_grad) or signature[3] != _threads \
            or signature[4] != <uintptr_t>fn_table_now():
        return False
    for i in range(len(args)):
        a, part = args[i], parts[i]
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
