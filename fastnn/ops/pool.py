"""Pooling of images and lines, with its gradients."""
from .. import _core
from .._core import attach
from . import shape
from .promote import tensor_only


def _images(name, input):
    """(input as (N,C,H,W), was it without a batch?)"""
    tensor_only(input, name)
    if input.dim() not in (3, 4):
        raise RuntimeError(f"{name}(): Expected 3D or 4D tensor, non-empty 3D (C,H,W) or 4D (N,C,H,W), but got {list(input.shape)}")
    alone = input.dim() == 3
    if alone and 0 in input.shape and name != "adaptive_avg_pool2d":
        raise RuntimeError(f"{name}: Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, but got:{list(input.shape)}")
    return (shape.unsqueeze(input, 0), True) if alone else (input, False)


def _lines(name, input):
    """(input as (N,C,1,L), was it without a batch?)"""
    tensor_only(input, name)
    alone = input.dim() == 2
    if input.dim() not in (2, 3) or 0 in input.shape[not alone:]:
        raise RuntimeError(f"{name}: Expected 2D or 3D (batch mode) tensor with optional 0 dim batch size for input, but got:{list(input.shape)}")
    return shape.unsqueeze(shape.unsqueeze(input, 0) if alone else input, 2), alone


def _as_given(y, alone, line):
    y = shape.squeeze(y, 2) if line else y
    return shape.squeeze(y, 0) if alone else y


# ---- max ---------------------------------------------------------------------------------------------------------------

def _max_pool(x, options, return_indices, alone, line):
    y, tap, indices = _core.max_pool2d(x, *options, return_indices, line)
    y = _as_given(attach(y, _max_pool_backward, (x,), (tap,), (tuple(x.shape), options, line)), alone, line)
    return (y, _as_given(indices, alone, line)) if return_indices else y


def _max_pool_backward(node, dy):
    x_shape, options, line = node.meta
    return (_core.max_pool2d_backward(dy, *node.saved, x_shape, *options, line),)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """y[n,c,p,q] = max over r,s of input[n, c, p stride - padding + r dilation, q stride - padding + s dilation]

    over what lies inside; NaN wins. Of equals the first takes the gradient, of NaN the last.

    Args:
        input: (N,C,H,W), or (C,H,W) without a batch; any strides.
        kernel_size: a number, or one for rows and one for columns; so are stride (None: kernel_size), padding (at most half of
            kernel_size) and dilation.
        ceil_mode: bool, whether a last window may reach over the end.
        return_indices: bool, whether to give h W + w of each maximum too.

    Returns: (N,C,P,Q) in input's layout, P = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1 (rounded up by
        ceil_mode), Q likewise; or (y, indices), indices int64 of y's shape.

    Errors: RuntimeError for sizes that do not fit, TypeError for what is not a number, NotImplementedError for integers.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.max_pool2d(fastnn.arange(16.).view(1, 1, 4, 4), 2)
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """
    x, alone = _images("max_pool2d", input)
    return _max_pool(x, (kernel_size, stride, padding, dilation, ceil_mode), return_indices, alone, False)


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """y[n,c,q] = max over s of input[n, c, q stride - padding + s dilation]; `max_pool2d` over one row.

    Args:
        input: (N,C,L), or (C,L) without a batch. Others as `max_pool2d`, each one number.

    Returns: (N,C,Q), or (y, indices).

    Errors: as `max_pool2d`.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.max_pool1d(fastnn.tensor([[1., 3., 2., 0.]]), 2)
        tensor([[3., 2.]])
    """
    x, alone = _lines("max_pool1d", input)
    return _max_pool(x, (kernel_size, stride, padding, dilation, ceil_mode), return_indices, alone, True)


# ---- average -----------------------------------------------------------------------------------------------------------

def _avg_pool(x, options, alone, line):
    y = _core.avg_pool2d(x, *options, line)
    return _as_given(attach(y, _avg_pool_backward, (x,), (), (tuple(x.shape), _core.pools_last(x), *options, line)), alone, line)


def _avg_pool_backward(node, dy):
    return (_core.avg_pool2d_backward(dy, *node.meta),)


def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """y[n,c,p,q] = sum over r,s of input[n, c, p stride - padding + r, q stride - padding + s], zero outside, over the number of taps.

    Args:
        input: (N,C,H,W), or (C,H,W) without a batch; any strides.
        kernel_size, stride, padding, ceil_mode: as `max_pool2d`.
        count_include_pad: bool, whether taps in the padding count.
        divisor_override: what to divide by instead.

    Returns: (N,C,P,Q) in input's layout.

    Errors: as `max_pool2d`; RuntimeError for divisor_override 0.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.avg_pool2d(fastnn.arange(16.).view(1, 1, 4, 4), 2)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """
    x, alone = _images("avg_pool2d", input)
    return _avg_pool(x, (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override), alone, False)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """y[n,c,q] = mean over s of input[n, c, q stride - padding + s]; `avg_pool2d` over one row.

    Args:
        input: (N,C,L), or (C,L) without a batch. Others as `avg_pool2d`, each one number.

    Returns: (N,C,Q).

    Errors: as `avg_pool2d`.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.avg_pool1d(fastnn.tensor([[1., 3., 2., 0.]]), 2)
        tensor([[2., 1.]])
    """
    x, alone = _lines("avg_pool1d", input)
    return _avg_pool(x, (kernel_size, stride, padding, ceil_mode, count_include_pad, None), alone, True)


def _adaptive_avg_pool_backward(node, dy):
    return (_core.adaptive_avg_pool2d_backward(dy, *node.meta),)


def adaptive_avg_pool2d(input, output_size):
    """y[n,c,p,q] = mean of input[n, c, h, w] over h from floor(p H / P) to ceil((p + 1) H / P) - 1, w likewise.

    Args:
        input: (N,C,H,W), or (C,H,W) without a batch; any strides.
        output_size: (P, Q), or one number for both; None leaves H or W.

    Returns: (N,C,P,Q) in input's layout.

    Errors: RuntimeError for sizes that do not fit, TypeError for what is not a number, NotImplementedError for integers.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.adaptive_avg_pool2d(fastnn.arange(16.).view(1, 1, 4, 4), 1)
        tensor([[[[7.5000]]]])
    """
    x, alone = _images("adaptive_avg_pool2d", input)
    y = _core.adaptive_avg_pool2d(x, output_size)
    return _as_given(attach(y, _adaptive_avg_pool_backward, (x,), (), (tuple(x.shape), _core.pools_last(x), output_size)), alone, False)


METHODS = ()
FUNCTIONS = ("avg_pool1d", "max_pool1d", "max_pool2d")
INPLACE = ()
