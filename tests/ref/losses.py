"""Losses: x (rows, C, inner), target (rows, inner) of classes or (rows, C, inner) of probabilities."""
import math

import numpy as np

from .activations import sigmoid_fwd
from .elementwise import _quiet, div
from .softmax import log_softmax_fwd, softmax_fwd


def _reduce(losses, weights, reduction):
    return {"none": losses, "sum": losses.sum(), "mean": div(losses.sum(), weights)}[reduction]


def nll_fwd(x, target, weight=None, ignore_index=-100, reduction="mean"):
    """-weight[t] x[t], averaged over the weights of the counted targets."""
    rows, C, inner = x.shape
    losses, total = np.zeros((rows, inner)), 0
    for r, i in np.ndindex(rows, inner):
        t = target[r, i]
        if t != ignore_index:
            w = 1 if weight is None else weight[t]
            losses[r, i] = -w * x[r, t, i]
            total += w
    return _reduce(losses, np.float64(total), reduction)


def nll_bwd(dy, x, target, weight=None, ignore_index=-100, reduction="mean"):
    rows, C, inner = x.shape
    dx, total = np.zeros(x.shape), 0
    for r, i in np.ndindex(rows, inner):
        t = target[r, i]
        if t != ignore_index:
            w = 1 if weight is None else weight[t]
            dx[r, t, i] = -w * np.broadcast_to(dy, (rows, inner))[r, i]
            total += w
    return div(dx, total) if reduction == "mean" else dx


def _soft_target(x, target, weight, ignore_index, smoothing):
    """(q, total): the probability that each logit is weighed with, and the divisor of the mean."""
    rows, C, inner = x.shape
    w = np.ones(C) if weight is None else weight
    if target.shape == x.shape and target.dtype.kind == "f":
        return ((1 - smoothing) * target + smoothing / C) * w[:, None], np.float64(rows * inner)
    q, total = np.zeros(x.shape), np.float64(0)
    for r, i in np.ndindex(rows, inner):
        t = target[r, i]
        if t != ignore_index:
            q[r, :, i] = smoothing / C * w
            q[r, t, i] += (1 - smoothing) * w[t]
            total += w[t]
    return q, total


def cross_entropy_fwd(x, target, weight=None, ignore_index=-100, reduction="mean", smoothing=0):
    """-sum over classes of q log softmax(x)."""
    q, total = _soft_target(x, target, weight, ignore_index, smoothing)
    losses = -np.sum(np.where(q == 0, 0, q * log_softmax_fwd(x, 1)), 1)
    return _reduce(losses, total, reduction)


def cross_entropy_bwd(dy, x, target, weight=None, ignore_index=-100, reduction="mean", smoothing=0):
    q, total = _soft_target(x, target, weight, ignore_index, smoothing)
    dx = softmax_fwd(x, 1) * q.sum(1, keepdims=True) - q
    dx = dx * (dy[:, None] if reduction == "none" else dy)
    return div(dx, total) if reduction == "mean" else dx


def _of_elements(loss, *slopes):
    """The meanings, forward and backward, of a loss of single elements and its slopes in x, target (and v, a third operand)."""
    @_quiet
    def fwd(x, target, v=None, *, weight=1, reduction="mean", **options):
        args = (x, target) if v is None else (x, target, v)
        return _reduce(np.asarray(weight * loss(*args, **options)), np.float64(x.size), reduction)

    @_quiet
    def bwd(dy, x, target, v=None, *, weight=1, reduction="mean", which=0, **options):
        args = (x, target) if v is None else (x, target, v)
        g = weight * slopes[which](*args, **options) * dy
        return div(g, x.size) if reduction == "mean" else g
    return fwd, bwd


mse_fwd, mse_bwd = _of_elements(lambda x, t: (x - t) ** 2, lambda x, t: 2 * (x - t), lambda x, t: 2 * (t - x))
l1_fwd, l1_bwd = _of_elements(lambda x, t: np.abs(x - t), lambda x, t: np.sign(x - t), lambda x, t: np.sign(t - x))


def _huber(x, t, delta=1, unit=1):
    d = np.abs(x - t)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2)) / unit


def _huber_slope(x, t, delta=1, unit=1):
    return np.clip(x - t, -delta, delta) / unit


huber_fwd, huber_bwd = _of_elements(_huber, _huber_slope, lambda x, t, **k: -_huber_slope(x, t, **k))
bce_fwd, bce_bwd = _of_elements(lambda x, t: -t * np.maximum(np.log(x), -100) - (1 - t) * np.maximum(np.log1p(-x), -100),
                                lambda x, t: (x - t) / np.maximum(x * (1 - x), 1e-12), lambda x, t: np.log1p(-x) - np.log(x))
bce_logits_fwd, bce_logits_bwd = _of_elements(
    lambda x, t, v=1: v * t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x),
    lambda x, t, v=1: (1 - t) * sigmoid_fwd(x) - v * t * sigmoid_fwd(-x),
    lambda x, t, v=1: v * np.logaddexp(0, -x) - np.logaddexp(0, x))


def _gaussian(x, t, v, eps=1e-6, full=False):
    u = np.maximum(v, eps)
    return (np.log(u) + (x - t) ** 2 / u + full * math.log(2 * math.pi)) / 2


gaussian_nll_fwd, gaussian_nll_bwd = _of_elements(
    _gaussian, lambda x, t, v, eps=1e-6, full=False: (x - t) / np.maximum(v, eps),
    lambda x, t, v, eps=1e-6, full=False: (t - x) / np.maximum(v, eps),
    lambda x, t, v, eps=1e-6, full=False: (1 - (x - t) ** 2 / np.maximum(v, eps)) / np.maximum(v, eps) / 2)
kl_div_fwd, kl_div_bwd = _of_elements(lambda x, t: np.where(t == 0, 0, t * np.log(t)) - t * x, lambda x, t: -t,
                                      lambda x, t: np.log(t) + 1 - x)
kl_div_log_fwd, kl_div_log_bwd = _of_elements(lambda x, t: np.exp(t) * (t - x), lambda x, t: -np.exp(t),
                                              lambda x, t: np.exp(t) * (t - x + 1))
