# Resampling over (N,C,H,W), row-major or channels-last as it comes. A line (N,C,L) is an image of one row: `line` says so to the messages.

cdef extern from "fn.h":
    enum: FN_OP_upsample_fwd, FN_OP_upsample_bwd

cdef extern from "args.h":
    enum: FN_UP_NEAREST, FN_UP_EXACT, FN_UP_LINEAR, FN_UP_CORNERS
    ctypedef struct fn_upsample_args:
        void *y
        void *dx
        const void *x
        const void *dy
        int64_t N, C, H, W, P, Q, last, mode
        double ratio_h, ratio_w


cdef double _ratio(int64_t n, int64_t out, scale, int mode, bint line) except? -1:
    """Input pixels per output pixel, 1 / scale if one was given. PyTorch's nearest pixel of an image, but not that of a line, goes by the sizes
    where they agree or one is twice the other."""
    cdef bint given = scale is not None and scale > 0
    if mode == FN_UP_CORNERS or mode == FN_UP_LINEAR and not given:
        return 0
    if not given or mode == FN_UP_NEAREST and not line and (out == n or out == 2 * n):
        return n / <double>out
    return 1 / <double>scale


cdef int _upsample_fill(fn_upsample_args *a, TensorBase t, tuple shape, tuple size, tuple scales, int mode, bint line) except -1:
    """Sizes of the resampling of (N,C,H,W) to `size` rows and columns, checked; t is x or dy."""
    cdef str given = f"interpolate: {_pool_shape(shape, line)}, size={size[line:]}"
    if t.dtype_ > FN_F64:
        raise NotImplementedError(f'"interpolate" not implemented for {DTYPE_NAMES[t.dtype_]}: it takes float32 and float64')
    if min(size) < 1 or min(shape[2:]) < 1:
        sizes = f"input (W: {shape[3]}) and output (W: {size[1]})" if line else \
            f"input (H: {shape[2]}, W: {shape[3]}) output (H: {size[0]}, W: {size[1]})"
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got {sizes} ({given})")
    if shape[1] < 1:
        raise RuntimeError(f"Non-empty {3 if line else 4}D data tensor expected but got a tensor with sizes {shape[:2] + shape[2 + line:]} ({given})")
    if max(size) >= 1 << 29 or max(shape[2:]) >= 1 << 29:
        raise RuntimeError(f"{given}: sizes are too large")
    a.N, a.C, a.H, a.W = shape
    a.P, a.Q = size
    a.mode = mode
    a.ratio_h, a.ratio_w = _ratio(a.H, a.P, scales[0], mode, line), _ratio(a.W, a.Q, scales[1], mode, line)
    return 0


cdef double _upsample_ns(fn_upsample_args *a, int dtype) noexcept:
    return 10 * (a.H + a.W + a.P + a.Q) + 2 * <double>a.N * a.C * (a.H * a.W + a.P * a.Q) * itemsize[dtype] * _BYTE_NS


def upsample(TensorBase x, tuple size, tuple scales=(None, None), int mode=0, bint line=False):
    """y (N,C,P,Q) in x's layout. mode: 0 nearest, 1 nearest-exact, 2 linear, 3 linear between corners; scales: as given by the caller, or None."""
    cdef fn_upsample_args a
    cdef TensorBase y
    cdef bint last = _pools_last(x) and not line
    memset(&a, 0, sizeof(a))
    if x.ndim != 4:
        raise RuntimeError(f"interpolate: input (N,C,H,W) needs four dimensions, got {shape_of(x)}")
    _upsample_fill(&a, x, tuple(x.shape), size, scales, mode, line)
    x = nhwc(x) if last else dense(x)
    a.last = last and a.C != 1
    y = _pool_output(x.dtype_, a.N, a.C, a.P, a.Q, last)
    a.y, a.x = fresh(y), rd(x)
    if y.numel_:
        call(FN_OP_upsample_fwd, x.dtype_, &a, sizeof(a), _upsample_ns(&a, x.dtype_))
    return y


def upsample_backward(TensorBase dy, tuple shape, bint channels_last, tuple size, tuple scales=(None, None), int mode=0, bint line=False):
    """dx of the given shape (N,C,H,W), channels-last or row-major."""
    cdef fn_upsample_args a
    cdef TensorBase dx
    memset(&a, 0, sizeof(a))
    _upsample_fill(&a, dy, shape, size, scales, mode, line)
    if dy.ndim != 4 or dy.shape_[0] != a.N or dy.shape_[1] != a.C or dy.shape_[2] != a.P or dy.shape_[3] != a.Q:
        raise RuntimeError(f"interpolate backward: dy (N,C,P,Q)={shape_of(dy)} does not fit the output {(a.N, a.C, a.P, a.Q)} of input (N,C,H,W)={shape}")
    dy = nhwc(dy) if channels_last else dense(dy)
    a.last = channels_last and a.C != 1
    dx = _pool_output(dy.dtype_, a.N, a.C, a.H, a.W, channels_last)
    a.dx, a.dy = fresh(dx), rd(dy)
    if dx.numel_:
        call(FN_OP_upsample_bwd, dy.dtype_, &a, sizeof(a), _upsample_ns(&a, dy.dtype_))
    return dx
