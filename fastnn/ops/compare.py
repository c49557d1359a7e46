"""Comparison, logic and bits, element by element: shapes are broadcast, types follow promote.py; no gradient."""
from .. import _core
from .._core import agree
from .create import bool as _BOOL, float64
from .promote import named, promote, tensor_only

_EXAMPLE = """{}

    Example:
        >>> import fastnn
        >>> fastnn.{}(fastnn.tensor([1, 2, 3]), {})
        tensor({})
    """


def _relation(name, doc, shown, tensors=1):
    """A function of two operands, so many of which must be tensors."""
    op = getattr(_core, name)

    def function(input, other, *, out=None):
        if tensors:
            tensor_only(input, name)
        if tensors == 2:
            tensor_only(other, name, "other")
        if not agree(input, other):
            input, other = promote(name, input, other)
        return op(input, other, out)
    return named(function, name, _EXAMPLE.format(doc, name, "fastnn.tensor([0, 2, 0])" if tensors == 2 else 2, shown))


eq = _relation("eq", "input == other, element by element, as bools.", "[False,  True, False]")
ne = _relation("ne", "input != other, element by element, as bools.", "[ True, False,  True]")
lt = _relation("lt", "input < other, element by element, as bools.", "[ True, False, False]")
le = _relation("le", "input <= other, element by element, as bools.", "[ True,  True, False]")
gt = _relation("gt", "input > other, element by element, as bools.", "[False, False,  True]")
ge = _relation("ge", "input >= other, element by element, as bools.", "[False,  True,  True]")
logical_and = _relation("logical_and", "Are both not zero?", "[False,  True, False]", tensors=2)
logical_or = _relation("logical_or", "Is one not zero?", "[True, True, True]", tensors=2)
logical_xor = _relation("logical_xor", "Is exactly one not zero?", "[ True, False,  True]", tensors=2)


def logical_not(input, *, out=None):
    """Is input zero?

    Example:
        >>> import fastnn
        >>> fastnn.logical_not(fastnn.tensor([0., 2.]))
        tensor([ True, False])
    """
    return _core.logical_not(tensor_only(input, "logical_not"), out)


bitwise_and = _relation("bitwise_and", "Bits set in both; of bools, and.", "[0, 2, 2]", tensors=0)
bitwise_or = _relation("bitwise_or", "Bits set in one; of bools, or.", "[3, 2, 3]", tensors=0)
bitwise_xor = _relation("bitwise_xor", "Bits set in exactly one; of bools, exclusive or.", "[3, 0, 1]", tensors=0)


def bitwise_not(input, *, out=None):
    """Bits turned over; of bools, not.

    Example:
        >>> import fastnn
        >>> ~fastnn.tensor([0, 5]), ~fastnn.tensor([True])
        (tensor([-1, -6]), tensor([False]))
    """
    return _core.bitwise_not(tensor_only(input, "bitwise_not"), out)


def _test(name, of_integers, doc):
    op = getattr(_core, name)

    def function(input):
        if tensor_only(input, name).dtype.is_floating_point:
            return op(input)
        return _core.full(input.shape, of_integers, _BOOL)
    return named(function, name, doc)


isnan = _test("isnan", False, "Which elements are NaN?")
isinf = _test("isinf", False, "Which elements are infinite?")
isfinite = _test("isfinite", True, "Which elements are neither infinite nor NaN?")


def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|input - other| <= atol + rtol |other|, element by element, in float64; equal infinities are close.

    Example:
        >>> import fastnn
        >>> fastnn.isclose(fastnn.tensor([1., 2.]), fastnn.tensor([1.000001, 2.1]))
        tensor([ True, False])
    """
    tensor_only(input, "isclose")
    if tensor_only(other, "isclose", "other").dtype is not input.dtype:
        raise RuntimeError(f"isclose: {input.dtype} did not match {other.dtype}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol={rtol} and atol={atol} must not be negative")
    a, b = (_core.cast(x, float64) for x in (input, other))
    gap, room = _core.abs_(_core.sub(a, b)), _core.add(_core.mul(_core.abs_(b), rtol), atol)
    close = _core.logical_or(_core.eq(a, b), _core.logical_and(_core.le(gap, room), _core.isfinite(gap)))
    return _core.logical_or(close, _core.logical_and(_core.isnan(a), _core.isnan(b))) if equal_nan else close


def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Are all elements close, as `isclose` has it?

    Example:
        >>> import fastnn
        >>> fastnn.allclose(fastnn.tensor([1.]), fastnn.tensor([1.000001]))
        True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input, other):
    """Same shape and same values?

    Example:
        >>> import fastnn
        >>> fastnn.equal(fastnn.tensor([1, 2]), fastnn.tensor([1, 2]))
        True
    """
    tensor_only(input, "equal")
    return input.shape == tensor_only(other, "equal", "other").shape and bool(eq(input, other).all())


INPLACE = ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and",
           "bitwise_or", "bitwise_xor", "bitwise_not")
METHODS = INPLACE + ("isnan", "isinf", "isfinite", "isclose", "allclose", "equal")
FUNCTIONS = METHODS
