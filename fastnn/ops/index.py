"""Indexing, and what moves elements by index: gather, scatter, sort, masks.

Basic keys (ints, slices, None, ...) give views; index tensors and masks give copies by `take`, whose gradient is `put` with addition."""
import builtins
from collections import namedtuple

import numpy as np

from .. import _core
from .._core import TensorBase, attach
from . import shape as _shape
from .create import as_tensor, int64
from .create import bool as _BOOL
from .elementwise import masked_fill
from .promote import cast, number, reduce_to, tensor_only
from .shape import _dims, _wrap

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
        return _take(y, _expanded(y, advanced))
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


# ---- along one dimension ---------------------------------------------------------------------------------------------

def _at(dim, index):
    return (None,) * dim + (index,)


def _line(name, input, dim, index):
    """(dim from the front, index) for an index of one dimension that counts from 0."""
    d = _wrap(dim, tensor_only(input, name).dim())
    if tensor_only(index, name, "index").dim() > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, got shape {tuple(index.shape)}")
    if index.dtype.name not in ("int64", "int32"):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index, got {index.dtype.name}")
    return d, _core.view(index, (1,)) if index.dim() == 0 else index


def index_select(input, dim, index):
    """The slices of input along dim that index, a vector, names.

    Example:
        >>> import fastnn
        >>> fastnn.arange(6).view(2, 3).index_select(1, fastnn.tensor([2, 0]))
        tensor([[2, 0],
                [5, 3]])
    """
    d, index = _line("index_select", input, dim, index)
    if input.dim() == 0:
        return _shape.view(_take(_shape.view(input, (1,)), (index,), False), ())
    return _take(input, _at(d, index), False)


def index_add(input, dim, index, source, *, alpha=1, out=None):
    """input with alpha source[i] added to its slice index[i] along dim."""
    d, index = _line("index_add", input, dim, index)
    values = source if alpha == 1 else source * alpha
    return _index_put(input, _at(d, index), _slices("index_add", values, input, d, index), True, False, out)


def index_copy(input, dim, index, source, *, out=None):
    """input with source[i] in place of its slice index[i] along dim."""
    d, index = _line("index_copy", input, dim, index)
    return _index_put(input, _at(d, index), _slices("index_copy", source, input, d, index), False, False, out)


def _slices(name, source, input, d, index):
    want = tuple(input.shape[:d]) + (index.shape[0],) + tuple(input.shape[d + 1:])
    if tuple(tensor_only(source, name, "source").shape) != want:
        raise IndexError(f"{name}(): input {tuple(input.shape)} and index ({index.shape[0]},) along dim {d} need a source of shape {want}, got "
                         f"{tuple(source.shape)}")
    return source


def index_fill(input, dim, index, value, *, out=None):
    """input with value, a number, in its slices that index names along dim."""
    d, index = _line("index_fill", input, dim, index)
    if isinstance(value, TensorBase) and value.dim():
        raise RuntimeError(f"index_fill() only supports a 0-dimensional value tensor, but got tensor with {value.dim()} dimension(s).")
    value = cast(value, input.dtype) if isinstance(value, TensorBase) else _full((), number(value, "index_fill", "value"), input.dtype)
    return _index_put(input, _at(d, index), value, False, False, out)


def gather(input, dim, index, *, sparse_grad=False):
    """y[i] = input[i with coordinate dim replaced by index[i]]; index has as many dimensions as input, none longer except dim.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 2.], [3., 4.]]).gather(1, fastnn.tensor([[1], [0]]))
        tensor([[2.],
                [3.]])
    """
    if sparse_grad:
        raise NotImplementedError("gather: sparse_grad=True: not supported")
    d = _wrap(dim, tensor_only(input, "gather").dim())
    return attach(_core.gather(input, d, tensor_only(index, "gather", "index")), _gather_backward, (input,), saved=(index,), meta=(input.shape, d))


def _gather_backward(node, dy):
    (index,), (shape, d) = node.saved, node.meta
    dx = _full(shape, 0, dy.dtype)
    _core.scatter(dx, d, index, dy, True)
    return (dx,)


def _source(name, input, index, src):
    """The part of src that index covers, or a number as a tensor without strides."""
    if not isinstance(src, TensorBase):
        return _core.expand(_full((), number(src, name, "src"), input.dtype), tuple(index.shape))
    if src.dim() != index.dim():
        raise RuntimeError(f"{name}(): Index tensor must have the same number of dimensions as src tensor: index has shape {tuple(index.shape)}, src "
                           f"{tuple(src.shape)}")
    for d, n in enumerate(index.shape):
        if n > src.shape[d]:
            raise RuntimeError(f"{name}(): Expected index {list(index.shape)} to be no larger than src {list(src.shape)}")
        if n < src.shape[d]:
            src = _shape.slice_dim(src, d, 0, n)
    return src


def scatter(input, dim, index, src=None, *, value=None, reduce=None, out=None):
    """input with src[i], or a number, at the place i with coordinate dim replaced by index[i]; of several for one place the last
    stays.

    Example:
        >>> import fastnn
        >>> fastnn.zeros(2, 3).scatter(1, fastnn.tensor([[2], [0]]), 1.)
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    if reduce is not None:
        raise NotImplementedError(f"scatter: reduce='{reduce}': not supported")
    d = _wrap(dim, tensor_only(input, "scatter").dim())
    src = _source("scatter", input, tensor_only(index, "scatter", "index"), value if src is None else src)
    y = _out(input, out)
    _core.scatter(y, d, index, src)
    return attach(y, _scatter_backward, (input, src), saved=(index,), meta=d)


def _scatter_backward(node, dy):
    (index,), d = node.saved, node.meta
    dx = None
    if node.needs[0]:
        dx = _core.clone(dy)
        _core.scatter(dx, d, index, _core.expand(_full((), 0, dy.dtype), tuple(index.shape)))
    return dx, _core.gather(dy, d, index) if node.needs[1] else None


def scatter_add(input, dim, index, src, *, out=None):
    """input with src[i] added at the place i with coordinate dim replaced by index[i]."""
    d = _wrap(dim, tensor_only(input, "scatter_add").dim())
    src = _source("scatter_add", input, tensor_only(index, "scatter_add", "index"), tensor_only(src, "scatter_add", "src"))
    y = _out(input, out)
    _core.scatter(y, d, index, src, True)
    return attach(y, _scatter_add_backward, (input, src), saved=(index,), meta=d)


def _scatter_add_backward(node, dy):
    return dy, _core.gather(dy, node.meta, node.saved[0]) if node.needs[1] else None


def take_along_dim(input, indices, dim=None):
    """gather with the other dimensions broadcast; without dim on the flattened input."""
    tensor_only(indices, "take_along_dim", "indices")
    if dim is None:
        return gather(_shape.ravel(input), 0, _shape.ravel(indices))
    if input.dim() != indices.dim():
        raise RuntimeError(f"take_along_dim(): input and indices should have the same number of dimensions, but got {input.dim()} dimensions for input, "
                           f"and {indices.dim()} dimensions for indices")
    d = _wrap(dim, input.dim())

    def cut(s, n):
        return tuple(s[:d]) + (n,) + tuple(s[d + 1:])
    both = _shape.broadcast_shapes(cut(input.shape, 1), cut(indices.shape, 1))
    return gather(_shape.expand(input, cut(both, input.shape[d])), d, _shape.expand(indices, cut(both, indices.shape[d])))


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
    """The elements of input, in order, where mask (bool) holds; both are broadcast."""
    if tensor_only(mask, "masked_select", "mask").dtype is not _BOOL:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype.name}")
    both = _shape.broadcast_shapes(input.shape, mask.shape)
    x = _shape.expand(input, both)
    return getitem(x if both else _shape.view(x, (1,)), _shape.expand(mask, both) if both else _shape.view(mask, (1,)))


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
    dx = _full(shape, 0, dy.dtype)
    _core.scatter(dx, d, order, dy)
    return (dx,)


def argsort(input, dim=-1, descending=False, stable=False):
    """The indices that `sort` gives."""
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
    y, order = _core.sort(input, d, largest)
    if input.dim():
        y, order = [_core.contiguous(_core.slice_dim(t, d, 0, k, 1)) for t in (y, order)]
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
    """The matrix with zeros below its diagonal, or below the one `diagonal` places to the right."""
    return _triangle("triu", input, diagonal, False, out)


INPLACE = ("index_put", "index_add", "index_copy", "index_fill", "scatter", "scatter_add", "tril", "triu")
METHODS = INPLACE + ("index_select", "gather", "take_along_dim", "take", "nonzero", "argwhere", "masked_select", "sort", "argsort", "topk", "flip", "roll",
                     "repeat_interleave")
FUNCTIONS = METHODS
