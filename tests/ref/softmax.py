"""Softmax over `axis`."""
import numpy as np

from .elementwise import log


def softmax_fwd(x, axis):
    e = np.exp(x - np.max(x, axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def softmax_bwd(dy, y, axis):
    return y * (dy - np.sum(dy * y, axis, keepdims=True))


def log_softmax_fwd(x, axis):
    return x - np.expand_dims(logsumexp(x, axis), axis)


def log_softmax_bwd(dy, y, axis):
    return dy - np.exp(y) * np.sum(dy, axis, keepdims=True)


def logsumexp(x, axis):
    top = np.max(x, axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return log(np.sum(np.exp(x - top), axis)) + np.squeeze(top, axis)
