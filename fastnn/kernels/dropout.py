"""Dropout."""
from .. import _core
from .._core import Generator
from .arrays import _in, _out


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
