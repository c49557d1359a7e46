"""Rows of a table by their numbers."""
import numpy as np

from .. import _core
from .._core import from_numpy
from .arrays import _in, _out


def embedding_forward(x, w, *, out=None):
    """y = w[x].

    Args:
        x: int64 of any shape, 0..num-1. w: (num, dim).

    Returns: y (*x.shape, dim).
    """
    return _out(_core.take(_in(w, "w"), (_in(x, "x"),), False), out)


def embedding_backward(dy, x, *, num_embeddings, padding_idx=None):
    """dw (num_embeddings, dim): the sum of dy over the places of each row in x, in order; the row padding_idx is 0."""
    dy = _in(dy, "dy")
    dw = from_numpy(np.zeros((num_embeddings, dy.shape[-1]), dy.dtype.name))
    _core.put(dw, (_in(x, "x"),), dy, True, False)
    if padding_idx is not None:
        _core.fill_into(_core.select(dw, 0, padding_idx), 0)
    return _out(dw)
