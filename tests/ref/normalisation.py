"""Normalisation."""
import numpy as np

from .products import ACT


def _each(v, x, otherwise=0):
    """v (C), or None for `otherwise`, beside x (N,C,...)."""
    return otherwise if v is None else v.reshape((-1,) + (1,) * (x.ndim - 2))


def batch_norm_eval(x, mean, var, w=None, b=None, eps=1e-5, act="none"):
    """act((x - mean) / sqrt(var + eps) w + b): x (N,C,...), the others (C)."""
    return ACT[act]((x - _each(mean, x)) / np.sqrt(_each(var, x) + eps) * _each(w, x, 1) + _each(b, x))


def batch_norm_fwd(x, w=None, b=None, eps=1e-5, act="none"):
    """The same with the mean and the variance of each channel of x."""
    axes = (0, *range(2, x.ndim))
    return batch_norm_eval(x, x.mean(axes), x.var(axes), w, b, eps, act)


def batch_norm_bwd(dy, x, w=None, eps=1e-5, mean=None, var=None):
    """(dx, dw, db). Without mean and var those of x, which then move with x. Of an act dy has gone through its backward."""
    axes = (0, *range(2, x.ndim))
    rstd = 1 / np.sqrt(_each(x.var(axes) if var is None else var, x) + eps)
    u = (x - _each(x.mean(axes) if mean is None else mean, x)) * rstd
    du = dy * _each(w, x, 1)
    if mean is None:
        du = du - du.mean(axes, keepdims=True) - u * (du * u).mean(axes, keepdims=True)
    return du * rstd, (dy * u).sum(axes), dy.sum(axes)


def _rows_of(x, k, eps, rms):
    """(u, rstd, axes): x normalised over its last k dimensions."""
    axes = tuple(range(x.ndim - k, x.ndim))
    e = x if rms else x - x.mean(axes, keepdims=True)
    rstd = 1 / np.sqrt((e * e).mean(axes, keepdims=True) + eps)
    return e * rstd, rstd, axes


def _du(du, u, rstd, axes, rms):
    return rstd * (du - (0 if rms else du.mean(axes, keepdims=True)) - u * (du * u).mean(axes, keepdims=True))


def layer_norm_fwd(x, w=None, b=None, eps=1e-5, k=1, rms=False):
    """(x - mean) / sqrt(var + eps) w + b over the last k dimensions; rms: the mean counts as 0."""
    return _rows_of(x, k, eps, rms)[0] * (1 if w is None else w) + (0 if b is None else b)


def layer_norm_bwd(dy, x, w=None, eps=1e-5, k=1, rms=False):
    """(dx, dw, db)"""
    u, rstd, axes = _rows_of(x, k, eps, rms)
    rest = tuple(range(x.ndim - k))
    return _du(dy * (1 if w is None else w), u, rstd, axes, rms), (dy * u).sum(rest), dy.sum(rest)


def _groups_of(x, groups):
    return x.reshape(x.shape[0], groups, -1)


def group_norm_fwd(x, groups, w=None, b=None, eps=1e-5):
    """(x - mean) / sqrt(var + eps) w + b for each sample and group of channels: x (N,C,...), w and b (C)."""
    return _rows_of(_groups_of(x, groups), 1, eps, False)[0].reshape(x.shape) * _each(w, x, 1) + _each(b, x)


def group_norm_bwd(dy, x, groups, w=None, eps=1e-5):
    """(dx, dw, db)"""
    u, rstd, axes = _rows_of(_groups_of(x, groups), 1, eps, False)
    dx, rest = _du(_groups_of(dy * _each(w, x, 1), groups), u, rstd, axes, False), (0, *range(2, x.ndim))
    return dx.reshape(x.shape), (dy * u.reshape(x.shape)).sum(rest), dy.sum(rest)
