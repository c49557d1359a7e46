"""Normalisation of layers, groups of channels and single images."""
import warnings

from ..ops import norm
from ..ops.create import empty
from . import init
from .batchnorm import _BatchNorm
from .module import Module
from .parameter import Parameter


class _Norm(Module):
    def _make(self, shape, weight, bias, device, dtype):
        for name, wanted in (("weight", weight), ("bias", bias)):
            self.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Start values: weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


def _shape(normalized_shape):
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


class LayerNorm(_Norm):
    """y = (x - mean) / sqrt(var + eps) weight + bias over the last dimensions: see `functional.layer_norm`.

    Args:
        normalized_shape: the last dimensions of the input, or one number.
        eps: a number beside the variance.
        elementwise_affine: bool, False leaves weight and bias out (bias=False: bias alone).

    Shape: input and output (..., *normalized_shape); weight and bias normalized_shape.

    Example:
        >>> import fastnn
        >>> m = fastnn.nn.LayerNorm(16)
        >>> m(fastnn.randn(4, 16)).mean(1).abs().max().item() < 1e-6, m
        (True, LayerNorm((16,), eps=1e-05, elementwise_affine=True, bias=True))
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = _shape(normalized_shape), eps, elementwise_affine
        self._make(self.normalized_shape, elementwise_affine, elementwise_affine and bias, device, dtype)

    def forward(self, input):
        return norm.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"


class RMSNorm(Module):
    """y = x / sqrt(mean of x^2 + eps) weight over the last dimensions: see `functional.rms_norm`.

    Args:
        normalized_shape: the last dimensions of the input, or one number.
        eps: a number; None for the type's rounding.
        elementwise_affine: bool, False leaves weight out.

    Shape: input and output (..., *normalized_shape); weight normalized_shape.

    Example:
        >>> import fastnn
        >>> fastnn.nn.RMSNorm(2)(fastnn.tensor([[3., -3.]])).detach()
        tensor([[ 1., -1.]])
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = _shape(normalized_shape), eps, elementwise_affine
        self.register_parameter("weight", Parameter(empty(self.normalized_shape, device=device, dtype=dtype)) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Start value: weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input):
        return norm.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Norm):
    """y = (x - mean) / sqrt(var + eps) weight + bias for each sample and group of channels: see `functional.group_norm`.

    Args:
        num_groups: a number that divides num_channels.
        num_channels: C.
        eps: a number beside the variance.
        affine: bool, False leaves weight and bias out (bias=False: bias alone).

    Shape: input and output (N,C) or (N,C,...); weight and bias (C).

    Errors: ValueError where num_groups does not divide num_channels.

    Example:
        >>> import fastnn
        >>> fastnn.nn.GroupNorm(3, 6)(fastnn.randn(2, 6, 5, 5)).shape
        fastnn.Size([2, 6, 5, 5])
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None, *, bias=True):
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._make((num_channels,), affine, affine and bias, device, dtype)

    def forward(self, input):
        return norm.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class InstanceNorm2d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) weight + bias for each image and channel: see `functional.instance_norm`.

    Args:
        num_features: C.
        eps: a number beside the variance.
        momentum: weight of a batch in the running statistics.
        affine: bool, True adds weight and bias (bias=False: weight alone).
        track_running_stats: bool, True keeps running statistics, which evaluation takes.

    Shape: input and output (N,C,H,W) or (C,H,W); weight, bias, running_mean, running_var (C).

    Example:
        >>> import fastnn
        >>> fastnn.nn.InstanceNorm2d(8)(fastnn.randn(4, 8, 5, 5)).shape
        fastnn.Size([4, 8, 5, 5])
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False, device=None, dtype=None, *, bias=True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input):
        if input.dim() not in (3, 4):
            raise ValueError(f"expected 3D or 4D input (got {input.dim()}D input)")
        channels = input.shape[input.dim() - 3]
        if channels != self.num_features:
            said = f"expected input's size at dim={input.dim() - 3} to match num_features ({self.num_features}), but got: {channels}."
            if self.affine:
                raise ValueError(said)
            warnings.warn(f"{said} Without affine num_features is not used.", stacklevel=2)
        y = norm.instance_norm(input.unsqueeze(0) if input.dim() == 3 else input, self.running_mean, self.running_var, self.weight, self.bias,
                               self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps)
        return y.squeeze(0) if input.dim() == 3 else y
