"""Functions of networks, with PyTorch's names, arguments and defaults.

Here are activations in their two forms, softmax, dropout, embedding and one_hot; families with a file of their own in fastnn/ops/
(convolution, pooling, normalisation, losses, attention, resampling, padding) are imported from there."""
import warnings

from .. import _core
from .._core import needs_grad
from ..ops import activation, index, random
from ..ops.attention import scaled_dot_product_attention  # noqa: F401
from ..ops.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d  # noqa: F401
from ..ops.create import arange, int64
from ..ops.loss import (binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, gaussian_nll_loss, huber_loss,  # noqa: F401
                        kl_div, l1_loss, mse_loss, nll_loss, smooth_l1_loss)
from ..ops.matmul import linear  # noqa: F401
from ..ops.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm  # noqa: F401
from ..ops.pad import pad  # noqa: F401
from ..ops.pool import adaptive_avg_pool2d, avg_pool1d, avg_pool2d, max_pool1d, max_pool2d  # noqa: F401
from ..ops.shape import unsqueeze
from ..ops.upsample import interpolate  # noqa: F401
from ..tensor import _in_place

# ---- activations -----------------------------------------------------------------------------------------------------


def relu(input, inplace=False):
    """y = max(x, 0). See `fastnn.relu`."""
    return input.relu_() if inplace else activation.relu(input)


def relu_(input):
    """`relu` in place."""
    return input.relu_()


def sigmoid(input):
    """y = 1 / (1 + exp(-x)). See `fastnn.sigmoid`."""
    return activation.sigmoid(input)


def tanh(input):
    """y = tanh(x). See `fastnn.tanh`."""
    return activation.tanh(input)


leaky_relu_, elu_, selu_, _silu_, hardtanh_ = map(_in_place, (activation.leaky_relu, activation.elu, activation.selu,
                                                             activation.silu, activation.hardtanh))


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """y = x where x > 0, else negative_slope x.

    Errors of this and the following: NotImplementedError for integers and bools.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.leaky_relu(fastnn.tensor([-2., 0., 3.]), 0.1)
        tensor([-0.2000,  0.0000,  3.0000])
    """
    return (leaky_relu_ if inplace else activation.leaky_relu)(input, negative_slope)


def prelu(input, weight):
    """y = x where x > 0, else weight x; weight is one number or one for each channel. See `fastnn.prelu`.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.prelu(fastnn.tensor([-2., 0., 3.]), fastnn.tensor([0.25]))
        tensor([-0.5000,  0.0000,  3.0000])
    """
    return activation.prelu(input, weight)


def elu(input, alpha=1.0, inplace=False):
    """y = x where x > 0, else alpha (exp(x) - 1).

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.elu(fastnn.tensor([-2., 0., 3.]))
        tensor([-0.8647,  0.0000,  3.0000])
    """
    return (elu_ if inplace else activation.elu)(input, alpha)


def selu(input, inplace=False):
    """`elu` with alpha 1.6733 and the result times 1.0507. See `fastnn.selu`."""
    return (selu_ if inplace else activation.selu)(input)


def gelu(input, *, approximate="none"):
    """y = x P(X <= x) for a standard normal X; approximate='tanh': x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.

    Errors: RuntimeError for another `approximate`.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.gelu(fastnn.tensor([-1., 0., 1.]))
        tensor([-0.1587,  0.0000,  0.8413])
    """
    return activation.gelu(input, approximate)


def silu(input, inplace=False):
    """y = x sigmoid(x).

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.silu(fastnn.tensor([-2., 0., 3.]))
        tensor([-0.2384,  0.0000,  2.8577])
    """
    return (_silu_ if inplace else activation.silu)(input)


def softplus(input, beta=1.0, threshold=20.0):
    """y = log(1 + exp(beta x)) / beta, and x where beta x > threshold.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.softplus(fastnn.tensor([-2., 0., 3.]))
        tensor([0.1269, 0.6931, 3.0486])
    """
    return activation.softplus(input, beta, threshold)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """y = x cut to [min_val, max_val]; no gradient at the bounds and beyond.

    Errors: ValueError for min_val above max_val.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.hardtanh(fastnn.tensor([-2., 0., 3.]))
        tensor([-1.,  0.,  1.])
    """
    return (hardtanh_ if inplace else activation.hardtanh)(input, min_val, max_val)


def relu6(input, inplace=False):
    """y = x cut to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def step(input):
    """y = 1 where x > 0, else 0: the perceptron's; its gradient is 0. Not in PyTorch.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.step(fastnn.tensor([-1., 0., 2.]))
        tensor([0., 0., 1.])
    """
    return activation.step(input)


def _softmax_dim(name, dim, ndim):
    if dim is not None:
        return dim
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.", stacklevel=3)
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input, dim=None, _stacklevel=3, dtype=None):
    """exp(x) / sum exp(x) along `dim`. See `fastnn.softmax`; without dim PyTorch's old choice is taken, with its warning."""
    return activation.softmax(input, _softmax_dim("softmax", dim, input.dim()), dtype)


def log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """x - log sum exp(x) along `dim`. See `fastnn.log_softmax`; without dim as `softmax`."""
    return activation.log_softmax(input, _softmax_dim("log_softmax", dim, input.dim()), dtype)


def dropout(input, p=0.5, training=True, inplace=False):
    """x with each element zero with probability p and the others divided by 1 - p; x itself when not training.

    Errors: ValueError for p outside [0, 1].

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> sorted(set(F.dropout(fastnn.ones(100), 0.5).tolist()))
        [0.0, 2.0]
    """
    return input.dropout_(p, training) if inplace else random.dropout(input, p, training)


def dropout2d(input, p=0.5, training=True, inplace=False):
    """x with each channel input[n, c] zero with probability p and the others divided by 1 - p; x itself when not training.

    Args:
        input: (N,C,H,W); as in PyTorch (N,C,L) too, with a warning. The draw does not depend on how it lies in memory.
        inplace: bool, write to input and return it.

    Errors: ValueError for p outside [0, 1]; RuntimeError for fewer than 2 dimensions.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> y = F.dropout2d(fastnn.ones(1, 8, 2, 2))
        >>> [len(set(channel.flatten().tolist())) for channel in y[0]]
        [1, 1, 1, 1, 1, 1, 1, 1]
    """
    if input.dim() == 3:
        warnings.warn("dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired: input is "
                      "interpreted as (N, C, L), not as (C, H, W) without a batch.", stacklevel=2)
    elif input.dim() != 4:
        warnings.warn(f"dropout2d: Received a {input.dim()}-D input to dropout2d, which is deprecated; use dropout instead.", stacklevel=2)
    y = random.feature_dropout(input, p, training)
    return input.copy_(y) if inplace and y is not input else y


def _plain_embedding(max_norm, scale_grad_by_freq, sparse):
    for name, value in (("max_norm", max_norm), ("scale_grad_by_freq", scale_grad_by_freq), ("sparse", sparse)):
        if value:
            raise NotImplementedError(f"embedding: {name}={value}: not supported")


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """weight[input], rows of a table.

    Args:
        input: int64 or int32 of any shape, 0..num-1.
        weight: (num, dim).
        padding_idx: a row that takes no gradient; counted from the end if negative.
        max_norm, scale_grad_by_freq, sparse: not supported.

    Returns: (*input.shape, dim).

    Errors: IndexError for an index out of range; RuntimeError for another type or a weight that is no matrix; AssertionError for a padding_idx
        out of range; NotImplementedError.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.embedding(fastnn.tensor([2, 0]), fastnn.tensor([[1., 2.], [3., 4.], [5., 6.]]))
        tensor([[5., 6.],
                [1., 2.]])
    """
    _plain_embedding(max_norm, scale_grad_by_freq, sparse)
    return index.embedding(input, weight, padding_idx)


def one_hot(tensor, num_classes=-1):
    """int64 (..., num_classes) with a 1 at each class and 0 elsewhere.

    Args:
        tensor: int64 classes of any shape, 0..num_classes-1.
        num_classes: -1 for one more than the largest class.

    Errors: RuntimeError for another type, a negative class, or one too large.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.one_hot(fastnn.tensor([0, 2]), 3)
        tensor([[1, 0, 0],
                [0, 0, 1]])
    """
    if tensor.dtype != int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}.")
    if tensor.numel() == 0 and num_classes <= 0:
        raise RuntimeError(f"Can not infer total number of classes from empty tensor of shape {tuple(tensor.shape)}.")
    if num_classes == -1:
        _core.host_reads("one_hot() without num_classes")
    low, high = _core.class_range(tensor)
    if low < 0:
        raise RuntimeError(f"Class values must be non-negative. one_hot: the smallest is {low}")
    if num_classes == -1:
        num_classes = high + 1
    elif high >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes. one_hot: num_classes={num_classes}, but the largest class is {high}")
    return _core.cast(_core.eq(unsqueeze(tensor, -1), arange(num_classes)), int64)


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """x / max(|x|_p, eps), the norm taken along `dim`, an int or a tuple.

    Args:
        input: real, any shape that has dim.
        out: a tensor to write to; then there is no gradient.

    Errors: IndexError for a dim out of range; RuntimeError for integers.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.normalize(fastnn.tensor([[3., 4.], [0., 0.]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    if out is not None and needs_grad(input, out):
        raise RuntimeError("normalize(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.")
    y = input / input.norm(p, dim, True).clamp_min(eps)
    return y if out is None else out.copy_(y)
