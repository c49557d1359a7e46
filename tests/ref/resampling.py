"""Resampling."""
from fractions import Fraction

import numpy as np


def _weights(n, out, mode, scale):
    """(out, n): what each output takes of each input. nearest counts in float32, as PyTorch does."""
    a, ratio = np.zeros((out, n)), Fraction(1 / scale) if scale else Fraction(n, out)
    for p in range(out):
        if mode.startswith("nearest"):
            ratio = ratio if out not in (n, 2 * n) or mode == "nearest-exact" else Fraction(n, out)
            a[p, min(int(np.float32(p + 0.5 * (mode == "nearest-exact")) * np.float32(ratio)), n - 1)] = 1
            continue
        at = Fraction(p * (n - 1), max(out - 1, 1)) if mode == "corners" else (p + Fraction(1, 2)) * ratio - Fraction(1, 2)
        at = p if n == out else min(max(at, 0), n - 1)
        a[p, int(at)] += 1 - float(at - int(at))
        a[p, min(int(at) + 1, n - 1)] += float(at - int(at))
    return a


def upsample_fwd(x, size, mode, scales=(None, None)):
    """y (N,C,*size) of x (N,C,H,W), rows and columns apart; mode 'nearest', 'nearest-exact', 'linear' or 'corners'."""
    rows, columns = (_weights(n, out, mode, s) for n, out, s in zip(x.shape[2:], size, scales))
    return np.einsum("ph,nchw,qw->ncpq", rows, x, columns)


def upsample_bwd(dy, shape, mode, scales=(None, None)):
    """dx of the given shape: dy goes back by the same weights."""
    rows, columns = (_weights(n, out, mode, s) for n, out, s in zip(shape[2:], dy.shape[2:], scales))
    return np.einsum("ph,ncpq,qw->nchw", rows, dy, columns)
