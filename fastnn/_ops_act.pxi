# Activations: y = f(x), and dx from dy and y, or dy and x. `out` as in _ops_elem.pxi.

cdef extern from "fn.h":
    enum:
        FN_OP_relu_fwd, FN_OP_relu_bwd, FN_OP_sigmoid_fwd, FN_OP_sigmoid_bwd, FN_OP_tanh_fwd, FN_OP_tanh_bwd
        FN_OP_prelu_fwd, FN_OP_prelu_bwd_x, FN_OP_prelu_bwd_w, FN_OP_elu_fwd, FN_OP_elu_bwd, FN_OP_silu_fwd, FN_OP_silu_bwd
        FN_OP_gelu_fwd, FN_OP_gelu_bwd, FN_OP_gelu_tanh_fwd, FN_OP_gelu_tanh_bwd, FN_OP_softplus_fwd, FN_OP_softplus_bwd
        FN_OP_hardtanh_bwd, FN_OP_step_fwd

for _i, _ns in ((FN_OP_sigmoid_fwd, 0.4), (FN_OP_tanh_fwd, 0.4), (FN_OP_elu_fwd, 0.4), (FN_OP_elu_bwd, 0.4), (FN_OP_silu_fwd, 0.4),
                (FN_OP_silu_bwd, 0.5), (FN_OP_gelu_fwd, 0.9), (FN_OP_gelu_bwd, 1.4), (FN_OP_gelu_tanh_fwd, 0.5),
                (FN_OP_gelu_tanh_bwd, 0.6), (FN_OP_softplus_fwd, 1.0), (FN_OP_softplus_bwd, 0.5)):
    _ELEM_NS[_i] = _ns


cdef int _check_gradient(str name, str side, TensorBase dy, TensorBase x) except -1:
    if dy.dtype_ != x.dtype_:
        raise TypeError(f"{name}: a gradient of {DTYPE_NAMES[dy.dtype_]} for an {side} of {DTYPE_NAMES[x.dtype_]}")
    if not same_shape(dy, x):
        raise RuntimeError(f"{name}: the gradient has shape {shape_of(dy)}, but the {side} has {shape_of(x)}")
    return 0


# ---- of y: dx from dy and y ----------------------------------------------------------------------------------------------

cdef TensorBase _act_backward(int op, str name, TensorBase dy, TensorBase y):
    cdef fn_elem_args p
    memset(&p, 0, sizeof(p))
    _check_gradient(name, "output", dy, y)
    return elementwise(op, name, dy.dtype_, &p, dy, y, None, None)


def relu(TensorBase x, TensorBase out=None):
    if x.dtype_ == FN_BOOL:
        raise RuntimeError("Boolean inputs not supported for relu")
    return _unary(FN_OP_relu_fwd, "relu", x, out)


def relu_backward(TensorBase dy, TensorBase y):
    """dy where y > 0"""
    return _act_backward(FN_OP_relu_bwd, "relu", dy, y)


def sigmoid(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_sigmoid_fwd, "sigmoid", x, out)


def sigmoid_backward(TensorBase dy, TensorBase y):
    """dy (1 - y) y"""
    return _act_backward(FN_OP_sigmoid_bwd, "sigmoid", dy, y)


def tanh(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_tanh_fwd, "tanh", x, out)


def tanh_backward(TensorBase dy, TensorBase y):
    """dy (1 - y^2)"""
    return _act_backward(FN_OP_tanh_bwd, "tanh", dy, y)


# ---- of x, with numbers: dx from dy and x --------------------------------------------------------------------------------

cdef TensorBase _act(int op, str name, TensorBase x, TensorBase out, double s=0, double s2=0, TensorBase w=None):
    cdef fn_elem_args p
    _check_real(x, name)
    memset(&p, 0, sizeof(p))
    p.s, p.s2 = s, s2
    return elementwise(op, name, x.dtype_, &p, x, w, None, out)


cdef TensorBase _act_slope(int op, str name, TensorBase dy, TensorBase x, double s=0, double s2=0):
    cdef fn_elem_args p
    memset(&p, 0, sizeof(p))
    p.s, p.s2 = s, s2
    _check_gradient(name, "input", dy, x)
    return elementwise(op, name, dy.dtype_, &p, dy, x, None, None)


cdef TensorBase _prelu_slope(str name, TensorBase dy, TensorBase x, TensorBase w, double s):
    cdef fn_elem_args p
    memset(&p, 0, sizeof(p))
    p.s = s
    _check_gradient(name, "input", dy, x)
    return elementwise(FN_OP_prelu_bwd_x, name, dy.dtype_, &p, dy, w, x, None)


def leaky_relu(TensorBase x, double slope, TensorBase out=None):
    return _act(FN_OP_prelu_fwd, "leaky_relu", x, out, slope)


def leaky_relu_backward(TensorBase dy, TensorBase x, double slope):
    """dy where x > 0, else slope dy"""
    return _prelu_slope("leaky_relu", dy, x, None, slope)


cdef TensorBase _per_channel(TensorBase x, TensorBase w):
    """prelu's weight, as it is broadcast to x: one number, or one for each of x's channels (dimension 1)."""
    cdef int64_t shape[FN_DIMS]
    cdef int64_t stride[FN_DIMS]
    cdef int i
    _check_real(x, "prelu")
    if x.dtype_ != w.dtype_:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {DTYPE_NAMES[x.dtype_]} and {DTYPE_NAMES[w.dtype_]}")
    if w.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {w.ndim}, shape {shape_of(w)}")
    if w.numel_ == 1:
        return select(w, 0, 0) if w.ndim else w
    if x.ndim == 0:
        raise RuntimeError(f"prelu: Not allow zero-dim input tensor with a weight of {w.numel_} numbers.")
    if w.numel_ != (x.shape_[1] if x.ndim > 1 else 1):
        raise RuntimeError(f"prelu: Mismatch of parameter numbers and input channel size. Found parameter numbers = {w.numel_} and channel size = "
                           f"{x.shape_[1] if x.ndim > 1 else 1}: input {shape_of(x)}, weight {shape_of(w)}")
    for i in range(x.ndim - 1):
        shape[i], stride[i] = 1, 1
    shape[0], stride[0] = w.numel_, w.stride_[0]
    return alias(w, x.ndim - 1, shape, stride, w.offset)


def prelu(TensorBase x, TensorBase w):
    """x where x > 0, else w x; w is one number or one for each channel."""
    return _act(FN_OP_prelu_fwd, "prelu", x, None, 0, 0, _per_channel(x, w))


def prelu_backward(TensorBase dy, TensorBase x, TensorBase w, bint want_x, bint want_w):
    """dx, and dw as the sum of dy x where x is not above 0; None where it is not wanted."""
    cdef TensorBase dw = None
    cdef int i
    if want_w:
        dw = _act_slope(FN_OP_prelu_bwd_w, "prelu", dy, x)
        dw = sum_(dw, None if w.numel_ == 1 else tuple([i for i in range(x.ndim) if i != 1]))
        if w.ndim and not dw.ndim:
            dw = view(dw, (1,))
    return _prelu_slope("prelu", dy, x, _per_channel(x, w), 0) if want_x else None, dw


def elu(TensorBase x, double alpha, double scale, TensorBase out=None):
    return _act(FN_OP_elu_fwd, "elu", x, out, alpha * scale, scale)


def elu_backward(TensorBase dy, TensorBase x, double alpha, double scale):
    """scale dy where x > 0, else scale alpha exp(x) dy"""
    return _act_slope(FN_OP_elu_bwd, "elu", dy, x, alpha * scale, scale)


def silu(TensorBase x, TensorBase out=None):
    return _act(FN_OP_silu_fwd, "silu", x, out)


def silu_backward(TensorBase dy, TensorBase x):
    """dy g (1 + x (1 - g)), g = sigmoid(x)"""
    return _act_slope(FN_OP_silu_bwd, "silu", dy, x)


def gelu(TensorBase x, bint tanh, TensorBase out=None):
    return _act(FN_OP_gelu_tanh_fwd if tanh else FN_OP_gelu_fwd, "gelu", x, out)


def gelu_backward(TensorBase dy, TensorBase x, bint tanh):
    """dy (cdf(x) + x pdf(x)) of the normal distribution, or the slope of tanh's form"""
    return _act_slope(FN_OP_gelu_tanh_bwd if tanh else FN_OP_gelu_bwd, "gelu", dy, x)


def softplus(TensorBase x, double beta, double threshold, TensorBase out=None):
    return _act(FN_OP_softplus_fwd, "softplus", x, out, beta, threshold)


def softplus_backward(TensorBase dy, TensorBase x, double beta, double threshold):
    """dy where beta x > threshold, else dy sigmoid(beta x)"""
    return _act_slope(FN_OP_softplus_bwd, "softplus", dy, x, beta, threshold)


def hardtanh_backward(TensorBase dy, TensorBase x, double low, double high):
    """dy where low < x < high, else 0"""
    return _act_slope(FN_OP_hardtanh_bwd, "hardtanh", dy, x, low, high)


def step(TensorBase x, TensorBase out=None):
    return _act(FN_OP_step_fwd, "step", x, out)
