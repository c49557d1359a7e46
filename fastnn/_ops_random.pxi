# Random numbers and dropout. Each call takes one count of a generator; element i is counted in row-major order.

cdef extern from "fn.h":
    enum: FN_OP_uniform, FN_OP_normal, FN_OP_bernoulli, FN_OP_randint, FN_OP_randperm
    enum: FN_OP_dropout_fwd, FN_OP_dropout_bwd

cdef extern from "args.h":
    ctypedef struct fn_random_args:
        void *y
        const void *p
        const uint64_t *rng
        int64_t offset, n
        double s, s2
        int64_t k, k2
    ctypedef struct fn_dropout_args:
        void *y
        uint8_t *mask
        const void *x
        const uint64_t *rng
        int64_t offset, n, run
        double p


# The integers that each type holds, reals without a gap.
cdef tuple _INTEGERS = ((-(1 << 24), 1 << 24), (-(1 << 53), 1 << 53), (-(1 << 63), (1 << 63) - 1),
                        (-(1 << 31), (1 << 31) - 1), (0, 255), (0, 1))


cdef Generator _generator(generator):
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"generator must be a fastnn.Generator, got {type(generator).__name__}")
    return generator


cdef TensorBase _draw(int op, TensorBase x, fn_random_args *a, generator, double ns):
    """x = the draw that a describes; ns: time of an element."""
    cdef TensorBase y = x if is_dense(x) else empty(x.dtype_, x.ndim, x.shape_)
    a.y = wr(y) if y is x else fresh(y)
    a.n = x.numel_
    take_count(_generator(generator), &a.rng, &a.offset)
    call(op, x.dtype_, a, sizeof(fn_random_args), ns * x.numel_)
    if y is not x:
        copy_into(x, y)
    return x


def uniform_into(TensorBase x, double low, double high, generator=None):
    """x = numbers evenly from [low, high)."""
    cdef fn_random_args a
    memset(&a, 0, sizeof(a))
    if not low <= high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    if not high - low <= (3.4028234663852886e38 if x.dtype_ == FN_F32 else 1.7976931348623157e308):
        raise RuntimeError(f"uniform_ expects to-from <= the largest {DTYPE_NAMES[x.dtype_]}, but found to={high} and "
                           f"from={low}")
    a.s, a.s2 = low, high
    return _draw(FN_OP_uniform, x, &a, generator, 0.7)


def uniform_each(int64_t n, generator=None):
    """n numbers evenly from [0, 1), float64, each with a count of its own: what n draws of one number give, one after another."""
    cdef fn_random_args a
    cdef TensorBase x = empty(FN_F64, 1, &n)
    cdef double *y = <double *>fresh(x)
    cdef int64_t i
    memset(&a, 0, sizeof(a))
    a.s2, a.n = 1, 1
    for i in range(n):
        a.y = y + i
        take_count(_generator(generator), &a.rng, &a.offset)
        call(FN_OP_uniform, FN_F64, &a, sizeof(a), 0)
    return x


def normal_into(TensorBase x, double mean, double std, generator=None):
    """x = mean + std times normal numbers."""
    cdef fn_random_args a
    memset(&a, 0, sizeof(a))
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    a.s, a.s2 = mean, std
    return _draw(FN_OP_normal, x, &a, generator, 1.4)


def bernoulli_into(TensorBase x, p, generator=None):
    """x = 1 with probability p, a number or a tensor of x's shape and real type, else 0."""
    cdef fn_random_args a
    cdef TensorBase t
    memset(&a, 0, sizeof(a))
    if isinstance(p, TensorBase):
        t = dense(p)
        if not same_shape(x, t) or x.dtype_ != t.dtype_:
            raise RuntimeError(f"bernoulli: probabilities of shape {shape_of(t)} and type {DTYPE_NAMES[t.dtype_]} do not fit "
                               f"an output of shape {shape_of(x)} and type {DTYPE_NAMES[x.dtype_]}")
        a.p = rd(t)
    else:
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
        a.s = p
    return _draw(FN_OP_bernoulli, x, &a, generator, 0.9)


def randint_into(TensorBase x, int64_t low, int64_t high, generator=None):
    """x = integers evenly from [low, high), which x's type must hold."""
    cdef fn_random_args a
    memset(&a, 0, sizeof(a))
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    least, most = _INTEGERS[x.dtype_]
    if low < least or high - 1 > most:
        raise RuntimeError(f"random_: from={low} or to - 1={high - 1} is out of bounds for {DTYPE_NAMES[x.dtype_]}")
    a.k, a.k2 = low, high
    return _draw(FN_OP_randint, x, &a, generator, 3.5)


def randperm_into(TensorBase x, generator=None):
    """x = 0 .. n-1 in random order; x has one dimension and a type that holds n - 1."""
    cdef fn_random_args a
    memset(&a, 0, sizeof(a))
    if x.ndim != 1:
        raise RuntimeError(f"randperm: expected an output of one dimension, got shape {shape_of(x)}")
    if x.numel_ > _INTEGERS[x.dtype_][1] + 1:
        raise RuntimeError(f"randperm: n={x.numel_} is too large for result tensor type {DTYPE_NAMES[x.dtype_]}")
    return _draw(FN_OP_randperm, x, &a, generator, 0)


def dropout(TensorBase x, double p, int64_t run=1, generator=None):
    """(y, mask): y = x mask / (1 - p), one uint8 of mask for `run` neighbouring elements.

    run 1: elements count in memory order where x fills its memory, and mask has x's shape and strides. Else x is read
    row-major, run divides x.numel() and mask has one dimension."""
    cdef fn_dropout_args a
    cdef TensorBase y, mask
    cdef int64_t n
    memset(&a, 0, sizeof(a))
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if run < 1 or x.numel_ % run:
        raise ValueError(f"dropout: run={run} does not divide the {x.numel_} elements of shape {shape_of(x)}")
    if not (is_dense(x) or (run == 1 and fills(x))):
        x = contiguous(x)
    y = empty_as(x, x.dtype_)
    n = x.numel_ // run
    mask = empty_as(x, FN_U8) if run == 1 else empty(FN_U8, 1, &n)
    a.y, a.mask, a.x, a.n, a.run, a.p = fresh(y), <uint8_t *>fresh(mask), rd(x), x.numel_, run, p
    take_count(_generator(generator), &a.rng, &a.offset)
    call(FN_OP_dropout_fwd, x.dtype_, &a, sizeof(a), 1.0 * n + 0.4 * x.numel_)
    return y, mask


def dropout_backward(TensorBase dy, TensorBase mask, double p, int64_t run=1):
    """dx = dy mask / (1 - p), with the mask of the forward call."""
    cdef fn_dropout_args a
    cdef TensorBase dx, g = dy
    memset(&a, 0, sizeof(a))
    if mask.numel_ * run != dy.numel_:
        raise RuntimeError(f"dropout: a gradient of shape {shape_of(dy)} does not fit a mask of shape {shape_of(mask)} with "
                           f"run={run}")
    if run > 1:
        g = dense(dy)
    elif not same_layout(dy, mask):
        g = empty_as(mask, dy.dtype_)
        copy_into(g, dy)
    dx = empty_as(g, g.dtype_)
    a.y, a.mask, a.x, a.n, a.run, a.p = fresh(dx), <uint8_t *>rd(mask), rd(g), g.numel_, run, p
    call(FN_OP_dropout_bwd, g.dtype_, &a, sizeof(a), 0.4 * g.numel_)
    return dx


cdef bint same_layout(TensorBase a, TensorBase b) noexcept:
    """The same elements in the same order of memory?"""
    cdef int i
    if not same_shape(a, b):
        return False
    for i in range(a.ndim):
        if a.shape_[i] != 1 and a.stride_[i] != b.stride_[i]:
            return False
    return True
