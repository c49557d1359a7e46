"""Interpolation of images."""
from functools import partial

import numpy as np

import ref
from fastnn.nn import functional as F
from .common import APART, case, grad, randn


def upsample_cases(n, size, mode, scales=None):
    """Both operations of one resampling, by a size or by scale factors that come to it."""
    x, options = randn(*n), {"mode": mode} if mode != "corners" else {"mode": "bilinear", "align_corners": True}
    meant = {"mode": mode.replace("bi", ""), "scales": scales or (None, None)}
    fwd, bwd = partial(ref.upsample_fwd, size=size, **meant), partial(ref.upsample_bwd, shape=n, **meant)
    resample = partial(F.interpolate, **options, **({"scale_factor": scales} if scales else {"size": size}))
    case("upsample_fwd", resample, x, mean=fwd, bound=lambda x: fwd(np.abs(x)), grads=(0,), same_everywhere=True,
         tol=24)
    case("upsample_bwd", partial(grad, resample), randn(n[0], n[1], *size), x, mean=lambda dy, x: bwd(dy), layouts=APART,
         bound=lambda dy, x: bwd(np.abs(dy)), same_everywhere=True, tol=24)


for mode in ("nearest", "nearest-exact", "bilinear", "corners"):
    upsample_cases((2, 3, 5, 35), (10, 70), mode)
    upsample_cases((2, 18, 4, 5), (7, 15), mode)
    upsample_cases((1, 2, 9, 66), (4, 19), mode)
upsample_cases((1, 2, 6, 20), (6, 50), "bilinear")
upsample_cases((1, 2, 6, 20), (13, 20), "bilinear")
upsample_cases((2, 2, 5, 7), (11, 4), "bilinear", (2.3, 0.6))
upsample_cases((2, 2, 5, 7), (7, 21), "nearest", (1.5, 3.0))
upsample_cases((1, 3, 1, 1), (6, 40), "bilinear")
upsample_cases((0, 3, 2, 2), (3, 3), "nearest")
