"""Losses."""
import numpy as np

from .. import _core
from .arrays import _in, _option, _out

_REDUCTIONS = ("none", "mean", "sum")


def softmax_cross_entropy_forward(x, target, *, weight=None, reduction="mean", ignore_index=-100, label_smoothing=0.0):
    """loss = -log softmax(x)[target], reduced.

    Args:
        x: (N, C) or (N, C, ...). target: classes, int64 (N, ...).
        weight: (C) or None. reduction: 'none', 'mean' (weighted) or 'sum'.

    Returns: (loss, saved); loss has shape () or target's.
    """
    reduce = _option(reduction, _REDUCTIONS, "reduction")
    weight = None if weight is None else _in(weight, "weight")
    loss, *saved = _core.cross_entropy(_in(x, "x"), _in(target, "target"), weight, reduce, ignore_index, label_smoothing, True)
    return _out(loss), (*saved, reduce, ignore_index, label_smoothing)


def softmax_cross_entropy_backward(dy, saved):
    """dx = dy weight[target] (softmax(x) - onehot(target)) / total, for the forward that gave `saved`."""
    return _out(_core.cross_entropy_backward(_in(dy, "dy"), *saved))


def _pair_forward(name, x, target, weight, v, reduction, s=0.0, s2=0.0):
    """A loss of single elements: (loss, saved)."""
    reduce = _option(reduction, _REDUCTIONS, "reduction")
    weight, v = (None if a is None else _in(a, what) for a, what in ((weight, "weight"), (v, "pos_weight or var")))
    loss, *saved = _core.pair_loss(name, _in(x, "x"), _in(target, "target"), weight, v, reduce, s, s2)
    return _out(loss), (name, *saved, reduce, s, s2)


def _pair_backward(dy, saved, *wanted):
    """The gradients (dx, dtarget, dv) for the forward that gave `saved`."""
    name, *rest = saved
    return [None if g is None else _out(g) for g in _core.pair_loss_backward(name, _in(dy, "dy"), *rest, *wanted)]


def mse_forward(x, target, *, reduction="mean"):
    """loss = (x - target)^2, reduced; returns (loss, saved)."""
    return _pair_forward("mse", x, target, None, None, reduction)


def mse_backward(dy, saved):
    """dx = 2 dy (x - target) / total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _pair_backward(dy, saved)[0]


def l1_forward(x, target, *, reduction="mean"):
    """loss = |x - target|, reduced; returns (loss, saved)."""
    return _pair_forward("l1", x, target, None, None, reduction)


def l1_backward(dy, saved):
    """dx = dy sign(x - target) / total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _pair_backward(dy, saved)[0]


def smooth_l1_forward(x, target, *, beta=1.0, reduction="mean"):
    """loss = d^2 / (2 beta) where d = |x - target| < beta, else d - beta / 2, reduced; returns (loss, saved)."""
    if beta < 0:
        raise ValueError(f"beta: {beta} is below 0")
    return _pair_forward("huber" if beta else "l1", x, target, None, None, reduction, beta, beta)


def smooth_l1_backward(dy, saved):
    """dx = dy (x - target) / beta cut to [-dy, dy], over total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _pair_backward(dy, saved)[0]


def huber_forward(x, target, *, delta=1.0, reduction="mean"):
    """loss = d^2 / 2 where d = |x - target| < delta, else delta (d - delta / 2), reduced; returns (loss, saved)."""
    if not delta > 0:
        raise ValueError(f"delta: {delta} is not above 0")
    return _pair_forward("huber", x, target, None, None, reduction, delta, 1.0)


def huber_backward(dy, saved):
    """dx = dy (x - target cut to [-delta, delta]) / total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _pair_backward(dy, saved)[0]


def binary_cross_entropy_forward(x, target, *, weight=None, reduction="mean"):
    """loss = -weight (target log x + (1 - target) log(1 - x)), each logarithm at least -100, reduced; returns (loss, saved).

    Args:
        x: probabilities, any shape; outside [0, 1] the loss is NaN. target: like x. weight: broadcast to x, or None.
    """
    return _pair_forward("bce", x, target, weight, None, reduction)


def binary_cross_entropy_backward(dy, saved):
    """dx = dy weight (x - target) / (x (1 - x)) / total, for the forward that gave `saved`."""
    return _pair_backward(dy, saved)[0]


def binary_cross_entropy_with_logits_forward(x, target, *, weight=None, pos_weight=None, reduction="mean"):
    """loss = -weight (pos_weight target log s + (1 - target) log(1 - s)), s = sigmoid(x), reduced; returns (loss, saved).

    Args:
        x: logits, any shape. target: like x. weight, pos_weight: broadcast to x, or None.
    """
    return _pair_forward("bce_logits", x, target, weight, pos_weight, reduction)


def binary_cross_entropy_with_logits_backward(dy, saved):
    """dx = dy weight ((1 - target + pos_weight target) s - pos_weight target) / total, for the forward that gave `saved`."""
    return _pair_backward(dy, saved)[0]


def gaussian_nll_forward(x, target, var, *, full=False, eps=1e-6, reduction="mean"):
    """loss = (log v + (x - target)^2 / v) / 2, v = max(var, eps), and log(2 pi) / 2 more if full, reduced; returns (loss, saved).

    Args:
        x: expectations, any shape. target: like x. var: variances, like x; below 0 the loss is NaN.
    """
    if np.shape(var) != np.shape(x):
        raise RuntimeError(f"gaussian_nll: x {np.shape(x)} needs a var of its shape, got {np.shape(var)}")
    return _pair_forward("gaussian_nll", x, target, None, var, reduction, eps, 0.5 * np.log(2 * np.pi) if full else 0.0)


def gaussian_nll_backward(dy, saved):
    """(dx, dvar) for the forward that gave `saved`; the target's gradient is -dx."""
    return tuple(_pair_backward(dy, saved, True, False, True)[::2])


def kl_div_forward(x, target, *, log_target=False, reduction="mean"):
    """loss = target (log target - x), or exp(target) (target - x) with log_target, reduced; returns (loss, saved).

    Args:
        x: logarithms of probabilities, any shape. target: like x. reduction: also 'batchmean', the sum over x.shape[0].
    """
    loss, saved = _pair_forward("kl_div_log" if log_target else "kl_div", x, target, None, None, "sum" if reduction == "batchmean" else reduction)
    over = max(np.shape(x)[0], 1) if reduction == "batchmean" and np.ndim(x) else 1
    return loss / loss.dtype.type(over), (over, saved)


def kl_div_backward(dy, saved):
    """dx = -dy target / total, exp(target) for target with log_target, for the forward that gave `saved`."""
    over, saved = saved
    dx = _pair_backward(dy, saved)[0]
    return dx if over == 1 else dx / dx.dtype.type(over)
