# Programs: a recording with its memory, replayed; and how two recordings differ.

cdef struct _move:                       # *word points to `at` in the area
    uint64_t *word
    int64_t at


cdef enum:
    _LARGE = 300                         # times a program's grain: what is above takes its team without a trial
    _KNOWN = 20                          # replays of a trial as usual,
    _TRIED = 5                           # and the other way
    _TRIAL_EVERY = 500                   # replays

_programs, _programs_lock = weakref.WeakSet(), threading.Lock()      # all that live


cdef class Program:
    cdef object __weakref__
    cdef fn_call *calls
    cdef char *args
    cdef int64_t n, recorded             # calls; as many were recorded
    cdef int team
    cdef double work                     # ns on one thread, as estimated
    cdef int threads                     # that replays take, but for trials
    cdef int64_t replays
    cdef list took                       # ns of a trial's replays so far
    cdef Arena arena
    cdef _move *moves                    # the pointers to temporaries, which move with the area
    cdef int64_t nmoves, need, live      # need: bytes of area; live: bytes alive at the worst moment
    cdef char *base                      # the area that args point into
    cdef tuple inputs                    # fixed buffers, one per tensor argument
    cdef object result                   # what the step returned, with tensors that live in the arena
    cdef list keep, written, optimizers, generators, watches
    cdef list seen                       # storages made in the step and alive after it: replays write them
    cdef list exits                      # (leaf, its .grad after the step, was it made in the step?)

    def __dealloc__(self):
        free(self.calls)
        free(self.args)
        free(self.moves)

    cdef int build(self, Recorder r, tuple inputs, result) except -1:
        cdef int64_t i, j, need, total = 0
        cdef char *p
        cdef uint64_t *words
        cdef uint64_t name
        cdef fn_call *c
        cdef fn_slot *slot
        cdef Op o
        cdef Tape tape
        cdef Storage s
        cdef dict alive = {}, places
        self.arena, self.inputs, self.result, self.recorded = r.arena, inputs, result, len(r.calls)
        self.keep, self.written, self.optimizers = list(r.keep.values()), list(r.written.values()), r.optimizers
        self.generators, self.watches = list(r.generators.values()), list(r.watches.values())
        self.exits, self.seen, self.took = [], [], []
        left = set()
        for leaf, _ in r.grads.values():
            g = (<TensorBase>leaf).grad_
            made = g is not None and (<TensorBase>g).storage.recording is r.token
            self.exits.append((leaf, g, made))
            if made:
                left.add((<TensorBase>g).storage.serial)
        for i in range(len(r.blocks)):
            s = r.blocks[i]()
            if s is not None:
                alive[i] = <uintptr_t>s.ptr
                if i not in left:        # those are held by their gradients, and held() counts who does
                    self.seen.append(s)
        s = None
        tape = Tape(r.calls, r.bytes, set(alive))
        fuse(tape, self.written)
        self.n = len(tape.ops)
        for o in tape.ops:
            self.work += o.work
            self.nmoves += len(o.at)
            total += (len(o.args) + 63) // 64 * 64
            slot = <fn_slot *>fn_find(fn_table_now(), o.op, o.dtype)
            if slot.scratch == NULL:
                continue
            need = slot.scratch(<char *>o.args, team_for(o.work))
            if o.words()[0] & _NAMED:    # a rewritten call may need more
                i = _block(o.words()[0])
                tape.bytes[i] = max(tape.bytes[i], need)
            elif need and o.words()[0] == 0:
                o.words()[0] = _NAMED | <uint64_t>tape.new_block(need) << 40
                o.at = [0, *o.at]
                self.nmoves += 1
        tape.index()
        places, self.need, self.live = plan(tape)
        self.calls = <fn_call *>malloc(max(self.n, <int64_t>1) * sizeof(fn_call))
        self.args = <char *>malloc(total + 64)
        self.moves = <_move *>malloc((self.nmoves + 1) * sizeof(_move))
        if self.calls == NULL or self.args == NULL or self.moves == NULL:
            raise MemoryError("fastnn: no memory for a captured program")
        p = self.args + (64 - <uintptr_t>self.args % 64)
        self.team, self.nmoves = 1, 0
        for i in range(self.n):
            o = tape.ops[i]
            c = &self.calls[i]
            memcpy(p, <char *>o.args, len(o.args))
            words = <uint64_t *>p
            for k in o.at:
                j = k
                name = words[j]
                if _block(name) in alive:
                    words[j] = <uint64_t>alive[_block(name)] + (name & _OFFSET)
                else:
                    self.moves[self.nmoves].word = &words[j]
                    self.moves[self.nmoves].at = <int64_t>places[_block(name)] + <int64_t>(name & _OFFSET)
                    self.nmoves += 1
            c.kernel, c.args, c.op, c.dtype = fn_find(fn_table_now(), o.op, o.dtype).kernel, p, o.op, o.dtype
            c.flags = fn_ops[o.op].flags
            c.threads = team_for(o.work) if self.work >= _PROGRAM_GRAIN else 1
            self.team = max(self.team, c.threads)
            p += (len(o.args) + 63) // 64 * 64
        self.threads = self.team
        with _programs_lock:
            _programs.add(self)
        return 0

    cdef int settle(self) except -1:
        """Let args point into the arena's area as it is now."""
        cdef int64_t i
        cdef char *base = self.arena.reach(self.need)
        if base != self.base:
            for i in range(self.nmoves):
                self.moves[i].word[0] = <uint64_t><uintptr_t>(base + self.moves[i].at)
            self.base = base
        return 0

    cdef bint held(self) except -1:
        """Does anyone else hold a gradient that a replay would overwrite but a fresh step would not? Other programs do not count, which add to
        it or step by it: their guards want it where it is."""
        cdef TensorBase g
        cdef tuple exit
        cdef Py_ssize_t more, of_storage
        cdef dict known = None
        for exit in self.exits:
            if exit[2] is True:
                g = <TensorBase>exit[1]
                more, of_storage = Py_REFCNT(g) - 2 - ((<TensorBase>exit[0]).grad_ is g), storage_refs(g) - 1
                if more > 0 or of_storage > 0:
                    known = self.known_to_others() if known is None else known
                    if more > known.get(id(g), 0) or of_storage > known.get(<uintptr_t><PyObject *>g.storage, 0):
                        return True
        return False

    cdef dict known_to_others(self):
        """id -> how often other programs refer to a tensor or storage."""
        cdef dict known = {}
        cdef Program p
        with _programs_lock:
            programs = list(_programs)
        for p in programs:
            if p is not self:
                for x in [e[1] for e in p.exits] + p.keep + p.written:
                    known[id(x)] = known.get(id(x), 0) + 1
        return known

    cdef int run(self) except -1:
        """0, or 1 if nothing was run: the program does not fit any more."""
        cdef Generator g
        cdef uint64_t *words
        cdef tuple exit
        for o in self.optimizers:
            if sync_options(o):          # it has state that this program does not know
                return 1
        self.settle()
        for entry in self.generators:
            g, words = entry[0], <uint64_t *>(<Storage>entry[1]).ptr
            words[0], words[1] = g.seed_, g.counter_
            g.counter_ += <uint64_t>entry[2]
        for s in self.written:
            (<Storage>s).version += 1
        if self.team == 1 or self.work > _LARGE * _PROGRAM_GRAIN:
            self.replay(self.team)
        else:
            self.replay_tried()
        for exit in self.exits:
            if (<TensorBase>exit[0]).grad_ is not exit[1]:
                (<TensorBase>exit[0]).grad_ = <TensorBase>exit[1]
                touch()
        return 0


    cdef int replay(self, int team) except -1:
        if self.work < _KEEP_GIL:
            fn_run(self.calls, self.n, team)
        else:
            with nogil:
                fn_run(self.calls, self.n, team)
        return 0

    cdef int replay_tried(self) except -1:
        """Threads wait for each other, and longest for one whose core is not its own: now and then the other way is tried, all threads
        or one. One must save a third, or a moment's noise would keep it; the team comes back as soon as it is faster."""
        cdef int64_t turn = self.replays % _TRIAL_EVERY
        cdef int other = 1 if self.threads > 1 else self.team
        self.replays += 1
        if turn >= _KNOWN + _TRIED:
            return self.replay(self.threads)
        began = time.perf_counter_ns()
        self.replay(self.threads if turn < _KNOWN else other)
        self.took.append(time.perf_counter_ns() - began)
        if turn == _KNOWN + _TRIED - 1:
            usual, tried = sorted(self.took[:_KNOWN])[_KNOWN // 2], sorted(self.took[_KNOWN:])[_TRIED // 2]
            if tried < (usual if other > 1 else usual * 2 / 3):
                self.threads = other
            self.took.clear()
        return 0


cdef object _fresh(TensorBase t):
    cdef TensorBase y = empty_as(t, t.dtype_)
    if is_dense(t) and is_dense(y):
        memcpy(y.storage.ptr, address(t), t.numel_ * itemsize[t.dtype_])
    else:
        copy_into(y, t)
    return y


cdef object _each(value, f):
    """value with f(tensor) for its tensors."""
    if isinstance(value, TensorBase):
        return f(value)
    if isinstance(value, tuple):
        parts = [_each(v, f) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [_each(v, f) for v in value]
    if isinstance(value, dict):
        return {k: _each(v, f) for k, v in value.items()}
    return value


cdef object _detached(value):
    """value with fresh copies of its tensors, outside any arena."""
    return _fresh(value) if isinstance(value, TensorBase) else _each(value, _fresh)


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
    cdef Py_ssize_t k
    for i in range(min(len(first), len(second))):
        op1, dtype1, _, args1, _ = first[i]
        op2, dtype2, _, args2, _ = second[i]
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
