"""Forward and backward of every operation family on NumPy arrays, without autograd: for people who bring their own framework.

The form is `X_forward(inputs..., *, options, out=None)`, which gives y or (y, saved), and `X_backward(dy, saved or forward's inputs..., *, options)`, which gives the
gradients in argument order. Arrays are float32 or float64 of any strides, all of one type in a call; results are fresh arrays unless `out` is given, which must have the
result's shape and type. Names and order are permanent.

Errors: TypeError for what is not an array of such a type, RuntimeError for shapes that do not fit, both naming what was received.

Example:
    >>> import numpy as np
    >>> from fastnn import kernels as k
    >>> x, w, b = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.zeros(4, np.float32)
    >>> y = k.linear_forward(x, w, b)
    >>> y.shape
    (2, 4)
    >>> [g.shape for g in k.linear_backward(np.ones_like(y), x, w)]
    [(2, 3), (4, 3), (4,)]
"""
import numpy as np

from . import _core
from ._core import Generator, from_numpy

_REDUCTIONS = ("none", "mean", "sum")
_ACTIVATIONS = (None, "relu", "sigmoid", "tanh")


def _in(a, name):
    """An array as a tensor over the same memory; strides that a tensor cannot have are copied away."""
    if not isinstance(a, (np.ndarray, np.generic)):
        raise TypeError(f"{name}: expected a NumPy array, got {type(a).__name__}")
    a = np.asarray(a)
    if a.dtype not in (np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_) or not a.dtype.isnative:
        raise TypeError(f"{name}: expected a float32 or float64 array, got {a.dtype}")
    if any(s < 0 or s % a.itemsize for s in a.strides):
        a = a.copy()
    return from_numpy(a)


def _out(t, out=None):
    """A result as an array, in `out` if given."""
    if out is None:
        return t.numpy()
    if not isinstance(out, np.ndarray) or out.shape != tuple(t.shape) or out.dtype.name != t.dtype.name:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise RuntimeError(f"out: the result is {t.dtype.name} {tuple(t.shape)}, got {got}")
    _core.copy_into(from_numpy(out), t)
    return out


def _option(value, allowed, name):
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is not one of {allowed}")
    return allowed.index(value)


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


def softmax_cross_entropy_forward(x, target, *, weight=None, reduction="mean", ignore_index=-100, label_smoothing=0.0):
    """loss = -log softmax(x)[target], reduced.

    Args:
        x: (N, C) or (N, C, ...). target: classes, int64 (N, ...).
        weight: (C) or None. reduction: 'none', 'mean' (weighted) or 'sum'.

    Returns: (loss, saved); loss has shape () or target's.
    """
    reduce = _option(reduction, _REDUCTIONS, "reduction")
    weight = None if weight is None else _in(weight, "weight")
    loss, *saved = _core.cross_entropy(_in(x, "x"), _in(target, "target"), weight, reduce, ignore_index, label_smoothing, True)
    return _out(loss), (*saved, reduce, ignore_index, label_smoothing)


def softmax_cross_entropy_backward(dy, saved):
    """dx = dy weight[target] (softmax(x) - onehot(target)) / total, for the forward that gave `saved`."""
    return _out(_core.cross_entropy_backward(_in(dy, "dy"), *saved))


def mse_forward(x, target, *, reduction="mean"):
    """loss = (x - target)^2, reduced; returns (loss, saved)."""
    reduce = _option(reduction, _REDUCTIONS, "reduction")
    loss, *saved = _core.mse_loss(_in(x, "x"), _in(target, "target"), reduce)
    return _out(loss), (*saved, reduce)


def mse_backward(dy, saved):
    """dx = 2 dy (x - target) / total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _out(_core.mse_loss_backward(_in(dy, "dy"), *saved))


def dropout_forward(x, *, p=0.5, seed=0, count=0):
    """y = x mask / (1 - p), the mask drawn by Philox from (seed, count); returns (y, saved)."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    y, mask = _core.dropout(_in(x, "x"), p, 1, Generator().set_state((seed, count)))
    return _out(y), (mask, p)


def dropout_backward(dy, saved):
    """dx = dy mask / (1 - p)."""
    mask, p = saved
    return _out(_core.dropout_backward(_in(dy, "dy"), mask, p))
