"""Conv1d and Conv2d.

Start values are PyTorch's: weight and bias uniform in +-1/sqrt(C/groups R S), which is what kaiming_uniform_(a=sqrt(5)) gives.
"""
import math

from ..ops.conv import conv2d_relu
from ..ops.create import empty
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """Sizes, options and parameters of a convolution over `dims` dimensions."""

    dims = 0

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros", device=None, dtype=None):
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError(f"in_channels must be divisible by groups: in_channels={in_channels}, groups={groups}")
        if out_channels % groups:
            raise ValueError(f"out_channels must be divisible by groups: out_channels={out_channels}, groups={groups}")
        if isinstance(padding, str):
            if padding not in ("valid", "same"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of 'valid', 'same'")
            if padding == "same" and any(s != 1 for s in self._each(stride)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode={padding_mode!r}")
        if padding_mode != "zeros":
            raise NotImplementedError(f"padding_mode={padding_mode!r}: not supported; only 'zeros' is")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = (self._each(v) for v in (kernel_size, stride, dilation))
        self.padding = padding if isinstance(padding, str) else self._each(padding)
        self.padding_mode = padding_mode
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _each(self, value):
        return tuple(value) if isinstance(value, (tuple, list)) else (value,) * self.dims

    def reset_parameters(self):
        """Draw start values anew."""
        fan_in = math.prod(self.weight.shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self):
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0,) * self.dims:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.dims:
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class Conv1d(_Conv):
    """Convolution of lines: see `fastnn.nn.functional.conv1d`. Arguments as `Conv2d`.

    Shape:
        input (N,C,L) or (C,L), output (N,K,Q) or (K,Q), weight (K,C/groups,S), bias (K).

    Example:
        >>> import fastnn
        >>> fastnn.nn.Conv1d(16, 33, 3, stride=2)(fastnn.zeros(20, 16, 50)).shape
        fastnn.Size([20, 33, 24])
    """

    dims = 1

    def forward(self, input):
        return F.conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """Convolution of images: see `fastnn.nn.functional.conv2d`.

    Args:
        in_channels, out_channels: C and K.
        kernel_size: R and S, a number or one each; stride, padding ('same' and 'valid' too), dilation likewise.
        groups: divides C and K.
        bias: bool, False leaves b out.
        padding_mode: 'zeros'.
        device, dtype: where and as what the parameters are made.

    Shape:
        input (N,C,H,W) or (C,H,W), output (N,K,P,Q) or (K,P,Q), channels-last in memory, weight (K,C/groups,R,S), bias (K).

    Errors: ValueError for options that do not fit each other, NotImplementedError for another padding_mode.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Conv2d(3, 8, 3, padding=1)(fastnn.zeros(2, 3, 32, 32)).shape
        fastnn.Size([2, 8, 32, 32])
    """

    dims = 2

    def forward(self, input):
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def forward_relu(self, input):
        """relu of forward's result, in the same pass: what Sequential calls where a ReLU follows."""
        return conv2d_relu(input, self.weight, self.bias, (self.stride, self.padding, self.dilation, self.groups))
