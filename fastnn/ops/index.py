"""Indexing: keys, rows and elements by index, masks.

Basic keys (ints, slices, None, ...) give views; index tensors and masks give copies by `take`, whose gradient is `put` with addition."""
import builtins

import numpy as np

from .. import _core
from .._core import TensorBase, attach
from . import shape as _shape
from .create import as_tensor, int64
from .create import bool as _BOOL
from .promote import cast, reduce_to, tensor_only

_full, _put = _core.full, _core.put
_ALL = slice(None)


def _out(input, out):
    """What an operation on a copy of input writes to: out, holding input's values, or a fresh copy."""
    if out is None:
        return _core.clone(input)
    if out is not input:
        _core.copy_into(out, input)
    return out


# ---- x[key] ----------------------------------------------------------------------------------------------------------

def _is_int(k):
    return isinstance(k, (int, np.integer)) and not isinstance(k, bool)


def _keys(x, key):
    """The key as a list with `...` spelled out: ints, slices, None, bools, index tensors and masks."""
    if not isinstance(key, tuple):
        key = (key,)
    keys, taken, dots = [], 0, None
    for k in key:
        if isinstance(k, (list, tuple, range, np.ndarray)):
            k = as_tensor(np.asarray(k, np.int64) if not isinstance(k, np.ndarray) and not len(k) else k)
        elif isinstance(k, np.bool_):
            k = bool(k)
        if k is Ellipsis:
            if dots is not None:
                raise IndexError("an index can only have a single ellipsis ('...')")
            dots = len(keys)
            continue
        if isinstance(k, TensorBase):
            taken += k.dim() if k.dtype.name in ("bool", "uint8") else 1
        elif _is_int(k) or isinstance(k, slice):
            taken += 1
        elif k is not None and not isinstance(k, bool):
            raise TypeError("only integers, slices (`:`), ellipsis (`...`), None and long, int, byte or bool tensors are valid indices (got "
                            f"{type(k).__name__})")
        keys.append(k)
    if taken > x.dim():
        raise IndexError(f"too many indices for tensor of dimension {x.dim()}")
    dots = len(keys) if dots is None else dots
    return keys[:dots] + [_ALL] * (x.dim() - taken) + keys[dots:]


def _basic(x, key):
    """(x after the basic part of key, an index tensor, mask or None for each of its dimensions); a mask stands for several."""
    y, d, advanced = x, 0, []
    for k in _keys(x, key):
        if isinstance(k, TensorBase):
            if k.dtype.is_floating_point:
                raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got {k.dtype.name}")
            advanced.append(k)
            if k.dtype.name in ("bool", "uint8"):
                if tuple(k.shape) != tuple(y.shape[d:d + k.dim()]):
                    i = next(i for i, n in enumerate(k.shape) if n != y.shape[d + i])
                    raise IndexError(f"The shape of the mask {list(k.shape)} at index {i} does not match the shape of the indexed tensor "
                                     f"{list(y.shape)} at index {d + i}")
                if k.dim() == 0:
                    y = _shape.unsqueeze(y, d)
                    advanced[-1] = _shape.unsqueeze(k, 0)
                d += builtins.max(k.dim(), 1)
                continue
        elif isinstance(k, bool):
            y = _shape.unsqueeze(y, d)
            advanced.append(_full((1 if k else 0,), 0, int64))
        elif k is None:
            y = _shape.unsqueeze(y, d)
            advanced.append(None)
        elif isinstance(k, slice):
            if k != _ALL:
                y = _shape.slice_dim(y, d, k.start, k.stop, 1 if k.step is None else k.step)
            advanced.append(None)
        else:
            y = _shape.select(y, d, int(k))
            continue
        d += 1
    return y, advanced if builtins.any(k is not None for k in advanced) else None


def _expanded(x, advanced):
    """Index tensors and None for x's dimensions, masks replaced by the places where they hold."""
    indices = []
    for k in advanced:
        if k is not None and k.dtype.name in ("bool", "uint8"):
            if tuple(k.shape) != tuple(x.shape[len(indices):len(indices) + k.dim()]):
                raise IndexError(f"The shape of the mask {list(k.shape)} does not match the shape of the indexed tensor {list(x.shape)} at "
                                 f"dimension {len(indices)}")
            indices += nonzero(k, as_tuple=True)
        else:
            indices.append(k)
    return tuple(indices)


def _flat(x, advanced):
    """x and index tensors; where one mask alone says what is taken, the dimensions that it stands for are one, which needs one index."""
    d = next(i for i, k in enumerate(advanced) if k is not None)
    k = advanced[d]
    if k.dim() > 1 and k.dtype.name in ("bool", "uint8") and builtins.all(other is None for other in advanced[d + 1:]):
        x, advanced = _shape.flatten(x, d, d + k.dim() - 1), advanced[:d] + [_shape.flatten(k)] + advanced[d + 1:]
    return x, _expanded(x, advanced)


def getitem(x, key):
    """x[key] by PyTorch's rules: ints, slices with positive steps, None, ..., bools give views; int tensors, lists, arrays and
    boolean masks of any rank give copies. Integer tensors broadcast together; their dimensions stand where the first of them did,
    or in front if they are not neighbours.

    Example:
        >>> import fastnn
        >>> x = fastnn.arange(6).view(2, 3)
        >>> x[1, ::2], x[:, [2, 0]], x[x > 3]
        (tensor([3, 5]), tensor([[2, 0],
                [5, 3]]), tensor([4, 5]))
    """
    if type(key) is int and x.dim():
        return _shape.select(x, 0, key)
    if isinstance(key, TensorBase) and key.dtype is int64 and x.dim():
        return _take(x, (key,))
    y, advanced = _basic(x, key)
    if advanced is not None:
        return _take(*_flat(y, advanced))
    return _shape.view(x, tuple(x.shape)) if y is x else y


def _take(x, indices, negative=True):
    return attach(_core.take(x, indices, negative), _take_backward, (x,), saved=indices, meta=x.shape)


def _take_backward(node, dy):
    dx = _full(node.meta, 0, dy.dtype)
    _put(dx, node.saved, dy, True)
    return (dx,)


def _without_ones(value, ndim):
    """value without leading dimensions of size 1 that are more than ndim."""
    while value.dim() > ndim and value.shape[0] == 1:
        value = _shape.select(value, 0, 0)
    return value


def setitem(x, key, value):
    """x[key] = value, broadcast, and converted to x's type (not a tensor by index arrays: it must have that type, as in PyTorch).
    Where an index repeats, the last value stays."""
    if not isinstance(value, (int, float, TensorBase)):
        value = value.item() if isinstance(value, np.generic) else cast(as_tensor(value), x.dtype)
    y, advanced = _basic(x, key)
    if advanced is None:
        if isinstance(value, TensorBase):
            value = _without_ones(value, y.dim())
            y.copy_(value)
        else:
            y.fill_(value)
        return
    masks = [i for i, k in enumerate(advanced) if k is not None]
    first = masks[0]
    k = advanced[first]
    if len(masks) == 1 and k.dtype is _BOOL and (not isinstance(value, TensorBase) or value.numel() == 1):
        if isinstance(value, TensorBase):
            value = _shape.reshape(value, ())
        rest = y.dim() - first - k.dim()
        y.masked_fill_(_core.view(_core.contiguous(k), tuple(k.shape) + (1,) * rest), value)      # no shape depends on the mask's values
        return
    indices = _expanded(y, advanced)
    value = value if isinstance(value, TensorBase) else _full((), value, y.dtype)
    if value.dim():
        dims = builtins.max(i.dim() for i in indices if i is not None) + y.dim() - builtins.sum(i is not None for i in indices)
        value = _without_ones(value, dims)
    y.index_put_(indices, value)


def index_put(input, indices, values, accumulate=False, *, out=None):
    """input with values, which broadcast, at input[indices]; added to it if `accumulate`. indices: a tuple of int tensors, masks
    and None.

    Example:
        >>> import fastnn
        >>> fastnn.zeros(3).index_put((fastnn.tensor([0, 2, 0]),), fastnn.tensor([1., 2., 3.]), accumulate=True)
        tensor([4., 0., 2.])
    """
    if not isinstance(indices, (tuple, list)):
        raise TypeError(f"index_put(): argument 'indices' must be tuple of Tensors, not {type(indices).__name__}")
    indices = _expanded(tensor_only(input, "index_put"), [as_tensor(k) if k is not None else None for k in indices])
    return _index_put(input, indices, tensor_only(values, "index_put", "values"), accumulate, True, out)


def _index_put(input, indices, values, accumulate, negative, out):
    y = _out(input, out)
    _put(y, indices, values, accumulate, negative)
    return attach(y, _index_put_backward, (input, values), saved=indices, meta=(values.shape, accumulate))


def _index_put_backward(node, dy):
    indices, (shape, accumulate) = node.saved, node.meta
    dx = None
    if node.needs[0]:
        dx = dy
        if not accumulate:
            dx = _core.clone(dy)
            _put(dx, indices, _full((), 0, dy.dtype))
    return dx, reduce_to(_core.take(dy, indices), shape) if node.needs[1] else None


# ---- elements and rows -----------------------------------------------------------------------------------------------

def take(input, index):
    """Elements of the flattened input.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1, 2], [3, 4]]).take(fastnn.tensor([0, -1]))
        tensor([1, 4])
    """
    return _take(_shape.ravel(tensor_only(input, "take")), (tensor_only(index, "take", "index"),))


def embedding(input, weight, padding_idx=None):
    """weight[input]: rows of weight (num, dim). The row padding_idx takes no gradient.

    Errors: IndexError where an index is not in 0..num-1.
    """
    if input.dtype.name not in ("int64", "int32"):
        raise RuntimeError(f"embedding: Expected tensor for argument 'input' to have type int64 or int32, but got {input.dtype.name}")
    if weight.dim() != 2:
        raise RuntimeError(f"embedding: weight (num, dim) must have 2 dimensions, got shape {tuple(weight.shape)}")
    num = weight.shape[0]
    if padding_idx is not None:
        if not -num <= padding_idx < num:
            raise AssertionError(f"Padding_idx must be within num_embeddings: padding_idx={padding_idx}, weight (num, dim)={tuple(weight.shape)}")
        padding_idx %= num
    y = _core.take(weight, (input,), False)
    return attach(y, _embedding_backward, (weight,), saved=(input,), meta=(weight.shape, padding_idx))


def _embedding_backward(node, dy):
    shape, padding = node.meta
    dw = _full(shape, 0, dy.dtype)
    _put(dw, node.saved, dy, True)
    if padding is not None:
        _core.fill_into(_core.select(dw, 0, padding), 0)
    return (dw,)


def one_hot(tensor, num_classes=-1):
    """int64 ones at the class that tensor names, in a new last dimension of num_classes (-1: the greatest class + 1).

    Example:
        >>> import fastnn
        >>> fastnn.ops.index.one_hot(fastnn.tensor([1, 0]), 3)
        tensor([[0, 1, 0],
                [1, 0, 0]])
    """
    if tensor_only(tensor, "one_hot", "tensor").dtype is not int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type int64, got {tensor.dtype.name}")
    if num_classes == -1:
        if tensor.numel() == 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(_core.item(_core.max_(tensor))) + 1
    elif num_classes < 1 and tensor.numel():
        raise RuntimeError(f"num_classes should be positive, got {num_classes}")
    y = _full(tuple(tensor.shape) + (num_classes,), 0, int64)
    _core.scatter(y, tensor.dim(), _core.unsqueeze(tensor, tensor.dim()), _core.expand(_full((), 1, int64), tuple(tensor.shape) + (1,)))
    return y


# ---- masks -----------------------------------------------------------------------------------------------------------

def nonzero(input, *, as_tuple=False):
    """The coordinates of the elements that are not zero, (count, dims) int64, or a tuple of one vector for each dimension.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[0, 7], [5, 0]]).nonzero()
        tensor([[0, 1],
                [1, 0]])
    """
    if as_tuple and tensor_only(input, "nonzero").dim() == 0:
        input = _core.view(input, (1,))
    y = _core.nonzero(tensor_only(input, "nonzero"))
    return tuple([_core.select(y, 1, d) for d in range(input.dim())]) if as_tuple else y


argwhere = nonzero


def masked_select(input, mask):
    """The elements of input, in order, where mask (bool) holds; both are broadcast.

    Example:
        >>> import fastnn
        >>> fastnn.masked_select(fastnn.tensor([1, 2, 3]), fastnn.tensor([True, False, True]))
        tensor([1, 3])
    """
    if tensor_only(mask, "masked_select", "mask").dtype is not _BOOL:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype.name}")
    both = _shape.broadcast_shapes(input.shape, mask.shape)
    x = _shape.expand(input, both)
    return getitem(x if both else _shape.view(x, (1,)), _shape.expand(mask, both) if both else _shape.view(mask, (1,)))


INPLACE = ("index_put",)
METHODS = INPLACE + ("take", "nonzero", "argwhere", "masked_select")
FUNCTIONS = METHODS
