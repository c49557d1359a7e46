"""Resampling of images."""
import numpy as np

from .. import _core
from ..ops.upsample import resampling
from .arrays import _LAYOUTS, _images_in, _images_out, _option


def interpolate_forward(x, *, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, layout="NCHW", out=None):
    """x resampled to other rows and columns.

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'.
        mode: 'nearest', 'nearest-exact' or 'bilinear'; the other options as nn.functional.interpolate.

    Returns: (y, saved), y (N,C,P,Q), or (N,P,Q,C).
    """
    _option(layout, _LAYOUTS, "layout")
    x, options = _images_in(x, "x", layout), resampling(np.shape(x)[1:3] if layout == "NHWC" else np.shape(x)[2:], size, scale_factor, mode,
                                                      align_corners, recompute_scale_factor)
    return _images_out(_core.upsample(x, *options), layout, out), (tuple(x.shape), options, layout)


def interpolate_backward(dy, saved):
    """dx: each dy goes back to the pixels that it was made of by their weights, for the forward that gave `saved`."""
    shape, options, layout = saved
    return _images_out(_core.upsample_backward(_images_in(dy, "dy", layout), shape, layout == "NHWC", *options), layout)
