"""Comparison, logic and bits, element by element: shapes are broadcast, types follow promote.py; no gradient."""
from .. import _core
from .._core import agree
from .create import bool as _BOOL, float64
from .promote import promote, tensor_only


def _relation(name, doc, tensors=1):
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
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


eq = _relation("eq", "input == other, element by element, as bools.")
ne = _relation("ne", "input != other, element by element, as bools.")
lt = _relation("lt", "input < other, element by element, as bools.")
le = _relation("le", "input <= other, element by element, as bools.")
gt = _relation("gt", "input > other, element by element, as bools.")
ge = _relation("ge", "input >= other, element by element, as bools.")
logical_and = _relation("logical_and", "Are both not zero?", tensors=2)
logical_or = _relation("logical_or", "Is one not zero?", tensors=2)
logical_xor = _relation("logical_xor", "Is exactly one not zero?", tensors=2)


def logical_not(input, *, out=None):
    """Is input zero?"""
    return _core.logical_not(tensor_only(input, "logical_not"), out)


bitwise_and = _relation("bitwise_and", "Bits set in both; of bools, and.", tensors=0)
bitwise_or = _relation("bitwise_or", "Bits set in one; of bools, or.", tensors=0)
bitwise_xor = _relation("bitwise_xor", "Bits set in exactly one; of bools, exclusive or.", tensors=0)


def bitwise_not(input, *, out=None):
    """Bits turned over; of bools, not."""
    return _core.bitwise_not(tensor_only(input, "bitwise_not"), out)


def _test(name, of_integers, doc):
    op = getattr(_core, name)

    def function(input):
        if tensor_only(input, name).dtype.is_floating_point:
            return op(input)
        return _core.full(input.shape, of_integers, _BOOL)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


isnan = _test("isnan", False, "Which elements are NaN?")
isinf = _test("isinf", False, "Which elements are infinite?")
isfinite = _test("isfinite", True, "Which elements are neither infinite nor NaN?")


def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|input - other| <= atol + rtol |other|, element by element, in float64; equal infinities are close."""
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
    """Are all elements close, as `isclose` has it?"""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input, other):
    """Same shape and same values?"""
    tensor_only(input, "equal")
    return input.shape == tensor_only(other, "equal", "other").shape and bool(eq(input, other).all())


INPLACE = ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and",
           "bitwise_or", "bitwise_xor", "bitwise_not")
METHODS = INPLACE + ("isnan", "isinf", "isfinite", "isclose", "allclose", "equal")
FUNCTIONS = METHODS
