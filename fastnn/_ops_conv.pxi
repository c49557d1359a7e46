# Convolution: y = act(conv(x, w) + b) and its gradients. Layouts: x and dy of any strides, y and dx channels-last but for depthwise ones.

cdef extern from "args.h":
    ctypedef struct fn_conv_args:
        void *y
        void *dx
        void *dw
        void *db
        void *tap
        double *sums
        const void *x
        const void *w
        const void *b
        const void *dy
        const void *residual
        const void *gate
        int64_t N, C, H, W, K, R, S, P, Q, G, x_n, x_c, x_h, x_w, dy_n, dy_c, dy_h, dy_w
        int64_t stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, act, planes
    bint fn_folds(const fn_conv_args *a) noexcept

cdef extern from "fn.h":
    enum: FN_OP_conv2d_fwd, FN_OP_conv2d_bwd_x, FN_OP_conv2d_bwd_w
    enum: FN_OP_winograd_fwd, FN_OP_winograd_bwd_x, FN_OP_winograd_bwd_w
    enum: FN_OP_depthwise_fwd, FN_OP_depthwise_bwd_x, FN_OP_depthwise_bwd_w

cdef bint _winograd = True               # FASTNN_WINOGRAD, see _info.pxi


cdef str _sizes(TensorBase t, bint line):
    """The shape for messages; of a line (conv1d) without the unit rows."""
    return str(tuple([t.shape_[i] for i in range(t.ndim) if not (line and i == 2)])).replace(" ", "")


cdef int _pair(str name, str option, value, bint line, int64_t low, int64_t *rows, int64_t *columns) except -1:
    """An option that is a number or one for each dimension; of a line, columns alone."""
    cdef int want = 1 if line else 2
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for v in items:
        if isinstance(v, bool) or not hasattr(v, "__index__"):
            raise TypeError(f"{name}: {option} must be an int or a tuple of {want} ints, got {value!r}")
    if len(items) != 1 and len(items) != want:
        raise RuntimeError(f"expected {option} to be a single integer value or a list of {want} values to match the convolution dimensions, but got "
                           f"{option}={list(items)}: {name}")
    for v in items:
        if v < low or v > (<int64_t>1 << 40):
            raise RuntimeError(f"{'negative' if low == 0 and v < 0 else 'non-positive' if v < low else 'too large a'} {option} is not supported: {name}: "
                               f"{option}={value}")
    columns[0] = items[len(items) - 1]
    rows[0] = (1 if low else 0) if line else items[0]
    return 0


cdef int _conv_fill(str name, fn_conv_args *a, tuple x_shape, tuple w_shape, stride, padding, dilation, groups, bint line) except -1:
    """Sizes and options of a convolution of x (N,C,H,W) with w (K,C/groups,R,S), checked."""
    cdef int64_t below_h, below_w, reach_h, reach_w, same
    cdef str letters = "(N,C,L)" if line else "(N,C,H,W)", w_letters = "(K,C/groups,S)" if line else "(K,C/groups,R,S)"
    flat = [str(tuple([n for i, n in enumerate(s) if not (line and i == 2)])).replace(" ", "") for s in (x_shape, w_shape)]
    cdef str both = f"{name}: input {letters}={flat[0]}, weight {w_letters}={flat[1]}"
    a.N, a.C, a.H, a.W = x_shape
    a.K, _, a.R, a.S = w_shape
    if isinstance(groups, bool) or not hasattr(groups, "__index__"):
        raise TypeError(f"{name}: groups must be an int, got {groups!r}")
    if groups < 1 or groups > (<int64_t>1 << 40):
        raise RuntimeError(f"non-positive groups is not supported: {name}: groups={groups}")
    a.G = groups
    _pair(name, "stride", stride, line, 1, &a.stride_h, &a.stride_w)
    _pair(name, "dilation", dilation, line, 1, &a.dil_h, &a.dil_w)
    if a.K < a.G or a.K % a.G:
        raise RuntimeError(f"{name}: weight {w_letters}={flat[1]} has K={a.K}, which groups={a.G} does not divide into groups of 1 or more")
    if a.C != w_shape[1] * a.G:
        raise RuntimeError(f"{name}: input {letters}={flat[0]} has C={a.C}, but weight {w_letters}={flat[1]} with groups={a.G} needs C={w_shape[1] * a.G}")
    if a.C == 0 or a.R == 0 or a.S == 0:
        raise RuntimeError(f"{both}: channels and filter need 1 or more elements")
    if a.R > (<int64_t>1 << 40) // a.dil_h or a.S > (<int64_t>1 << 40) // a.dil_w:
        raise RuntimeError(f"{both}: dilation={dilation} is too large")
    reach_h, reach_w = (a.R - 1) * a.dil_h + 1, (a.S - 1) * a.dil_w + 1
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"Invalid padding string: {padding!r}: {name} takes 'same', 'valid' or numbers")
        if padding == "same" and (a.stride_h != 1 or a.stride_w != 1):
            raise RuntimeError(f"padding='same' is not supported for strided convolutions: {name}: stride={stride}")
        same = padding == "same"
        a.pad_h, a.pad_w = same * (reach_h - 1) // 2, same * (reach_w - 1) // 2
        below_h, below_w = same * (reach_h - 1) - a.pad_h, same * (reach_w - 1) - a.pad_w
    else:
        _pair(name, "padding", padding, line, 0, &a.pad_h, &a.pad_w)
        below_h, below_w = a.pad_h, a.pad_w
    cdef int64_t high = a.H + a.pad_h + below_h, wide = a.W + a.pad_w + below_w
    if high < reach_h or wide < reach_w or a.H == 0 or a.W == 0:
        size, filt = (f"({wide})", f"({reach_w})") if line else (f"({high} x {wide})", f"({reach_h} x {reach_w})")
        raise RuntimeError(f"Calculated padded input size per channel: {size}. Kernel size: {filt}. Kernel size can't be greater than actual input size: "
                           f"{both}, padding={padding}, dilation={dilation}")
    a.P, a.Q = (high - reach_h) // a.stride_h + 1, (wide - reach_w) // a.stride_w + 1
    a.stride_h, a.stride_w = min(a.stride_h, high), min(a.stride_w, wide)        # a longer one leaves one row, or column, too
    return 0


cdef int _conv_types(str name, TensorBase x, TensorBase w) except -1:
    if x.dtype_ != w.dtype_:
        raise RuntimeError(f"{name}: expected operands of one type, but input is {DTYPE_NAMES[x.dtype_]} and weight {DTYPE_NAMES[w.dtype_]}")
    if x.dtype_ > FN_F64:
        raise NotImplementedError(f'"{name}" not implemented for {DTYPE_NAMES[x.dtype_]}: convolution takes float32 and float64')
    return 0


cdef int _conv_dims(str name, TensorBase x, TensorBase w) except -1:
    if x.ndim != 4 or w.ndim != 4:
        raise RuntimeError(f"{name}: input (N,C,H,W)={shape_of(x)} and weight (K,C/groups,R,S)={shape_of(w)} need four dimensions")
    return _conv_types(name, x, w)


cdef double _conv_ns(fn_conv_args *a) noexcept:
    """Multiply-adds at some ninety a nanosecond, and the reading of the operands."""
    cdef double out = <double>a.N * a.P * a.Q, weights = <double>a.K * (a.C // a.G) * a.R * a.S
    return 300 + out * weights / 90 + (out * a.K + <double>a.N * a.H * a.W * a.C + weights) / 12


cdef bint _filters(fn_conv_args *a, bint winograd) noexcept:
    """Is it for winograd.c, which wants channels-last operands, but for an x that it folds? There it is decided whether it pays."""
    cdef int64_t down = (a.R + a.stride_h - 1) // a.stride_h, along = (a.S + a.stride_h - 1) // a.stride_h
    if not (winograd and _winograd and a.stride_h == a.stride_w and a.K >= 16 and (a.C >= 16 or fn_folds(a))):
        return False
    if a.G > 1 and (a.C // a.G % 16 or a.K // a.G % 16):
        return False
    if a.stride_h == 2 and a.R == 3 and a.S == 3:
        return a.dil_h == 1 and a.dil_w == 1 and a.C >= 16 and not fn_folds(a)
    if a.stride_h > 1 and (a.R <= 3 or a.dil_h > 1 or a.dil_w > 1 or a.stride_h > (4 if fn_folds(a) else 2)):
        return False
    if down == along:
        return 2 <= down <= (5 if a.stride_h == 1 else 4)
    if down == 1:                          # lines come row-major: a copy only where whole vectors of channels gain by it
        return a.R == 1 and 3 <= along <= 5 and a.C % 16 == a.K % 16 == 0
    return down == 5 and along == 3


cdef enum:
    _DIRECT, _FILTERS, _DEPTHWISE, _DENSE

cdef int[4] _FWD = [FN_OP_conv2d_fwd, FN_OP_winograd_fwd, FN_OP_depthwise_fwd, FN_OP_dense_fwd]
cdef int[4] _BWD_X = [FN_OP_conv2d_bwd_x, FN_OP_winograd_bwd_x, FN_OP_depthwise_bwd_x, FN_OP_dense_bwd_x]
cdef int[4] _BWD_W = [FN_OP_conv2d_bwd_w, FN_OP_winograd_bwd_w, FN_OP_depthwise_bwd_w, FN_OP_dense_bwd_w]


cdef int _convolve(int op, int form, fn_conv_args *a, int dtype) except -1:
    """Call it. A 1x1 filter over pixels is a dense layer over their channels."""
    cdef fn_dense_args d
    if form != _DENSE:
        return call(op, dtype, a, sizeof(a[0]), _conv_ns(a))
    memset(&d, 0, sizeof(d))
    d.y, d.dx, d.dw, d.db, d.x, d.w, d.b, d.dy = a.y, a.dx, a.dw, a.db, a.x, a.w, a.b, a.dy
    d.M, d.N, d.K, d.act = a.N * a.P * a.Q, a.K, a.C, a.act
    d.ldx, d.ldw, d.ldy = d.K, d.K, d.N
    return call(op, dtype, &d, sizeof(d), _product_ns(d.M, d.N, d.K if d.dw != NULL or op != FN_OP_dense_bwd_w else 1))


cdef bint _planes(fn_conv_args *a, TensorBase t) noexcept:
    """Does depthwise.c take t, and leave what it makes of it, row-major? Else channels-last."""
    return a.C == a.G and a.K != a.G or not is_nhwc(t) and (t.stride_[3] == 1 or t.shape_[3] == 1)


cdef bint _small_groups(fn_conv_args *a) noexcept:
    """Groups of so few channels that depthwise.c takes them, side by side?"""
    return a.G > 1 and a.C == a.K and a.C in (2 * a.G, 4 * a.G, 8 * a.G)


cdef int _form(fn_conv_args *a, TensorBase t, bint winograd) noexcept:
    """Which source does it, t being what it reads; depthwise.c leaves images in the order in which they came."""
    a.planes = 0
    if _filters(a, winograd):
        return _FILTERS
    if (a.R == 1 and a.S == 1 and a.G == 1 and a.stride_h == 1 and a.stride_w == 1 and a.pad_h == 0 and a.pad_w == 0 and a.P == a.H and a.Q == a.W
            and (a.C >= 16 or a.K >= 16) and is_nhwc(t)):
        return _DENSE
    if a.G == 1 or not _small_groups(a) and (a.C != a.G or a.K != a.G and is_nhwc(t)):
        return _DIRECT
    a.planes = _planes(a, t)
    return _DEPTHWISE


cdef TensorBase _laid(int form, fn_conv_args *a, TensorBase t):
    """t as the form reads it."""
    if form == _DIRECT or form == _DEPTHWISE and t.stride_[3 if a.planes else 1] == 1:
        return t
    return contiguous(t) if a.planes else nhwc(t)


cdef TensorBase _laid_x(int form, fn_conv_args *a, TensorBase x):
    """What takes an input's place."""
    return contiguous(x) if form == _FILTERS and fn_folds(a) else _laid(form, a, x)


cdef TensorBase _images(fn_conv_args *a, int dtype, int64_t N, int64_t C, int64_t H, int64_t W):
    """Fresh images, as a form leaves them."""
    cdef int64_t *shape = [N, C, H, W]
    return empty(dtype, 4, shape) if a.planes else empty_nhwc(dtype, N, C, H, W)


cdef inline void _conv_x(fn_conv_args *a, TensorBase x) noexcept:
    a.x_n, a.x_c, a.x_h, a.x_w = x.stride_[0], x.stride_[1], x.stride_[2], x.stride_[3]


cdef int _conv_dy(str name, fn_conv_args *a, TensorBase dy) except -1:
    if dy.ndim != 4 or dy.shape_[0] != a.N or dy.shape_[1] != a.K or dy.shape_[2] != a.P or dy.shape_[3] != a.Q:
        raise RuntimeError(f"{name} backward: dy (N,K,P,Q)={shape_of(dy)} does not fit the output {(a.N, a.K, a.P, a.Q)} of input (N,C,H,W)="
                           f"{(a.N, a.C, a.H, a.W)} and weight (K,C/groups,R,S)={(a.K, a.C // a.G, a.R, a.S)}")
    return 0


cdef inline void _conv_strides(fn_conv_args *a, TensorBase dy) noexcept:
    a.dy_n, a.dy_c, a.dy_h, a.dy_w = dy.stride_[0], dy.stride_[1], dy.stride_[2], dy.stride_[3]


cdef int _conv_bias(str name, fn_conv_args *a, TensorBase b, TensorBase x, TensorBase w, bint line) except -1:
    if b is None:
        return 0
    if b.ndim != 1 or b.shape_[0] != a.K:
        raise RuntimeError(f"{name}: weight (K,C/groups,{'S' if line else 'R,S'})={_sizes(w, line)} needs a bias of shape ({a.K},), but got bias {shape_of(b)}")
    if b.dtype_ != x.dtype_:
        raise RuntimeError(f"{name}: Input type ({DTYPE_NAMES[x.dtype_]}) and bias type ({DTYPE_NAMES[b.dtype_]}) should be the same")
    return 0


def conv2d_form(TensorBase x, TensorBase w, TensorBase b, options, bint line=False):
    """'matrix' for a 1x1 filter that multiplies row-major images as they lie (each stride-th pixel of them), 'filtering' for what winograd.c is
    asked and wants channels-last operands for, 'depthwise' where groups are channels, else 'direct', a dense layer among it."""
    cdef fn_conv_args a
    cdef str name = "conv1d" if line else "conv2d"
    memset(&a, 0, sizeof(a))
    _conv_dims(name, x, w)
    _conv_fill(name, &a, tuple(x.shape), tuple(w.shape), options[0], options[1], options[2], options[3], line)
    _conv_bias(name, &a, b, x, w, line)
    if line:
        return "filtering" if _filters(&a, True) else "direct"
    if a.R == 1 and a.S == 1 and a.G == 1 and a.pad_h == 0 and a.pad_w == 0 and x.numel_ and is_dense(x) and not is_nhwc(x):
        return "matrix"
    return "filtering" if _filters(&a, True) and not fn_folds(&a) else "depthwise" if a.G > 1 and a.C == a.G or _small_groups(&a) else "direct"


def laid_as_depthwise(TensorBase dy, TensorBase x):
    """dy itself or a copy: in the order in which depthwise.c leaves what it makes of x."""
    cdef fn_conv_args a
    a.K, a.C, a.G = dy.shape_[1], x.shape_[1], x.shape_[1]
    return contiguous(dy) if _planes(&a, x) and not (a.K != a.G and is_nhwc(x)) else nhwc(dy)


def as_images(TensorBase y, int64_t H, int64_t W):
    """y (N, H W, C), dense and of no history, seen as (N,C,H,W) in channels-last order."""
    cdef int64_t C = y.shape_[2]
    cdef int64_t *shape = [y.shape_[0], C, H, W]
    cdef int64_t *stride = [H * W * C, 1, W * C, C]
    cdef TensorBase t = alias(y, 4, shape, stride, y.offset)
    t.base, t.channels_last = None, True
    return t


def as_lines(TensorBase x):
    """x (N,C,H,W) seen as (N,C, H W): as it lies if rows follow one another, else a copy."""
    if x.shape_[2] > 1 and x.shape_[3] > 1 and x.stride_[2] != x.shape_[3] * x.stride_[3]:
        x = contiguous(x)
    cdef int64_t *shape = [x.shape_[0], x.shape_[1], x.shape_[2] * x.shape_[3]]
    cdef int64_t *stride = [x.stride_[0], x.stride_[1], x.stride_[3] if x.shape_[3] > 1 else x.stride_[2]]
    return alias(x, 3, shape, stride, x.offset)


def conv2d_fwd(TensorBase x, TensorBase w, TensorBase b=None, stride=1, padding=0, dilation=1, groups=1, int act=0, bint line=False, bint winograd=True):
    """y (N,K,P,Q), channels-last (depthwise: as x), of x (N,C,H,W) and w (K,C/groups,R,S), b (K) or None; line: messages speak of conv1d."""
    cdef fn_conv_args a
    cdef TensorBase y
    cdef int form
    cdef str name = "conv1d" if line else "conv2d"
    memset(&a, 0, sizeof(a))
    _conv_dims(name, x, w)
    _conv_fill(name, &a, tuple(x.shape), tuple(w.shape), stride, padding, dilation, groups, line)
    _conv_bias(name, &a, b, x, w, line)
    if b is not None:
        b = dense(b)
        a.b = rd(b)
    w = dense(w)
    form = _form(&a, x, winograd)
    y = _images(&a, x.dtype_, a.N, a.K, a.P, a.Q)
    x = _laid_x(form, &a, x)
    _conv_x(&a, x)
    a.act = act
    a.y, a.x, a.w = fresh(y), rd(x), rd(w)
    if y.numel_:
        _convolve(_FWD[form], form, &a, x.dtype_)
    return y


def conv2d_bwd_x(TensorBase dy, TensorBase w, shape, stride=1, padding=0, dilation=1, groups=1, bint line=False, bint winograd=True):
    """dx of the given shape (N,C,H,W), channels-last (depthwise: as dy)."""
    cdef fn_conv_args a
    cdef TensorBase dx
    cdef int form
    cdef str name = "conv1d" if line else "conv2d"
    memset(&a, 0, sizeof(a))
    _conv_dims(name, dy, w)
    _conv_fill(name, &a, tuple(shape), tuple(w.shape), stride, padding, dilation, groups, line)
    _conv_dy(name, &a, dy)
    w = dense(w)
    form = _form(&a, dy, winograd and a.C >= 16)
    dx = _images(&a, dy.dtype_, a.N, a.C, a.H, a.W)
    dy = _laid(form, &a, dy)
    _conv_strides(&a, dy)
    a.dx, a.dy, a.w = fresh(dx), rd(dy), rd(w)
    if dx.numel_:
        _convolve(_BWD_X[form], form, &a, dy.dtype_)
    return dx


def conv2d_bwd_w(TensorBase dy, TensorBase x, shape, stride=1, padding=0, dilation=1, groups=1, bint need_bias=True, bint need_weight=True, bint line=False,
                 bint winograd=True):
    """(dw of the given shape (K,C/groups,R,S), db (K)), row-major; each None if not needed."""
    cdef fn_conv_args a
    cdef TensorBase dw = None, db = None
    cdef int64_t n[4]
    cdef int form
    cdef str name = "conv1d" if line else "conv2d"
    memset(&a, 0, sizeof(a))
    _conv_dims(name, x, dy)
    _conv_fill(name, &a, tuple(x.shape), tuple(shape), stride, padding, dilation, groups, line)
    _conv_dy(name, &a, dy)
    n[0], n[1], n[2], n[3] = a.K, a.C // a.G, a.R, a.S
    if need_weight:
        dw = empty(x.dtype_, 4, n)
        a.dw = fresh(dw)
    if need_bias:
        db = empty(x.dtype_, 1, n)
        a.db = fresh(db)
    form = _form(&a, x, winograd)
    x, dy = _laid_x(form, &a, x), _laid(form, &a, dy)
    _conv_x(&a, x)
    _conv_strides(&a, dy)
    a.x, a.dy = rd(x), rd(dy)
    if need_weight or need_bias:
        _convolve(_BWD_W[form], form, &a, x.dtype_)
    return dw, db


# ---- transposed ----------------------------------------------------------------------------------------------------------
# The passes of a convolution, swapped. Letters are those of that convolution: input (N,K,P,Q), weight (K,C/groups,R,S), output (N,C,H,W).

cdef int _transposed_fill(str name, fn_conv_args *a, TensorBase x, TensorBase w, stride, padding, output_padding, groups, dilation, bint line) except -1:
    """Sizes and options of the transposed convolution of x (N,K,P,Q) with w (K,C/groups,R,S), checked."""
    cdef int64_t more_h = 0, more_w
    cdef str letters = "(C_in,C_out/groups,S)" if line else "(C_in,C_out/groups,R,S)"
    if x.ndim != 4 or w.ndim != 4:
        raise RuntimeError(f"{name}: input (N,C_in,P,Q)={shape_of(x)} and weight (C_in,C_out/groups,R,S)={shape_of(w)} need four dimensions")
    _conv_types(name, x, w)
    a.N, a.K, a.P, a.Q = x.shape_[0], x.shape_[1], x.shape_[2], x.shape_[3]
    a.R, a.S = w.shape_[2], w.shape_[3]
    cdef str both = f"{name}: input (N,C_in,{'L' if line else 'P,Q'})={_sizes(x, line)}, weight {letters}={_sizes(w, line)}"
    if isinstance(groups, bool) or not hasattr(groups, "__index__"):
        raise TypeError(f"{name}: groups must be an int, got {groups!r}")
    if groups < 1 or groups > (<int64_t>1 << 40):
        raise RuntimeError(f"non-positive groups is not supported: {name}: groups={groups}")
    a.G = groups
    a.C = w.shape_[1] * a.G
    _pair(name, "stride", stride, line, 1, &a.stride_h, &a.stride_w)
    _pair(name, "padding", padding, line, 0, &a.pad_h, &a.pad_w)
    _pair(name, "output_padding", output_padding, line, 0, &more_h, &more_w)
    _pair(name, "dilation", dilation, line, 1, &a.dil_h, &a.dil_w)
    if a.K != w.shape_[0]:
        raise RuntimeError(f"{both}: input has C_in={a.K}, but weight needs {w.shape_[0]}")
    if a.K % a.G:
        raise RuntimeError(f"{both} has C_in={a.K}, which groups={a.G} does not divide")
    if a.K == 0 or a.C == 0 or a.R == 0 or a.S == 0 or a.P == 0 or a.Q == 0:
        raise RuntimeError(f"{both}: all sizes but the batch need to be 1 or more")
    if more_h >= max(a.stride_h, a.dil_h) and not line or more_w >= max(a.stride_w, a.dil_w):
        raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got output_padding={output_padding}, stride={stride}, "
                           f"dilation={dilation}: {both}")
    if a.R > (<int64_t>1 << 40) // a.dil_h or a.S > (<int64_t>1 << 40) // a.dil_w or a.P > (<int64_t>1 << 40) // a.stride_h \
            or a.Q > (<int64_t>1 << 40) // a.stride_w:
        raise RuntimeError(f"{both}: stride={stride}, dilation={dilation}: the output is too large")
    a.H = (a.P - 1) * a.stride_h - 2 * a.pad_h + a.dil_h * (a.R - 1) + (0 if line else more_h) + 1
    a.W = (a.Q - 1) * a.stride_w - 2 * a.pad_w + a.dil_w * (a.S - 1) + more_w + 1
    if a.H < 1 or a.W < 1:
        inside, out = (f"({a.K} x {a.Q})", f"({a.C} x {a.W})") if line else (f"({a.K} x {a.P} x {a.Q})", f"({a.C} x {a.H} x {a.W})")
        raise RuntimeError(f"Given input size per channel: {inside}. Calculated output size per channel: {out}. Output size is too small: {both}, "
                           f"padding={padding}")
    a.stride_h, a.stride_w = min(a.stride_h, a.H + 2 * a.pad_h), min(a.stride_w, a.W + 2 * a.pad_w)      # as in _conv_fill
    return 0


cdef int _transposed_dy(str name, fn_conv_args *a, TensorBase dy) except -1:
    """The output's gradient, which takes the place of a convolution's input."""
    if dy.ndim != 4 or dy.shape_[0] != a.N or dy.shape_[1] != a.C or dy.shape_[2] != a.H or dy.shape_[3] != a.W:
        raise RuntimeError(f"{name} backward: dy {shape_of(dy)} does not fit the output {(a.N, a.C, a.H, a.W)}")
    return 0


def conv_transpose2d(TensorBase x, TensorBase w, TensorBase b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, bint line=False,
                     bint winograd=True):
    """y (N,C_out,H,W), channels-last (depthwise: as x), of x (N,C_in,P,Q) and w (C_in,C_out/groups,R,S), b (C_out) or None."""
    cdef fn_conv_args a
    cdef TensorBase y
    cdef int form
    cdef str name = "conv_transpose1d" if line else "conv_transpose2d"
    memset(&a, 0, sizeof(a))
    _transposed_fill(name, &a, x, w, stride, padding, output_padding, groups, dilation, line)
    if b is not None:
        if b.ndim != 1 or b.shape_[0] != a.C:
            raise RuntimeError(f"{name}: weight (C_in,C_out/groups,{'S' if line else 'R,S'})={_sizes(w, line)} with groups={a.G} needs a bias of shape "
                               f"({a.C},), but got bias {shape_of(b)}")
        if b.dtype_ != x.dtype_:
            raise RuntimeError(f"{name}: Input type ({DTYPE_NAMES[x.dtype_]}) and bias type ({DTYPE_NAMES[b.dtype_]}) should be the same")
    w = dense(w)
    form = _form(&a, x, winograd and a.C >= 16)
    y = _images(&a, x.dtype_, a.N, a.C, a.H, a.W)
    x = _laid(form, &a, x)
    _conv_strides(&a, x)
    a.dx, a.dy, a.w = fresh(y), rd(x), rd(w)
    if not y.numel_:
        return y
    _convolve(_BWD_X[form], form, &a, x.dtype_)
    if b is not None:
        add(y, view(b, (a.C, 1, 1)), y)
    return y


def conv_transpose2d_bwd_x(TensorBase dy, TensorBase w, TensorBase x, stride=1, padding=0, output_padding=0, groups=1, dilation=1, bint line=False,
                           bint winograd=True):
    """dx like x (N,C_in,P,Q), channels-last (depthwise: as dy): the convolution of dy."""
    cdef fn_conv_args a
    cdef TensorBase dx
    cdef int form
    cdef str name = "conv_transpose1d" if line else "conv_transpose2d"
    memset(&a, 0, sizeof(a))
    _transposed_fill(name, &a, x, w, stride, padding, output_padding, groups, dilation, line)
    _transposed_dy(name, &a, dy)
    w = dense(w)
    form = _form(&a, dy, winograd)
    dx = _images(&a, dy.dtype_, a.N, a.K, a.P, a.Q)
    dy = _laid_x(form, &a, dy)
    _conv_x(&a, dy)
    a.y, a.x, a.w = fresh(dx), rd(dy), rd(w)
    if dx.numel_:
        _convolve(_FWD[form], form, &a, dy.dtype_)
    return dx


def conv_transpose2d_bwd_w(TensorBase dy, TensorBase x, TensorBase w, stride=1, padding=0, output_padding=0, groups=1, dilation=1, bint line=False,
                           bint winograd=True):
    """dw like w (C_in,C_out/groups,R,S), row-major."""
    cdef fn_conv_args a
    cdef TensorBase dw
    cdef int form
    cdef str name = "conv_transpose1d" if line else "conv_transpose2d"
    memset(&a, 0, sizeof(a))
    _transposed_fill(name, &a, x, w, stride, padding, output_padding, groups, dilation, line)
    _transposed_dy(name, &a, dy)
    form = _form(&a, dy, winograd)
    dy, x = _laid_x(form, &a, dy), _laid(form, &a, x)
    dw = empty(x.dtype_, 4, w.shape_)
    _conv_x(&a, dy)
    _conv_strides(&a, x)
    a.dw, a.x, a.dy = fresh(dw), rd(dy), rd(x)
    _convolve(_BWD_W[form], form, &a, x.dtype_)
    return dw
