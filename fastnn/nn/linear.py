"""Linear and Identity.

The start values of Linear are PyTorch's: weight and bias uniform in +-1/sqrt(in_features), which is what
kaiming_uniform_(a=sqrt(5)) gives.
"""
import math

from ..ops.create import empty
from ..ops.matmul import linear_relu
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class Identity(Module):
    """Returns its input. Takes any arguments and ignores them.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Identity()(fastnn.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input):
        return input


class Linear(Module):
    """y = x W' + b

    Args:
        in_features: size of each input row.
        out_features: size of each output row.
        bias: bool, False leaves b out.
        device, dtype: where and as what the parameters are made.

    Shape:
        input (..., in_features), output (..., out_features), weight (out_features, in_features), bias (out_features).

    Example:
        >>> import fastnn
        >>> fastnn.nn.Linear(20, 30)(fastnn.zeros(128, 20)).shape
        fastnn.Size([128, 30])
    """

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw start values anew."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input):
        return F.linear(input, self.weight, self.bias)

    def forward_relu(self, input):
        """relu of forward's result, in the same pass: what Sequential calls where a ReLU follows."""
        return linear_relu(input, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
