"""Pooling."""
from .. import _core
from .arrays import _LAYOUTS, _images_in, _images_out, _option


def max_pool2d_forward(x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, layout="NCHW", out=None):
    """y[n,c,p,q] = max over r,s of x[n, c, p stride + r dilation - padding, q stride + s dilation - padding] inside x; NaN wins.

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'.
        kernel_size, stride (None: kernel_size), padding, dilation: a number, or one for rows and one for columns.
        ceil_mode: whether a last window may reach over the end.

    Returns: (y, saved), y (N,C,P,Q), or (N,P,Q,C).
    """
    _option(layout, _LAYOUTS, "layout")
    x, options = _images_in(x, "x", layout), (kernel_size, stride, padding, dilation, ceil_mode)
    y, tap, _ = _core.max_pool2d(x, *options)
    return _images_out(y, layout, out), (tap, tuple(x.shape), options, layout)


def max_pool2d_backward(dy, saved):
    """dx: each dy goes to the element that was the largest, for the forward that gave `saved`."""
    tap, shape, options, layout = saved
    return _images_out(_core.max_pool2d_backward(_images_in(dy, "dy", layout), tap, shape, *options), layout)


def avg_pool2d_forward(x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, layout="NCHW", out=None):
    """y[n,c,p,q] = sum over r,s of x[n, c, p stride + r - padding, q stride + s - padding] over the number of taps, or divisor_override.

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'. kernel_size, stride, padding, ceil_mode: as max_pool2d_forward.
        count_include_pad: whether taps in the padding count.

    Returns: (y, saved), y (N,C,P,Q), or (N,P,Q,C).
    """
    _option(layout, _LAYOUTS, "layout")
    x, options = _images_in(x, "x", layout), (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _images_out(_core.avg_pool2d(x, *options), layout, out), (tuple(x.shape), options, layout)


def avg_pool2d_backward(dy, saved):
    """dx: of each dy its share over the window's elements, for the forward that gave `saved`."""
    shape, options, layout = saved
    return _images_out(_core.avg_pool2d_backward(_images_in(dy, "dy", layout), shape, layout == "NHWC", *options), layout)


def adaptive_avg_pool2d_forward(x, *, output_size, layout="NCHW", out=None):
    """y[n,c,p,q] = mean of x[n,c,h,w] over h from floor(p H / P) to ceil((p + 1) H / P) - 1, w likewise.

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'. output_size: (P, Q), or one number for both; None leaves H or W.

    Returns: (y, saved), y (N,C,P,Q), or (N,P,Q,C).
    """
    _option(layout, _LAYOUTS, "layout")
    x = _images_in(x, "x", layout)
    return _images_out(_core.adaptive_avg_pool2d(x, output_size), layout, out), (tuple(x.shape), output_size, layout)


def adaptive_avg_pool2d_backward(dy, saved):
    """dx: of each dy its share over the window's elements, for the forward that gave `saved`."""
    shape, output_size, layout = saved
    return _images_out(_core.adaptive_avg_pool2d_backward(_images_in(dy, "dy", layout), shape, layout == "NHWC", output_size), layout)
