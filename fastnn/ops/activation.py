"""Activations and softmax, with their gradients. Those of relu, sigmoid, tanh and softmax need the output alone."""
import functools

from .. import _core
from .._core import attach, needs_grad
from .elementwise import _function, _no_out
from .promote import cast, promote, tensor_only
from .shape import _wrap, permute, reshape

relu = _function("relu", lambda dy, y: _core.relu_backward(dy, y), """y = max(x, 0), NaN stays;  dx = dy where y > 0.

    Errors: RuntimeError for bool.

    Example:
        >>> import fastnn
        >>> fastnn.relu(fastnn.tensor([-1., 0., 2.]))
        tensor([0., 0., 2.])
    """, "y", real=False)

sigmoid = _function("sigmoid", lambda dy, y: _core.sigmoid_backward(dy, y), """y = 1 / (1 + exp(-x));  dx = dy (1 - y) y.

    Example:
        >>> import fastnn
        >>> fastnn.sigmoid(fastnn.tensor([0.]))
        tensor([0.5000])
    """, "y")

tanh = _function("tanh", lambda dy, y: _core.tanh_backward(dy, y), """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x));  dx = dy (1 - y^2).

    Example:
        >>> import fastnn
        >>> fastnn.tanh(fastnn.tensor([0., 1.]))
        tensor([0.0000, 0.7616])
    """, "y")


# ---- activations of the input and of numbers -------------------------------------------------------------------------

def _numbered(options):
    """The function that `options` names and describes: options(...) takes its arguments and gives (_core's function, its
    slope, their numbers). y = function(x, *numbers, out); dx = slope(dy, x, *numbers)."""
    name = options.__name__

    @functools.wraps(options)
    def function(input, *args, out=None, **named):
        op, slope, *numbers = options(tensor_only(input, name), *args, **named)
        if not needs_grad(input):
            return op(input, *numbers, out)
        _no_out(name, out)
        return attach(op(input, *numbers), backward, (input,), (input,), (slope, numbers))

    def backward(node, dy):
        slope, numbers = node.meta
        return (slope(dy, *node.saved, *numbers),)
    backward.__name__ = f"_{name}_backward"
    return function


@_numbered
def leaky_relu(input, negative_slope=0.01):
    """y = x where x > 0, else negative_slope x.

    Example:
        >>> import fastnn
        >>> fastnn.nn.functional.leaky_relu(fastnn.tensor([-1., 2.]), 0.1)
        tensor([-0.1000,  2.0000])
    """
    return _core.leaky_relu, _core.leaky_relu_backward, negative_slope


@_numbered
def elu(input, alpha=1.0):
    """y = x where x > 0, else alpha (exp(x) - 1). Source: Clevert et al., Exponential Linear Units, 2016.

    Example:
        >>> import fastnn
        >>> fastnn.nn.functional.elu(fastnn.tensor([-1., 2.]))
        tensor([-0.6321,  2.0000])
    """
    return _core.elu, _core.elu_backward, alpha, 1.0


@_numbered
def selu(input):
    """y = scale (x where x > 0, else alpha (exp(x) - 1)) with the numbers that keep mean 0 and variance 1.

    Source: Klambauer et al., Self-Normalizing Neural Networks, 2017.

    Example:
        >>> import fastnn
        >>> fastnn.selu(fastnn.tensor([-1., 0., 1.]))
        tensor([-1.1113,  0.0000,  1.0507])
    """
    return _core.elu, _core.elu_backward, 1.6732632423543772, 1.0507009873554805


@_numbered
def gelu(input, approximate="none"):
    """y = x P(X <= x) for a standard normal X, by erf; approximate='tanh': x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.

    Example:
        >>> import fastnn
        >>> fastnn.nn.functional.gelu(fastnn.tensor([-1., 0., 1.]))
        tensor([-0.1587,  0.0000,  0.8413])
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh. gelu: got {approximate!r}")
    return _core.gelu, _core.gelu_backward, approximate == "tanh"


@_numbered
def silu(input):
    """y = x sigmoid(x).

    Example:
        >>> import fastnn
        >>> fastnn.nn.functional.silu(fastnn.tensor([-1., 0., 1.]))
        tensor([-0.2689,  0.0000,  0.7311])
    """
    return _core.silu, _core.silu_backward


@_numbered
def softplus(input, beta=1.0, threshold=20.0):
    """y = log(1 + exp(beta x)) / beta, and x where beta x > threshold.

    Example:
        >>> import fastnn
        >>> fastnn.nn.functional.softplus(fastnn.tensor([-1., 0., 30.]))
        tensor([ 0.3133,  0.6931, 30.0000])
    """
    return _core.softplus, _core.softplus_backward, beta, threshold


@_numbered
def hardtanh(input, min_val=-1.0, max_val=1.0):
    """y = x cut to [min_val, max_val]; no gradient at the bounds and beyond.

    Example:
        >>> import fastnn
        >>> fastnn.nn.functional.hardtanh(fastnn.tensor([-3., 0.5, 3.]))
        tensor([-1.0000,  0.5000,  1.0000])
    """
    if min_val > max_val:
        raise ValueError(f"min_val cannot be greater than max_val: hardtanh: min_val={min_val}, max_val={max_val}")
    if not input.dtype.is_floating_point:
        min_val, max_val = int(min_val), int(max_val)
    return _core.clamp, _core.hardtanh_backward, min_val, max_val


@_numbered
def step(input):
    """y = 1 where x > 0, else 0; NaN stays. Its gradient is 0."""
    return _core.step, lambda dy, x: _core.full(dy.shape, 0, dy.dtype)


def prelu(input, weight):
    """y = x where x > 0, else w x, w learned;  dx = w dy where x is not above 0, dw = sum dy x there.

    Args:
        input: real Tensor of any shape, channels in dimension 1.
        weight: one number, or one for each channel, shape () or (C).

    Errors: RuntimeError for another number of channels or another type. Source: He et al., Delving Deep into Rectifiers, 2015.

    Example:
        >>> import fastnn
        >>> fastnn.prelu(fastnn.tensor([[-1., 2.], [-3., -4.]]), fastnn.tensor([0.1, 0.5]))
        tensor([[-0.1000,  2.0000],
                [-0.3000, -2.0000]])
    """
    x, w = tensor_only(input, "prelu"), tensor_only(weight, "prelu", "weight")
    return attach(_core.prelu(x, w), _prelu_backward, (x, w), (x, w))


def _prelu_backward(node, dy):
    return _core.prelu_backward(dy, *node.saved, *node.needs)



def softmax(input, dim, dtype=None):
    """y = exp(x) / sum exp(x) along `dim`;  dx = y (dy - sum dy y).

    Args:
        input: Tensor of any shape and real type.
        dim: the dimension whose values sum to 1.
        dtype: type to convert input to first.

    Errors: IndexError for a dim that is not there; NotImplementedError for integers.

    Example:
        >>> import fastnn
        >>> fastnn.softmax(fastnn.tensor([[0., 0.], [1., 1.]]), 1)
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    x = tensor_only(input, "softmax") if dtype is None else cast(input, dtype)
    y = _core.softmax(x, dim)
    return attach(y, _softmax_backward, (x,), (y,), dim)


def _softmax_backward(node, dy):
    y, = node.saved
    return (_core.softmax_backward(dy, y, node.meta),)


def log_softmax(input, dim, dtype=None):
    """y = x - log sum exp(x) along `dim`;  dx = dy - exp(y) sum dy. Arguments and errors as `softmax`.

    Example:
        >>> import fastnn
        >>> fastnn.log_softmax(fastnn.tensor([0., 0.]), 0)
        tensor([-0.6931, -0.6931])
    """
    x = tensor_only(input, "log_softmax") if dtype is None else cast(input, dtype)
    y = _core.log_softmax(x, dim)
    return attach(y, _log_softmax_backward, (x,), (y,), dim)


def _log_softmax_backward(node, dy):
    y, = node.saved
    return (_core.log_softmax_backward(dy, y, node.meta),)


def logsumexp(input, dim, keepdim=False):
    """y = log sum exp(x) along `dim`, an int or a tuple of ints;  dx = dy exp(x - y).

    Example:
        >>> import fastnn
        >>> fastnn.logsumexp(fastnn.zeros(2, 4), 1)
        tensor([1.3863, 1.3863])
    """
    x, = promote("logsumexp", tensor_only(input, "logsumexp"), real=True)
    shape = tuple(x.shape)
    dims = sorted({_wrap(d, len(shape)) for d in ((dim,) if isinstance(dim, int) else dim)})
    if len(dims) != 1 and shape:                         # several, or none given: all
        dims = dims or list(range(len(shape)))
        kept = [d for d in range(len(shape)) if d not in dims]
        n = 1
        for d in dims:
            n *= shape[d]
        x = reshape(permute(x, *kept, *dims), *(shape[d] for d in kept), n)
        along = -1
    else:
        along = dims[0] if dims else 0
    y = _core.logsumexp(x, along)
    if needs_grad(x):
        y = attach(y, _logsumexp_backward, (x,), (x, y))
    return reshape(y, tuple(1 if d in dims else n for d, n in enumerate(shape) if keepdim or d not in dims))


def _logsumexp_backward(node, dy):
    x, y = node.saved
    return (_core.mul(_core.exp(_core.sub(x, y)), dy),)


METHODS = ("relu", "sigmoid", "tanh", "softmax", "log_softmax", "logsumexp", "prelu")
FUNCTIONS = METHODS + ("selu",)
INPLACE = ("relu", "sigmoid", "tanh")
