"""Normalisation, with its gradients."""
from .. import _core
from .._core import attach
from .create import float64
from .promote import tensor_only


def normalised(input, running_mean, running_var, weight, bias, training, momentum, eps, tracked=None, relu=False):
    """batch_norm that also counts `tracked` (int64) up; momentum None: the running statistics become the mean of all batches so far.
    relu: relu of it, with the same bits, in the same pass."""
    y, x, stats = _core.batch_norm(input, running_mean, running_var, weight, bias, training, -1 if momentum is None else momentum, eps, tracked,
                                   act=relu)
    return attach(y, _batch_norm_backward, (input, weight, bias), (x, stats, weight, bias), (training, relu))


def _batch_norm_backward(node, dy):
    (x, stats, w, b), (training, relu) = node.saved, node.meta
    return _core.batch_norm_backward(dy, x, stats, w, training, *node.needs, act=relu, b=b)


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
    if eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}: batch_norm: input {tuple(input.shape)}")
    return normalised(input, running_mean, running_var, weight, bias, bool(training), momentum, eps)


# ---- over the last dimensions ----------------------------------------------------------------------------------------

def _shape_of(name, normalized_shape):
    if not isinstance(normalized_shape, (tuple, list)) or not all(isinstance(n, int) for n in normalized_shape):
        raise TypeError(f"{name}(): argument 'normalized_shape' (position 2) must be tuple of ints, not {type(normalized_shape).__name__}")
    return tuple(normalized_shape)


def _operands(name, eps, **tensors):
    for argument, x in tensors.items():
        if x is not None or argument == "input":
            tensor_only(x, name, argument)
    if not isinstance(eps, (int, float)):
        raise TypeError(f"{name}: argument 'eps' must be a number, got {type(eps).__name__}")


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """y = (x - mean) / sqrt(var + eps) weight + bias, a mean and a variance over the last dimensions.

    Args:
        input: (..., *normalized_shape), float32 or float64; any strides.
        normalized_shape: a tuple of ints, the last dimensions of input.
        weight, bias: of normalized_shape each, or None for 1 and 0.
        eps: a number beside the variance, which counts with n.

    Returns: like input, row-major.

    Errors: RuntimeError for shapes or types that do not fit.

    Source: Ba, Kiros and Hinton, Layer normalization, 2016.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.layer_norm(fastnn.tensor([[1., 3.], [0., 4.]]), (2,), eps=1e-12)
        tensor([[-1.,  1.],
                [-1.,  1.]])
    """
    _operands("layer_norm", eps, input=input, weight=weight, bias=bias)
    shape = _shape_of("layer_norm", normalized_shape)
    y, x, stats = _core.layer_norm(input, shape, weight, bias, eps)
    return attach(y, _layer_norm_backward, (input, weight, bias), (x, stats, weight), (shape, False))


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """y = x / sqrt(mean of x^2 + eps) weight, the mean over the last dimensions.

    Args:
        input: (..., *normalized_shape), float32 or float64; any strides.
        normalized_shape: a tuple of ints, the last dimensions of input.
        weight: of normalized_shape, or None for 1.
        eps: a number; None for the type's rounding, 2^-23 or 2^-52.

    Returns: like input, row-major.

    Errors: RuntimeError for shapes or types that do not fit.

    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.rms_norm(fastnn.tensor([[1., -1.], [4., 0.]]), (2,))
        tensor([[ 1.0000, -1.0000],
                [ 1.4142,  0.0000]])
    """
    _operands("rms_norm", 0 if eps is None else eps, input=input, weight=weight)
    shape = _shape_of("rms_norm", normalized_shape)
    eps = (2.0 ** -52 if input.dtype is float64 else 2.0 ** -23) if eps is None else eps
    y, x, stats = _core.layer_norm(input, shape, weight, None, eps, True)
    return attach(y, _layer_norm_backward, (input, weight, None), (x, stats, weight), (shape, True))


def _layer_norm_backward(node, dy):
    x, stats, w = node.saved
    return _core.layer_norm_backward(dy, x, stats, w, *node.meta, *node.needs)


# ---- over groups of channels -----------------------------------------------------------------------------------------

def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """y = (x - mean) / sqrt(var + eps) weight + bias, a mean and a variance for each sample and group of C / num_groups channels.

    Args:
        input: (N,C) or (N,C,...), float32 or float64; any strides.
        num_groups: a number that divides C.
        weight, bias: (C) each, or None for 1 and 0.
        eps: a number beside the variance, which counts with n.

    Returns: like input, channels-last if that is or if it is an image of other strides, else row-major; so is its gradient.

    Errors: RuntimeError for shapes or types that do not fit; ValueError where a group holds one value.

    Source: Wu and He, Group normalization, 2018.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.group_norm(fastnn.tensor([[1., 3., 0., 4.]]), 2, eps=1e-12)
        tensor([[-1.,  1., -1.,  1.]])
    """
    _operands("group_norm", eps, input=input, weight=weight, bias=bias)
    if not isinstance(num_groups, int):
        raise TypeError(f"group_norm: argument 'num_groups' must be an int, got {type(num_groups).__name__}")
    if input.dim() > 1 and 0 < num_groups <= input.shape[1] and input.numel() == num_groups:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}: group_norm: num_groups={num_groups}")
    return _grouped(input, num_groups, weight, bias, eps)[0]


def _grouped(input, num_groups, weight, bias, eps):
    """(y, statistics)"""
    y, x, stats = _core.group_norm(input, num_groups, weight, bias, eps)
    return attach(y, _group_norm_backward, (input, weight, bias), (x, stats, weight)), stats


def _group_norm_backward(node, dy):
    return _core.group_norm_backward(dy, *node.saved, *node.needs)


def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5):
    """y = (x - mean) / sqrt(var + eps) weight + bias, a mean and a variance for each sample and channel.

    The running statistics move towards the samples' average: running += momentum (average - running), where a variance counts with n - 1.
    Without use_input_stats they take the place of the samples', which is `batch_norm` in evaluation.

    Args:
        input: (N,C,L) or (N,C,H,W), float32 or float64; any strides.
        running_mean, running_var: (C) both, or None both; written with use_input_stats.
        weight, bias: (C) each, or None for 1 and 0.

    Returns: like input, channels-last if that is or if it is an image of other strides, else row-major; so is its gradient.

    Errors: ValueError for one number a channel, or for one running statistic without the other; RuntimeError for sizes or types that differ.

    Source: Ulyanov, Vedaldi and Lempitsky, Instance normalization, 2016.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.instance_norm(fastnn.tensor([[[1., 3.], [0., 4.]]]), eps=1e-12)
        tensor([[[-1.,  1.],
                 [-1.,  1.]]])
    """
    _operands("instance_norm", eps, input=input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None: instance_norm")
    if not use_input_stats:
        if running_mean is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false: instance_norm")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.dim() < 3 or input.shape[2:].numel() == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}: instance_norm")
    C, count = input.shape[1], input.shape[2:].numel()
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != (C,):
            raise RuntimeError(f"{name} should contain {C} elements not {t.numel()}: "
                               f"instance_norm: input (N,C,...)={tuple(input.shape)}, {name} (C)={tuple(t.shape)}")
        if t is not None and t.dtype is not input.dtype:
            raise RuntimeError(f"mixed dtype (CPU): all inputs must share same datatype: instance_norm: input is {input.dtype.name}, {name} is {t.dtype.name}")
    y, stats = _grouped(input, C, weight, bias, eps) if C else (input, None)
    if running_mean is not None and input.numel():
        means, variances = stats[0], (stats[1] ** -2 - eps).clamp(min=0) * (count / (count - 1))
        for running, of in ((running_mean, means), (running_var, variances)):
            running.copy_(running.double() * (1 - momentum) + of.mean(0) * momentum)
    return y


METHODS = ()
FUNCTIONS = ()
INPLACE = ()
