"""Order, and whole slices moved: sort, topk, flip, roll, repeat_interleave, triangles."""
from collections import namedtuple

import numpy as np

from .. import _core
from .._core import TensorBase, attach
from . import shape as _shape
from .along import index_select
from .create import as_tensor, int64
from .elementwise import masked_fill
from .promote import tensor_only
from .shape import _dims, _wrap

# ---- order -----------------------------------------------------------------------------------------------------------

_Sorted, _Top = namedtuple("sort", "values indices"), namedtuple("topk", "values indices")


def sort(input, dim=-1, descending=False, stable=False):
    """(values, indices) along dim, always stable; NaN counts as the greatest.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([3., 1., 2.]).sort().values
        tensor([1., 2., 3.])
    """
    d = _wrap(dim, tensor_only(input, "sort").dim())
    y, order = _core.sort(input, d, descending)
    return _Sorted(attach(y, _sort_backward, (input,), saved=(order,), meta=(input.shape, d)), order)


def _sort_backward(node, dy):
    (order,), (shape, d) = node.saved, node.meta
    dx = _core.full(shape, 0, dy.dtype)
    _core.scatter(dx, d, order, dy)
    return (dx,)


def argsort(input, dim=-1, descending=False, stable=False):
    """The indices that `sort` gives.

    Example:
        >>> import fastnn
        >>> fastnn.argsort(fastnn.tensor([3, 1, 2]))
        tensor([1, 2, 0])
    """
    return _core.sort(tensor_only(input, "argsort"), _wrap(dim, input.dim()), descending)[1]


def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k greatest (or least) elements along dim, in order.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([3., 1., 2.]).topk(2)
        topk(values=tensor([3., 2.]), indices=tensor([0, 2]))
    """
    d = _wrap(dim, tensor_only(input, "topk").dim())
    n = input.shape[d] if input.dim() else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"topk(): selected index k out of range: k={k}, but dimension {d} of the input {tuple(input.shape)} has size {n}")
    y, order = _core.sort(input, d, largest, k)
    return _Top(attach(y, _sort_backward, (input,), saved=(order,), meta=(input.shape, d)), order)


# ---- whole slices moved ----------------------------------------------------------------------------------------------

def flip(input, *dims):
    """The elements of dims in reverse order.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1, 2, 3]).flip(0)
        tensor([3, 2, 1])
    """
    dims = tuple([_wrap(d, tensor_only(input, "flip").dim()) for d in _dims(dims, "flip")])
    return attach(_core.flip(input, dims), _flip_backward, (input,), meta=dims)


def _flip_backward(node, dy):
    return (_core.flip(dy, node.meta),)


def roll(input, shifts, dims=None):
    """Elements moved on by shifts along dims, those beyond the end to the front; without dims in the flattened input.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1, 2, 3]).roll(1)
        tensor([3, 1, 2])
    """
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is not None and input.dim() == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    if dims is None or dims == ():
        if len(shifts) != 1:
            raise RuntimeError(f"roll: shifts and dimensions must align. shifts: {len(shifts)}, dims:0")
        return _shape.reshape(roll(_shape.ravel(input), shifts, (0,)), tuple(input.shape))
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(shifts) != len(dims):
        raise RuntimeError(f"roll: shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    y = input
    for s, d in zip(shifts, dims):
        d = _wrap(d, input.dim())
        n = input.shape[d] if input.dim() else 1
        s = s % n if n else 0
        if s:
            y = _shape.cat([_shape.slice_dim(y, d, n - s, n), _shape.slice_dim(y, d, 0, n - s)], d)
    return _shape.clone(input) if y is input else y


def repeat_interleave(input, repeats, dim=None, *, output_size=None):
    """Each slice along dim `repeats` times in a row; repeats may be a vector with a number for each. Without dim of the flattened
    input.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1, 2]).repeat_interleave(2)
        tensor([1, 1, 2, 2])
    """
    if dim is None:
        input, dim = _shape.ravel(input), 0
    d = _wrap(dim, input.dim())
    n = input.shape[d]
    if isinstance(repeats, TensorBase) and repeats.numel() == 1:
        repeats = int(_core.item(repeats))
    if isinstance(repeats, int):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        s = tuple(input.shape)
        wide = _shape.expand(_shape.unsqueeze(input, d + 1), s[:d + 1] + (repeats,) + s[d + 1:])
        return _shape.reshape(wide, s[:d] + (n * repeats,) + s[d + 1:])
    if tensor_only(repeats, "repeat_interleave", "repeats").dim() != 1 or repeats.shape[0] != n:
        raise RuntimeError(f"repeat_interleave: repeats must have the same size as input along dim, but got repeats.size(0) = {tuple(repeats.shape)} and "
                           f"input.size({d}) = {n}")
    counts = np.asarray(repeats.numpy())
    if (counts < 0).any():
        raise RuntimeError("repeats can not be negative")
    return index_select(input, d, as_tensor(np.repeat(np.arange(n), counts)))


def _triangle(name, input, diagonal, lower, out):
    if tensor_only(input, name).dim() < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions, got shape {tuple(input.shape)}")
    rows, columns = _core.arange(diagonal, 1, input.shape[-2], int64), _core.arange(0, 1, input.shape[-1], int64)
    rows = _core.unsqueeze(rows, 1)
    outside = _core.lt(rows, columns) if lower else _core.gt(rows, columns)
    return masked_fill(input, outside, 0, out=out)


def tril(input, diagonal=0, *, out=None):
    """The matrix with zeros above its diagonal, or above the one `diagonal` places to the right.

    Example:
        >>> import fastnn
        >>> fastnn.ones(2, 2).tril()
        tensor([[1., 0.],
                [1., 1.]])
    """
    return _triangle("tril", input, diagonal, True, out)


def triu(input, diagonal=0, *, out=None):
    """The matrix with zeros below its diagonal, or below the one `diagonal` places to the right.

    Example:
        >>> import fastnn
        >>> fastnn.ones(2, 3).triu(1)
        tensor([[0., 1., 1.],
                [0., 0., 1.]])
    """
    return _triangle("triu", input, diagonal, False, out)


INPLACE = ("tril", "triu")
METHODS = INPLACE + ("sort", "argsort", "topk", "flip", "roll", "repeat_interleave")
FUNCTIONS = METHODS
