"""Reductions over `axes` (all of them if None)."""
import numpy as np


def sum_(x, axes=None, scale=1):
    return np.sum(x, axes) * scale


def sumsq(x, axes=None):
    return np.sum(x * x, axes)


def sumabs(x, axes=None):
    return np.sum(np.abs(x), axes)


def sumdev2(x, axes=None, scale=1):
    return np.sum((x - np.mean(x, axes, keepdims=True)) ** 2, axes) * scale


prod, max_, min_, cumsum = np.prod, np.max, np.min, np.cumsum                 # NaN wins
argmax, argmin = np.argmax, np.argmin    # the first place of the largest or least; of the first NaN, if there is one


def any_(x, axes=None):
    return np.any(x != 0, axes)


def all_(x, axes=None):
    return np.all(x != 0, axes)
