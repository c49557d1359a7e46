"""Activations and softmax."""
from .. import _core
from .arrays import _in, _option, _out


def relu_forward(x, *, out=None):
    """y = max(x, 0); NaN stays."""
    return _out(_core.relu(_in(x, "x")), out)


def relu_backward(dy, y):
    """dx = dy where y > 0, else 0."""
    return _out(_core.relu_backward(_in(dy, "dy"), _in(y, "y")))


def sigmoid_forward(x, *, out=None):
    """y = 1 / (1 + exp(-x))."""
    return _out(_core.sigmoid(_in(x, "x")), out)


def sigmoid_backward(dy, y):
    """dx = dy y (1 - y)."""
    return _out(_core.sigmoid_backward(_in(dy, "dy"), _in(y, "y")))


def tanh_forward(x, *, out=None):
    """y = tanh(x)."""
    return _out(_core.tanh(_in(x, "x")), out)


def tanh_backward(dy, y):
    """dx = dy (1 - y^2)."""
    return _out(_core.tanh_backward(_in(dy, "dy"), _in(y, "y")))


def leaky_relu_forward(x, *, negative_slope=0.01, out=None):
    """y = x where x > 0, else negative_slope x."""
    return _out(_core.leaky_relu(_in(x, "x"), negative_slope), out)


def leaky_relu_backward(dy, x, *, negative_slope=0.01):
    """dx = dy where x > 0, else negative_slope dy."""
    return _out(_core.leaky_relu_backward(_in(dy, "dy"), _in(x, "x"), negative_slope))


def prelu_forward(x, w, *, out=None):
    """y = x where x > 0, else w x; w one number () or (1), or one for each channel (C) of x (N,C,...)."""
    return _out(_core.prelu(_in(x, "x"), _in(w, "w")), out)


def prelu_backward(dy, x, w):
    """(dx, dw): dx = dy where x > 0, else w dy; dw = sum of dy x where x is not above 0."""
    return tuple(_out(g) for g in _core.prelu_backward(_in(dy, "dy"), _in(x, "x"), _in(w, "w"), True, True))


def elu_forward(x, *, alpha=1.0, scale=1.0, out=None):
    """y = scale (x where x > 0, else alpha (exp(x) - 1))."""
    return _out(_core.elu(_in(x, "x"), alpha, scale), out)


def elu_backward(dy, x, *, alpha=1.0, scale=1.0):
    """dx = scale dy where x > 0, else scale alpha exp(x) dy."""
    return _out(_core.elu_backward(_in(dy, "dy"), _in(x, "x"), alpha, scale))


def gelu_forward(x, *, approximate="none", out=None):
    """y = x (1 + erf(x / sqrt(2))) / 2; approximate='tanh': x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2."""
    return _out(_core.gelu(_in(x, "x"), _option(approximate, ("none", "tanh"), "approximate") == 1), out)


def gelu_backward(dy, x, *, approximate="none"):
    """dx = dy times the slope of gelu at x."""
    return _out(_core.gelu_backward(_in(dy, "dy"), _in(x, "x"), _option(approximate, ("none", "tanh"), "approximate") == 1))


def silu_forward(x, *, out=None):
    """y = x sigmoid(x)."""
    return _out(_core.silu(_in(x, "x")), out)


def silu_backward(dy, x):
    """dx = dy g (1 + x (1 - g)), g = sigmoid(x)."""
    return _out(_core.silu_backward(_in(dy, "dy"), _in(x, "x")))


def softplus_forward(x, *, beta=1.0, threshold=20.0, out=None):
    """y = log(1 + exp(beta x)) / beta, and x where beta x > threshold."""
    return _out(_core.softplus(_in(x, "x"), beta, threshold), out)


def softplus_backward(dy, x, *, beta=1.0, threshold=20.0):
    """dx = dy sigmoid(beta x), and dy where beta x > threshold."""
    return _out(_core.softplus_backward(_in(dy, "dy"), _in(x, "x"), beta, threshold))


def hardtanh_forward(x, *, min_val=-1.0, max_val=1.0, out=None):
    """y = min(max(x, min_val), max_val)."""
    return _out(_core.clamp(_in(x, "x"), min_val, max_val), out)


def hardtanh_backward(dy, x, *, min_val=-1.0, max_val=1.0):
    """dx = dy where min_val < x < max_val, else 0."""
    return _out(_core.hardtanh_backward(_in(dy, "dy"), _in(x, "x"), min_val, max_val))


def softmax_forward(x, *, axis=-1, out=None):
    """y = exp(x - max) / sum exp(x - max) along axis."""
    return _out(_core.softmax(_in(x, "x"), axis), out)


def softmax_backward(dy, y, *, axis=-1):
    """dx = y (dy - sum of dy y along axis)."""
    return _out(_core.softmax_backward(_in(dy, "dy"), _in(y, "y"), axis))


def log_softmax_forward(x, *, axis=-1, out=None):
    """y = x - max - log sum exp(x - max) along axis."""
    return _out(_core.log_softmax(_in(x, "x"), axis), out)


def log_softmax_backward(dy, y, *, axis=-1):
    """dx = dy - exp(y) sum of dy along axis."""
    return _out(_core.log_softmax_backward(_in(dy, "dy"), _in(y, "y"), axis))
