"""Pooling as layers; see nn.functional for formulas, shapes and errors."""
from . import functional as F
from .module import Module


class _MaxPool(Module):

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, kernel_size if stride is None else stride, padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input):
        return self._pool(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class MaxPool2d(_MaxPool):
    """The largest of each window of (N,C,H,W). See `nn.functional.max_pool2d`.

    Example:
        >>> import fastnn
        >>> fastnn.nn.MaxPool2d(2)(fastnn.zeros(8, 6, 28, 28)).shape
        fastnn.Size([8, 6, 14, 14])
    """

    _pool = staticmethod(F.max_pool2d)


class MaxPool1d(_MaxPool):
    """The largest of each window of (N,C,L). See `nn.functional.max_pool1d`.

    Example:
        >>> import fastnn
        >>> fastnn.nn.MaxPool1d(2)(fastnn.tensor([[1., 5., 2., 3.]]))
        tensor([[5., 3.]])
    """

    _pool = staticmethod(F.max_pool1d)


class AvgPool2d(Module):
    """The mean of each window of (N,C,H,W). See `nn.functional.avg_pool2d`.

    Example:
        >>> import fastnn
        >>> fastnn.nn.AvgPool2d(3, stride=2, padding=1)(fastnn.zeros(8, 6, 28, 28)).shape
        fastnn.Size([8, 6, 14, 14])
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, input):
        return F.avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _single(value):
    return value if isinstance(value, (tuple, list)) else (value,)


class AvgPool1d(Module):
    """The mean of each window of (N,C,L). See `nn.functional.avg_pool1d`.

    Example:
        >>> import fastnn
        >>> fastnn.nn.AvgPool1d(2)(fastnn.tensor([[1., 5., 2., 3.]]))
        tensor([[3.0000, 2.5000]])
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        self.kernel_size, self.stride, self.padding = map(_single, (kernel_size, kernel_size if stride is None else stride, padding))
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input):
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    extra_repr = AvgPool2d.extra_repr


class AdaptiveAvgPool2d(Module):
    """(N,C,H,W) averaged down, or spread, to (N,C,*output_size). See `nn.functional.adaptive_avg_pool2d`.

    Example:
        >>> import fastnn
        >>> fastnn.nn.AdaptiveAvgPool2d((7, None))(fastnn.zeros(8, 6, 28, 28)).shape
        fastnn.Size([8, 6, 7, 28])
    """

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, input):
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"
