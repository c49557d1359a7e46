"""Elementwise arithmetic, functions, bounds and choices, with their gradients: shapes are broadcast, types follow promote.py, `out` takes the result.

Each gradient stands under its function: dy is the output's, da and db are those of the operands a and b, summed over the
dimensions along which the operand was broadcast."""
import math

from .. import _core
from .._core import TensorBase, agree, attach, broadcast_shapes, crosswise, needs_grad
from .create import bool as _BOOL, get_default_dtype, int64
from .promote import can_cast, cast, named, number, promote, promote_types, reduce_to, result_type, tensor_only

_add, _sub, _mul, _div, _where = _core.add, _core.sub, _core.mul, _core.div, _core.where


def _no_out(name, out):
    if out is not None:
        raise RuntimeError(f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of "
                           "the arguments requires grad.")


def _zeros(x):
    return _core.full(x.shape, 0, x.dtype)


# ---- arithmetic ------------------------------------------------------------------------------------------------------

def _check_alpha(name, a, b, alpha):
    kind = result_type(a, b)
    if not isinstance(number(alpha, name, "alpha"), (int, float)):
        raise TypeError(f"{name}(): argument 'alpha' must be Number, not {type(alpha).__name__}")
    if isinstance(alpha, bool) and kind is not _BOOL:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and not kind.is_floating_point:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")


def _linear(name, op, input, other, alpha, out):
    a, b = (input, other) if agree(input, other) else promote(name, input, other)
    if type(alpha) is not int:
        _check_alpha(name, a, b, alpha)
    if not needs_grad(a, b):
        return op(a, b, out, alpha)
    _no_out(name, out)
    y = op(a, b, None, alpha)
    return attach(y, _add_backward, (a, b), meta=(*broadcast_shapes(y, a, b), alpha if op is _add else -alpha))


def _add_backward(node, dy):
    a_shape, b_shape, alpha = node.meta
    return (reduce_to(dy, a_shape) if node.needs[0] else None,
            reduce_to(dy if alpha == 1 else _mul(dy, alpha), b_shape) if node.needs[1] else None)


def add(input, other, *, alpha=1, out=None):
    """input + alpha other.

    Example:
        >>> import fastnn
        >>> fastnn.add(fastnn.tensor([1., 2.]), 3, alpha=2)
        tensor([7., 8.])
    """
    return _linear("add", _add, input, other, alpha, out)


def sub(input, other, *, alpha=1, out=None):
    """input - alpha other; not for bools.

    Example:
        >>> import fastnn
        >>> fastnn.sub(fastnn.tensor([5., 7.]), 3, alpha=2)
        tensor([-1.,  1.])
    """
    for x in (input, other):
        if isinstance(x, bool) or isinstance(x, TensorBase) and x.dtype is _BOOL:
            raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to "
                               "invert a mask, use the `~` or `logical_not()` operator instead.")
    return _linear("sub", _sub, input, other, alpha, out)


def mul(input, other, *, out=None):
    """input * other.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1], [2]]) * fastnn.tensor([3, 4])
        tensor([[3, 4],
                [6, 8]])
    """
    a, b = (input, other) if agree(input, other) else promote("mul", input, other)
    if not needs_grad(a, b):
        return _mul(a, b, out)
    _no_out("mul", out)
    y = _mul(a, b)
    return attach(y, _mul_backward, (a, b), saved=crosswise(a, b), meta=broadcast_shapes(y, a, b))


def _mul_backward(node, dy):
    (a, b), (a_shape, b_shape) = node.saved, node.meta
    return (reduce_to(_mul(dy, b), a_shape) if node.needs[0] else None,
            reduce_to(_mul(dy, a), b_shape) if node.needs[1] else None)


def div(input, other, *, rounding_mode=None, out=None):
    """input / other, in a real type; with rounding_mode 'floor' or 'trunc' rounded down or to zero, in any type.

    Example:
        >>> import fastnn
        >>> fastnn.div(fastnn.tensor([-7, 7]), 2), fastnn.div(fastnn.tensor([-7, 7]), 2, rounding_mode='floor')
        (tensor([-3.5000,  3.5000]), tensor([-4,  3]))
    """
    if rounding_mode is not None:
        if rounding_mode not in ("floor", "trunc"):
            raise RuntimeError("div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
                               f"'{rounding_mode}'")
        op = _core.floor_divide if rounding_mode == "floor" else _core.trunc_divide
        return _stepwise("div", op, input, other, out, _flat_backward)
    a, b = (input, other) if agree(input, other, True) else promote("div", input, other, real=True)
    if not needs_grad(a, b):
        return _div(a, b, out)
    _no_out("div", out)
    y = _div(a, b)
    return attach(y, _div_backward, (a, b), saved=(a if needs_grad(b) else None, b), meta=broadcast_shapes(y, a, b))


def _div_backward(node, dy):
    """da = dy / b, db = -dy a / b / b"""
    (a, b), (a_shape, b_shape) = node.saved, node.meta
    return (reduce_to(_div(dy, b), a_shape) if node.needs[0] else None,
            reduce_to(_mul(_mul(dy, -1), _div(_div(a, b), b)), b_shape) if node.needs[1] else None)


def _stepwise(name, op, input, other, out, backward, saved=False):
    a, b = (input, other) if agree(input, other) else promote(name, input, other)
    if not needs_grad(a, b):
        return op(a, b, out)
    _no_out(name, out)
    y = op(a, b)
    return attach(y, backward, (a, b), saved=(a, b) if saved else (), meta=broadcast_shapes(y, a, b))


def _flat_backward(node, dy):
    return tuple(_core.full(dy.shape if shape is None else shape, 0, dy.dtype) if need else None
                 for need, shape in zip(node.needs, node.meta))


true_divide = div


def floor_divide(input, other, *, out=None):
    """The whole number at or below input / other. It has no gradient. Integers are not divided by 0, so a captured step
    takes no tensor of integers as `other`.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([-7, 7]) // 2
        tensor([-4,  3])
    """
    return _stepwise("floor_divide", _core.floor_divide, input, other, out, _floor_divide_backward)


def _floor_divide_backward(node, dy):
    raise RuntimeError("derivative for floor_divide is not implemented")


def remainder(input, other, *, out=None):
    """input - other floor(input / other): it has other's sign.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([-7, 7]) % 3
        tensor([2, 1])
    """
    return _stepwise("remainder", _core.remainder, input, other, out, _remainder_backward, True)


def _remainder_backward(node, dy):
    """db = -dy floor(a / b)"""
    (a, b), (a_shape, b_shape) = node.saved, node.meta
    return (reduce_to(dy, a_shape) if node.needs[0] else None,
            reduce_to(_mul(_mul(dy, -1), _core.floor_divide(a, b)), b_shape) if node.needs[1] else None)


def pow(input, exponent, *, out=None):
    """input to the power of exponent; integers take no negative number as exponent.

    Example:
        >>> import fastnn
        >>> fastnn.pow(fastnn.tensor([2., 3.]), 2), 2 ** fastnn.tensor([3, 4])
        (tensor([4., 9.]), tensor([ 8, 16]))
    """
    a, b = (input, exponent) if agree(input, exponent) else promote("pow", input, exponent)
    if not isinstance(b, TensorBase) and b < 0 and not a.dtype.is_floating_point:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if not needs_grad(a, b):
        return _core.pow_(a, b, out)
    _no_out("pow", out)
    y = _core.pow_(a, b)
    return attach(y, _pow_backward, (a, b), saved=(a, b, y if needs_grad(b) else None), meta=broadcast_shapes(y, a, b))


def _pow_backward(node, dy):
    """da = dy b a^(b-1), 0 where b is 0; db = dy y log a, 0 where a is 0 and b is not negative"""
    (a, b, y), (a_shape, b_shape) = node.saved, node.meta
    da = db = None
    if node.needs[0]:
        if isinstance(b, TensorBase):
            da = _where(_core.eq(b, 0), 0, _mul(dy, _mul(b, _core.pow_(a, _sub(b, 1)))))
        else:
            da = _zeros(dy) if b == 0 else _mul(dy, _mul(_core.pow_(a, b - 1), b))
        da = reduce_to(da, a_shape)
    if node.needs[1]:
        if isinstance(a, TensorBase):
            dead = _core.logical_and(_core.eq(a, 0), _core.ge(b, 0))
            db = _mul(dy, _where(dead, 0, _mul(y, _core.log(a))))
        elif a == 0:
            db = _where(_core.ge(b, 0), 0, _mul(dy, _mul(y, -math.inf)))
        else:
            db = _mul(dy, _mul(y, math.log(a) if a > 0 else math.nan))
        db = reduce_to(db, b_shape)
    return da, db


def addcmul(input, tensor1, tensor2, *, value=1, out=None):
    """input + value tensor1 tensor2.

    Example:
        >>> import fastnn
        >>> fastnn.addcmul(fastnn.ones(2), fastnn.tensor([1., 2.]), fastnn.tensor([3., 4.]), value=0.5)
        tensor([2.5000, 5.0000])
    """
    for x, argument in ((input, "input"), (tensor1, "tensor1"), (tensor2, "tensor2")):
        tensor_only(x, "addcmul", argument)
    a, b, c = promote("addcmul", input, tensor1, tensor2)
    value = number(value, "addcmul", "value")
    value = value if a.dtype.is_floating_point else int(value)
    if not needs_grad(a, b, c):
        return _core.addcmul(a, b, c, value, out)
    _no_out("addcmul", out)
    y = _core.addcmul(a, b, c, value)
    return attach(y, _addcmul_backward, (a, b, c), saved=crosswise(b, c), meta=(*broadcast_shapes(y, a, b, c), value))


def _addcmul_backward(node, dy):
    (b, c), (a_shape, b_shape, c_shape, value) = node.saved, node.meta
    scaled = _mul(dy, value)
    return (reduce_to(dy, a_shape) if node.needs[0] else None,
            reduce_to(_mul(scaled, c), b_shape) if node.needs[1] else None,
            reduce_to(_mul(scaled, b), c_shape) if node.needs[2] else None)


# ---- functions of one operand: real results, integers converted ------------------------------------------------------

_EXAMPLE = """{}

    Example:
        >>> import fastnn
        >>> fastnn.{}(fastnn.tensor({}))
        tensor({})
    """


def _function(name, derivative, doc, saves="x", real=True, op=None, shown=None):
    """The function `name`, where derivative(dy, saved) is dx; `saves` x or y for it, or nothing. `shown`: what its example gives."""
    op = op or getattr(_core, name, None) or getattr(_core, name + "_")

    def function(input, *, out=None):
        tensor_only(input, name)
        if real and not input.dtype.is_floating_point:
            input = _core.cast(input, get_default_dtype())
        if not needs_grad(input):
            return op(input, out)
        _no_out(name, out)
        y = op(input)
        return attach(y, backward, (input,), saved=(input,) if saves == "x" else (y,) if saves == "y" else ())

    def backward(node, dy):
        return (derivative(dy, *node.saved),)
    backward.__name__ = f"_{name}_backward"
    return named(function, name, _EXAMPLE.format(doc, name, "[0.25, 1.]" if real else "[-1.5, 2.]", shown) if shown else doc)


exp = _function("exp", lambda dy, y: _mul(dy, y), "e to the power of input.", "y", shown="[1.2840, 2.7183]")
log = _function("log", lambda dy, x: _div(dy, x), "Natural logarithm.", shown="[-1.3863,  0.0000]")
log1p = _function("log1p", lambda dy, x: _div(dy, _add(x, 1)), "log(1 + input), accurate near 0.", shown="[0.2231, 0.6931]")
sqrt = _function("sqrt", lambda dy, y: _div(_mul(dy, 0.5), y), "Square root.", "y", shown="[0.5000, 1.0000]")
rsqrt = _function("rsqrt", lambda dy, y: _mul(_mul(dy, -0.5), _core.pow_(y, 3)), "1 / sqrt(input).", "y", shown="[2., 1.]")
reciprocal = _function("reciprocal", lambda dy, y: _mul(_mul(dy, -1), _mul(y, y)), "1 / input.", "y", shown="[4., 1.]")
sin = _function("sin", lambda dy, x: _mul(dy, _core.cos(x)), "Sine of radians.", shown="[0.2474, 0.8415]")
cos = _function("cos", lambda dy, x: _mul(_mul(dy, -1), _core.sin(x)), "Cosine of radians.", shown="[0.9689, 0.5403]")
erf = _function("erf", lambda dy, x: _mul(_mul(dy, 2 / math.sqrt(math.pi)), _core.exp(_mul(_mul(x, x), -1))),
                "Error function: 2/sqrt(pi) times the integral of exp(-t^2) from 0 to input.", shown="[0.2763, 0.8427]")
neg = _function("neg", lambda dy: _mul(dy, -1), "-input; not for bools.", "", real=False, shown="[ 1.5000, -2.0000]")
abs = _function("abs", lambda dy, x: _mul(dy, _core.sign(x)), "Absolute value; not for bools.", real=False, shown="[1.5000, 2.0000]")
sign = _function("sign", lambda dy: _zeros(dy), "-1, 0 or 1; 0 for NaN.", "", real=False, shown="[-1.,  1.]")


_square = _function("square", lambda dy, x: _mul(_mul(dy, 2), x), "", real=False,
                    op=lambda x, out=None: _mul(x, x, out))


def square(input, *, out=None):
    """input * input."""
    if tensor_only(input, "square").dtype is _BOOL:
        input = cast(input, int64)
    return _square(input, out=out)


def _rounding(name, doc, shown=None):
    real = _function(name, lambda dy: _zeros(dy), doc, "", real=False, shown=shown)

    def function(input, *, out=None):
        if tensor_only(input, name).dtype.is_floating_point:
            return real(input, out=out)
        if input.dtype is _BOOL:
            raise NotImplementedError(f'"{name}" not implemented for bool')
        return _core.clamp(input, None, None, out)                       # whole already
    return named(function, name, real.__doc__)


floor = _rounding("floor", "The whole number at or below input.", "[-2.,  2.]")
ceil = _rounding("ceil", "The whole number at or above input.", "[-1.,  2.]")
trunc = _rounding("trunc", "input without its fraction.", "[-1.,  2.]")
_round = _rounding("round", "")


def round(input, *, decimals=0, out=None):
    """The nearest whole number, halves to the even one; or the nearest with `decimals` decimals.

    Example:
        >>> import fastnn
        >>> fastnn.round(fastnn.tensor([0.5, 1.5, 2.26])), fastnn.round(fastnn.tensor([2.26]), decimals=1)
        (tensor([0., 2., 2.]), tensor([2.3000]))
    """
    if decimals == 0:
        return _round(input, out=out)
    if not tensor_only(input, "round").dtype.is_floating_point:
        raise NotImplementedError(f"round: decimals={decimals} of {input.dtype}: not supported")
    scale = 10.0 ** -decimals if decimals < 0 else 10.0 ** decimals
    if decimals < 0:
        return mul(_round(div(input, scale)), scale, out=out)
    return div(_round(mul(input, scale)), scale, out=out)


# ---- bounds and choices ----------------------------------------------------------------------------------------------

def clamp(input, min=None, max=None, *, out=None):
    """input cut to [min, max], numbers or tensors; None is no bound. NaN stays.

    Example:
        >>> import fastnn
        >>> fastnn.clamp(fastnn.tensor([-1., 0.5, 2.]), 0, 1)
        tensor([0.0000, 0.5000, 1.0000])
    """
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    tensors = isinstance(min, TensorBase) or isinstance(max, TensorBase)
    if tensors and not all(x is None or isinstance(x, TensorBase) for x in (min, max)):
        raise TypeError("clamp(): min and max must both be tensors or both be numbers, got "
                        f"{type(min).__name__} and {type(max).__name__}")
    x, low, high = tensor_only(input, "clamp"), min, max
    if not ((min is None or agree(input, min)) and (max is None or agree(input, max))):
        x, *bounds = promote("clamp", input, *(b for b in (min, max) if b is not None))
        low, high = None if min is None else bounds[0], None if max is None else bounds[-1]
    if not needs_grad(x, low, high):
        return _clamp(x, low, high, tensors, out)
    _no_out("clamp", out)
    y = _clamp(x, low, high, tensors)
    return attach(y, _clamp_backward, (x, low, high), saved=(x, low, high), meta=broadcast_shapes(y, x, low, high))


def _clamp(x, low, high, tensors, out=None):
    if not tensors:
        return _core.clamp(x, low, high, out)
    if high is None:
        return _core.maximum(x, low, out)
    return _core.minimum(x if low is None else _core.maximum(x, low), high, out)


def _clamp_backward(node, dy):
    """dx = dy where low <= x <= high; dlow where x < low < high; dhigh where x > high or low > high"""
    (x, low, high), shapes = node.saved, node.meta
    dx = dlow = dhigh = None
    if node.needs[0]:
        dx = dy if low is None else _where(_core.ge(x, low), dy, 0)
        dx = dx if high is None else _where(_core.le(x, high), dx, 0)
    if node.needs[1]:
        under = _core.lt(x, low)
        dlow = _where(under if high is None else _core.logical_and(under, _core.lt(low, high)), dy, 0)
    if node.needs[2]:
        over = _core.gt(x, high)
        dhigh = _where(over if low is None else _core.logical_or(over, _core.gt(low, high)), dy, 0)
    grads = dx, dlow, dhigh
    return tuple(g if g is None else reduce_to(g, shape) for g, shape in zip(grads, shapes))


def clamp_min(input, min, *, out=None):
    """`clamp(input, min=min)`."""
    return clamp(input, min, None, out=out)


def clamp_max(input, max, *, out=None):
    """`clamp(input, max=max)`."""
    return clamp(input, None, max, out=out)


def maximum(input, other, *, out=None):
    """The larger of two tensors, element by element; NaN wins. Equal elements share the gradient."""
    return _extremum("maximum", _core.maximum, _core.lt, input, other, out)


def minimum(input, other, *, out=None):
    """The smaller of two tensors, element by element; NaN wins. Equal elements share the gradient."""
    return _extremum("minimum", _core.minimum, _core.gt, input, other, out)


def _extremum(name, op, loses, input, other, out):
    tensor_only(input, name)
    tensor_only(other, name, "other")
    a, b = (input, other) if agree(input, other) else promote(name, input, other)
    if not needs_grad(a, b):
        return op(a, b, out)
    _no_out(name, out)
    return attach(op(a, b), _extremum_backward, (a, b), saved=(a, b), meta=loses)


def _extremum_backward(node, dy):
    (a, b), loses = node.saved, node.meta
    dy = _where(_core.eq(a, b), _mul(dy, 0.5), dy)
    return (reduce_to(_where(loses(a, b), 0, dy), a.shape) if node.needs[0] else None,
            reduce_to(_where(loses(b, a), 0, dy), b.shape) if node.needs[1] else None)


def where(condition, input=None, other=None):
    """input where condition (bool) holds, else other; with condition alone, the indices where it holds.

    Example:
        >>> import fastnn
        >>> fastnn.where(fastnn.tensor([True, False]), fastnn.tensor([1., 2.]), 0.)
        tensor([1., 0.])
    """
    tensor_only(condition, "where", "condition")
    if input is None and other is None:
        from .index import nonzero
        return nonzero(condition, as_tuple=True)
    a, b = (input, other) if agree(input, other) else promote("where", input, other)
    y = _where(condition, a, b)
    if not needs_grad(a, b):
        return y
    return attach(y, _where_backward, (a, b), saved=(condition,), meta=broadcast_shapes(y, a, b))


def _where_backward(node, dy):
    (c,), (a_shape, b_shape) = node.saved, node.meta
    return (reduce_to(_where(c, dy, 0), a_shape) if node.needs[0] else None,
            reduce_to(_where(c, 0, dy), b_shape) if node.needs[1] else None)


def masked_fill(input, mask, value, *, out=None):
    """input with `value`, a number or a tensor without dimensions, where mask (bool) holds.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1., 2.]).masked_fill(fastnn.tensor([True, False]), 9)
        tensor([9., 2.])
    """
    tensor_only(input, "masked_fill")
    if tensor_only(mask, "masked_fill", "mask").dtype is not _BOOL:
        raise RuntimeError(f"masked_fill only supports boolean masks, but got mask with dtype {mask.dtype}")
    if isinstance(value, TensorBase):
        if value.dim():
            raise RuntimeError("masked_fill only supports a 0-dimensional value tensor, but got tensor with "
                               f"{value.dim()} dimension(s).")
        value = cast(value, input.dtype)
    elif not agree(input, number(value, "masked_fill", "value")):
        value = _core.full((), value, input.dtype)
    if not needs_grad(input, value):
        return _where(mask, value, input, out)
    _no_out("masked_fill", out)
    y = _where(mask, value, input)
    return attach(y, _masked_fill_backward, (input, value), saved=(mask,), meta=broadcast_shapes(y, input, value))


def _masked_fill_backward(node, dy):
    (mask,), (shape, value_shape) = node.saved, node.meta
    return (reduce_to(_where(mask, 0, dy), shape) if node.needs[0] else None,
            reduce_to(_where(mask, dy, 0), value_shape) if node.needs[1] else None)


INPLACE = ("add", "sub", "mul", "div", "true_divide", "floor_divide", "remainder", "pow", "addcmul", "exp", "log", "log1p",
           "sqrt", "rsqrt", "reciprocal", "sin", "cos", "erf", "neg", "abs", "sign", "square", "floor", "ceil", "trunc", "round",
           "clamp", "clamp_min", "clamp_max", "masked_fill")
METHODS = INPLACE + ("maximum", "minimum")
FUNCTIONS = METHODS + ("where", "result_type", "promote_types", "can_cast")
