# What one run of a captured step passed through the door, and every outside thing it leant on.
#
# Capture: one real step with the recorder open becomes a program, a flat list of (kernel, args) replayed in one C call.
#
#   Recorder  (here) the list as it was recorded, beside Guards, what must be as it was for a program to fit
#   Tape      (_tape.pxi) the list under rewriting; _fusion.pxi: passes over memory that fall away; _places.pxi: where its temporaries lie
#   Program   (_program.pxi) the list with its memory and what to do around a replay
#   Captured  (_capture.pxi) the callable: finds the program for a call, or records one
#
# While a recorder is open, memory comes from the captured function's arena. Addresses in the blocks of a recording are taken down by name
# (which block, counted in the recording, and how far in), addresses outside as they are: so two recordings can be compared, rules can
# rewrite the list, and a program can lay its temporaries out anew.

cdef int64_t _guard_counter = 1
cdef uint64_t _NAMED = <uint64_t>1 << 63            # a name: this bit, 23 of the block's serial, 40 of the offset
cdef uint64_t _OFFSET = (<uint64_t>1 << 40) - 1


cpdef touch():
    """Something that a program's guards look at has changed."""
    global _guard_counter
    _guard_counter += 1


cdef class Arena:
    """The memory of one captured function's programs: what recordings and the world beside them hold, and one area for the temporaries of
    whichever program runs. While a step is recorded there is no area: the recording uses its pages."""
    cdef fn_pool *pool
    cdef char *area
    cdef int64_t room

    def __cinit__(self):
        self.pool = fn_pool_new()
        if self.pool == NULL:
            raise MemoryError("fastnn: no address space for a capture arena")

    def __dealloc__(self):
        if self.pool != NULL:
            self.clear()
            fn_pool_drop(self.pool)

    cdef void clear(self) noexcept:
        fn_free(self.area)
        self.area, self.room = NULL, 0

    cdef char *reach(self, int64_t nbytes) except? NULL:
        """The area, of nbytes or more."""
        if nbytes > self.room:
            self.clear()
            self.area = <char *>fn_alloc(self.pool, nbytes)
            if self.area == NULL:
                raise MemoryError(f"fastnn: cannot allocate {nbytes} bytes for a captured program")
            self.room = nbytes
        return self.area


cdef class Recorder:
    cdef Arena arena
    cdef object token                    # storages made in this recording carry it
    cdef list blocks, bytes              # of each block made in this recording, by serial: a weak reference to its storage; its size
    cdef dict reserved                   # serial -> (address, size) of blocks to come that outlived the first recording: side by side they leave
                                         # no gaps where temporaries were
    cdef bint strict
    cdef readonly str closed             # why the recording ended early, or None
    cdef list calls                      # (op, dtype, work, args with named pointers, the words of args that are such)
    cdef dict names                      # address -> name of a pointer into this recording's blocks
    cdef set ends                        # addresses of what is empty and lies at the end of a block
    cdef dict keep, written              # id -> storages from outside: read, written
    cdef dict grads                      # id -> (leaf, its .grad before the step touched it)
    cdef dict leaves                     # id -> leaf that requires grad
    cdef dict modules                    # id -> snapshot
    cdef list optimizers
    cdef dict generators                 # id -> [generator, block, counts taken]
    cdef dict watches                    # what it watches -> Watch

    def __init__(self, Arena arena, bint strict, dict lasting):
        self.arena, self.strict, self.token, self.reserved = arena, strict, object(), {}
        self.calls, self.optimizers, self.blocks, self.bytes, self.ends = [], [], [], [], set()
        self.names, self.keep, self.written, self.grads = {}, {}, {}, {}
        self.leaves, self.modules, self.generators, self.watches = {}, {}, {}, {}
        for serial, nbytes in lasting.items():
            self.reserved[serial] = (<uintptr_t>fn_alloc(arena.pool, nbytes), nbytes)

    cdef int release(self) except -1:
        """Give back what was reserved and not asked for."""
        for place, _ in self.reserved.values():
            fn_free(<void *><uintptr_t>place)
        self.reserved.clear()
        return 0

    cdef void *reserved_for(self, int64_t nbytes) except? NULL:
        """The reserved place of the block to be made, or NULL."""
        cdef void *block
        place = self.reserved.pop(len(self.blocks), None) if self.reserved else None
        if place is None:
            return NULL
        block = <void *><uintptr_t>place[0]
        if place[1] != nbytes:
            fn_free(block)
            return NULL
        return block

    cdef dict lasting(self):
        """serial -> size of the blocks that someone holds."""
        return {i: self.bytes[i] for i, block in enumerate(self.blocks) if block() is not None}

    cdef int64_t name_block(self, Storage s) except -1:
        self.blocks.append(weakref.ref(s))
        self.bytes.append(s.nbytes)
        return len(self.blocks) - 1

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
            if <char *>p < <char *>s.ptr + max(s.nbytes, <int64_t>1):
                self.names[<uintptr_t>p] = _NAMED | (<uint64_t>s.serial << 40) | <uint64_t>(<char *>p - <char *>s.ptr)
            else:
                self.ends.add(<uintptr_t>p)
        else:
            self.names.pop(<uintptr_t>p, None)
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
            self.names[<uintptr_t>s.ptr] = _NAMED | (<uint64_t>self.name_block(s) << 40)
            entry = self.generators[id(g)] = [g, s, 0]
        s = entry[1]
        rng[0], offset[0] = <const uint64_t *>s.ptr, entry[2]
        entry[2] += 1
        return 0

    cdef int append(self, fn_call *c, size_t size, double work) except -1:
        cdef bytearray args = bytearray((<const char *>c.args)[:size])
        cdef uint64_t *words = <uint64_t *><char *>args
        cdef list at = []
        cdef size_t i
        for i in range(size // 8):
            name = self.names.get(words[i])
            if name is not None:
                words[i] = name
                at.append(i)
            elif fn_pool_contains(self.arena.pool, <void *>words[i]) and not self.explains(words[i]):
                raise RuntimeError(f"fastnn: an address in the arguments of {fn_ops[c.op].name.decode()} belongs to no tensor that the step has named")
        self.calls.append((c.op, c.dtype, work, bytes(args), at))
        return 0

    cdef bint explains(self, uint64_t address) except -1:
        """Does it lie in a storage from outside, as of a gradient that an earlier recording left, or at an empty end?"""
        cdef Storage s
        for s in self.keep.values():
            if <uint64_t><uintptr_t>s.ptr <= address <= <uint64_t><uintptr_t>s.ptr + <uint64_t>s.nbytes:
                return True
        return address in self.ends

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


cdef class Watch:
    """Indices or classes that a replay is given: it looks at them before it begins, because kernels cannot fail."""
    cdef TensorBase numbers
    cdef int64_t low, n, but             # low..n-1, or but
    cdef object kind
    cdef str rule                        # the message, with {k} for the number and {at} for its flat index

    cdef int check(self) except -1:
        cdef TensorBase t = dense(cast(self.numbers, DTYPES[FN_I64]))
        cdef int64_t at = first_outside(t, self.low, self.n, self.but)
        if at >= 0:
            raise self.kind(self.rule.format(k=(<const int64_t *>rd(t))[at], at=at))
        return 0


cdef int watch(TensorBase numbers, int64_t low, int64_t n, int64_t but, kind, str rule) except -1:
    """Let replays of what is being recorded check whole numbers, as the caller gave them, unless the step itself has made them."""
    cdef Recorder r = <Recorder>fn_tls_recorder
    cdef Watch w
    if numbers.storage.is_input or numbers.storage.recording is not r.token:
        w = Watch.__new__(Watch)
        w.numbers = detach(numbers)
        w.low, w.n, w.but, w.kind, w.rule = low, n, but, kind, rule
        r.watches.setdefault((id(numbers.storage), numbers.offset, low, n, but), w)      # the gradient looks once more
    return 0
