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


def mse_fwd(x, target, reduction="mean"):
    return _reduce((x - target) ** 2, np.float64(x.size), reduction)


def mse_bwd(dy, x, target, reduction="mean"):
    return 2 * (x - target) * dy / (x.size if reduction == "mean" else 1)


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


def grad_norm(*grads, power=2):
    """(sum |g|^power)^(1/power) over all of them; the largest |g| for an infinite power."""
    sizes = np.concatenate([np.abs(g).ravel() for g in grads])
    return sizes.max(initial=0) if power == math.inf else np.sum(sizes ** power) ** (1 / power)


def grad_scale(g, norm, max_norm):
    return g * min(1, max_norm / (norm + 1e-6))


def grad_clamp(g, bound):
    return clamp(g, -bound, bound)
