"""Conv1d and Conv2d, ConvTranspose1d and ConvTranspose2d.

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

    dims, output_padding = 0, ()

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
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = (self._each(v) for v in (kernel_size, stride, dilation))
        self.padding = padding if isinstance(padding, str) else self._each(padding)
        self.padding_mode = padding_mode
        self.weight = Parameter(empty(*self._channels(), *self.kernel_size, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _framed(self, input):
        """(input with what a mode other than zeros adds around it, the padding that is left to do)"""
        if self.padding_mode == "zeros":
            return input, self.padding
        if self.padding == "valid":
            return input, 0
        around = []                                  # before and after, the last dimension first, as pad has it
        for i in reversed(range(self.dims)):
            total = self.dilation[i] * (self.kernel_size[i] - 1) if self.padding == "same" else 2 * self.padding[i]
            around += [total // 2, total - total // 2]
        return F.pad(input, around, self.padding_mode), 0

    def _each(self, value):
        return tuple(value) if isinstance(value, (tuple, list)) else (value,) * self.dims

    def _channels(self):
        """Of the weight: what it makes, what it takes of one group."""
        return self.out_channels, self.in_channels // self.groups

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
        if any(self.output_padding):
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
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
        input, padding = self._framed(input)
        return F.conv1d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """Convolution of images: see `fastnn.nn.functional.conv2d`.

    Args:
        in_channels, out_channels: C and K.
        kernel_size: R and S, a number or one each; stride, padding ('same' and 'valid' too), dilation likewise.
        groups: divides C and K.
        bias: bool, False leaves b out.
        padding_mode: what the padding holds: 'zeros'; 'reflect', 'replicate' or 'circular', as `fastnn.nn.functional.pad` has them.
        device, dtype: where and as what the parameters are made.

    Shape:
        input (N,C,H,W) or (C,H,W), output (N,K,P,Q) or (K,P,Q), channels-last in memory, weight (K,C/groups,R,S), bias (K).

    Errors: ValueError for options that do not fit each other; RuntimeError for an input smaller than a padding that mirrors or wraps it.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Conv2d(3, 8, 3, padding=1)(fastnn.zeros(2, 3, 32, 32)).shape
        fastnn.Size([2, 8, 32, 32])
    """

    dims = 2

    def forward(self, input):
        input, padding = self._framed(input)
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def forward_relu(self, input):
        """relu of forward's result, in the same pass: what Sequential calls where a ReLU follows."""
        input, padding = self._framed(input)
        return conv2d_relu(input, self.weight, self.bias, (self.stride, padding, self.dilation, self.groups))


class _ConvTranspose(_Conv):
    """The same of a transposed convolution."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1,
                 padding_mode="zeros", device=None, dtype=None):
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype)
        self.output_padding = self._each(output_padding)

    def _channels(self):
        return self.in_channels, self.out_channels // self.groups

    def _padded_to(self, input, output_size):
        """The output_padding that leads to output_size."""
        if output_size is None:
            return self.output_padding
        lead, sizes = input.dim() - self.dims, list(output_size)
        sizes = sizes[lead:] if len(sizes) == lead + self.dims else sizes
        if len(sizes) != self.dims:
            raise ValueError(f"ConvTranspose{self.dims}D: for {input.dim()}D input, output_size must have {self.dims} or {lead + self.dims} elements "
                             f"(got {len(sizes)})")
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in zip(input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size)]
        most = [n + s - 1 for n, s in zip(least, self.stride)]
        if any(not low <= n <= high for low, n, high in zip(least, sizes, most)):
            raise ValueError(f"requested an output size of {sizes}, but valid sizes range from {least} to {most} (for an input of {input.shape[2:]})")
        return tuple(n - low for n, low in zip(sizes, least))

    def forward(self, input, output_size=None):
        return self._convolve(input, self.weight, self.bias, self.stride, self.padding, self._padded_to(input, output_size), self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of lines: see `fastnn.nn.functional.conv_transpose1d`. Arguments as `ConvTranspose2d`.

    Shape:
        input (N,C_in,L) or (C_in,L), output (N,C_out,W) or (C_out,W), weight (C_in,C_out/groups,S), bias (C_out).

    Example:
        >>> import fastnn
        >>> fastnn.nn.ConvTranspose1d(16, 33, 3, stride=2)(fastnn.zeros(20, 16, 50)).shape
        fastnn.Size([20, 33, 101])
    """

    dims = 1
    _convolve = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of images: see `fastnn.nn.functional.conv_transpose2d`.

    Args:
        in_channels, out_channels: C_in and C_out.
        kernel_size: R and S, a number or one each; stride, padding, output_padding, dilation likewise.
        groups: divides C_in and C_out.
        bias: bool, False leaves b out.
        padding_mode: 'zeros'.
        device, dtype: where and as what the parameters are made.

    Shape:
        input (N,C_in,P,Q) or (C_in,P,Q), output (N,C_out,H,W) or (C_out,H,W), channels-last in memory, weight (C_in,C_out/groups,R,S),
        bias (C_out). Start values as of Conv2d, with the C_out/groups R S weights of an input channel for the bound.
        forward(input, output_size): output_size (H, W) chooses among those that the stride allows, in place of output_padding.

    Errors: ValueError for options that do not fit each other, or an output_size out of reach.

    Example:
        >>> import fastnn
        >>> up = fastnn.nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1)
        >>> up(fastnn.zeros(2, 8, 16, 16)).shape
        fastnn.Size([2, 4, 31, 31])
        >>> up(fastnn.zeros(2, 8, 16, 16), output_size=(32, 32)).shape
        fastnn.Size([2, 4, 32, 32])
    """

    dims = 2
    _convolve = staticmethod(F.conv_transpose2d)
