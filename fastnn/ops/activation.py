"""Activations and softmax. Their gradients need the output alone."""
from .. import _core
from .._core import attach, needs_grad
from .elementwise import _function
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


FUNCTIONS = ("relu", "sigmoid", "tanh", "softmax", "log_softmax", "logsumexp")
METHODS = FUNCTIONS
INPLACE = ("relu", "sigmoid", "tanh")
