"""Indices along one dimension: index_select, gather, scatter and their kin."""
from .. import _core
from .._core import TensorBase, attach
from . import shape as _shape
from .index import _index_put, _out, _take
from .promote import cast, number, tensor_only
from .shape import _wrap


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
    value = cast(value, input.dtype) if isinstance(value, TensorBase) else _core.full((), number(value, "index_fill", "value"), input.dtype)
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
    dx = _core.full(shape, 0, dy.dtype)
    _core.scatter(dx, d, index, dy, True)
    return (dx,)


def _source(name, input, index, src):
    """The part of src that index covers, or a number as a tensor without strides."""
    if not isinstance(src, TensorBase):
        return _core.expand(_core.full((), number(src, name, "src"), input.dtype), tuple(index.shape))
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
        _core.scatter(dx, d, index, _core.expand(_core.full((), 0, dy.dtype), tuple(index.shape)))
    return dx, _core.gather(dy, d, index) if node.needs[1] else None


def scatter_add(input, dim, index, src, *, out=None):
    """input with src[i] added at the place i with coordinate dim replaced by index[i].

    Example:
        >>> import fastnn
        >>> fastnn.zeros(3).scatter_add(0, fastnn.tensor([0, 0, 2]), fastnn.tensor([1., 2., 3.]))
        tensor([3., 0., 3.])
    """
    d = _wrap(dim, tensor_only(input, "scatter_add").dim())
    src = _source("scatter_add", input, tensor_only(index, "scatter_add", "index"), tensor_only(src, "scatter_add", "src"))
    y = _out(input, out)
    _core.scatter(y, d, index, src, True)
    return attach(y, _scatter_add_backward, (input, src), saved=(index,), meta=d)


def _scatter_add_backward(node, dy):
    return dy, _core.gather(dy, node.meta, node.saved[0]) if node.needs[1] else None


def take_along_dim(input, indices, dim=None):
    """gather with the other dimensions broadcast; without dim on the flattened input.

    Example:
        >>> import fastnn
        >>> fastnn.take_along_dim(fastnn.tensor([[3, 1], [4, 2]]), fastnn.tensor([[1], [0]]), 1)
        tensor([[1],
                [4]])
    """
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


INPLACE = ("index_add", "index_copy", "index_fill", "scatter", "scatter_add")
METHODS = INPLACE + ("index_select", "gather", "take_along_dim")
FUNCTIONS = METHODS
