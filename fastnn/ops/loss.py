"""Losses, with their gradients; `reduction` is 'mean', 'sum' or 'none'."""
import math
import warnings

from .. import _core
from .._core import attach, needs_grad
from .activation import log_softmax
from .create import full_like
from .promote import promote
from .shape import broadcast_tensors, unsqueeze

_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def _reduction(name, reduction, size_average=None, reduce=None):
    if size_average is not None or reduce is not None:
        raise NotImplementedError(f"{name}: size_average and reduce: not supported; use reduction='mean', 'sum' or 'none'")
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return _REDUCTIONS[reduction]


def _reduced(losses, code):
    return losses if code == 0 else losses.mean() if code == 1 else losses.sum()


def _constant(name, weight, argument="weight"):
    if weight is not None and needs_grad(weight):
        raise RuntimeError(f"The function '{name}' is not differentiable with respect to argument '{argument}'. This input cannot have requires_grad True.")


def cross_entropy(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0):
    """L = -sum_c q_c log softmax(x)_c, where q is w_t at class t and 0 elsewhere, or w times the given probabilities.

    With smoothing e the target is mixed with the even distribution: (1 - e) target + e / C. mean divides by the sum of w_t over the targets
    that are not ignored; for probabilities by the number of items. If all are ignored, mean is NaN.

    Args:
        input: logits, (C), (N, C) or (N, C, d1, ...).
        target: int64 classes of shape (), (N) or (N, d1, ...), each 0..C-1 or ignore_index; or probabilities of input's shape.
        weight: (C), a factor for each class.
        reduction: 'mean', 'sum' or 'none' (then the result has the shape of the classes).
        label_smoothing: e in [0, 1].

    Errors: ValueError for another batch size or reduction; IndexError for a class out of range; RuntimeError for other shapes and types.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.cross_entropy(fastnn.zeros(2, 4), fastnn.tensor([0, 3]))
        tensor(1.3863)
    """
    code = _reduction("cross_entropy", reduction, size_average, reduce)
    if target.dtype.is_floating_point and target.shape == input.shape:
        if target.dtype != input.dtype:
            input, target = promote("cross_entropy", input, target)
        if needs_grad(target, weight):
            return _soft_cross_entropy(input, target, weight, code, label_smoothing)
    else:
        _constant("nll_loss_forward", weight)
    y, *saved = _core.cross_entropy(input, target, weight, code, ignore_index, label_smoothing, needs_grad(input))
    return attach(y, _cross_entropy_backward, (input,), tuple(saved), (code, ignore_index, label_smoothing))


def _cross_entropy_backward(node, dy):
    return (_core.cross_entropy_backward(dy, *node.saved, *node.meta),)


def _soft_cross_entropy(input, target, weight, code, e):
    """The same from differentiable parts: for targets or weights that have a gradient themselves."""
    dim = 1 if input.dim() > 1 else 0
    q = target * (1 - e) + e / max(input.shape[dim], 1)
    if weight is not None:
        q = q * weight.view(*(-1 if d == dim else 1 for d in range(input.dim())))
    return _reduced(-(q * log_softmax(input, dim)).sum(dim), code)


def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """L = -w_t x_t: the negative log-likelihood of class t under log-probabilities x. Arguments and errors as `cross_entropy`.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.nll_loss(fastnn.tensor([[-1., -2.], [-3., -4.]]), fastnn.tensor([0, 1]))
        tensor(2.5000)
    """
    code = _reduction("nll_loss", reduction, size_average, reduce)
    _constant("nll_loss_forward", weight)
    y, *saved = _core.nll_loss(input, target, weight, code, ignore_index)
    return attach(y, _nll_loss_backward, (input,), tuple(saved), (tuple(input.shape), code, ignore_index))


def _nll_loss_backward(node, dy):
    shape, *options = node.meta
    return (_core.nll_loss_backward(dy, shape, *node.saved, *options),)


def _pair(name, input, target):
    """input and target of one shape and one type, with gradients."""
    if target.shape != input.shape:
        warnings.warn(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely lead to incorrect "
                      "results due to broadcasting. Please ensure they have the same size.", stacklevel=3)
        input, target = broadcast_tensors(input, target)
    return (input, target) if input.dtype == target.dtype else promote(name, input, target)


def _weighted(name, losses, weight, code):
    """weight times each loss; mean divides by the sum of weight."""
    if weight.shape != losses.shape:
        raise ValueError(f"Weights and input must have the same size. {name}: weight {tuple(weight.shape)}, losses {tuple(losses.shape)}")
    losses = losses * weight
    return losses if code == 0 else losses.sum() if code == 2 else losses.sum() / weight.sum()


def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """L = (x - t)^2, averaged over all elements, summed, or each for itself. Both may have a gradient.

    Shapes are broadcast, with a warning, as in PyTorch. With `weight`, like input, L = w (x - t)^2 and mean divides by the sum of w.

    Errors: ValueError for another reduction or a weight of another shape; RuntimeError for shapes that cannot be broadcast;
    NotImplementedError for integers.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.mse_loss(fastnn.tensor([1., 2.]), fastnn.tensor([3., 2.]))
        tensor(2.)
    """
    code = _reduction("mse_loss", reduction, size_average, reduce)
    x, t = _pair("mse_loss", input, target)
    return _of_elements("mse", x, t, code) if weight is None else _weighted("mse_loss", _of_elements("mse", x, t, 0), weight, code)


def _of_elements(name, x, t, code, weight=None, v=None, s=0.0, s2=0.0):
    """The loss `name` of csrc/loss.c, reduced."""
    y, *saved = _core.pair_loss(name, x, t, weight, v, code, s, s2)
    return attach(y, _pair_loss_backward, (x, t, v), tuple(saved), (name, code, s, s2))


def _pair_loss_backward(node, dy):
    name, *options = node.meta
    return _core.pair_loss_backward(name, dy, *node.saved, *options, *node.needs)


def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """L = |x - t|. Arguments and errors as `mse_loss`.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.l1_loss(fastnn.tensor([1., 3.]), fastnn.zeros(2))
        tensor(2.)
    """
    code = _reduction("l1_loss", reduction, size_average, reduce)
    x, t = _pair("l1_loss", input, target)
    return _of_elements("l1", x, t, code) if weight is None else _weighted("l1_loss", _of_elements("l1", x, t, 0), weight, code)


def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """L = d^2 / (2 beta) where d = |x - t| is below beta, else d - beta / 2; beta 0 is `l1_loss`. Other arguments as `mse_loss`.

    Errors: RuntimeError for beta below 0.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.smooth_l1_loss(fastnn.tensor([0.5, 3.]), fastnn.zeros(2))
        tensor(1.3125)
    """
    code = _reduction("smooth_l1_loss", reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta. (beta={beta})")
    x, t = _pair("smooth_l1_loss", input, target)
    return _of_elements("l1", x, t, code) if beta == 0 else _of_elements("huber", x, t, code, s=beta, s2=beta)


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """L = d^2 / 2 where d = |x - t| is below delta, else delta (d - delta / 2). Other arguments as `mse_loss`; mean counts elements.

    Errors: RuntimeError for delta not above 0. Source: Huber, Robust Estimation of a Location Parameter, 1964.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.huber_loss(fastnn.tensor([1., 3.]), fastnn.zeros(2), delta=2.0)
        tensor(2.2500)
    """
    code = _reduction("huber_loss", reduction)
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta. (delta={delta})")
    x, t = _pair("huber_loss", input, target)
    if weight is None:
        return _of_elements("huber", x, t, code, s=delta, s2=1.0)
    return _reduced(_weighted("huber_loss", _of_elements("huber", x, t, 0, s=delta, s2=1.0), weight, 0), code)


def _events(name, input, target):
    """input and target of one real type, with gradients; they must have one shape."""
    if target.shape != input.shape:
        raise ValueError(f"{name}: Target size ({tuple(target.shape)}) must be the same as input size ({tuple(input.shape)})")
    return promote(name, *_real(name, input, target))


def _real(name, *tensors):
    """The tensors, none of which may hold integers."""
    for x, argument in zip(tensors, ("input", "target")):
        if not x.dtype.is_floating_point:
            raise NotImplementedError(f'"{name}" not implemented for {x.dtype.name}; cast the {argument} of shape {tuple(x.shape)} to a real type first')
    return tensors


def _factor(name, x, weight):
    """A weight in x's type."""
    return None if weight is None else promote(name, x, weight)[1]


def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """L = -w (t log x + (1 - t) log(1 - x)), each logarithm at least -100.

    Args:
        input: probabilities, any shape. target: like input. weight: a factor that broadcasts to input.

    Errors: ValueError for another shape; RuntimeError for an input or target outside [0, 1], or a weight that needs a gradient.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.binary_cross_entropy(fastnn.tensor([0.5]), fastnn.tensor([1.]))
        tensor(0.6931)
    """
    code = _reduction("binary_cross_entropy", reduction, size_average, reduce)
    _constant("binary_cross_entropy", weight)
    x, t = _events("binary_cross_entropy", input, target)
    if not _core.all_within(x, 0, 1):
        raise RuntimeError("all elements of input should be between 0 and 1: binary_cross_entropy takes probabilities, "
                           "binary_cross_entropy_with_logits takes logits")
    if not _core.all_within(t, 0, 1):
        raise RuntimeError("all elements of target should be between 0 and 1: binary_cross_entropy")
    return _of_elements("bce", x, t, code, _factor("binary_cross_entropy", x, weight))


def binary_cross_entropy_with_logits(input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
    """L = -w (p t log s + (1 - t) log(1 - s)), s = sigmoid(x), without forming s: w ((1 - t) x + (1 + (p - 1) t) log(1 + exp(-x))).

    Args:
        input: logits, any shape. target: like input, in [0, 1].
        weight: w, a factor that broadcasts to input. pos_weight: p, a factor of the positive part, broadcast likewise.

    Errors: ValueError for another shape; RuntimeError for a weight that needs a gradient.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.binary_cross_entropy_with_logits(fastnn.tensor([0.]), fastnn.tensor([1.]))
        tensor(0.6931)
    """
    code = _reduction("binary_cross_entropy_with_logits", reduction, size_average, reduce)
    _constant("binary_cross_entropy_with_logits", weight)
    _constant("binary_cross_entropy_with_logits", pos_weight, "pos_weight")
    x, t = _events("binary_cross_entropy_with_logits", input, target)
    weight, pos_weight = (_factor("binary_cross_entropy_with_logits", x, w) for w in (weight, pos_weight))
    return _of_elements("bce_logits", x, t, code, weight, pos_weight)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """L = (log v + (x - t)^2 / v) / 2 with v = max(var, eps), and log(2 pi) / 2 more if full: the expectation x and the variance are learned.

    Args:
        input: x, any shape. target: like input, or broadcast with it.
        var: variances: of input's shape, of it with one dimension 1 or without the last; or one float.
        eps: the least variance; var's gradient goes through it.

    Errors: ValueError for another reduction, a var of another shape or below 0.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.gaussian_nll_loss(fastnn.tensor([1., 2.]), fastnn.tensor([1., 4.]), fastnn.tensor([1., 4.]))
        tensor(0.5966)
    """
    if isinstance(var, (int, float)):
        var = full_like(input, float(var))
    if _core.any_below(var, 0):
        raise ValueError("var has negative entry/entries")
    shape, given = tuple(input.shape), tuple(var.shape)
    if given == shape[:-1] and given != shape:
        var = unsqueeze(var, -1)
    elif given != shape and (len(given) != len(shape) or sum(n for m, n in zip(shape, given) if m != n) != 1):
        raise ValueError(f"var is of incorrect size: gaussian_nll_loss: input {shape}, var {given}")
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{reduction} is not valid")
    x, t, v = promote("gaussian_nll_loss", *broadcast_tensors(input, target, var), real=True)
    return _of_elements("gaussian_nll", x, t, _REDUCTIONS[reduction], None, v, eps, 0.5 * math.log(2 * math.pi) if full else 0.0)


def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """L = t (log t - x), the divergence of t from exp(x), x given as logarithms; with log_target t too: exp(t) (t - x).

    reduction 'batchmean' divides the sum by the size of dimension 0, as the divergence is defined; 'mean' by the number of elements, with
    PyTorch's warning. Shapes are broadcast.

    Errors: ValueError for another reduction; RuntimeError for shapes that cannot be broadcast; NotImplementedError for integers.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> even = fastnn.tensor([[0.5, 0.5]])
        >>> F.kl_div(fastnn.tensor([[0.9, 0.1]]).log(), even, reduction="batchmean")
        tensor(0.5108)
    """
    if reduction == "mean":
        warnings.warn("reduction: 'mean' divides the total loss by both the batch size and the support size. 'batchmean' divides only by the "
                      "batch size, and aligns with the KL div math definition.", stacklevel=2)
    code = _reduction("kl_div", "sum" if reduction == "batchmean" else reduction, size_average, reduce)
    x, t = promote("kl_div", *broadcast_tensors(*_real("kl_div", input, target)))
    y = _of_elements("kl_div_log" if log_target else "kl_div", x, t, code)
    return y / input.shape[0] if reduction == "batchmean" and input.dim() else y


METHODS = ()
FUNCTIONS = ()
INPLACE = ()
