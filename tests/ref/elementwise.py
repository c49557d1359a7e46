"""Elementwise, with broadcasting."""
import functools
import math

import numpy as np


def _quiet(f):
    """f without NumPy's warnings: dividing by zero, overflow and NaN give what IEEE says."""
    @functools.wraps(f)
    def quiet(*args, **kwargs):
        with np.errstate(all="ignore"):
            return f(*args, **kwargs)
    return quiet


def add(a, b, alpha=1):
    return a | b if a.dtype == bool else a + alpha * b


def sub(a, b, alpha=1):
    return a - alpha * b


def mul(a, b):
    return a & b if a.dtype == bool else a * b


div = _quiet(np.divide)
floor_divide = _quiet(np.floor_divide)   # of reals: from the exact remainder, as Python does it
remainder = _quiet(np.remainder)         # a - b floor(a / b), of b's sign


@_quiet
def trunc_divide(a, b):
    """The whole number next to a / b on the way to zero."""
    return np.trunc(a / b) if a.dtype.kind == "f" else np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


@_quiet
def pow_(a, b):
    if a.dtype.kind == "f":
        return np.power(a, b)
    inverse = np.where(a == 1, 1,
                       np.where(a == -1, 1 - 2 * (b % 2), 0))      # of a negative power, cut to a whole number
    return np.where(b < 0, inverse, np.power(a, np.maximum(b, 0)))


maximum, minimum = np.maximum, np.minimum                                     # NaN wins
eq, ne, lt, le = np.equal, np.not_equal, np.less, np.less_equal


def logical_and(a, b):
    return (a != 0) & (b != 0)


def logical_or(a, b):
    return (a != 0) | (b != 0)


def logical_xor(a, b):
    return (a != 0) ^ (b != 0)


def logical_not(a):
    return a == 0


bitwise_and, bitwise_or, bitwise_xor, bitwise_not = np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert
neg, abs_ = np.negative, np.abs


def sign(a):
    """1, 0 or -1; 0 for NaN."""
    return a if a.dtype == bool else (a > 0).astype(a.dtype) - (a < 0)


def reciprocal(a):
    return div(1.0, a)


exp, log, log1p, sqrt, sin, cos = map(_quiet, (np.exp, np.log, np.log1p, np.sqrt, np.sin, np.cos))
erf = np.vectorize(math.erf, otypes=[float])
floor, ceil, round_, trunc = np.floor, np.ceil, np.rint, np.trunc             # round: halves to even


def rsqrt(a):
    return div(1.0, sqrt(a))


def isnan(a):
    return a != a


def isinf(a):
    return abs_(a) == np.inf


def isfinite(a):
    return abs_(a) < np.inf


def clamp(a, low, high):
    """min(max(a, low), high); NaN stays."""
    return minimum(maximum(a, low), high)


where = np.where


def addcmul(a, b, c, s=1):
    return a + s * b * c
