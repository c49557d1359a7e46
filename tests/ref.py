"""What every operation of csrc/ops.inc means, in NumPy: float64, int64 or bool in and out, loops where they read best.

A meaning bears its op's name; one that is also a Python builtin has a trailing underscore. It takes the op's operands
as arrays in the natural order, then the options; outputs that the op writes side by side come as a tuple. Integers are
int64 here, and whoever compares cuts them to the type at hand, which wraps as the type does.
"""
import functools
import math

import numpy as np


def meaning(op):
    """The function that op means."""
    return globals().get(op + "_") or globals()[op]


# ---- matrix products -------------------------------------------------------------------------------------------------

ACT = {"none": lambda x: x, "relu": lambda x: relu_fwd(x), "sigmoid": lambda x: sigmoid_fwd(x),
       "tanh": lambda x: tanh_fwd(x)}


def gemm(a, b, c=None, bias=None, act="none"):
    """act(c + a b + bias): a (..., M, K), b (..., K, N), bias (N)."""
    y = np.zeros(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) + (a.shape[-2], b.shape[-1]))
    for k in range(a.shape[-1]):
        y += a[..., :, k, None] * b[..., None, k, :]
    y = y if c is None else y + c
    return ACT[act](y if bias is None else y + bias)


def gemm_pack(b):
    """Another order in memory; the values are the same."""
    return b


def dense_fwd(x, w, b=None, act="none"):
    """act(x w' + b): x (M, K), w (N, K), b (N)."""
    return gemm(x, w.T, bias=b, act=act)


def dense_bwd_x(dy, w):
    return gemm(dy, w)


def dense_bwd_w(dy, x):
    """dw (N, K), db (N)."""
    return gemm(dy.T, x), dy.sum(0)


# ---- convolution -----------------------------------------------------------------------------------------------------

def _meetings(x_shape, w_shape, stride, padding, dilation, groups):
    """(k, channels of k's group, r, s, rows, columns) for each weight plane w[k,:,r,s]: the padded input rows and columns
    that it meets. padding is (above, below, left, right)."""
    (N, C, H, W), (K, I, R, S) = x_shape, w_shape
    (sh, sw), (dh, dw), (above, below, left, right) = stride, dilation, padding
    P, Q = (H + above + below - dh * (R - 1) - 1) // sh + 1, (W + left + right - dw * (S - 1) - 1) // sw + 1
    for k in range(K):
        g = k // (K // groups)
        for r in range(R):
            for s in range(S):
                rows, columns = slice(r * dh, r * dh + (P - 1) * sh + 1, sh), slice(s * dw, s * dw + (Q - 1) * sw + 1, sw)
                yield k, slice(g * I, (g + 1) * I), r, s, rows, columns


def _padded(x, padding):
    above, below, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (above, below), (left, right)))


def conv2d_fwd(x, w, b=None, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """y[n,k,p,q] = b[k] + sum over c,r,s of w[k,c,r,s] x[n, c, p stride + r dilation, q stride + s dilation], x padded."""
    y, seen = {}, _padded(x, padding)
    for k, c, r, s, rows, columns in _meetings(x.shape, w.shape, stride, padding, dilation, groups):
        y[k] = y.get(k, 0) + np.einsum("c,ncpq->npq", w[k, :, r, s], seen[:, c, rows, columns])
    return np.stack([y[k] + (0 if b is None else b[k]) for k in y], 1)


def conv2d_bwd_x(dy, w, shape, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """dx of the given shape: each product goes back to the input element it was made from."""
    dx = _padded(np.zeros(shape), padding)
    for k, c, r, s, rows, columns in _meetings(shape, w.shape, stride, padding, dilation, groups):
        dx[:, c, rows, columns] += w[k, :, r, s][:, None, None] * dy[:, k, None]
    above, _, left, _ = padding
    return dx[:, :, above:above + shape[2], left:left + shape[3]]


def conv2d_bwd_w(dy, x, shape, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """dw of the given shape, db (K)."""
    dw, seen = np.zeros(shape), _padded(x, padding)
    for k, c, r, s, rows, columns in _meetings(x.shape, shape, stride, padding, dilation, groups):
        dw[k, :, r, s] = np.einsum("npq,ncpq->c", dy[:, k], seen[:, c, rows, columns])
    return dw, dy.sum((0, 2, 3))


winograd_fwd, winograd_bwd_x, winograd_bwd_w = conv2d_fwd, conv2d_bwd_x, conv2d_bwd_w


# ---- normalisation ---------------------------------------------------------------------------------------------------

def _each(v, x, otherwise=0):
    """v (C), or None for `otherwise`, beside x (N,C,...)."""
    return otherwise if v is None else v.reshape((-1,) + (1,) * (x.ndim - 2))


def batch_norm_eval(x, mean, var, w=None, b=None, eps=1e-5, act="none"):
    """act((x - mean) / sqrt(var + eps) w + b): x (N,C,...), the others (C)."""
    return ACT[act]((x - _each(mean, x)) / np.sqrt(_each(var, x) + eps) * _each(w, x, 1) + _each(b, x))


def batch_norm_fwd(x, w=None, b=None, eps=1e-5, act="none"):
    """The same with the mean and the variance of each channel of x."""
    axes = (0, *range(2, x.ndim))
    return batch_norm_eval(x, x.mean(axes), x.var(axes), w, b, eps, act)


def batch_norm_bwd(dy, x, w=None, eps=1e-5, mean=None, var=None):
    """(dx, dw, db). Without mean and var those of x, which then move with x. Of an act dy has gone through its backward."""
    axes = (0, *range(2, x.ndim))
    rstd = 1 / np.sqrt(_each(x.var(axes) if var is None else var, x) + eps)
    u = (x - _each(x.mean(axes) if mean is None else mean, x)) * rstd
    du = dy * _each(w, x, 1)
    if mean is None:
        du = du - du.mean(axes, keepdims=True) - u * (du * u).mean(axes, keepdims=True)
    return du * rstd, (dy * u).sum(axes), dy.sum(axes)


def _rows_of(x, k, eps, rms):
    """(u, rstd, axes): x normalised over its last k dimensions."""
    axes = tuple(range(x.ndim - k, x.ndim))
    e = x if rms else x - x.mean(axes, keepdims=True)
    rstd = 1 / np.sqrt((e * e).mean(axes, keepdims=True) + eps)
    return e * rstd, rstd, axes


def _du(du, u, rstd, axes, rms):
    return rstd * (du - (0 if rms else du.mean(axes, keepdims=True)) - u * (du * u).mean(axes, keepdims=True))


def layer_norm_fwd(x, w=None, b=None, eps=1e-5, k=1, rms=False):
    """(x - mean) / sqrt(var + eps) w + b over the last k dimensions; rms: the mean counts as 0."""
    return _rows_of(x, k, eps, rms)[0] * (1 if w is None else w) + (0 if b is None else b)


def layer_norm_bwd(dy, x, w=None, eps=1e-5, k=1, rms=False):
    """(dx, dw, db)"""
    u, rstd, axes = _rows_of(x, k, eps, rms)
    rest = tuple(range(x.ndim - k))
    return _du(dy * (1 if w is None else w), u, rstd, axes, rms), (dy * u).sum(rest), dy.sum(rest)


def _groups_of(x, groups):
    return x.reshape(x.shape[0], groups, -1)


def group_norm_fwd(x, groups, w=None, b=None, eps=1e-5):
    """(x - mean) / sqrt(var + eps) w + b for each sample and group of channels: x (N,C,...), w and b (C)."""
    return _rows_of(_groups_of(x, groups), 1, eps, False)[0].reshape(x.shape) * _each(w, x, 1) + _each(b, x)


def group_norm_bwd(dy, x, groups, w=None, eps=1e-5):
    """(dx, dw, db)"""
    u, rstd, axes = _rows_of(_groups_of(x, groups), 1, eps, False)
    dx, rest = _du(_groups_of(dy * _each(w, x, 1), groups), u, rstd, axes, False), (0, *range(2, x.ndim))
    return dx.reshape(x.shape), (dy * u.reshape(x.shape)).sum(rest), dy.sum(rest)


# ---- pooling: x (N,C,H,W); options are a number, or one for rows and one for columns ----------------------------------

def _two(option):
    return tuple(option) if isinstance(option, (tuple, list)) else (option, option)


def _lines(n, k, stride, pad, dilation, ceil_mode):
    """The coordinates of the taps of each window along a dimension of n, also those outside."""
    out = (n + 2 * pad - dilation * (k - 1) - 1 + (stride - 1) * ceil_mode) // stride + 1
    if ceil_mode and (out - 1) * stride >= n + pad:          # a window begins inside or in the padding before
        out -= 1
    return [p * stride - pad + dilation * np.arange(k) for p in range(out)]


def _windows(shape, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The windows of rows and those of columns."""
    k, p, d = _two(kernel_size), _two(padding), _two(dilation)
    s = k if stride is None else _two(stride)
    return [_lines(shape[2 + i], k[i], s[i], p[i], d[i], ceil_mode) for i in range(2)]


def _inside(taps, n):
    return taps[(taps >= 0) & (taps < n)]


def max_pool2d_fwd(x, **options):
    """(y, h W + w of each maximum): of equals the first, of NaN the last."""
    (N, C, H, W), (rows, columns) = x.shape, _windows(x.shape, **options)
    y, where = (np.zeros((N, C, len(rows), len(columns)), kind) for kind in (float, np.int64))
    for p, q in np.ndindex(y.shape[2:]):
        h, w = _inside(rows[p], H), _inside(columns[q], W)
        v = x[:, :, h][..., w].reshape(N, C, len(h) * len(w))
        last = v.shape[2] - 1 - np.argmax(np.isnan(v)[..., ::-1], 2)
        k = np.where(np.isnan(v).any(2), last, np.argmax(v, 2))
        y[:, :, p, q] = np.take_along_axis(v, k[..., None], 2)[..., 0]
        where[:, :, p, q] = h[k // len(w)] * W + w[k % len(w)]
    return y, where


def max_pool2d_bwd(dy, x, **options):
    """Each dy goes to the element that was the maximum."""
    dx = np.zeros(x.shape)
    for (n, c, p, q), k in np.ndenumerate(max_pool2d_fwd(x, **options)[1]):
        dx[n, c].reshape(-1)[k] += dy[n, c, p, q]
    return dx


def _averages(shape, kernel_size=None, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
              divisor_override=None, output_size=None):
    """(p, q, rows, columns, divisor) of each window; given output_size, those of the adaptive pool."""
    pad, count = _two(padding), lambda h, w: len(h) * len(w)
    if output_size:
        rows, columns = ([np.arange(p * n // out, -(-(p + 1) * n // out)) for p in range(out)]
                         for n, out in zip(shape[2:], output_size))
    else:
        rows, columns = _windows(shape, kernel_size, stride, padding, 1, ceil_mode)
    for p, h in enumerate(rows):
        for q, w in enumerate(columns):
            inside, padded = ((_inside(h, shape[2]), _inside(w, shape[3])),
                              (h[h < shape[2] + pad[0]], w[w < shape[3] + pad[1]]))
            yield p, q, *inside, divisor_override or count(*(padded if count_include_pad else inside))


def avg_pool2d_fwd(x, **options):
    windows = list(_averages(x.shape, **options))
    y = np.zeros(x.shape[:2] + (windows[-1][0] + 1, windows[-1][1] + 1))
    for p, q, h, w, divisor in windows:
        y[:, :, p, q] = x[:, :, h][..., w].sum((2, 3)) / divisor
    return y


def avg_pool2d_bwd(dy, x, **options):
    dx = np.zeros(x.shape)
    for p, q, h, w, divisor in _averages(x.shape, **options):
        dx[:, :, h[:, None], w] += dy[:, :, p, q, None, None] / divisor
    return dx


# ---- elementwise, with broadcasting ----------------------------------------------------------------------------------

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


# ---- activations; backward takes dy and what forward saved -----------------------------------------------------------

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


# ---- activations whose backward takes x ------------------------------------------------------------------------------

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


# ---- reductions over `axes` (all of them if None) --------------------------------------------------------------------

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


# ---- copies ----------------------------------------------------------------------------------------------------------

def copy(x, kind="f"):
    """x as reals (kind 'f'), integers ('i', cut towards zero) or booleans ('b')."""
    return x.astype({"f": np.float64, "i": np.int64, "b": bool}[kind])


def fill(shape, value):
    return np.full(shape, value)


def arange(start, step, n):
    return np.array([start + i * step for i in range(n)])


# ---- indexing; an index below zero counts from the end ---------------------------------------------------------------

def take(x, *index):
    """x[index], each an integer array for one leading dimension; their shapes broadcast."""
    index = np.broadcast_arrays(*index)
    y = np.empty(index[0].shape + x.shape[len(index):], x.dtype)
    for i in np.ndindex(index[0].shape):
        y[i] = x[tuple(int(k[i]) for k in index)]
    return y


def put(x, values, *index):
    """x with x[index] = values, in order: the last of equal indices stays."""
    return _put(x, values, index, lambda old, new: new)


def put_add(x, values, *index):
    return _put(x, values, index, lambda old, new: old + new)


def _put(x, values, index, join):
    y, index = x.copy(), np.broadcast_arrays(*index)
    values = np.broadcast_to(values, index[0].shape + x.shape[len(index):])
    for i in np.ndindex(index[0].shape):
        at = tuple(int(k[i]) for k in index)
        y[at] = join(y[at], values[i])
    return y


def _moved(i, axis, k):
    return i[:axis] + (int(k),) + i[axis + 1:]


def gather(x, axis, index):
    """y[i] = x[i with coordinate axis replaced by index[i]]."""
    y = np.empty(index.shape, x.dtype)
    for i in np.ndindex(index.shape):
        y[i] = x[_moved(i, axis, index[i])]
    return y


def scatter(x, axis, index, values):
    """x with x[i with coordinate axis replaced by index[i]] = values[i]."""
    y = x.copy()
    for i in np.ndindex(index.shape):
        y[_moved(i, axis, index[i])] = values[i]
    return y


def scatter_add(x, axis, index, values):
    y = x.copy()
    for i in np.ndindex(index.shape):
        y[_moved(i, axis, index[i])] += values[i]
    return y


def sort_(x, descending=False):
    """Rows sorted, NaN as the largest, equals in their old order; and where each came from."""
    def before(i, j):                    # does x[i] come before x[j]?
        a, b = (j, i) if descending else (i, j)
        return not isnan(a[0]) and (isnan(b[0]) or a[0] < b[0])
    values, order = np.empty_like(x), np.empty(x.shape, np.int64)
    for i in np.ndindex(x.shape[:-1]):
        row = []
        for item in zip(x[i], range(x.shape[-1])):
            at = len(row)
            while at and before(item, row[at - 1]):
                at -= 1
            row.insert(at, item)
        values[i], order[i] = [v for v, _ in row], [k for _, k in row]
    return values, order


def nonzero(x):
    return np.argwhere(x != 0)


# ---- softmax over `axis` ---------------------------------------------------------------------------------------------

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


# ---- losses: x (rows, C, inner), target (rows, inner) of classes or (rows, C, inner) of probabilities ----------------

def _reduce(losses, weights, reduction):
    return {"none": losses, "sum": losses.sum(), "mean": div(losses.sum(), weights)}[reduction]


def nll_fwd(x, target, weight=None, ignore_index=-100, reduction="mean"):
    """-weight[t] x[t], averaged over the weights of the counted targets."""
    rows, C, inner = x.shape
    losses, total = np.zeros((rows, inner)), 0
    for r, i in np.ndindex(rows, inner):
        t = target[r, i]
        if t != ignore_index:
            w = 1 if weight is None else weight[t]
            losses[r, i] = -w * x[r, t, i]
            total += w
    return _reduce(losses, np.float64(total), reduction)


def nll_bwd(dy, x, target, weight=None, ignore_index=-100, reduction="mean"):
    rows, C, inner = x.shape
    dx, total = np.zeros(x.shape), 0
    for r, i in np.ndindex(rows, inner):
        t = target[r, i]
        if t != ignore_index:
            w = 1 if weight is None else weight[t]
            dx[r, t, i] = -w * np.broadcast_to(dy, (rows, inner))[r, i]
            total += w
    return div(dx, total) if reduction == "mean" else dx


def _soft_target(x, target, weight, ignore_index, smoothing):
    """(q, total): the probability that each logit is weighed with, and the divisor of the mean."""
    rows, C, inner = x.shape
    w = np.ones(C) if weight is None else weight
    if target.shape == x.shape and target.dtype.kind == "f":
        return ((1 - smoothing) * target + smoothing / C) * w[:, None], np.float64(rows * inner)
    q, total = np.zeros(x.shape), np.float64(0)
    for r, i in np.ndindex(rows, inner):
        t = target[r, i]
        if t != ignore_index:
            q[r, :, i] = smoothing / C * w
            q[r, t, i] += (1 - smoothing) * w[t]
            total += w[t]
    return q, total


def cross_entropy_fwd(x, target, weight=None, ignore_index=-100, reduction="mean", smoothing=0):
    """-sum over classes of q log softmax(x)."""
    q, total = _soft_target(x, target, weight, ignore_index, smoothing)
    losses = -np.sum(np.where(q == 0, 0, q * log_softmax_fwd(x, 1)), 1)
    return _reduce(losses, total, reduction)


def cross_entropy_bwd(dy, x, target, weight=None, ignore_index=-100, reduction="mean", smoothing=0):
    q, total = _soft_target(x, target, weight, ignore_index, smoothing)
    dx = softmax_fwd(x, 1) * q.sum(1, keepdims=True) - q
    dx = dx * (dy[:, None] if reduction == "none" else dy)
    return div(dx, total) if reduction == "mean" else dx


def _of_elements(loss, *slopes):
    """The meanings, forward and backward, of a loss of single elements and its slopes in x, target (and v, a third operand)."""
    @_quiet
    def fwd(x, target, v=None, *, weight=1, reduction="mean", **options):
        args = (x, target) if v is None else (x, target, v)
        return _reduce(np.asarray(weight * loss(*args, **options)), np.float64(x.size), reduction)

    @_quiet
    def bwd(dy, x, target, v=None, *, weight=1, reduction="mean", which=0, **options):
        args = (x, target) if v is None else (x, target, v)
        g = weight * slopes[which](*args, **options) * dy
        return div(g, x.size) if reduction == "mean" else g
    return fwd, bwd


mse_fwd, mse_bwd = _of_elements(lambda x, t: (x - t) ** 2, lambda x, t: 2 * (x - t), lambda x, t: 2 * (t - x))
l1_fwd, l1_bwd = _of_elements(lambda x, t: np.abs(x - t), lambda x, t: np.sign(x - t), lambda x, t: np.sign(t - x))


def _huber(x, t, delta=1, unit=1):
    d = np.abs(x - t)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2)) / unit


def _huber_slope(x, t, delta=1, unit=1):
    return np.clip(x - t, -delta, delta) / unit


huber_fwd, huber_bwd = _of_elements(_huber, _huber_slope, lambda x, t, **k: -_huber_slope(x, t, **k))
bce_fwd, bce_bwd = _of_elements(lambda x, t: -t * np.maximum(np.log(x), -100) - (1 - t) * np.maximum(np.log1p(-x), -100),
                                lambda x, t: (x - t) / np.maximum(x * (1 - x), 1e-12), lambda x, t: np.log1p(-x) - np.log(x))
bce_logits_fwd, bce_logits_bwd = _of_elements(
    lambda x, t, v=1: v * t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x),
    lambda x, t, v=1: (1 - t) * sigmoid_fwd(x) - v * t * sigmoid_fwd(-x),
    lambda x, t, v=1: v * np.logaddexp(0, -x) - np.logaddexp(0, x))


def _gaussian(x, t, v, eps=1e-6, full=False):
    u = np.maximum(v, eps)
    return (np.log(u) + (x - t) ** 2 / u + full * math.log(2 * math.pi)) / 2


gaussian_nll_fwd, gaussian_nll_bwd = _of_elements(
    _gaussian, lambda x, t, v, eps=1e-6, full=False: (x - t) / np.maximum(v, eps),
    lambda x, t, v, eps=1e-6, full=False: (t - x) / np.maximum(v, eps),
    lambda x, t, v, eps=1e-6, full=False: (1 - (x - t) ** 2 / np.maximum(v, eps)) / np.maximum(v, eps) / 2)
kl_div_fwd, kl_div_bwd = _of_elements(lambda x, t: np.where(t == 0, 0, t * np.log(t)) - t * x, lambda x, t: -t,
                                      lambda x, t: np.log(t) + 1 - x)
kl_div_log_fwd, kl_div_log_bwd = _of_elements(lambda x, t: np.exp(t) * (t - x), lambda x, t: -np.exp(t),
                                              lambda x, t: np.exp(t) * (t - x + 1))


# ---- random numbers: Philox4x32-10 under key `seed`, counter (block, draw) -------------------------------------------

def philox(seed, draw, block):
    """The four 32-bit words of a block."""
    low = 0xFFFFFFFF
    x = [block & low, block >> 32, draw & low, draw >> 32]
    k0, k1 = seed & low, seed >> 32
    for _ in range(10):
        p0, p1 = x[0] * 0xD2511F53, x[2] * 0xCD9E8D57
        x = [p1 >> 32 ^ x[1] ^ k0, p1 & low, p0 >> 32 ^ x[3] ^ k1, p0 & low]
        k0, k1 = k0 + 0x9E3779B9 & low, k1 + 0xBB67AE85 & low
    return x


def words(n, seed, draw, bits=32):
    """The first n numbers of a draw, of 32 bits or of 64 (two words, low first)."""
    w = [word for block in range(-(-n * bits // 128)) for word in philox(seed, draw, block)]
    return w[:n] if bits == 32 else [w[2 * i] | w[2 * i + 1] << 32 for i in range(n)]


def uniform(n, seed, draw, low=0, high=1, bits=32):
    """[low, high), from the upper bits that the mantissa holds. bits: of the real type, here and in normal."""
    keep = 24 if bits == 32 else 53
    return np.array([low + (high - low) * (w >> bits - keep) / 2 ** keep for w in words(n, seed, draw, bits)])


def normal(n, seed, draw, mean=0, deviation=1, bits=32):
    """Box and Muller on neighbours: radius from the even number, angle from the odd one."""
    w, y = words(n + n % 2, seed, draw, bits), []
    for i in range(0, n, 2):
        r = math.sqrt(-2 * math.log(((w[i] >> 1) + 0.5) / 2 ** (bits - 1)))
        quarters, f = w[i + 1] >> bits - 2, w[i + 1] % 2 ** (bits - 2) / 2 ** (bits - 2)
        angle = (quarters + (f if f < 0.5 else f - 1)) * math.pi / 2
        y += [mean + deviation * r * math.cos(angle), mean + deviation * r * math.sin(angle)]
    return np.array(y[:n])


def bernoulli(n, seed, draw, p):
    """1 where a word lies below p 2^32; of an array p, where its upper 24 bits lie below p 2^24."""
    if np.ndim(p):
        return np.array([float((w >> 8) / 2 ** 24 < q) for w, q in zip(words(n, seed, draw), p)])
    return np.array([float(p >= 1 or w < int(p * 2 ** 32)) for w in words(n, seed, draw)])


def randint(n, seed, draw, low, high):
    return np.array([low + ((high - low) * w >> 64) for w in words(n, seed, draw, 64)], dtype=np.int64)


def randperm(n, seed, draw):
    """Fisher and Yates, inside out."""
    y = []
    for i, w in enumerate(words(n, seed, draw, 64)):
        at = (i + 1) * w >> 64
        y.append(y[at] if at < i else i)
        y[at] = i
    return np.array(y, dtype=np.int64)


def dropout_fwd(x, seed, draw, p):
    """x mask / (1 - p), and the mask."""
    mask = bernoulli(x.size, seed, draw, 1 - p).reshape(x.shape)
    return x * mask / (1 - p), mask


def dropout_bwd(dy, mask, p):
    return dy * mask / (1 - p)


# ---- optimizers: the new parameter and state -------------------------------------------------------------------------

def sgd(p, g, b=None, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    """(p, b); b is None before the first step."""
    g = (-g if maximize else g) + weight_decay * p
    if momentum:
        b = g if b is None else momentum * b + (1 - dampening) * g
        g = g + momentum * b if nesterov else b
    return p - lr * g, b


def optim_tick(step, lr, beta1, beta2, weight_decay):
    """(step + 1, -lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step), 1 - lr weight_decay)."""
    step += 1
    return step, -lr / (1 - beta1 ** step), 1 / math.sqrt(1 - beta2 ** step), 1 - lr * weight_decay


def adam(p, g, m, v, step, vmax=None, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled=False,
         maximize=False):
    """(p, m, v, vmax) after step number `step`; vmax is None without amsgrad. decoupled: AdamW."""
    beta1, beta2 = betas
    g = -g if maximize else g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    vmax = None if vmax is None else np.maximum(vmax, v)
    m_hat, v_hat = m / (1 - beta1 ** step), (v if vmax is None else vmax) / (1 - beta2 ** step)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v, vmax


def rmsprop(p, g, v, b=0, c=0, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False,
            maximize=False):
    """(p, v, b, c); all three begin with 0."""
    g = (-g if maximize else g) + weight_decay * p
    v, c = alpha * v + (1 - alpha) * g * g, alpha * c + (1 - alpha) * g
    b = momentum * b + g / (np.sqrt(v - c * c if centered else v) + eps)
    return p - lr * b, v, b, c


def adagrad(p, g, v, step, lr=1e-2, lr_decay=0, weight_decay=0, eps=1e-10, maximize=False):
    """(p, v) after step number `step`."""
    g = (-g if maximize else g) + weight_decay * p
    v = v + g * g
    return p - lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(v) + eps), v


def grad_norm(*grads, power=2):
    """(sum |g|^power)^(1/power) over all of them; the largest |g| for an infinite power."""
    sizes = np.concatenate([np.abs(g).ravel() for g in grads])
    return sizes.max(initial=0) if power == math.inf else np.sum(sizes ** power) ** (1 / power)


def grad_scale(g, norm, max_norm):
    return g * min(1, max_norm / (norm + 1e-6))


def grad_clamp(g, bound):
    return clamp(g, -bound, bound)
