"""Resampling of images and lines, with its gradient."""
import math

from .. import _core
from .._core import attach
from . import shape
from .pool import adaptive_avg_pool2d
from .promote import tensor_only

_DIMS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}
_MODES = ("nearest", "nearest-exact", "area", *_DIMS)


def _whole(value):
    return not isinstance(value, bool) and hasattr(value, "__index__")


def _number(name, value):
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"interpolate(): argument '{name}' must be a number or a tuple of numbers, not {type(value).__name__}")
    return float(value)


def _for_each(name, value, spatial, letters):
    """An option given once, or once for each spatial dimension."""
    if not isinstance(value, (tuple, list)):
        return [value] * len(spatial)
    if len(value) != len(spatial):
        given = f"output size of {value}" if name == "size" else f"scale_factor of shape {value}"
        raise ValueError(f"Input and {'output' if name == 'size' else name} must have the same number of spatial dimensions, but got input with spatial "
                         f"dimensions of {spatial} and {given}. Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
                         f"{'output size' if name == 'size' else name} in ({letters}1, {letters}2, ...,{letters}K) format.")
    return list(value)


def _sizes(spatial, size, scale_factor, recompute):
    """(output sizes, the scale factors that places are found by, each None where the sizes tell)."""
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if size is not None:
        sizes = _for_each("size", size, spatial, "o")
        if not all(map(_whole, sizes)):
            raise TypeError(f"expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, int, int], but got size with types "
                            f"{[type(n) for n in sizes]}")
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return [int(n) for n in sizes], [None] * len(sizes)
    scales = [_number("scale_factor", s) for s in _for_each("scale_factor", scale_factor, spatial, "s")]
    if not all(map(math.isfinite, scales)):
        raise RuntimeError(f"interpolate: scale_factor {scale_factor} is not finite")
    return [int(n * s) for n, s in zip(spatial, scales)], [None] * len(scales) if recompute else scales


def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False):
    """input resampled to other sizes.

    Output p of P stands at the place h = (p + 1/2) H / P - 1/2 of the H input rows, at least 0; with align_corners at p (H - 1) / (P - 1).
    linear and bilinear weigh the two or four pixels around it by nearness. nearest takes floor(p H / P), nearest-exact
    floor((p + 1/2) H / P). With a scale_factor that is not recomputed, 1 / scale_factor stands for H / P.

    Args:
        input: (N,C,L) or (N,C,H,W); any strides.
        size: the output's size, one number or one for each dimension; or
        scale_factor: size over input's size, likewise; sizes are rounded down.
        mode: 'nearest', 'nearest-exact', 'linear' (lines), 'bilinear' (images), or 'area', which is adaptive_avg_pool2d.
        align_corners: bool, linear and bilinear only.
        recompute_scale_factor: bool, whether the ratio is that of the rounded sizes.
        antialias: False.

    Returns: (N,C,Q) or (N,C,P,Q), in input's layout.

    Errors: ValueError for options that do not fit each other; RuntimeError for sizes below 1; TypeError for what is not a number;
        NotImplementedError for other modes and dimensions, antialias, and integers.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.interpolate(fastnn.tensor([[[1., 3.]]]), scale_factor=2)
        tensor([[[1., 1., 3., 3.]]])
        >>> F.interpolate(fastnn.tensor([[[[0., 4.]]]]), size=(1, 5), mode="bilinear", align_corners=True)
        tensor([[[[0., 1., 2., 3., 4.]]]])
    """
    tensor_only(input, "interpolate")
    line, spatial = input.dim() == 3, list(input.shape[2:])
    options = resampling(spatial, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    x = shape.unsqueeze(input, 2) if line else input
    if mode == "area":
        y = adaptive_avg_pool2d(x, options[0])
    else:
        y = attach(_core.upsample(x, *options, line), _upsample_backward, (x,), (), (tuple(x.shape), not line and _core.pools_last(x), *options, line))
    return shape.squeeze(y, 2) if line else y


def resampling(spatial, size, scale_factor, mode, align_corners, recompute_scale_factor=None, antialias=False):
    """What `_core.upsample` takes beside the input of these spatial sizes: (rows, columns), their scale factors or None, the kind."""
    if mode not in _DIMS and align_corners is not None:
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear")
    dims = len(spatial) + 2
    sizes, scales = _sizes(list(spatial), size, scale_factor, recompute_scale_factor or mode == "area" and size is None)
    if antialias and not (mode in ("bilinear", "bicubic") and dims == 4):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input")
    if mode not in _MODES or dims not in (3, 4, 5):
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {dims}D) for the modes: nearest | linear | bilinear "
                                  f"| bicubic | trilinear | area | nearest-exact (got {mode})")
    if _DIMS.get(mode, dims) != dims:
        raise NotImplementedError(f"Got {dims}D input, but {mode} mode needs {_DIMS[mode]}D input")
    if antialias or mode == "bicubic" or dims == 5:
        raise NotImplementedError(f"interpolate: {'antialias=True' if antialias else f'mode={mode!r} of {dims}D input'}: not supported")
    kind = 2 + bool(align_corners) if mode in _DIMS else _MODES.index(mode)
    return (1, *sizes)[-2:], (None, *scales)[-2:], kind


def _upsample_backward(node, dy):
    return (_core.upsample_backward(dy, *node.meta),)


METHODS = ()
FUNCTIONS = ()
INPLACE = ()
