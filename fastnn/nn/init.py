"""Start values, written into a tensor in place and returned, outside of any gradient.

Sources: Glorot and Bengio 2010 (xavier), He et al. 2015 (kaiming), Saxe et al. 2014 (orthogonal).
"""
import math
import warnings

import numpy as np

from ..autograd import no_grad
from ..ops.create import empty, eye, float64, from_numpy

_GAINS = {"sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity, param=None):
    """The factor that keeps the variance through a nonlinearity; param is the slope of leaky_relu (0.01).

    Example:
        >>> from fastnn.nn import init
        >>> round(init.calculate_gain("relu"), 3)
        1.414
    """
    if nonlinearity == "linear" or nonlinearity.startswith("conv"):
        return 1
    if nonlinearity == "leaky_relu":
        if param is None:
            param = 0.01
        if isinstance(param, bool) or not isinstance(param, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2 / (1 + param ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return _GAINS[nonlinearity]


def _fans(tensor):
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def _fan(tensor, mode):
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _fans(tensor)[mode == "fan_out"]


def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """Uniform in [a, b).

    Example:
        >>> import fastnn
        >>> fastnn.nn.init.uniform_(fastnn.empty(1000), -1, 1).abs().max().item() <= 1
        True
    """
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """Normal with that mean and standard deviation.

    Example:
        >>> import fastnn
        >>> abs(fastnn.nn.init.normal_(fastnn.empty(10000), 2.0, 0.5).mean().item() - 2) < 0.05
        True
    """
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def constant_(tensor, val):
    """Every element val.

    Example:
        >>> import fastnn
        >>> fastnn.nn.init.constant_(fastnn.empty(3), 0.5)
        tensor([0.5000, 0.5000, 0.5000])
    """
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor):
    """Every element 1.

    Example:
        >>> import fastnn
        >>> fastnn.nn.init.ones_(fastnn.empty(3))
        tensor([1., 1., 1.])
    """
    return constant_(tensor, 1.0)


def zeros_(tensor):
    """Every element 0.

    Example:
        >>> import fastnn
        >>> fastnn.nn.init.zeros_(fastnn.empty(3))
        tensor([0., 0., 0.])
    """
    return constant_(tensor, 0.0)


def eye_(tensor):
    """Ones on the diagonal of a matrix, zeros elsewhere.

    Errors: ValueError for what is no matrix.

    Example:
        >>> import fastnn
        >>> fastnn.nn.init.eye_(fastnn.empty(2, 3))
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with no_grad():
        return tensor.copy_(eye(*tensor.shape))


def xavier_uniform_(tensor, gain=1.0, generator=None):
    """Uniform in +-gain sqrt(6 / (fan_in + fan_out)): for weights (out, in, ...), fans times the size of the rest.

    Errors: ValueError for fewer than 2 dimensions, of this and the following.

    Example:
        >>> import fastnn
        >>> fastnn.nn.init.xavier_uniform_(fastnn.empty(30, 20)).abs().max().item() <= (6 / 50) ** 0.5
        True
    """
    fan_in, fan_out = _fans(tensor)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out)).

    Example:
        >>> import fastnn
        >>> fastnn.nn.init.xavier_normal_(fastnn.zeros(3, 5)).shape
        fastnn.Size([3, 5])
    """
    fan_in, fan_out = _fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2 / (fan_in + fan_out)), generator)


def _empty(tensor):
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return True
    return False


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Uniform in +-gain sqrt(3 / fan); a is the slope of leaky_relu.

    Args:
        mode: 'fan_in' keeps the variance forward, 'fan_out' backward.
        nonlinearity: see `calculate_gain`.

    Errors: ValueError for fewer than 2 dimensions, another mode or nonlinearity.

    Example:
        >>> import fastnn
        >>> weight = fastnn.nn.init.kaiming_uniform_(fastnn.empty(30, 20), nonlinearity="relu")
        >>> weight.abs().max().item() <= (6 / 20) ** 0.5
        True
    """
    if _empty(tensor):
        return tensor
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Normal with standard deviation gain / sqrt(fan); a is the slope of leaky_relu. Arguments and errors as `kaiming_uniform_`.

    Example:
        >>> import fastnn
        >>> fastnn.nn.init.kaiming_normal_(fastnn.zeros(3, 5), nonlinearity='relu').shape
        fastnn.Size([3, 5])
    """
    if _empty(tensor):
        return tensor
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)


def _orthonormal(a, block=32):
    """Columns of a (m, n), m >= n, made orthonormal by Gram-Schmidt in float64, block after block.

    Every sum is in a fixed order, so the result does not depend on threads; each column keeps the sign of its own part
    of a, which makes the result uniform over orthogonal matrices. A second pass restores what cancellation lost."""
    q = a.copy()
    for _ in range(2):
        for lo in range(0, q.shape[1], block):
            panel = q[:, lo:lo + block]
            if lo:
                before = from_numpy(np.ascontiguousarray(q[:, :lo]))
                panel -= (before @ (before.T @ from_numpy(np.ascontiguousarray(panel)))).numpy()
            for j in range(panel.shape[1]):
                v = panel[:, j]
                for i in range(j):
                    v -= np.einsum("i,i->", panel[:, i], v, optimize=False) * panel[:, i]
                v /= math.sqrt(np.einsum("i,i->", v, v, optimize=False))
    return q


def orthogonal_(tensor, gain=1, generator=None):
    """gain times a (semi-)orthogonal matrix, uniformly drawn; dimensions after the first count as columns.

    Errors: ValueError for fewer than 2 dimensions.

    Example:
        >>> import fastnn
        >>> q = fastnn.nn.init.orthogonal_(fastnn.empty(3, 3).double())
        >>> fastnn.allclose(q @ q.t(), fastnn.nn.init.eye_(fastnn.empty(3, 3).double()))
        True
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows, cols = tensor.shape[0], tensor.numel() // tensor.shape[0]
    with no_grad():
        a = empty(max(rows, cols), min(rows, cols), dtype=float64).normal_(generator=generator).numpy()
        q = _orthonormal(a)
        q = from_numpy(np.ascontiguousarray(q.T if rows < cols else q) * gain)
        return tensor.copy_(q.reshape(tensor.shape))
