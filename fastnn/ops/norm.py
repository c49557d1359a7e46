"""Normalisation, with its gradients."""
from .. import _core
from .._core import attach
from .promote import tensor_only


def normalised(input, running_mean, running_var, weight, bias, training, momentum, eps, tracked=None):
    """batch_norm that also counts `tracked` (int64) up; momentum None: the running statistics become the mean of all batches so far."""
    y, x, stats = _core.batch_norm(input, running_mean, running_var, weight, bias, training, -1 if momentum is None else momentum, eps, tracked)
    return attach(y, _batch_norm_backward, (input, weight, bias), (x, stats, weight), training)


def _batch_norm_backward(node, dy):
    x, stats, w = node.saved
    return _core.batch_norm_backward(dy, x, stats, w, node.meta, *node.needs)


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """y = (x - mean) / sqrt(var + eps) weight + bias, a mean and a variance for each channel.

    In training they are the batch's, over all but dimension 1, and move the running ones: running += momentum (batch - running), where the
    batch's variance counts with n - 1. Else they are the running ones.

    Args:
        input: (N,C) or (N,C,...), float32 or float64; any strides.
        running_mean, running_var: (C) both, or in training None both; written in training.
        weight, bias: (C) each, or None for 1 and 0.
        momentum: a number, the weight of this batch.
        eps: a number above 0.

    Returns: like input, channels-last if that is, else row-major; an input (N,C,H,W) of other strides gives a channels-last result. So are
        gradients.

    Errors: ValueError in training on one value a channel, for eps of 0 or less, or for one running statistic without the other;
        RuntimeError for sizes or types that differ; IndexError for an input without channels.

    Source: Ioffe and Szegedy, Batch normalization, 2015.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.batch_norm(fastnn.tensor([[1., 0.], [3., 4.]]), None, None, training=True, eps=1e-12)
        tensor([[-1., -1.],
                [ 1.,  1.]])
    """
    for x, argument in ((input, "input"), (running_mean, "running_mean"), (running_var, "running_var"), (weight, "weight"), (bias, "bias")):
        if x is not None or argument == "input":
            tensor_only(x, "batch_norm", argument)
    for value, argument in ((momentum, "momentum"), (eps, "eps")):
        if not isinstance(value, (int, float)):
            raise TypeError(f"batch_norm: argument '{argument}' must be a number, got {type(value).__name__}")
    return normalised(input, running_mean, running_var, weight, bias, bool(training), momentum, eps)


METHODS = ()
FUNCTIONS = ()
INPLACE = ()
