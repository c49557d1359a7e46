# Optimizers and gradient clipping: lists of tensors become segments (fn_seg), one kernel call for each element type.

from cpython.dict cimport PyDict_SetItem

cdef extern from "fn.h":
    enum: FN_OP_sgd, FN_OP_adam, FN_OP_rmsprop, FN_OP_adagrad, FN_OP_optim_tick, FN_OP_grad_norm, FN_OP_grad_scale, FN_OP_grad_clamp

cdef extern from "args.h":
    enum: FN_LR, FN_MOMENTUM, FN_DAMPENING, FN_WEIGHT_DECAY, FN_NESTEROV, FN_MAXIMIZE
    enum: FN_BETA1, FN_BETA2, FN_EPS, FN_AMSGRAD, FN_DECOUPLED, FN_ALPHA, FN_CENTERED, FN_LR_DECAY, FN_INITIAL
    enum: FN_HYPER
    ctypedef struct fn_seg:
        void *p
        void *g
        void *s0
        void *s1
        void *s2
        double *step
        const double *hyper
        int64_t n
    ctypedef struct fn_optim_args:
        void *work
        double *norm
        int64_t nseg, total
        double s, s2


cdef class _Segments:
    """The args of an optimizer call for float32 and one for float64, filled segment by segment."""
    cdef char *memory
    cdef size_t room                     # bytes of one blob
    cdef list held                       # temporaries that the pointers need

    def __cinit__(self, Py_ssize_t n):
        self.room = sizeof(fn_optim_args) + n * sizeof(fn_seg)
        self.memory = <char *>malloc(2 * self.room)
        if self.memory == NULL:
            raise MemoryError("fastnn: no memory for the list of parameters")
        memset(self.memory, 0, 2 * self.room)
        self.held = []

    def __dealloc__(self):
        free(self.memory)

    cdef fn_optim_args *args(self, int dtype) noexcept:
        return <fn_optim_args *>(self.memory + dtype * self.room)

    cdef fn_seg *add(self, TensorBase t) noexcept:
        cdef fn_optim_args *a = self.args(t.dtype_)
        cdef fn_seg *seg = <fn_seg *>(a + 1) + a.nseg
        a.nseg += 1
        a.total += t.numel_
        seg.n = t.numel_
        return seg

    cdef int run(self, int op, int dtype, double ns) except -1:
        """ns: time of an element in float32."""
        cdef fn_optim_args *a = self.args(dtype)
        if a.nseg:
            call(op, dtype, a, sizeof(fn_optim_args) + a.nseg * sizeof(fn_seg), ns * (1 + dtype) * a.total)
        return 0


# ---- state: made outside any recording, so that a program never repeats its first fill -------------------------------

cdef TensorBase _lasting(int dtype, TensorBase like, int ndim, const int64_t *shape, source, double value=0):
    """A tensor outside any arena, in like's memory order if given; source's values, or value."""
    global fn_tls_recorder
    cdef PyObject *recorder = fn_tls_recorder
    cdef TensorBase t
    fn_tls_recorder = NULL
    try:
        t = empty_as(like, dtype) if like is not None else empty(dtype, ndim, shape)
        if source is None:
            fill_into(t, value)
        else:
            copy_into(t, source)
    finally:
        fn_tls_recorder = recorder
    return t


def step_count(double steps):
    """A tensor of one float64, with room behind it for what optim_tick derives from it."""
    cdef int64_t n = 4
    cdef TensorBase t = _lasting(FN_F64, None, 1, &n, None)
    (<double *>t.storage.ptr)[0] = steps
    t.ndim, t.numel_ = 0, 1
    return t


cdef TensorBase _step_of(state, double otherwise):
    """state["step"] as step_count makes it; a number or a tensor without that room is replaced by one."""
    cdef TensorBase t
    got = state.get("step")
    if isinstance(got, TensorBase):
        t = got
        if t.dtype_ == FN_F64 and t.ndim == 0 and t.offset == 0 and t.storage.writable \
                and t.storage.nbytes >= <int64_t>(4 * sizeof(double)):
            return t
    t = step_count(otherwise if got is None else _number(got))
    state["step"] = t
    return t


cdef TensorBase _state_of(state, str key, TensorBase w, double value):
    """state[key], made of value or made over where it does not have w's type and memory order."""
    cdef TensorBase t
    got = state.get(key)
    if isinstance(got, TensorBase):
        t = got
        if t.dtype_ == w.dtype_ and same_layout(t, w):
            return t
        if not same_shape(t, w):
            raise RuntimeError(f"optimizer state '{key}' of shape {shape_of(t)} does not fit a parameter of shape "
                               f"{shape_of(w)}")
    elif got is not None:
        raise TypeError(f"optimizer state '{key}' must be a Tensor, got {type(got).__name__}")
    t = _lasting(w.dtype_, w, 0, NULL, got, value)
    state[key] = t
    return t


cdef double _number(value) except? -1:
    """A hyper-parameter: a number or a tensor of one element."""
    if isinstance(value, TensorBase):
        if (<TensorBase>value).numel_ != 1:
            raise ValueError(f"a Tensor as an option of an optimizer must have 1 element, got shape {shape_of(value)}")
        value = _item(<TensorBase>value)
    return value


cdef object _entry(state, p):
    """state[p], made where it is missing, behind the back of a dict that watches its entries."""
    entry = state.get(p)
    if entry is None:
        entry = {}
        PyDict_SetItem(state, p, entry)
    return entry


cdef TensorBase _gradient(TensorBase p):
    if fn_tls_recorder != NULL:
        (<Recorder>fn_tls_recorder).note_grad(p)
    return p.grad_


# Where the kernels find an option of a group; betas are two numbers.
_OPTIONS = {"lr": FN_LR, "momentum": FN_MOMENTUM, "dampening": FN_DAMPENING, "weight_decay": FN_WEIGHT_DECAY,
            "nesterov": FN_NESTEROV, "maximize": FN_MAXIMIZE, "betas": FN_BETA1, "eps": FN_EPS, "amsgrad": FN_AMSGRAD,
            "decoupled_weight_decay": FN_DECOUPLED, "alpha": FN_ALPHA, "centered": FN_CENTERED, "lr_decay": FN_LR_DECAY,
            "initial_accumulator_value": FN_INITIAL}
_STEPS = {"sgd": (FN_OP_sgd, 0.3), "adam": (FN_OP_adam, 0.6), "rmsprop": (FN_OP_rmsprop, 0.6),
          "adagrad": (FN_OP_adagrad, 0.5)}            # and ns of an element in float32


cdef class Stepper:
    """Steps one parameter group by a kernel. Its numbers lie in a block that kernels read when they run; sync() copies
    them there.

    options: names in the group; those that the kernels do not read are passed over.
    tensors: {name of a state tensor: option that calls for it, or None for always}, in the kernel's order."""
    cdef TensorBase block                # (FN_HYPER) float64
    cdef int op
    cdef double ns
    cdef tuple options, places           # names, and where in the block each lies
    cdef list last                       # the objects that were copied there, None for those whose value may change
    cdef tuple names, switches           # of state tensors; the place of the option that calls for each
    cdef int on                          # bits of the state tensors in use: once used, always
    cdef bint doubled                    # a parameter is named twice

    def __init__(self, kernel, options, tensors):
        cdef int64_t n = FN_HYPER
        self.op, self.ns = _STEPS[kernel]
        self.options = tuple([name for name in options if name in _OPTIONS])
        self.places = tuple([_OPTIONS[name] for name in self.options])
        self.last = [None] * len(self.options)
        self.names, self.switches = tuple(tensors), tuple([_OPTIONS.get(o, -1) for o in tensors.values()])
        self.block = _lasting(FN_F64, None, 1, &n, None)

    cpdef bint sync(self, dict group) except -1:
        """Copy the group's numbers to the block. True: programs recorded before do not fit any more."""
        cdef double *h = <double *>self.block.storage.ptr
        cdef int k, i, on = self.on
        for i in range(len(self.last)):
            value = group[self.options[i]]
            if value is self.last[i]:
                continue
            k = self.places[i]
            if k == FN_BETA1:
                beta1, beta2 = value
                h[FN_BETA1], h[FN_BETA2] = _number(beta1), _number(beta2)
                value = value if type(value) is tuple and type(beta1) is type(beta2) is float else None
            else:
                h[k] = _number(value)
            self.last[i] = value if type(value) in (float, int, bool, tuple) else None
        i = 0
        for k in self.switches:
            if k < 0 or h[k] != 0:
                on |= 1 << i
            i += 1
        if on == self.on:
            return False
        self.on = on
        self.renew()
        return True

    def renew(self):
        """The state has moved: programs that read this block are stale."""
        cdef int64_t n = FN_HYPER
        set_data(self.block, _lasting(FN_F64, None, 1, &n, self.block))

    cdef int fill_state(self, fn_seg *seg, TensorBase w, state, bint write) except -1:
        cdef const double *h = <const double *>rd(self.block)
        cdef TensorBase t
        cdef int i
        if not self.on:
            return 0
        t = _step_of(state, self.op == FN_OP_sgd and state.get("momentum_buffer") is not None)
        if write:
            seg.step = <double *>wr(t)
        for i in range(len(self.names)):
            if self.on >> i & 1:
                t = _state_of(state, self.names[i], w, 0 if i else h[FN_INITIAL])
                if write:
                    (&seg.s0)[i] = wr(t)
        return 0

    def prepare(self, params, state):
        """Make the state of the parameters that will be trained."""
        cdef TensorBase p
        self.doubled = len(set([id(p) for p in params])) < len(params)
        for p in params:
            if p.requires_grad_ and p.dtype_ <= FN_F64:
                self.fill_state(NULL, p if is_dense(p) or fills(p) else contiguous(p), _entry(state, p), False)

    def step(self, params, state):
        """One step of the parameters that have gradients. state: parameter -> dict of tensors."""
        if self.doubled:
            for p in params:
                self.run([p], state)
        else:
            self.run(params, state)

    cdef int run(self, params, state) except -1:
        cdef _Segments segments = _Segments(len(params))
        cdef TensorBase p, g, w, copy
        cdef fn_seg *seg
        cdef list moved = None
        cdef int dtype
        if fn_tls_recorder != NULL:
            (<Recorder>fn_tls_recorder).note_leaf(self.block)
        for p in params:
            g = _gradient(p)
            if g is None:
                continue
            if g.dtype_ != p.dtype_ or not same_shape(g, p) or p.dtype_ > FN_F64:
                raise RuntimeError(f"optimizer: a gradient of shape {shape_of(g)} and type {DTYPE_NAMES[g.dtype_]} does not fit "
                                   f"its parameter of shape {shape_of(p)} and type {DTYPE_NAMES[p.dtype_]}")
            if fn_tls_recorder != NULL:
                (<Recorder>fn_tls_recorder).note_leaf(p)
            w = p
            if not (is_dense(p) or fills(p)):
                w = contiguous(p)
                moved = [] if moved is None else moved
                moved.append((p, w))
            if not same_layout(g, w):
                copy = empty_as(w, w.dtype_)
                copy_into(copy, g)
                segments.held.append(copy)
                g = copy
            seg = segments.add(w)
            seg.hyper = <const double *>rd(self.block)
            self.fill_state(seg, w, _entry(state, p), True)
            seg.p, seg.g = wr(w), <void *>rd(g)
        for dtype in range(FN_F64 + 1):
            if self.on:
                segments.run(FN_OP_optim_tick, dtype, 0)
            segments.run(self.op, dtype, self.ns)
        if moved is not None:
            for p, w in moved:
                copy_into(p, w)


cdef bint sync_options(optimizer) except -1:
    """What its _sync() does, without a call of Python where no group is new."""
    cdef list steppers = optimizer._steppers, groups = optimizer.param_groups
    cdef bint changed = False
    cdef Py_ssize_t i
    if len(steppers) != len(groups):
        return optimizer._sync()
    for i in range(len(steppers)):
        changed |= (<Stepper>steppers[i]).sync(groups[i])
    return changed


def set_steps(state, double steps):
    """state["step"] = steps, in place where it can be."""
    (<double *>wr(_step_of(state, 0)))[0] = steps


def steps_of(state):
    """Steps taken by a parameter, from its state."""
    return _number(state.get("step", 0))


def clear_grads(params):
    """Drop each .grad."""
    for p in params:
        set_grad(<TensorBase?>p, None)


# ---- gradients: norm, scale, clamp -----------------------------------------------------------------------------------

def grads_of(params):
    """The .grad of each parameter that has one."""
    return [g for g in [_gradient(<TensorBase?>p) for p in params] if g is not None]


cdef _Segments _over_grads(list grads, list moved):
    """Segments over the gradients' memory; what has gaps is copied and, if moved is given, named there with its copy."""
    cdef _Segments segments = _Segments(len(grads))
    cdef TensorBase g, w
    for g in grads:
        if g.dtype_ > FN_F64:
            raise RuntimeError(f"gradients of floating point are expected, got shape {shape_of(g)} of "
                               f"{DTYPE_NAMES[g.dtype_]}")
        w = g
        if not (is_dense(g) or fills(g)):
            w = contiguous(g)
            segments.held.append(w)
            if moved is not None:
                moved.append((g, w))
        segments.add(w).g = <void *>rd(w) if moved is None else wr(w)
    return segments


def total_norm(list grads, double power):
    """(sum over all elements |g|^power)^(1/power), a float64 scalar; power may be infinite."""
    cdef _Segments segments = _over_grads(grads, None), both
    cdef TensorBase y, norm
    cdef list norms = []
    cdef fn_optim_args *a
    cdef int64_t none = 0
    cdef int dtype
    if power == 0 or power != power:
        raise NotImplementedError(f"norm_type={power}: not supported")
    for dtype in range(FN_F64 + 1):
        a = segments.args(dtype)
        if a.nseg or (dtype == FN_F64 and not norms):
            y = empty(FN_F64, 0, &none)
            a.norm, a.s = <double *>fresh(y), power
            call(FN_OP_grad_norm, dtype, a, sizeof(fn_optim_args) + a.nseg * sizeof(fn_seg), 0.25 * a.total)
            norms.append(y)
    if len(norms) == 1:
        return norms[0]
    both = _over_grads(norms, None)
    norm = empty(FN_F64, 0, &none)
    a = both.args(FN_F64)
    a.norm, a.s = <double *>fresh(norm), power
    both.run(FN_OP_grad_norm, FN_F64, 0.25)
    return norm


cdef int _put_back(list moved) except -1:
    for g, w in moved:
        copy_into(g, w)
    return 0


def scale_grads(list grads, double max_norm, TensorBase norm):
    """g *= min(1, max_norm / (norm + 1e-6)), norm a float64 scalar."""
    cdef list moved = []
    cdef _Segments segments = _over_grads(grads, moved)
    cdef int dtype
    if norm.dtype_ != FN_F64 or norm.numel_ != 1:
        raise RuntimeError(f"the total norm must be one number, got shape {shape_of(norm)} of {DTYPE_NAMES[norm.dtype_]}")
    for dtype in range(FN_F64 + 1):
        segments.args(dtype).norm, segments.args(dtype).s = <double *>rd(norm), max_norm
        segments.run(FN_OP_grad_scale, dtype, 0.2)
    _put_back(moved)


def clamp_grads(list grads, double bound):
    """g = min(max(g, -bound), bound)."""
    cdef list moved = []
    cdef _Segments segments = _over_grads(grads, moved)
    cdef int dtype
    for dtype in range(FN_F64 + 1):
        segments.args(dtype).s = bound
        segments.run(FN_OP_grad_clamp, dtype, 0.2)
    _put_back(moved)
