# Optimizers and gradient clipping: lists of tensors become segments (fn_seg), one kernel call for each element type.

from cpython.dict cimport PyDict_SetItem

cdef extern from "fn.h":
    enum: FN_OP_sgd, FN_OP_adam, FN_OP_optim_tick, FN_OP_grad_norm, FN_OP_grad_scale, FN_OP_grad_clamp

cdef extern from "args.h":
    enum: FN_LR, FN_MOMENTUM, FN_DAMPENING, FN_WEIGHT_DECAY, FN_NESTEROV, FN_MAXIMIZE
    enum: FN_BETA1, FN_BETA2, FN_EPS, FN_AMSGRAD, FN_DECOUPLED, FN_HYPER
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

cdef TensorBase _lasting(int dtype, TensorBase like, int ndim, const int64_t *shape, source):
    """A tensor outside any arena, in like's memory order if given; source's values, or zeros."""
    global fn_tls_recorder
    cdef PyObject *recorder = fn_tls_recorder
    cdef TensorBase t
    fn_tls_recorder = NULL
    try:
        t = empty_as(like, dtype) if like is not None else empty(dtype, ndim, shape)
        if source is None:
            fill_into(t, 0)
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


cdef TensorBase _state_of(state, str key, TensorBase w):
    """state[key], made or made over where it does not have w's type and memory order."""
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
    t = _lasting(w.dtype_, w, 0, NULL, got)
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


cdef class Stepper:
    """Steps one parameter group by SGD or Adam. Its numbers lie in a block that kernels read when they run; sync() copies
    them there."""
    cdef TensorBase block                # (FN_HYPER) float64
    cdef readonly bint adam
    cdef bint more                       # SGD has momentum, Adam amsgrad: there is one more state tensor
    cdef bint doubled                    # a parameter is named twice

    def __init__(self, bint adam):
        cdef int64_t n = FN_HYPER
        self.adam = adam
        self.block = _lasting(FN_F64, None, 1, &n, None)

    def sync(self, group):
        """Copy the group's numbers to the block. True: programs recorded before do not fit any more."""
        cdef double *h = <double *>self.block.storage.ptr
        cdef bint more
        h[FN_LR] = _number(group["lr"])
        h[FN_WEIGHT_DECAY] = _number(group["weight_decay"])
        h[FN_MAXIMIZE] = bool(group["maximize"])
        if self.adam:
            beta1, beta2 = group["betas"]
            h[FN_BETA1], h[FN_BETA2] = _number(beta1), _number(beta2)
            h[FN_EPS] = _number(group["eps"])
            more = bool(group["amsgrad"])
            h[FN_AMSGRAD] = more
            h[FN_DECOUPLED] = bool(group["decoupled_weight_decay"])
        else:
            h[FN_MOMENTUM] = _number(group["momentum"])
            h[FN_DAMPENING] = _number(group["dampening"])
            h[FN_NESTEROV] = bool(group["nesterov"])
            more = h[FN_MOMENTUM] != 0
        if more and not self.more:
            self.more = True
            self.renew()
            return True
        return False

    def renew(self):
        """The state has moved: programs that read this block are stale."""
        cdef int64_t n = FN_HYPER
        set_data(self.block, _lasting(FN_F64, None, 1, &n, self.block))

    cdef tuple names(self):
        if self.adam:
            return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if self.more else ("exp_avg", "exp_avg_sq")
        return ("momentum_buffer",) if self.more else ()

    cdef int fill_state(self, fn_seg *seg, TensorBase w, state, bint write) except -1:
        cdef tuple names = self.names()
        cdef TensorBase t
        cdef int i
        if not names:
            return 0
        t = _step_of(state, 1 if not self.adam and state.get("momentum_buffer") is not None else 0)
        if write:
            seg.step = <double *>wr(t)
        for i in range(len(names)):
            t = _state_of(state, names[i], w)
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
        cdef int dtype, op = FN_OP_adam if self.adam else FN_OP_sgd
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
            if self.adam or self.more:
                segments.run(FN_OP_optim_tick, dtype, 0)
            segments.run(op, dtype, 0.6 if self.adam else 0.3)
        if moved is not None:
            for p, w in moved:
                copy_into(p, w)


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
