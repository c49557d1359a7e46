"""Which type a result has (PyTorch's rules), conversion with a gradient, and the way back from a broadcast."""
import numpy as np

from .. import _core
from .._core import DTYPES, TensorBase, attach
from .create import bool as bool_, get_default_dtype, int64

_RANK = (4, 5, 3, 2, 1, 0)       # by dtype code: bool < uint8 < int32 < int64 < float32 < float64
_NUMBER = (int, float)


def promote_types(type1, type2):
    """The smallest type that holds both: the later of the two in bool, uint8, int32, int64, float32, float64.

    Example:
        >>> import fastnn
        >>> fastnn.promote_types(fastnn.int64, fastnn.float32)
        fastnn.float32
    """
    return type1 if _RANK[type1.code] >= _RANK[type2.code] else type2


def can_cast(from_, to):
    """May a result of type `from_` be written into a tensor of type `to`? Not reals into integers, numbers into bools.

    Example:
        >>> import fastnn
        >>> fastnn.can_cast(fastnn.float32, fastnn.int64)
        False
    """
    return (to.is_floating_point or not from_.is_floating_point) and (to is not bool_ or from_ is bool_)


def _combine(higher, lower):
    """Tensors with dimensions decide before those without, these before Python numbers; a lower one counts only if its
    kind (bool, integer, real) is above theirs."""
    if higher is None or lower is None:
        return higher or lower
    if higher is bool_ or lower.is_floating_point and not higher.is_floating_point:
        return promote_types(higher, lower)
    return higher


def result_type(*operands):
    """The type of an operation on `operands`, tensors and numbers.

    Example:
        >>> import fastnn
        >>> fastnn.result_type(fastnn.tensor([1, 2]), 1.5)
        fastnn.float32
        >>> fastnn.result_type(fastnn.zeros(2), fastnn.zeros((), dtype=fastnn.float64))
        fastnn.float32
    """
    kinds = [None, None, None]                           # of tensors with dimensions, of those without, of numbers
    for x in operands:
        if isinstance(x, TensorBase):
            level, kind = 0 if x.dim() else 1, x.dtype
        else:
            level, kind = 2, bool_ if isinstance(x, bool) else int64 if isinstance(x, int) else get_default_dtype()
        kinds[level] = kind if kinds[level] is None else promote_types(kinds[level], kind)
    return _combine(kinds[0], _combine(kinds[1], kinds[2]))


def number(x, name, argument="other"):
    """A tensor or a Python number as it is, NumPy's numbers as Python's, TypeError for the rest."""
    if isinstance(x, (TensorBase, *_NUMBER)):
        return x
    if isinstance(x, np.generic) and isinstance(x.item(), _NUMBER):
        return x.item()
    raise TypeError(f"{name}(): argument '{argument}' must be Tensor or Number, not {type(x).__name__}")


def tensor_only(x, name, argument="input"):
    """x, which must be a tensor."""
    if not isinstance(x, TensorBase):
        raise TypeError(f"{name}(): argument '{argument}' must be Tensor, not {type(x).__name__}")
    return x


def named(function, name, doc):
    """function, known by another name."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def promote(name, *operands, real=False):
    """The operands in their common type: tensors converted, Python numbers left beside a tensor, else made one.
    With `real`, integers become the default real type."""
    operands = [number(x, name, "input" if i == 0 else "other") for i, x in enumerate(operands)]
    kind = result_type(*operands)
    if real and not kind.is_floating_point:
        kind = get_default_dtype()
    if not any(isinstance(x, TensorBase) for x in operands):
        operands[0] = _core.full((), operands[0], kind)
    return [cast(x, kind) if isinstance(x, TensorBase) else x for x in operands]


def _cast_backward(node, dy):
    return (_core.cast(dy, node.meta),)


def cast(input, dtype):
    """`input` as another type, itself if it has it. Reals are cut to integers; gradients flow between real types."""
    if not isinstance(dtype, _core.dtype):
        raise TypeError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype!r}")
    if input.dtype is dtype:
        return input
    y = _core.cast(input, dtype)
    return attach(y, _cast_backward, (input,), meta=input.dtype) if dtype.is_floating_point else y


def reduce_to(dy, shape):
    """The gradient of an operand of `shape` (None: dy's own) that was broadcast to dy's: summed where it was repeated."""
    if shape is None or dy.shape == shape:
        return dy
    lead = dy.dim() - len(shape)
    dims = tuple(i for i, n in enumerate(dy.shape) if i < lead or (shape[i - lead] == 1 and n != 1))
    return _core.view(_core.sum_(dy, dims, True), shape)
