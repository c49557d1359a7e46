"""Reductions with their gradients. Each takes `dim` (None, an int or a tuple of ints) and `keepdim`.

A gradient stands under its function. dy comes with the reduced dimensions dropped; `_wide` puts them back with size 1, and broadcasting
does the rest: the gradient of a sum is dy, repeated."""
import builtins
from collections import namedtuple

from .. import _core
from .._core import attach
from .create import get_default_dtype, uint8
from .create import bool as bool_
from .elementwise import maximum, minimum
from .promote import cast, named, tensor_only
from .shape import _wrap

_mul, _div, _where = _core.mul, _core.div, _core.where


def _dims(dim, ndim):
    """dim as a tuple counted from the front; None for all, which is also what an empty tuple means."""
    if dim is None:
        return None
    if isinstance(dim, int):
        return (_wrap(dim, ndim),)
    return tuple([_wrap(d, ndim) for d in dim]) or None


def _kept(shape, dims):
    """The shape with the dimensions of dims as 1."""
    return tuple([1 if dims is None or i in dims else n for i, n in enumerate(shape)])


def _wide(dy, node):
    """dy with the reduced dimensions as 1; node.meta begins with input's shape and dims."""
    return _core.view(dy, _kept(*node.meta[:2]))


def _count(shape, dims):
    n = 1
    for i, s in enumerate(shape):
        n *= s if dims is None or i in dims else 1
    return n


def _real(input, name, dtype=None):
    """The input, or it as dtype, which must be a real type."""
    tensor_only(input, name)
    kind = dtype or input.dtype
    if not kind.is_floating_point:
        raise RuntimeError(f"{name}(): could not infer output dtype. {'Optional' if dtype else 'Input'} dtype must be a floating point "
                           f"dtype. Got: {kind.name}")
    return cast(input, kind)


# ---- sum, mean, var, prod --------------------------------------------------------------------------------------------

def sum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over dim; integers and bools give int64.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 2.], [3., 4.]]).sum(1)
        tensor([3., 7.])
    """
    dims = _dims(dim, tensor_only(input, "sum").dim())
    if dtype is not None and dtype.is_floating_point:
        input, dtype = cast(input, dtype), None
    return attach(_core.sum_(input, dims, keepdim, dtype), _sum_backward, (input,), meta=(input.shape, dims, 1))


def _sum_backward(node, dy):
    shape, _, scale = node.meta
    return (_core.expand(_wide(dy if scale == 1 else _mul(dy, scale), node), tuple(shape)),)


def mean(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over dim divided by the number of elements; NaN of none.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 2.], [3., 4.]]).mean()
        tensor(2.5000)
    """
    input = _real(input, "mean", dtype)
    dims = _dims(dim, input.dim())
    n = _count(input.shape, dims)
    scale = 1 / n if n else float("nan")
    return attach(_core.sum_(input, dims, keepdim, None, scale), _sum_backward, (input,), meta=(input.shape, dims, scale))


def _variance(input, dim, unbiased, correction, name):
    """(input, dims, 1 / (n - correction)) from the two ways to call: (dim, unbiased, ...) and (unbiased)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}(): give unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    input = _real(input, name)
    dims = _dims(dim, input.dim())
    left = _count(input.shape, dims) - correction
    return input, dims, 1 / left if left > 0 else float("inf")


def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Sum of (x - mean)^2 over dim, divided by the number of elements less `correction` (1; `unbiased=False` is 0).

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1., 2., 4.]).var(correction=0)
        tensor(1.5556)
    """
    input, dims, scale = _variance(input, dim, unbiased, correction, "var")
    y = _core.sumdev2(input, dims, keepdim, scale)
    return attach(y, _var_backward, (input,), saved=(input,), meta=(input.shape, dims, scale))


def _var_backward(node, dy):
    (x,), scale = node.saved, node.meta[2]
    return (_deviation(x, node.meta[1], _wide(_mul(dy, 2 * scale), node)),)


def _deviation(x, dims, factor):
    """factor (x - mean of x)"""
    return _mul(_core.sub(x, _core.sum_(x, dims, True, None, 1 / builtins.max(_count(x.shape, dims), 1))), factor)


def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The square root of `var`.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1., 3.]).std(), fastnn.tensor([1., 3.]).std(correction=0)
        (tensor(1.4142), tensor(1.))
    """
    input, dims, scale = _variance(input, dim, unbiased, correction, "std")
    y = _core.sqrt(_core.sumdev2(input, dims, keepdim, scale))
    return attach(y, _std_backward, (input,), saved=(input, y), meta=(input.shape, dims, scale))


def _std_backward(node, dy):
    (x, y), scale = node.saved, node.meta[2]
    factor = _where(_core.eq(y, 0), 0, _div(_mul(dy, scale), y))         # of all equal elements: 0
    return (_deviation(x, node.meta[1], _wide(factor, node)),)


def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(var, mean) over dim.

    Example:
        >>> import fastnn
        >>> fastnn.var_mean(fastnn.tensor([1., 3.]))
        (tensor(2.), tensor(2.))
    """
    dims = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, dims, keepdim)


def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(std, mean) over dim.

    Example:
        >>> import fastnn
        >>> fastnn.std_mean(fastnn.tensor([1., 3.]), correction=0)
        (tensor(1.), tensor(2.))
    """
    dims = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, dims, keepdim)


def prod(input, dim=None, keepdim=False, *, dtype=None):
    """The product over dim, an int or None; integers and bools give int64.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 2.], [3., 4.]]).prod(0)
        tensor([3., 8.])
    """
    tensor_only(input, "prod")
    if dim is not None and not isinstance(dim, int):
        raise TypeError(f"prod(): argument 'dim' must be int, not {type(dim).__name__}")
    dims = _dims(dim, input.dim())
    if dtype is not None and dtype.is_floating_point:
        input, dtype = cast(input, dtype), None
    return attach(_core.prod(input, dims, keepdim, dtype), _prod_backward, (input,), saved=(input,), meta=(input.shape, dims))


def _prod_backward(node, dy):
    """dx_i = dy times the product of the others: zero beside another zero, and at the only zero the product of the rest."""
    (x,), dims = node.saved, node.meta[1]
    zero = _core.eq(x, 0)
    zeros = _core.sum_(zero, dims, True)
    rest = _where(zero, 1, x)
    p = _core.prod(rest, dims, True)
    others = _where(zero, _where(_core.eq(zeros, 1), p, 0), _where(_core.eq(zeros, 0), _div(p, rest), 0))
    return (_mul(others, _wide(dy, node)),)


# ---- extremes --------------------------------------------------------------------------------------------------------

def _extreme(name, reduce, doc, nan=False):
    """nan: is NaN equal to NaN where the gradient is shared? It is for `max` and `min` of all elements."""
    def function(input, dim=None, keepdim=False):
        dims = _dims(dim, tensor_only(input, name).dim())
        y = reduce(input, dims, keepdim, name)
        return attach(y, _extreme_backward, (input,), saved=(input, y), meta=(input.shape, dims, nan))
    return named(function, name, doc)


def _extreme_backward(node, dy):
    """dy, shared evenly by all elements that equal the extreme."""
    (x, y), dims = node.saved, node.meta[1]
    hit = _core.eq(x, _wide(y, node))
    if node.meta[2]:
        hit = _core.logical_or(hit, _core.logical_and(_core.ne(x, x), _wide(_core.ne(y, y), node)))
    hit = _core.cast(hit, x.dtype)
    return (_mul(hit, _div(_wide(dy, node), _core.sum_(hit, dims, True))),)


amax = _extreme("amax", _core.max_, "The greatest element over dim; NaN if there is one. Elements that tie share the gradient evenly.")
amin = _extreme("amin", _core.min_, "The least element over dim; NaN if there is one. Elements that tie share the gradient evenly.")
_max_all = _extreme("max", _core.max_, "", True)
_min_all = _extreme("min", _core.min_, "", True)


def _chosen(input, dim, keepdim, arg, pair):
    """The elements that arg finds along dim, and where."""
    name = pair.__name__
    if not isinstance(dim, int):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    d = _wrap(dim, input.dim())
    as_bool = input.dtype is bool_
    at = arg(_core.cast(input, uint8) if as_bool else input, (d,), True, name)
    y = _core.gather(input, d, at)
    if not keepdim and input.dim():
        y, at = [_core.view(t, tuple(input.shape[:d]) + tuple(input.shape[d + 1:])) for t in (y, at)]
    return pair(attach(y, _chosen_backward, (input,), saved=(at,), meta=(input.shape, (d,))), at)


def _chosen_backward(node, dy):
    (at,), (shape, (d,)) = node.saved, node.meta
    dx = _core.full(shape, 0, dy.dtype)
    _core.scatter(dx, d, _wide(at, node), _wide(dy, node))
    return (dx,)


_Max, _Min = namedtuple("max", "values indices"), namedtuple("min", "values indices")


def _extreme(input, dim, keepdim, other, of_two, of_all, place, made):
    other = dim if isinstance(dim, _core.TensorBase) else other
    if other is not None:
        return of_two(input, other)
    if dim is None:
        return of_all(input)
    return _chosen(tensor_only(input, made.__name__), dim, keepdim, place, made)


def max(input, dim=None, keepdim=False, *, other=None):
    """The greatest element; along an int dim a named tuple (values, indices), the first place of several; with a tensor in dim's
    place, `maximum(input, other)`.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 5.], [7., 2.]]).max(dim=1).indices
        tensor([1, 0])
    """
    return _extreme(input, dim, keepdim, other, maximum, _max_all, _core.argmax, _Max)


def min(input, dim=None, keepdim=False, *, other=None):
    """As `max`, the least element.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([3., 1., 2.]).min()
        tensor(1.)
    """
    return _extreme(input, dim, keepdim, other, minimum, _min_all, _core.argmin, _Min)


def argmax(input, dim=None, keepdim=False):
    """The first place of the greatest element along dim, or in the flattened input.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 5.], [7., 2.]]).argmax()
        tensor(2)
    """
    return _core.argmax(tensor_only(input, "argmax"), _dims(dim, input.dim()), keepdim)


def argmin(input, dim=None, keepdim=False):
    """The first place of the least element along dim, or in the flattened input.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1., 5.], [7., 2.]]).argmin(1)
        tensor([0, 1])
    """
    return _core.argmin(tensor_only(input, "argmin"), _dims(dim, input.dim()), keepdim)


# ---- norms -----------------------------------------------------------------------------------------------------------

def norm(input, p="fro", dim=None, keepdim=False, *, dtype=None):
    """(sum |x|^p)^(1/p) over dim; p may be inf, -inf and 0 (the count of what is not zero), 'fro' is 2.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([3., -4.]).norm()
        tensor(5.)
    """
    if p in ("fro", None):
        p = 2
    elif isinstance(p, str):
        raise NotImplementedError(f"norm: p='{p}': not supported")
    p = float(p)
    x = _real(input, "norm", dtype)
    dims = _dims(dim, x.dim())
    if p == 2:
        y = _core.sqrt(_core.sumsq(x, dims, keepdim))
    elif p == 1:
        y = _core.sumabs(x, dims, keepdim)
    elif p == 0:
        y = _core.cast(_core.sum_(_core.ne(x, 0), dims, keepdim), x.dtype)
    elif p in (float("inf"), float("-inf")):
        y = (_core.max_ if p > 0 else _core.min_)(_core.abs_(x), dims, keepdim, "norm")
    else:
        y = _core.pow_(_core.sum_(_core.pow_(_core.abs_(x), p), dims, keepdim), 1 / p)
    return attach(y, _norm_backward, (x,), saved=(x, y), meta=(x.shape, dims, p))


def _norm_backward(node, dy):
    """dx = dy sign(x) (|x| / y)^(p-1), and 0 where y is 0"""
    (x, y), (shape, dims, p) = node.saved, node.meta
    y, dy = _wide(y, node), _wide(dy, node)
    if p == 0:
        return (_core.full(shape, 0, x.dtype),)
    if p == 1:
        return (_mul(_core.sign(x), dy),)
    if p in (float("inf"), float("-inf")):
        hit = _core.eq(_core.abs_(x), y)
        return (_mul(_where(hit, _core.sign(x), 0), _div(dy, _core.cast(_core.sum_(hit, dims, True), x.dtype))),)
    if p == 2:
        return (_mul(x, _where(_core.eq(y, 0), 0, _div(dy, y))),)
    dx = _mul(_mul(_core.sign(x), _core.pow_(_div(_core.abs_(x), y), p - 1)), dy)
    return (_where(_core.logical_or(_core.eq(x, 0), _core.eq(y, 0)), 0, dx),)


def logsumexp(input, dim, keepdim=False):
    """log of the sum of exp(x) over dim, without overflow.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1., 1.]).logsumexp(0)
        tensor(1.6931)
    """
    x = cast(tensor_only(input, "logsumexp"), input.dtype if input.dtype.is_floating_point else get_default_dtype())
    dims = _dims(dim, x.dim()) or tuple(range(x.dim()))
    rest = [d for d in range(x.dim()) if d not in dims]
    if len(dims) > 1:
        flat = _core.contiguous(_core.permute(x, (*rest, *dims)))
        y = _core.logsumexp(_core.view(flat, [x.shape[d] for d in rest] + [_count(x.shape, dims)]), len(rest))
    else:
        y = _core.logsumexp(x, dims[0] if dims else 0)
    y = _core.view(y, _kept(x.shape, dims) if keepdim else [x.shape[d] for d in rest])
    return attach(y, _logsumexp_backward, (x,), saved=(x, y), meta=(x.shape, dims))


def _logsumexp_backward(node, dy):
    x, y = node.saved
    return (_mul(_core.exp(_core.sub(x, _wide(y, node))), _wide(dy, node)),)


# ---- tests, counts, running sums -------------------------------------------------------------------------------------

def _test(name, reduce, doc):
    def function(input, dim=None, keepdim=False):
        y = reduce(tensor_only(input, name), _dims(dim, input.dim()), keepdim)
        return _core.cast(y, uint8) if input.dtype is uint8 else y
    return named(function, name, doc)


any = _test("any", _core.any_, "Is one element over dim not zero?")
all = _test("all", _core.all_, "Is no element over dim zero?")


def count_nonzero(input, dim=None):
    """How many elements over dim are not zero.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([0, 3, 5]).count_nonzero()
        tensor(2)
    """
    return _core.sum_(_core.ne(tensor_only(input, "count_nonzero"), 0), _dims(dim, input.dim()))


def cumsum(input, dim, *, dtype=None):
    """At each place along dim the sum of the elements up to it; integers and bools give int64.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1., 2., 3.]).cumsum(0)
        tensor([1., 3., 6.])
    """
    d = _wrap(dim, tensor_only(input, "cumsum").dim())
    if dtype is not None and dtype.is_floating_point:
        input, dtype = cast(input, dtype), None
    return attach(_core.cumsum(input, d, dtype), _cumsum_backward, (input,), meta=d)


def _cumsum_backward(node, dy):
    d = (node.meta,) if dy.dim() else ()
    return (_core.flip(_core.cumsum(_core.flip(dy, d), node.meta), d),)


METHODS = ("sum", "mean", "var", "std", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "norm", "logsumexp", "any", "all", "count_nonzero",
           "cumsum")
FUNCTIONS = METHODS + ("var_mean", "std_mean")
INPLACE = ()
