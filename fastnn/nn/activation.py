"""Activations as layers; see nn.functional for their formulas."""
from ..ops.create import full
from . import functional as F
from .module import Module
from .parameter import Parameter


def _inplace(module):
    return "inplace=True" if module.inplace else ""


class ReLU(Module):
    """max(x, 0).

    Example:
        >>> import fastnn
        >>> fastnn.nn.ReLU()(fastnn.tensor([-1., 2.]))
        tensor([0., 2.])
    """

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input):
        return F.relu(input, inplace=self.inplace)

    extra_repr = _inplace


class LeakyReLU(Module):
    """x where x > 0, else negative_slope x.

    Errors: NotImplementedError for integers.

    Example:
        >>> import fastnn
        >>> fastnn.nn.LeakyReLU(0.1)(fastnn.tensor([-2., 0., 3.]))
        tensor([-0.2000,  0.0000,  3.0000])
    """

    def __init__(self, negative_slope=0.01, inplace=False):
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input):
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self):
        return f"negative_slope={self.negative_slope}" + ", inplace=True" * self.inplace


class PReLU(Module):
    """x where x > 0, else weight x, the weight learned.

    Args:
        num_parameters: 1, or the number of channels (dimension 1 of the input): one weight for each.
        init: start value.

    Shape:
        input (N,...) or (N,num_parameters,...), output alike, weight (num_parameters).

    Errors: RuntimeError for another number of channels.

    Source: He et al., Delving deep into rectifiers, 2015.

    Example:
        >>> import fastnn
        >>> fastnn.nn.PReLU()(fastnn.tensor([-2., 0., 3.]))
        tensor([-0.5000,  0.0000,  3.0000], grad_fn=<PreluBackward>)
    """

    def __init__(self, num_parameters=1, init=0.25, device=None, dtype=None):
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def reset_parameters(self):
        """Back to the start value."""
        self.weight.data.fill_(self.init)

    def forward(self, input):
        return F.prelu(input, self.weight)

    def extra_repr(self):
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """x where x > 0, else alpha (exp(x) - 1).

    Source: Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by exponential linear units, 2016.

    Example:
        >>> import fastnn
        >>> fastnn.nn.ELU()(fastnn.tensor([-2., 0., 3.]))
        tensor([-0.8647,  0.0000,  3.0000])
    """

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input):
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self):
        return f"alpha={self.alpha}" + ", inplace=True" * self.inplace


class SELU(Module):
    """ELU with alpha 1.6733, times 1.0507: keeps mean 0 and variance 1.

    Source: Klambauer et al., Self-normalizing neural networks, 2017.

    Example:
        >>> import fastnn
        >>> fastnn.nn.SELU()(fastnn.tensor([-2., 0., 3.]))
        tensor([-1.5202,  0.0000,  3.1521])
    """

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input):
        return F.selu(input, self.inplace)

    extra_repr = _inplace


class GELU(Module):
    """x P(X <= x) for a standard normal X; approximate='tanh': x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.

    Errors: RuntimeError for another `approximate`.

    Source: Hendrycks and Gimpel, Gaussian error linear units, 2016.

    Example:
        >>> import fastnn
        >>> fastnn.nn.GELU()(fastnn.tensor([-1., 0., 1.]))
        tensor([-0.1587,  0.0000,  0.8413])
    """

    def __init__(self, approximate="none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input):
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self):
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x sigmoid(x).

    Example:
        >>> import fastnn
        >>> fastnn.nn.SiLU()(fastnn.tensor([-2., 0., 3.]))
        tensor([-0.2384,  0.0000,  2.8577])
    """

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input):
        return F.silu(input, self.inplace)

    extra_repr = _inplace


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Softplus()(fastnn.tensor([-2., 0., 3.]))
        tensor([0.1269, 0.6931, 3.0486])
    """

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input):
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self):
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """x cut to [min_val, max_val].

    Errors: AssertionError unless max_val is above min_val.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Hardtanh()(fastnn.tensor([-2., 0., 3.]))
        tensor([-1.,  0.,  1.])
    """

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__()
        if max_val <= min_val:
            raise AssertionError(f"Hardtanh: max_val={max_val} must be above min_val={min_val}")
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input):
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self):
        return f"min_val={self.min_val}, max_val={self.max_val}" + ", inplace=True" * self.inplace


class ReLU6(Hardtanh):
    """x cut to [0, 6].

    Example:
        >>> import fastnn
        >>> fastnn.nn.ReLU6()(fastnn.tensor([-1., 3., 9.]))
        tensor([0., 3., 6.])
    """

    def __init__(self, inplace=False):
        super().__init__(0.0, 6.0, inplace)

    extra_repr = _inplace


class Step(Module):
    """1 where x > 0, else 0; its gradient is 0. The perceptron's, not in PyTorch.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Step()(fastnn.tensor([-2., 0., 3.]))
        tensor([0., 0., 1.])
    """

    def forward(self, input):
        return F.step(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    Example:
        >>> import fastnn
        >>> fastnn.nn.Sigmoid()(fastnn.tensor([-2., 0., 3.]))
        tensor([0.1192, 0.5000, 0.9526])
    """

    def forward(self, input):
        return input.sigmoid()


class Tanh(Module):
    """tanh(x).

    Example:
        >>> import fastnn
        >>> fastnn.nn.Tanh()(fastnn.tensor([-2., 0., 3.]))
        tensor([-0.9640,  0.0000,  0.9951])
    """

    def forward(self, input):
        return input.tanh()


class Softmax(Module):
    """exp(x) over its sum along dim.

    Args:
        dim: the dimension whose values sum to 1; None is PyTorch's old choice, with its warning.

    Errors: IndexError for a dim that is not there.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Softmax(1)(fastnn.tensor([[0., 0.], [1., 1.]]))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """

    def __init__(self, dim=None):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return F.softmax(input, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """x - log sum exp(x) along dim.

    Arguments and errors as `Softmax`.

    Example:
        >>> import fastnn
        >>> fastnn.nn.LogSoftmax(0)(fastnn.tensor([0., 0.]))
        tensor([-0.6931, -0.6931])
    """

    def __init__(self, dim=None):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return F.log_softmax(input, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"
