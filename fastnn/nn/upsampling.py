"""Resampling as a layer; see nn.functional.interpolate for formulas, shapes and errors."""
from . import functional as F
from .module import Module


class Upsample(Module):
    """(N,C,L) or (N,C,H,W) resampled. See `nn.functional.interpolate`.

    Args:
        size or scale_factor: the output's size, or its ratio to the input's.
        mode: 'nearest', 'nearest-exact', 'linear' or 'bilinear'. align_corners, recompute_scale_factor: as interpolate.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Upsample(scale_factor=2, mode="bilinear")(fastnn.zeros(8, 6, 14, 14)).shape
        fastnn.Size([8, 6, 28, 28])
    """

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        super().__init__()
        self.size, self.mode = size, mode
        self.scale_factor = tuple(map(float, scale_factor)) if isinstance(scale_factor, tuple) else float(scale_factor) if scale_factor else None
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, input):
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def extra_repr(self):
        given = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{given}, mode={self.mode!r}"
