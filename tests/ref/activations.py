"""Activations; backward takes dy and what forward saved, or x."""
import math

import numpy as np

from .elementwise import _quiet, erf, isnan


def relu_fwd(x):
    return np.where(x < 0, 0, x)         # NaN stays


def relu_bwd(dy, y):
    return np.where(y > 0, dy, 0)


def sigmoid_fwd(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def sigmoid_bwd(dy, y):
    return dy * y * (1 - y)


tanh_fwd = np.tanh


def tanh_bwd(dy, y):
    return dy * (1 - y * y)


def prelu_fwd(x, w):
    return np.where(x > 0, x, w * x)


def prelu_bwd_x(dy, x, w):
    return np.where(x > 0, dy, w * dy)


def prelu_bwd_w(dy, x):
    """What the gradient of a weight is the sum of."""
    return np.where(x > 0, 0, dy * x)


@_quiet
def elu_fwd(x, alpha=1, scale=1):
    return scale * np.where(x < 0, alpha * np.expm1(x), x)


@_quiet
def elu_bwd(dy, x, alpha=1, scale=1):
    return scale * dy * np.where(x <= 0, alpha * np.exp(x), 1)


def silu_fwd(x):
    return x * sigmoid_fwd(x)


def silu_bwd(dy, x):
    g = sigmoid_fwd(x)
    return dy * g * (1 + x * (1 - g))


def gelu_fwd(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


def gelu_bwd(dy, x):
    return dy * ((1 + erf(x / math.sqrt(2))) / 2 + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def gelu_tanh_fwd(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))) / 2


def gelu_tanh_bwd(dy, x):
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))
    return dy * (1 + t + x * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)) / 2


@_quiet
def softplus_fwd(x, beta=1, threshold=20):
    return np.where(x * beta > threshold, x, np.logaddexp(0, x * beta) / beta)


def softplus_bwd(dy, x, beta=1, threshold=20):
    return np.where(x * beta > threshold, dy, dy * sigmoid_fwd(x * beta))


def hardtanh_bwd(dy, x, low=-1, high=1):
    return np.where((x > low) & (x < high), dy, 0)


def step_fwd(x):
    return np.where(isnan(x), x, x > 0)
