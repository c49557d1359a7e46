"""Parameter: a tensor that a module owns and an optimizer moves."""
from ..ops.create import empty
from ..tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that registers itself when it becomes an attribute of a module. Shares memory with `data`.

    Args:
        data: Tensor of floating point, any shape; None gives an empty one.
        requires_grad: bool, whatever the grad mode.

    Raises:
        TypeError: data is not a Tensor.
        RuntimeError: data is not of floating point and requires_grad is True.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Parameter(fastnn.zeros(2)).requires_grad
        True
    """

    def __new__(cls, data=None, requires_grad=True):
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter: expected a Tensor or None as data, got {type(data).__name__}")
        return Tensor._make_subclass(cls, data, requires_grad)

    def __repr__(self):
        return "Parameter containing:\n" + super().__repr__()
