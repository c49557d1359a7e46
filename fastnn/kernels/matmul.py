"""Dense layers and matrix products."""
from .. import _core
from .arrays import _ACTIVATIONS, _in, _option, _out


def linear_forward(x, w, b=None, *, activation=None, out=None):
    """y = activation(x w' + b).

    Args:
        x: (..., in). w: (out, in). b: (out) or None.
        activation: None, 'relu', 'sigmoid' or 'tanh'.

    Returns: y (..., out).
    """
    act = _option(activation, _ACTIVATIONS, "activation")
    return _out(_core.linear_fwd(_in(x, "x"), _in(w, "w"), None if b is None else _in(b, "b"), act), out)


def linear_backward(dy, x, w, *, bias=True):
    """The gradients of y = x w' + b: dx = dy w, dw = dy' x, db = sum of dy over all but the last dimension; (dx, dw, db), db None if bias is False."""
    dy, x = _in(dy, "dy"), _in(x, "x")
    dw, db = _core.linear_bwd_w(dy, x, bool(bias))
    return _out(_core.linear_bwd_x(dy, _in(w, "w"))), _out(dw), _out(db) if bias else None


def matmul_forward(a, b, *, out=None):
    """c = a b for matrices (..., M, K) and (..., K, N), leading dimensions broadcast."""
    return _out(_core.gemm(_in(a, "a"), _in(b, "b")), out)


def matmul_backward(dc, a, b):
    """The gradients of c = a b for equal leading dimensions: da = dc b', db = a' dc."""
    dc, a, b = _in(dc, "dc"), _in(a, "a"), _in(b, "b")
    return _out(_core.gemm(dc, b.mT)), _out(_core.gemm(a.mT, dc))
