# Pooling over (N,C,H,W), row-major or channels-last as it comes. 1-D pooling is a plane of one row: `line` says so to the messages.

cdef extern from "fn.h":
    enum: FN_OP_max_pool2d_fwd, FN_OP_max_pool2d_bwd, FN_OP_avg_pool2d_fwd, FN_OP_avg_pool2d_bwd

cdef extern from "args.h":
    ctypedef struct fn_pool2d_args:
        void *y
        void *dx
        void *tap
        int64_t *flat
        const void *x
        const void *dy
        int64_t N, C, H, W, P, Q, R, S, sh, sw, ph, pw, dh, dw, last, adaptive, count_pad, divisor


# ---- options -----------------------------------------------------------------------------------------------------------

cdef bint _whole(value):
    return not isinstance(value, bool) and hasattr(value, "__index__")


cdef tuple _pool_pair(str name, str option, int position, value, bint line, int unit):
    """(rows, columns) of an option given as one int or two; of a line, one, the rows being `unit`."""
    if _whole(value):
        value = int(value)
        return (unit, value) if line else (value, value)
    if not isinstance(value, (tuple, list)) or not all([_whole(v) for v in value]):
        raise TypeError(f"{name}(): argument '{option}' (position {position}) must be tuple of ints, not {type(value).__name__}: got {value!r}")
    if line and len(value) != 1:
        raise RuntimeError(f"{name}() {option} must be an int, list of ints or tuple of ints of size 1 but got size {len(value)}")
    if len(value) not in (1, 2):
        raise RuntimeError(f"{name}: {option} must either be a single int, or a tuple of two ints, got {tuple(value)}")
    return (unit, int(value[0])) if line else (int(value[0]), int(value[len(value) - 1]))


cdef int _pool_flag(str name, str option, value) except -1:
    if not isinstance(value, bool):
        raise TypeError(f"{name}(): argument '{option}' must be bool, not {type(value).__name__}")
    return 0


cdef int _pool_dims(str name, TensorBase x) except -1:
    if x.ndim != 4:
        raise RuntimeError(f"{name}: input (N,C,H,W) needs four dimensions, got {shape_of(x)}")
    if x.dtype_ > FN_F64:
        raise NotImplementedError(f'"{name}" not implemented for {DTYPE_NAMES[x.dtype_]}: pooling takes float32 and float64')
    return 0


cdef str _pool_shape(shape, bint line):
    return f"input (N,C,L)={(shape[0], shape[1], shape[3])}" if line else f"input (N,C,H,W)={tuple(shape)}"


cdef object _pool_extent(int64_t n, k, stride, pad, dilation, bint ceil_mode):
    """How many windows fit. By ceil_mode one may reach over the end, but must begin inside or in the padding before."""
    out = (n + 2 * pad - dilation * (k - 1) - 1 + (stride - 1 if ceil_mode else 0)) // stride + 1
    return out - 1 if ceil_mode and (out - 1) * stride >= n + pad else out


cdef int _pool_fill(str name, fn_pool2d_args *a, tuple shape, kernel_size, stride, padding, dilation, ceil_mode, bint line) except -1:
    """Sizes of the pool over (N,C,H,W), checked."""
    cdef str given
    k = _pool_pair(name, "kernel_size", 2, kernel_size, line, 1)
    s = k if stride is None or isinstance(stride, (tuple, list)) and len(stride) == 0 else _pool_pair(name, "stride", 3, stride, line, 1)
    p = _pool_pair(name, "padding", 4, padding, line, 0)
    d = _pool_pair(name, "dilation", 5, dilation, line, 1)
    _pool_flag(name, "ceil_mode", ceil_mode)
    given = f"{name}: {_pool_shape(shape, line)}, kernel_size={k[line:]}, stride={s[line:]}, padding={p[line:]}, dilation={d[line:]}"
    if min(k) < 1:
        raise RuntimeError(f"kernel size should be greater than zero, but got kH: {k[0]} kW: {k[1]} ({given})")
    if min(s) < 1:
        raise RuntimeError(f"stride should not be zero or negative, but got dH: {s[0]} dW: {s[1]} ({given})")
    if min(d) < 1:
        raise RuntimeError(f"dilation should be greater than zero, but got dilationH: {d[0]} dilationW: {d[1]} ({given})")
    if min(p) < 0:
        raise RuntimeError(f"pad must be non-negative, but got pad: {min(p)} ({given})")
    for i in range(2):
        if 2 * p[i] > k[i]:
            raise RuntimeError(f"pad should be at most half of effective kernel size, but got pad={p[i]}, kernel_size={k[i]} and dilation={d[i]} ({given})")
    if min(shape[1:]) < 1:
        raise RuntimeError(f"Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, but got:{list(shape)} ({given})")
    out = [_pool_extent(shape[2 + i], k[i], s[i], p[i], d[i], ceil_mode) for i in range(2)]
    if min(out) < 1:
        raise RuntimeError(f"Given input size: ({shape[1]}x{shape[2]}x{shape[3]}). Calculated output size: ({shape[1]}x{out[0]}x{out[1]}). "
                           f"Output size is too small ({given})")
    if k[0] * k[1] >= 1 << 31:
        raise RuntimeError(f"a window of {k[0]} x {k[1]} taps is larger than an int32 can count ({given})")
    a.N, a.C, a.H, a.W = shape
    a.P, a.Q = out
    a.R, a.S = k
    a.ph, a.pw = p
    a.sh, a.sw = min(s[0], a.H + 2 * a.ph + 1), min(s[1], a.W + 2 * a.pw + 1)       # beyond that there is one window anyway
    a.dh, a.dw = d[0] if a.R > 1 else 1, d[1] if a.S > 1 else 1
    return 0


# ---- layouts -----------------------------------------------------------------------------------------------------------

cdef bint _pools_last(TensorBase x) noexcept:
    """Is x read, and the result left, channels-last?"""
    return x.channels_last or not is_dense(x)


cdef TensorBase _pool_input(fn_pool2d_args *a, TensorBase x, bint last):
    """x in the layout of the call. With one channel both layouts are one, and rows make the longer vectors."""
    a.last = last and a.C != 1
    return nhwc(x) if last else dense(x)


cdef TensorBase _pool_output(int dtype, int64_t N, int64_t C, int64_t P, int64_t Q, bint last):
    cdef int64_t *shape = [N, C, P, Q]
    return empty_nhwc(dtype, N, C, P, Q) if last else empty(dtype, 4, shape)


cdef double _pool_ns(fn_pool2d_args *a, int dtype) noexcept:
    return (<double>a.N * a.C * a.H * a.W * 1.3 * itemsize[dtype]) * _BYTE_NS * 2 + <double>a.N * a.C * a.P * a.Q * (0.2 + 0.02 * a.R * a.S)


cdef TensorBase _pool_dy(str name, fn_pool2d_args *a, TensorBase dy, bint last):
    if dy.ndim != 4 or dy.shape_[0] != a.N or dy.shape_[1] != a.C or dy.shape_[2] != a.P or dy.shape_[3] != a.Q:
        raise RuntimeError(f"{name} backward: dy (N,C,P,Q)={shape_of(dy)} does not fit the output {(a.N, a.C, a.P, a.Q)} of input (N,C,H,W)="
                           f"{(a.N, a.C, a.H, a.W)}")
    return _pool_input(a, dy, last)


# ---- max ---------------------------------------------------------------------------------------------------------------

def max_pool2d(TensorBase x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, bint want_indices=False, bint line=False):
    """(y, tap, indices): y (N,C,P,Q) in x's layout; tap, which backward takes, like y; indices int64 h W + w, or None if not wanted."""
    cdef fn_pool2d_args a
    cdef TensorBase y, tap, flat = None
    cdef str name = "max_pool1d" if line else "max_pool2d"
    cdef bint last = _pools_last(x)
    memset(&a, 0, sizeof(a))
    _pool_dims(name, x)
    _pool_fill(name, &a, tuple(x.shape), kernel_size, stride, padding, dilation, ceil_mode, line)
    x = _pool_input(&a, x, last)
    y = _pool_output(x.dtype_, a.N, a.C, a.P, a.Q, last)
    tap = _pool_output(FN_U8 if a.R * a.S <= 256 else FN_I32, a.N, a.C, a.P, a.Q, last)
    if want_indices:
        flat = _pool_output(FN_I64, a.N, a.C, a.P, a.Q, last)
        a.flat = <int64_t *>fresh(flat)
    a.y, a.tap, a.x = fresh(y), fresh(tap), rd(x)
    if y.numel_:
        call(FN_OP_max_pool2d_fwd, x.dtype_, &a, sizeof(a), _pool_ns(&a, x.dtype_))
    return y, tap, flat


def max_pool2d_backward(TensorBase dy, TensorBase tap, shape, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, bint line=False):
    """dx of the given shape (N,C,H,W), in tap's layout."""
    cdef fn_pool2d_args a
    cdef TensorBase dx
    cdef str name = "max_pool1d" if line else "max_pool2d"
    cdef bint last = _pools_last(tap)
    memset(&a, 0, sizeof(a))
    _pool_dims(name, dy)
    _pool_fill(name, &a, tuple(shape), kernel_size, stride, padding, dilation, ceil_mode, line)
    dy = _pool_dy(name, &a, dy, last)
    if not same_shape(dy, tap) or tap.dtype_ != (FN_U8 if a.R * a.S <= 256 else FN_I32):
        raise RuntimeError(f"{name} backward: dy {shape_of(dy)} and the saved taps {shape_of(tap)} are not of one call")
    tap = _pool_input(&a, tap, last)
    dx = _pool_output(dy.dtype_, a.N, a.C, a.H, a.W, last)
    a.dx, a.dy, a.tap = fresh(dx), rd(dy), <void *>rd(tap)
    if dx.numel_:
        call(FN_OP_max_pool2d_bwd, dy.dtype_, &a, sizeof(a), _pool_ns(&a, dy.dtype_))
    return dx


# ---- average -----------------------------------------------------------------------------------------------------------

cdef int _avg_fill(str name, fn_pool2d_args *a, tuple shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, bint line) except -1:
    _pool_fill(name, a, shape, kernel_size, stride, padding, 1, ceil_mode, line)
    _pool_flag(name, "count_include_pad", count_include_pad)
    a.count_pad = count_include_pad
    if divisor_override is None:
        return 0
    if not _whole(divisor_override):
        raise TypeError(f"{name}(): argument 'divisor_override' must be int, not {type(divisor_override).__name__}")
    if divisor_override == 0:
        raise RuntimeError(f"divisor must be not zero: {name}: divisor_override=0")
    a.divisor = divisor_override
    return 0


cdef TensorBase _avg_forward(fn_pool2d_args *a, TensorBase x):
    cdef bint last = _pools_last(x)
    cdef TensorBase y
    x = _pool_input(a, x, last)
    y = _pool_output(x.dtype_, a.N, a.C, a.P, a.Q, last)
    a.y, a.x = fresh(y), rd(x)
    if y.numel_:
        call(FN_OP_avg_pool2d_fwd, x.dtype_, a, sizeof(a[0]), _pool_ns(a, x.dtype_))
    return y


cdef TensorBase _avg_backward(str name, fn_pool2d_args *a, TensorBase dy, bint last):
    cdef TensorBase dx
    dy = _pool_dy(name, a, dy, last)
    dx = _pool_output(dy.dtype_, a.N, a.C, a.H, a.W, last)
    a.dx, a.dy = fresh(dx), rd(dy)
    if dx.numel_:
        call(FN_OP_avg_pool2d_bwd, dy.dtype_, a, sizeof(a[0]), _pool_ns(a, dy.dtype_))
    return dx


def avg_pool2d(TensorBase x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, bint line=False):
    """y (N,C,P,Q) in x's layout."""
    cdef fn_pool2d_args a
    cdef str name = "avg_pool1d" if line else "avg_pool2d"
    memset(&a, 0, sizeof(a))
    _pool_dims(name, x)
    _avg_fill(name, &a, tuple(x.shape), kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, line)
    return _avg_forward(&a, x)


def avg_pool2d_backward(TensorBase dy, shape, bint channels_last, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
                        divisor_override=None, bint line=False):
    """dx of the given shape (N,C,H,W), channels-last or row-major."""
    cdef fn_pool2d_args a
    cdef str name = "avg_pool1d" if line else "avg_pool2d"
    memset(&a, 0, sizeof(a))
    _pool_dims(name, dy)
    _avg_fill(name, &a, tuple(shape), kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, line)
    return _avg_backward(name, &a, dy, channels_last)


cdef int _adaptive_fill(fn_pool2d_args *a, tuple shape, output_size) except -1:
    cdef str name = "adaptive_avg_pool2d"
    size = (output_size, output_size) if output_size is None or _whole(output_size) else output_size
    if not isinstance(size, (tuple, list)) or not all([v is None or _whole(v) for v in size]):
        raise TypeError(f"{name}(): argument 'output_size' (position 2) must be tuple of ints, not {type(output_size).__name__}: got {output_size!r}")
    if len(size) != 2:
        raise RuntimeError(f"{name}: output_size must be 2 numbers, got {tuple(size)}")
    size = [shape[2 + i] if size[i] is None else int(size[i]) for i in range(2)]
    if min(size) < 0:
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0 but received {tuple(size)}")
    for i in range(2, 4):
        if shape[i] == 0:
            raise RuntimeError(f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes {list(shape)} with "
                               f"dimension {i} being empty")
    if max(size) > 1 << 31:
        raise RuntimeError(f"{name}: output_size {tuple(size)} is too large")
    a.N, a.C, a.H, a.W = shape
    a.P, a.Q = size
    a.adaptive, a.sh, a.sw, a.dh, a.dw = 1, 1, 1, 1, 1
    if 0 < a.P <= a.H and 0 < a.Q <= a.W and a.H % a.P < 2 and a.W % a.Q < 2:    # windows of one size at even steps: those of an ordinary pool
        a.sh, a.sw = a.H // a.P, a.W // a.Q
        a.adaptive, a.R, a.S = 0, a.sh + a.H % a.P, a.sw + a.W % a.Q
    return 0


def adaptive_avg_pool2d(TensorBase x, output_size):
    """y (N,C,P,Q) in x's layout; output_size is P or (P, Q), None for H or W."""
    cdef fn_pool2d_args a
    memset(&a, 0, sizeof(a))
    _pool_dims("adaptive_avg_pool2d", x)
    _adaptive_fill(&a, tuple(x.shape), output_size)
    return _avg_forward(&a, x)


def adaptive_avg_pool2d_backward(TensorBase dy, shape, bint channels_last, output_size):
    """dx of the given shape (N,C,H,W), channels-last or row-major."""
    cdef fn_pool2d_args a
    memset(&a, 0, sizeof(a))
    _pool_dims("adaptive_avg_pool2d", dy)
    _adaptive_fill(&a, tuple(shape), output_size)
    return _avg_backward("adaptive_avg_pool2d", &a, dy, channels_last)


def pools_last(TensorBase x):
    """Does pooling x leave its result, and the gradient of x, channels-last?"""
    return _pools_last(x)
