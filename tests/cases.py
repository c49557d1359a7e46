"""Calls of every operation of csrc/ops.inc as users make them, with operands; test_ops_list.py gives each to check_op.

CASES[op] lists (run, mean, operands, options of check_op). Operands of floats take each type in turn; whole() makes
those that every type holds. What only one family needs (special values, long inputs, odd options) is in that family's
own test file.
"""
from functools import partial

import numpy as np

import fastnn
import ref
from check import ALL, INTS, NUMS
from fastnn import _core
from fastnn.nn import functional as F

RNG = np.random.default_rng(0)
CASES = {}
APART = ("contiguous", "transposed", "sliced")               # no element twice


def case(op, run, /, *args, mean=None, **options):
    """run(*args) is held against mean, by default the op's own meaning."""
    args = [np.asarray(a) if isinstance(a, np.generic) else a for a in args]
    CASES.setdefault(op, []).append((run, mean or ref.meaning(op), args, {"op": op, **options}))


def randn(*shape):
    return RNG.standard_normal(shape)


def away(*shape):
    """Not near zero, where a derivative may jump."""
    return RNG.uniform(0.2, 2, shape) * RNG.choice([-1, 1], shape)


def positive(*shape):
    return RNG.uniform(0.3, 3, shape)


def whole(low, high, *shape):
    return RNG.integers(low, high + 1, shape).astype(float)


def grad(f, dy, *leaves, which=0):
    """The gradient of f(*leaves), weighed with dy, at one of the leaves."""
    leaves = [x.detach().requires_grad_() if i == which else x for i, x in enumerate(leaves)]
    return fastnn.autograd.grad(f(*leaves), leaves[which], dy)[0]


# ---- elementwise -----------------------------------------------------------------------------------------------------

PAIRS = [((3, 67), (3, 67)), ((130,), ()), ((2, 1, 5), (4, 1)), ((0, 3), (1, 3)), ((1,), (1,)),
         ((4, 3, 2, 5), (4, 1, 2, 1))]
SIGNED = ("float32", "float64", "int64", "int32")


def sizes(a, b):
    return np.abs(a) + np.abs(b)


def cut(a, b):
    return fastnn.div(a, b, rounding_mode="trunc")


for n, m in PAIRS:
    x, y = whole(0, 9, *n), whole(0, 4, *m)
    for op in ("add", "mul"):
        case(op, getattr(fastnn, op), x, y, dtypes=ALL, grads=(0, 1), tol=1, same_everywhere=True)
    case("sub", fastnn.sub, x, y, dtypes=NUMS, grads=(0, 1), tol=1, same_everywhere=True)
    for op in ("maximum", "minimum", "eq", "ne", "lt", "le", "logical_and", "logical_or", "logical_xor"):
        case(op, getattr(fastnn, op), x, y, dtypes=ALL, tol=0, same_everywhere=True)
    case("lt", fastnn.gt, x, y, mean=np.greater, dtypes=ALL)
    case("le", fastnn.ge, x, y, mean=np.greater_equal, dtypes=ALL)
    for op in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        case(op, getattr(fastnn, op), x, y, dtypes=INTS + ("bool",))
    case("div", fastnn.div, randn(*n), away(*m), grads=(0, 1), tol=1, same_everywhere=True)
    for op, run in (("floor_divide", fastnn.floor_divide), ("trunc_divide", cut), ("remainder", fastnn.remainder)):
        case(op, run, randn(*n) * 5, away(*m), bound=sizes, same_everywhere=True)
        case(op, run, x, y + 1, dtypes=INTS, capture=False)       # whether a divisor is zero is asked on the host
    case("pow", fastnn.pow, positive(*n), randn(*m) * 2, tol=20, grads=(0, 1), grad_tol=1e-4, same_everywhere=True)
    case("pow", fastnn.pow, whole(0, 6, *n), whole(0, 3, *m), dtypes=INTS)
    case("addcmul", partial(fastnn.addcmul, value=2), x, y, whole(0, 9, *n), mean=partial(ref.addcmul, s=2),
         dtypes=NUMS, grads=(0, 1, 2), bound=lambda a, b, c: a + 2 * b * c)

for op, run in (("floor_divide", fastnn.floor_divide), ("remainder", fastnn.remainder), ("trunc_divide", cut)):
    f = ref.meaning(op)
    case(op, lambda a, run=run: run(a, 3), whole(0, 100, 5, 7), mean=lambda a, f=f: f(a, np.array(3, a.dtype)),
         dtypes=NUMS, tol=0)
    case(op, lambda a, run=run: run(a, -3), whole(-99, 99, 5, 7), mean=lambda a, f=f: f(a, np.array(-3, a.dtype)),
         dtypes=SIGNED, tol=0)
case("add", lambda a: fastnn.add(a, 2, alpha=3), whole(0, 9, 3, 5), mean=lambda a: a + 6, dtypes=NUMS)
case("add", partial(fastnn.add, alpha=-2.5), randn(3, 5), randn(5), mean=partial(ref.add, alpha=-2.5), grads=(0, 1),
     bound=lambda a, b: sizes(a, 2.5 * b))
case("sub", lambda a: 2 - a, whole(0, 9, 3, 5), mean=lambda a: 2 - a, dtypes=NUMS, grads=(0,))
case("pow", lambda a: 2.5 ** a, randn(3, 5), mean=lambda a: 2.5 ** a, tol=20, grads=(0,))
case("maximum", fastnn.maximum, randn(4, 9), randn(9), grads=(0, 1), tol=0)
case("minimum", fastnn.minimum, randn(4, 9), randn(9), grads=(0, 1), tol=0)

SHAPES = [(), (1,), (3, 67), (0,), (130,), (2, 3, 4)]
NEAR_ZERO = ("log", "log1p", "sin", "cos")   # where they are, the error is measured against 1/2
for n in SHAPES:
    case("logical_not", fastnn.logical_not, whole(0, 1, *n), dtypes=ALL)
    case("bitwise_not", fastnn.bitwise_not, whole(0, 9, *n), dtypes=INTS + ("bool",))
    case("sign", fastnn.sign, whole(-1, 1, *n), dtypes=SIGNED, tol=0)
    case("sign", fastnn.sign, whole(0, 2, *n), dtypes=("uint8", "bool"))
    case("neg", fastnn.neg, whole(0, 9, *n), dtypes=NUMS, grads=(0,), tol=0)
    case("abs", fastnn.abs, away(*n) * 9, grads=(0,), tol=0)
    case("abs", fastnn.abs, whole(-4, 5, *n), dtypes=("int64", "int32"))
    case("abs", fastnn.abs, whole(0, 9, *n), dtypes=("uint8",))
    for op, x, tol in (("reciprocal", away(*n), 1), ("exp", 3 * randn(*n), 3), ("log", positive(*n), 3),
                       ("log1p", positive(*n) - 0.5, 3), ("sqrt", positive(*n), 1), ("rsqrt", positive(*n), 3),
                       ("sin", 5 * randn(*n), 3), ("cos", 5 * randn(*n), 3), ("erf", randn(*n), 3)):
        bound = (lambda x, f=ref.meaning(op): np.maximum(np.abs(f(x)), 0.5)) if op in NEAR_ZERO else None
        case(op, getattr(fastnn, op), x, tol=tol, grads=(0,), bound=bound, same_everywhere=True)
    for op in ("floor", "ceil", "round", "trunc"):
        case(op, getattr(fastnn, op), np.append(RNG.uniform(-9, 9, n).reshape(-1), [0.5, 1.5, -2.5, 1e20, -0.0]), tol=0)
    case("clamp", lambda a: fastnn.clamp(a, 2, 6), whole(0, 9, *n), mean=lambda a: ref.clamp(a, 2, 6), dtypes=NUMS,
         tol=0)
    case("where", fastnn.where, RNG.random(n) < 0.5, whole(0, 9, *n), whole(0, 9, *n), dtypes=ALL, tol=0, grads=(1, 2),
         same_everywhere=True)
    case("relu_fwd", fastnn.relu, away(*n), grads=(0,), tol=0)
    case("relu_fwd", fastnn.relu, whole(0, 9, *n), dtypes=INTS)
    for name in ("relu", "sigmoid", "tanh"):
        act, f, g = getattr(fastnn, name), ref.meaning(name + "_fwd"), ref.meaning(name + "_bwd")
        case(name + "_bwd", partial(grad, act), randn(*n), away(*n), mean=lambda dy, x, f=f, g=g: g(dy, f(x)),
             bound=lambda dy, x: 4 * np.abs(dy))
        case(name + "_fwd", act, 3 * away(*n), grads=(0,), same_everywhere=True)
    # gelu's slope by erf and exp(-x^2 / 2): roundings are of x's size, not of the result's
    for op, act, options in (("elu", F.elu, {"alpha": 1.5}), ("elu", F.selu, {"alpha": 1.6732632423543772, "scale": 1.0507009873554805}),
                             ("silu", F.silu, {}), ("gelu", F.gelu, {}), ("gelu_tanh", partial(F.gelu, approximate="tanh"), {}),
                             ("softplus", F.softplus, {"beta": 2.5, "threshold": 3})):
        f, g = (partial(ref.meaning(op + way), **options) for way in ("_fwd", "_bwd"))
        act = partial(act, **options) if act is not F.selu else act
        case(op + "_fwd", act, 2 * away(*n), mean=f, grads=(0,), same_everywhere=True, bound=np.abs, tol=8)
        case(op + "_bwd", partial(grad, act), randn(*n), 2 * away(*n), mean=g, same_everywhere=True, tol=8,
             bound=lambda dy, x: 3 * np.abs(dy) * (1 + np.abs(x)))
    case("hardtanh_bwd", partial(grad, F.relu6), randn(*n), 4 * randn(*n), mean=partial(ref.hardtanh_bwd, low=0, high=6), tol=0)
    case("step_fwd", F.step, randn(*n), tol=0)
for n, m in (((3, 67), ()), ((3, 67), (67,)), ((130,), (1,)), ((2, 3, 4, 5), (3,)), ((0, 3), (3,))):
    x, w, dy, spread = 2 * away(*n), away(*m), randn(*n), (-1,) + (1,) * (len(n) - 2) if m else ()
    slope = lambda w, spread=spread: w.reshape(spread)                                                               # noqa: E731
    case("prelu_fwd", F.prelu, x, w, mean=lambda x, w, f=slope: ref.prelu_fwd(x, f(w)), grads=(0, 1), tol=1)
    case("prelu_bwd_x", partial(grad, F.prelu), dy, x, w, mean=lambda dy, x, w, f=slope: ref.prelu_bwd_x(dy, x, f(w)), tol=1)
    case("prelu_bwd_w", partial(grad, F.prelu, which=1), dy, x, w, tol=16, mean=lambda dy, x, w, one=m in ((), (1,)): ref.prelu_bwd_w(
        dy, x).sum(None if one else (0, *range(2, x.ndim))).reshape(w.shape), bound=lambda dy, x, w: np.abs(dy * x).sum())
    case("prelu_fwd", F.leaky_relu, x, mean=lambda x: ref.prelu_fwd(x, 0.01), grads=(0,), tol=1)
case("clamp", lambda a: a.clamp(-0.5, 0.7), randn(5, 9), mean=lambda a: ref.clamp(a, -0.5, 0.7), grads=(0,), tol=1)
case("where", lambda c, a: fastnn.where(c, a, 3), RNG.random((4, 6)) < 0.5, whole(0, 9, 6),
     mean=lambda c, a: np.where(c, a, 3), dtypes=NUMS)

SPECIAL = np.array([0, -0.0, 1, np.nan, np.inf, -np.inf, 1e-40, -3])
for op in ("isnan", "isinf", "isfinite", "exp", "log", "sqrt", "reciprocal", "abs", "neg", "sign", "floor", "relu_fwd",
           "tanh_fwd", "sigmoid_fwd"):
    for n in (9, (3, 2)):
        case(op, getattr(fastnn, op.removesuffix("_fwd")), np.tile(SPECIAL, n))

# ---- convolution -----------------------------------------------------------------------------------------------------

def conv_cases(x_shape, w_shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, form="conv2d", **ways):
    """The three operations of one convolution, in the form that these shapes have."""
    x, w, b = randn(*x_shape), randn(*w_shape), randn(w_shape[0])
    options = stride, (padding[0],) * 2 + (padding[1],) * 2, dilation, groups
    dy = randn(*ref.conv2d_fwd(x, w, b, *options).shape)

    def fwd(x, w, b):
        return ref.conv2d_fwd(x, w, b, *options)

    def bwd_x(dy, x, w):
        return ref.conv2d_bwd_x(dy, w, x_shape, *options)

    def bwd_w(dy, x):
        return ref.conv2d_bwd_w(dy, x, w_shape, *options)

    def size(f):
        return lambda *arrays: f(*map(np.abs, arrays))
    conv = partial(F.conv2d, stride=stride, padding=padding, dilation=dilation, groups=groups)
    ways.setdefault("tol", 12)
    case(form + "_fwd", conv, x, w, b, mean=fwd, bound=size(fwd), grads=(0, 1, 2), **ways)
    case(form + "_bwd_x", lambda dy, x, w: grad(conv, dy, x, w), dy, x, w, mean=bwd_x, bound=size(bwd_x), **ways)
    case(form + "_bwd_w", lambda dy, x: _core.conv2d_bwd_w(dy, x, w_shape, stride, padding, dilation, groups)[0], dy, x,
         mean=lambda dy, x: bwd_w(dy, x)[0], bound=lambda dy, x: bwd_w(np.abs(dy), np.abs(x))[0], **ways)
    case(form + "_bwd_w", lambda dy, x: _core.conv2d_bwd_w(dy, x, w_shape, stride, padding, dilation, groups, True, False)[1],
         dy, x, mean=lambda dy, x: bwd_w(dy, x)[1], bound=lambda dy, x: bwd_w(np.abs(dy), np.abs(x))[1], **ways)


conv_cases((2, 3, 7, 9), (20, 3, 3, 3), padding=(1, 1))
conv_cases((2, 17, 6, 5), (33, 17, 2, 3), padding=(1, 2), layouts=APART)
conv_cases((3, 1, 9, 21), (5, 1, 5, 4), padding=(2, 0), layouts=APART)                       # vectors along pixels
conv_cases((1, 4, 11, 8), (6, 2, 3, 2), (2, 3), (1, 0), (1, 2), 2, layouts=APART)
conv_cases((9, 12, 4, 3), (33, 12, 3, 3), padding=(1, 1))                                   # rows of a tile are images
conv_cases((10, 12, 5, 6), (18, 6, 3, 2), (2, 1), (1, 1), (1, 2), 2, layouts=APART)
conv_cases((2, 32, 15, 14), (48, 32, 3, 3), padding=(1, 1), form="winograd", tol=40)
conv_cases((2, 18, 5, 6), (18, 1, 3, 3), (1, 2), (1, 1), groups=18, layouts=APART)           # vectors along groups
conv_cases((2, 8, 5, 6), (16, 4, 1, 1), (1, 2), groups=2, layouts=APART)                     # of one group it is a product of matrices
conv_cases((0, 3, 5, 5), (4, 3, 2, 2), layouts=APART[:1])
conv_cases((1, 1, 1, 1), (1, 1, 1, 1), layouts=APART[:1])

# ---- normalisation ---------------------------------------------------------------------------------------------------

for n in ((7, 5), (70, 17), (3, 6, 9), (2, 3, 4, 5), (3, 2, 9, 11), (2, 1, 1, 1)):
    x, dy, w, b, moving, spread = randn(*n) * 2 + 1, randn(*n), randn(n[1]), randn(n[1]), randn(n[1]), positive(n[1])
    train = lambda x, w, b: F.batch_norm(x, None, None, w, b, True)                                                  # noqa: E731
    room = {"layouts": APART, "tol": 16, "threads": (1, 3, 7)}
    case("batch_norm_fwd", train, x, w, b, grads=() if n[0] == 2 else (0, 1, 2), grad_tol=3e-5, **room,
         bound=lambda x, w, b: np.abs(ref.batch_norm_fwd(x, w, b)) + 4)
    case("batch_norm_eval", F.batch_norm, x, moving, spread, w, b, grads=(0, 3, 4), grad_tol=3e-5, **room,
         bound=lambda x, *rest: np.abs(ref.batch_norm_eval(x, *rest)) + 4)
    for which in range(3):
        case("batch_norm_bwd", partial(grad, train, which=which), dy, x, w, b, **room,
             mean=lambda dy, x, w, b, k=which: ref.batch_norm_bwd(dy, x, w)[k],
             bound=lambda dy, x, *_: 3 * np.sum(np.abs(dy)) / np.sqrt(1e-4 + x.var((0, *range(2, x.ndim))).min()))

for n, k in (((7, 5), 1), ((70, 33), 1), ((3, 2, 67), 2), ((2, 130), 1), ((1, 1), 1)):
    x, dy, w, b = randn(*n) * 2 + 1, randn(*n), randn(*n[-k:]), randn(*n[-k:])
    layer = lambda x, w, b, n=n[-k:]: F.layer_norm(x, n, w, b)                                                       # noqa: E731
    room = {"layouts": APART, "tol": 16, "threads": (1, 3, 7)}
    case("layer_norm_fwd", layer, x, w, b, grads=() if n == (1, 1) else (0, 1, 2), grad_tol=3e-5, **room, mean=partial(ref.layer_norm_fwd, k=k),
         bound=lambda x, w, b: np.abs(w) * 4 + np.abs(b))
    case("layer_norm_fwd", lambda x, w, n=n[-k:]: F.rms_norm(x, n, w, 1e-5), x, w, grads=() if n == (1, 1) else (0, 1), grad_tol=3e-5, **room,
         mean=partial(ref.layer_norm_fwd, k=k, rms=True))
    for which in range(3):
        case("layer_norm_bwd", partial(grad, layer, which=which), dy, x, w, b, **room,
             mean=lambda dy, x, w, b, k=k, i=which: ref.layer_norm_bwd(dy, x, w, k=k)[i],
             bound=lambda dy, x, w, *_: np.sum(np.abs(dy)) * (1 + np.abs(w).max()) / np.sqrt(1e-2 + x.reshape(len(x), -1).var(1).min()))

for n, groups in (((7, 6), 2), ((3, 6, 9), 3), ((2, 4, 4, 5), 4), ((3, 6, 3, 11), 1)):
    x, dy, w, b = randn(*n) * 2 + 1, randn(*n), randn(n[1]), randn(n[1])
    grouped = lambda x, w, b, groups=groups: F.group_norm(x, groups, w, b)                                           # noqa: E731
    case("group_norm_fwd", grouped, x, w, b, grads=(0, 1, 2), grad_tol=3e-5, **room,
         mean=lambda x, w, b, groups=groups: ref.group_norm_fwd(x, groups, w, b), bound=lambda x, w, b: 4 * np.abs(w).max() + np.abs(b).max())
    for which in range(3):
        case("group_norm_bwd", partial(grad, grouped, which=which), dy, x, w, b, **room,
             mean=lambda dy, x, w, b, groups=groups, i=which: ref.group_norm_bwd(dy, x, groups, w)[i],
             bound=lambda dy, x, w, *_: np.sum(np.abs(dy)) * (1 + np.abs(w).max()))

# ---- attention -------------------------------------------------------------------------------------------------------

for n, L, S, E, Ev, options in (((2,), 5, 7, 3, 4, {}), ((2, 3), 66, 70, 8, 20, {"is_causal": True}), ((1,), 9, 130, 16, 5, {"scale": 0.3}),
                                ((), 1, 1, 1, 1, {})):
    q, k, v, dy = randn(*n, L, E), randn(*n, S, E), randn(*n, S, Ev), randn(*n, L, Ev)
    attend, said = partial(F.scaled_dot_product_attention, **options), {"causal": options.get("is_causal", False), "scale": options.get("scale")}
    room = {"layouts": APART, "tol": 24, "threads": (1, 3, 7)}
    case("attention_fwd", attend, q, k, v, mean=partial(ref.attention_fwd, **said), bound=lambda q, k, v: np.abs(v).max(), grads=(0, 1, 2),
         grad_tol=3e-5, **room)
    for which in range(3):
        case("attention_bwd", partial(grad, attend, which=which), dy, q, k, v, mean=lambda *a, w=which, said=said: ref.attention_bwd(*a, **said)[w],
             bound=lambda dy, q, k, v: (1 + np.abs(q).max() + np.abs(k).max()) * np.abs(dy).sum((-1, -2)).max() * (1 + np.abs(v).max()), **room)

# ---- pooling ---------------------------------------------------------------------------------------------------------

def max_cases(n, **options):
    """Both operations of one max pool over numbers that stand clear of each other."""
    x = RNG.permutation(int(np.prod(n))).reshape(n) * 0.1
    fwd, pool = partial(ref.max_pool2d_fwd, **options), partial(F.max_pool2d, **options)
    case("max_pool2d_fwd", pool, x, mean=lambda x: fwd(x)[0], tol=0, grads=(0,), same_everywhere=True)
    case("max_pool2d_fwd", partial(pool, return_indices=True), x, mean=fwd, out=(None, "int64"), tol=0, layouts=APART)
    case("max_pool2d_bwd", partial(grad, pool), randn(*fwd(x)[0].shape), x, mean=partial(ref.max_pool2d_bwd, **options),
         bound=lambda dy, x: ref.max_pool2d_bwd(np.abs(dy), x, **options), tol=8, layouts=APART)


def avg_cases(n, pool=F.avg_pool2d, **options):
    x, fwd, bwd = randn(*n), *(partial(f, **options) for f in (ref.avg_pool2d_fwd, ref.avg_pool2d_bwd))
    pool = partial(pool, **options)
    case("avg_pool2d_fwd", pool, x, mean=fwd, bound=lambda x: fwd(np.abs(x)), grads=(0,), tol=16)
    case("avg_pool2d_bwd", partial(grad, pool), randn(*fwd(x).shape), x, mean=bwd, bound=lambda dy, x: bwd(np.abs(dy), x),
         tol=16, layouts=APART)


for pools in (max_cases, avg_cases):
    pools((2, 2, 7, 41), kernel_size=3, stride=2, padding=1)
    pools((2, 6, 6, 35), kernel_size=2)
    pools((2, 17, 5, 6), kernel_size=(2, 3), stride=(1, 2), padding=(1, 0), ceil_mode=True)
    pools((1, 2, 7, 40), kernel_size=3, stride=(2, 1), padding=(0, 1))
    pools((1, 1, 5, 60), kernel_size=2, stride=3)
    pools((1, 2, 9, 19), kernel_size=17, stride=3, padding=8)                # more taps than a byte counts
    pools((0, 3, 4, 4), kernel_size=2)
    pools((1, 1, 1, 1), kernel_size=1)
max_cases((1, 3, 9, 40), kernel_size=(2, 3), stride=2, padding=1, dilation=(3, 2))
avg_cases((1, 3, 7, 38), kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
avg_cases((1, 70, 4, 5), kernel_size=3, stride=1, padding=1, divisor_override=-2)
for size in ((1, 1), (3, 5), (5, 9), (2, 3)):
    avg_cases((2, 5, 4, 9), F.adaptive_avg_pool2d, output_size=size)

# ---- resampling ------------------------------------------------------------------------------------------------------

def upsample_cases(n, size, mode, scales=None):
    """Both operations of one resampling, by a size or by scale factors that come to it."""
    x, options = randn(*n), {"mode": mode} if mode != "corners" else {"mode": "bilinear", "align_corners": True}
    meant = {"mode": mode.replace("bi", ""), "scales": scales or (None, None)}
    fwd, bwd = partial(ref.upsample_fwd, size=size, **meant), partial(ref.upsample_bwd, shape=n, **meant)
    resample = partial(F.interpolate, **options, **({"scale_factor": scales} if scales else {"size": size}))
    case("upsample_fwd", resample, x, mean=fwd, bound=lambda x: fwd(np.abs(x)), grads=(0,), same_everywhere=True,
         tol=24)
    case("upsample_bwd", partial(grad, resample), randn(n[0], n[1], *size), x, mean=lambda dy, x: bwd(dy), layouts=APART,
         bound=lambda dy, x: bwd(np.abs(dy)), same_everywhere=True, tol=24)


for mode in ("nearest", "nearest-exact", "bilinear", "corners"):
    upsample_cases((2, 3, 5, 35), (10, 70), mode)
    upsample_cases((2, 18, 4, 5), (7, 15), mode)
    upsample_cases((1, 2, 9, 66), (4, 19), mode)
upsample_cases((1, 2, 6, 20), (6, 50), "bilinear")
upsample_cases((1, 2, 6, 20), (13, 20), "bilinear")
upsample_cases((2, 2, 5, 7), (11, 4), "bilinear", (2.3, 0.6))
upsample_cases((2, 2, 5, 7), (7, 21), "nearest", (1.5, 3.0))
upsample_cases((1, 3, 1, 1), (6, 40), "bilinear")
upsample_cases((0, 3, 2, 2), (3, 3), "nearest")

# ---- matrix products -------------------------------------------------------------------------------------------------


def product(a, b):
    """The size against which a matrix product's roundings are measured."""
    return np.abs(a) @ np.abs(b)


for m, k, n in ((1, 1, 1), (3, 5, 4), (17, 33, 65), (64, 64, 64), (2, 0, 3), (0, 4, 3), (70, 9, 34)):
    x, w, b, dy = randn(m, k), randn(n, k), randn(n), randn(m, n)
    case("gemm", fastnn.matmul, x, w.T, grads=(0, 1), bound=product, tol=4 + k / 4)
    case("dense_fwd", F.linear, x, w, b, grads=(0, 1, 2), bound=lambda x, w, b: product(x, w.T) + np.abs(b),
         tol=4 + k / 4)
    case("dense_bwd_x", partial(grad, F.linear), dy, x, w, mean=lambda dy, x, w: ref.dense_bwd_x(dy, w),
         bound=lambda dy, x, w: product(dy, w), tol=4 + n / 4)
    case("dense_bwd_w", partial(grad, F.linear, which=1), dy, x, w, mean=lambda dy, x, w: ref.dense_bwd_w(dy, x)[0],
         bound=lambda dy, x, w: product(dy.T, x), tol=4 + m / 4)
    case("dense_bwd_w", partial(grad, F.linear, which=2), dy, x, w, b, mean=lambda dy, x, *_: ref.dense_bwd_w(dy, x)[1],
         bound=lambda dy, *_: np.abs(dy).sum(0), tol=4 + m / 4)
for m, k, n in ((1, 1, 1), (40, 33, 65), (70, 9, 34)):
    case("gemm_pack", lambda x, w: _core.linear_fwd(x, w, None, 0, _core.linear_pack(w)), randn(m, k), randn(n, k),
         mean=ref.dense_fwd, tol=4 + k / 4, bound=lambda x, w: product(x, w.T))
case("gemm", fastnn.matmul, randn(3, 4, 5), randn(3, 5, 6), grads=(0, 1), bound=product)
case("gemm", fastnn.matmul, randn(2, 3, 4, 5), randn(5, 6), bound=product)
case("dense_fwd", lambda x, w: fastnn.relu(F.linear(x, w)), randn(9, 8), randn(7, 8),
     mean=partial(ref.dense_fwd, act="relu"), bound=lambda x, w: product(x, w.T))

# ---- reductions ------------------------------------------------------------------------------------------------------


def over(name, axes, *before):
    """The method of a tensor, over those axes."""
    return lambda x: getattr(x, name)(*before) if axes is None else getattr(x, name)(*before, axes)


for n, axes in (((5, 70), None), ((5, 70), 0), ((5, 70), 1), ((3, 4, 66), (0, 2)), ((3, 4, 66), 1), ((2000,), None),
                ((1, 1), 0), ((), None), ((0, 3), 0), ((3000, 3), 0)):
    full, single, count = 0 not in n, not isinstance(axes, tuple), int(np.sum(np.ones(n), axes).max())
    room = 4 + count / 8                     # roundings

    def meant(op, axes=axes):
        return lambda x, f=ref.meaning(op): f(x, axes)
    absolute = meant("sumabs")
    case("sum", over("sum", axes), randn(*n), mean=meant("sum"), bound=absolute, grads=(0,), tol=room)
    case("sum", over("sum", axes), whole(0, 200, *n), mean=meant("sum"), dtypes=INTS, out="int64")
    for op in ("any", "all"):
        case(op, over(op, axes), whole(0, 1, *n), mean=meant(op), dtypes=[d for d in ALL if d != "uint8"])
        case(op, over(op, axes), whole(0, 1, *n), mean=meant(op), dtypes=("uint8",), out="uint8")
    if single:
        case("prod", over("prod", axes), RNG.uniform(0.9, 1.1, n), mean=meant("prod"), tol=room,
             grads=(0,) if count < 100 else ())
        case("prod", over("prod", axes), whole(1, 2, *n), mean=meant("prod"), dtypes=INTS, out="int64")
    if single and axes is not None:
        case("cumsum", over("cumsum", axes), randn(*n), mean=meant("cumsum"), grads=(0,), tol=room,
             bound=lambda x, a=axes: np.cumsum(np.abs(x), a))
        case("cumsum", over("cumsum", axes), whole(0, 200, *n), mean=meant("cumsum"), dtypes=INTS, out="int64")
    if not full:
        continue
    case("sum", over("mean", axes), randn(*n), mean=partial(np.mean, axis=axes), grads=(0,), tol=room,
         bound=lambda x, a=axes: np.mean(np.abs(x), a))
    case("sumsq", over("norm", axes, 2), away(*n), mean=lambda x, f=meant("sumsq"): np.sqrt(f(x)), tol=room, grads=(0,))
    case("sumabs", over("norm", axes, 1), away(*n), mean=absolute, tol=room, grads=(0,))
    if count > 1:
        case("sumdev2", over("var", axes), randn(*n), mean=lambda x, f=meant("sumdev2"), c=count: f(x) / (c - 1),
             tol=room, grads=(0,), bound=lambda x, f=meant("sumsq"), c=count: f(x) / (c - 1))
    for op in ("max", "min"):
        run = over(op if axes is None else "a" + op, axes)
        case(op, run, whole(0, 99, *n), mean=meant(op), dtypes=NUMS, tol=0)
        case(op, run, whole(0, 1, *n), mean=meant(op), dtypes=("bool",))
        case(op, run, randn(*n), mean=meant(op), tol=0, grads=(0,), layouts=APART)
        if single:
            case("arg" + op, over("arg" + op, axes), whole(0, 5, *n), mean=meant("arg" + op), dtypes=NUMS, out="int64")

HOLES = np.array([[1, np.nan, 3, np.nan], [np.inf, 2, -np.inf, 5]])
for op in ("max", "min"):
    value, place = ref.meaning(op), ref.meaning("arg" + op)
    case(op, lambda x, op=op: tuple(getattr(x, op)(1)), HOLES, mean=lambda x, f=value, g=place: (f(x, 1), g(x, 1)),
         out=(None, "int64"), tol=0, op="arg" + op)
    case("arg" + op, over("arg" + op, 1), HOLES, mean=lambda x, g=place: g(x, 1), out="int64")

# ---- copies ----------------------------------------------------------------------------------------------------------

KIND = {"float32": "f", "float64": "f", "int64": "i", "int32": "i", "uint8": "i", "bool": "b"}
for n in ((3, 67), (2, 3, 4), (0, 2), ()):
    case("copy", fastnn.clone, whole(0, 9, *n), mean=lambda x: x, dtypes=ALL, grads=(0,), tol=0)
    for to in ALL:
        case("copy", lambda x, to=to: x.to(getattr(fastnn, to)), whole(0, 9, *n), mean=partial(ref.copy, kind=KIND[to]),
             op=("copy", to), out=to, dtypes=[d for d in ALL if d != to])
case("copy", lambda x: x.to(fastnn.int64), np.array([[-1.9, 2.5, 0.1, -0.1, 1e9, -7]]),
     mean=partial(ref.copy, kind="i"), op=("copy", "int64"), out="int64")
case("copy", lambda x: x.t().contiguous(), randn(5, 8), mean=lambda x: x.T, tol=0, grads=(0,),
     layouts=("contiguous", "sliced"))
for to in ALL:
    kind, once = getattr(fastnn, to), {"dtypes": (to,), "out": to}
    case("fill", lambda kind=kind: fastnn.full((3, 5), 7, dtype=kind), mean=lambda: ref.fill((3, 5), 7), **once)
    case("fill", lambda kind=kind: fastnn.zeros(9, 4, dtype=kind)[1:8, ::2].fill_(1), mean=lambda: ref.fill((7, 2), 1),
         **once)
    if to != "bool":
        case("arange", lambda kind=kind: fastnn.arange(3, 150, 2, dtype=kind), mean=lambda: ref.arange(3, 2, 74),
             **once)
case("arange", lambda: fastnn.arange(0, 1, 0.01, dtype=fastnn.float64), mean=lambda: ref.arange(0, 0.01, 100),
     dtypes=("float64",))

# ---- indexing --------------------------------------------------------------------------------------------------------


def assigned(x, values, *index):
    y = x.clone()
    y[index] = values
    return y


def joined(x, values, *index):
    return x.clone().index_put_(index, values, accumulate=True)


ROWS, COLUMNS = RNG.integers(-6, 6, (4, 2)), RNG.integers(0, 5, (2,))
ONCE = RNG.permutation(6)[:4]                # no place twice, so that the order of writing does not matter
for n, index in (((6, 5), (ROWS,)), ((6, 5), (ROWS, COLUMNS)), ((6, 33), (ROWS,)), ((6,), (ROWS,)),
                 ((6, 5, 3), (COLUMNS,))):
    rows = np.broadcast_shapes(*[i.shape for i in index]) + n[len(index):]
    case("take", lambda x, *i: x[i], whole(0, 9, *n), *index, dtypes=ALL, tol=0, grads=(0,))
    case("put_add", joined, whole(0, 9, *n), whole(0, 9, *rows), *index, dtypes=NUMS, layouts=APART)
    case("put_add", lambda dy, x, *i: grad(lambda x: x[i], dy, x), randn(*rows), randn(*n), *index, layouts=APART,
         mean=lambda dy, x, *i: ref.put_add(0 * x, dy, *i), bound=lambda dy, x, *i: ref.put_add(0 * x, np.abs(dy), *i))
for n in ((6, 5), (6,), (6, 70)):
    case("put", assigned, whole(0, 9, *n), whole(0, 9, 4, *n[1:]), ONCE, dtypes=ALL, tol=0, layouts=APART, grads=(0, 1))
case("put", assigned, whole(0, 9, 6, 5), whole(0, 9, 4), ONCE, np.array([0, 4, 2, 1]), dtypes=ALL, tol=0, layouts=APART)
for axis, n, k in ((0, (6, 5), (4, 5)), (1, (6, 5), (6, 9)), (2, (3, 4, 7), (3, 4, 7)), (0, (8,), (3,))):
    index = RNG.integers(0, n[axis], k)
    case("gather", lambda x, i, a=axis: x.gather(a, i), whole(0, 9, *n), index, dtypes=ALL, tol=0, grads=(0,),
         mean=lambda x, i, a=axis: ref.gather(x, a, i))
    case("scatter_add", lambda x, i, v, a=axis: x.scatter_add(a, i, v), whole(0, 9, *n), index, whole(0, 9, *k),
         mean=lambda x, i, v, a=axis: ref.scatter_add(x, a, i, v), dtypes=NUMS, grads=(0, 2), layouts=APART)
    if k[axis] <= n[axis]:
        index = np.argsort(RNG.random(n), axis)[tuple(slice(0, m) for m in k)]
        case("scatter", lambda x, i, v, a=axis: x.scatter(a, i, v), whole(0, 9, *n), index, whole(0, 9, *k),
             mean=lambda x, i, v, a=axis: ref.scatter(x, a, i, v), dtypes=ALL, tol=0, grads=(0, 2), layouts=APART)
for descending in (False, True):
    run = lambda x, d=descending: tuple(fastnn.sort(x, descending=d, stable=True))                 # noqa: E731
    mean = partial(ref.sort_, descending=descending)
    for n in ((4, 33), (1,), (3, 0), (2, 3, 5)):
        case("sort", run, whole(0, 20, *n), mean=mean, dtypes=NUMS, tol=0, out=(None, "int64"), threads=(1, 3))
    case("sort", run, np.array([[2, np.nan, 1, 2, -np.inf, np.nan]]), mean=mean, tol=0, out=(None, "int64"))
for n in ((5, 7), (300,), (2, 3, 4), (0, 3)):                # the result's shape depends on the data: no capture
    case("nonzero", fastnn.nonzero, whole(0, 1, *n), dtypes=ALL, out="int64", capture=False)

# ---- softmax and losses ----------------------------------------------------------------------------------------------

for n, dim in (((4, 10), 1), ((4, 10), 0), ((2, 3, 5), 1), ((3, 130), 1), ((1, 1), 1), ((40,), 0)):
    for op in ("softmax", "log_softmax"):
        f, g = ref.meaning(op + "_fwd"), ref.meaning(op + "_bwd")
        run = lambda x, d=dim, op=op: getattr(x, op)(d)                                            # noqa: E731
        size = (lambda x, f=f, d=dim: np.abs(f(x, d)) * (1 + np.ptp(x, d, keepdims=True)) if f is ref.softmax_fwd else
                np.abs(f(x, d)) + 1)         # exp(x) is as exact as x
        case(op + "_fwd", run, 3 * randn(*n), mean=partial(f, axis=dim), grads=(0,), tol=8, bound=size)
        case(op + "_bwd", partial(grad, run), randn(*n), 2 * randn(*n), tol=8,
             mean=lambda dy, x, f=f, g=g, d=dim: g(dy, f(x, d), d),
             bound=lambda dy, x, d=dim: np.abs(dy) + np.sum(np.abs(dy), d, keepdims=True))
    case("logsumexp", lambda x, d=dim: x.logsumexp(d), 3 * randn(*n), mean=partial(ref.logsumexp, axis=dim), grads=(0,),
         bound=lambda x, d=dim: np.abs(ref.logsumexp(x, d)) + 3)


def loss(op, function, reduction, smoothing=0, **options):
    """(run, mean, mean of the backward) of a loss; its meaning takes logits (N, C, ...) as (rows, C, inner)."""
    theirs = {**options, "reduction": reduction, **({"smoothing": smoothing} if smoothing else {})}
    ours = {**options, "reduction": reduction, **({"label_smoothing": smoothing} if smoothing else {})}

    def flat(x, target):
        return x.reshape(*x.shape[:2], -1), target.reshape(target.shape[:1 if target.dtype.kind == "i" else 2] + (-1,))

    def run(x, target, weight=None):
        return function(x, target, weight=weight, **ours)

    def mean(x, target, weight=None):
        y = ref.meaning(op + "_fwd")(*flat(x, target), weight, **theirs)
        return y.reshape(x.shape[:1] + x.shape[2:]) if reduction == "none" else y

    def mean_bwd(dy, x, target, weight=None):
        dy = dy.reshape(x.shape[0], -1) if reduction == "none" else dy
        return ref.meaning(op + "_bwd")(dy, *flat(x, target), weight, **theirs).reshape(x.shape)
    return run, mean, mean_bwd


FEW = {"layouts": ("contiguous", "transposed", "sliced"), "threads": (1, 3), "tol": 16}
for reduction in ("mean", "sum", "none"):
    for n, inner in (((5, 4), ()), ((3, 10), (2, 3)), ((70, 9), ())):
        items, C = n[:1] + inner, n[1]
        x, classes, soft = randn(*n, *inner), RNG.integers(0, C, items), RNG.dirichlet(np.ones(C), items)
        soft, dy = np.moveaxis(soft, -1, 1), randn(*(items if reduction == "none" else ()))
        losses = [("nll", F.nll_loss, classes, {}), ("nll", F.nll_loss, classes, {"ignore_index": 1})]
        for target, options in ((classes, {}), (classes, {"ignore_index": 1}), (soft, {}), (soft, {"smoothing": 0.1}),
                                (classes, {"smoothing": 0.2})):
            losses.append(("cross_entropy", F.cross_entropy, target, options))
        for op, function, target, options in losses:
            run, mean, mean_bwd = loss(op, function, reduction, **options)
            weight = [positive(C)] if RNG.integers(2) else []
            case(op + "_fwd", run, x, target, *weight, mean=mean, grads=(0,), **FEW,
                 bound=lambda *args, f=mean: np.abs(f(*args)) + 1)
            case(op + "_bwd", partial(grad, run), dy, x, target, *weight, mean=mean_bwd,
                 bound=lambda dy, *_: 3 * np.abs(dy).max(), **FEW)
    for n in ((9,), (5, 70), (0, 3)):
        x, dy, some = randn(*n), randn(*(n if reduction == "none" else ())), positive(*n)
        inside, w = (RNG.uniform(0.05, 0.95, n) for _ in range(2))
        for op, function, operands, ours, theirs in (
                ("mse", F.mse_loss, (x, randn(*n)), {}, {}), ("l1", F.l1_loss, (x, x + away(*n)), {}, {}),
                ("huber", F.huber_loss, (x, randn(*n)), {"delta": 0.7}, {"delta": 0.7}),
                ("huber", F.smooth_l1_loss, (x, randn(*n)), {"beta": 0.4}, {"delta": 0.4, "unit": 0.4}),
                ("bce", F.binary_cross_entropy, (inside, w), {}, {}),
                ("bce_logits", F.binary_cross_entropy_with_logits, (3 * x, w), {}, {}),
                ("kl_div", F.kl_div, (x, some), {}, {}), ("kl_div_log", partial(F.kl_div, log_target=True), (x, randn(*n)), {}, {}),
                ("gaussian_nll", F.gaussian_nll_loss, (x, randn(*n), some), {"eps": 0.1}, {"eps": 0.1}),
                ("gaussian_nll", partial(F.gaussian_nll_loss, full=True), (x, randn(*n), some), {}, {"full": True})):
            run = partial(function, reduction=reduction, **ours)
            mean, slope = (partial(ref.meaning(op + way), reduction=reduction, **theirs) for way in ("_fwd", "_bwd"))
            size = max(x.size, 1) if reduction == "sum" else 1
            case(op + "_fwd", run, *operands, mean=mean, grads=tuple(range(len(operands))), grad_tol=2e-5, **FEW, bound=lambda *_, m=size: 9 * m)
            for which in range(len(operands)):
                case(op + "_bwd", partial(grad, run, which=which), dy, *operands, mean=partial(slope, which=which), **FEW,
                     bound=lambda dy, *_: 9 * np.abs(dy).max(initial=0))
        case("bce_fwd", lambda x, t, w, r=reduction: F.binary_cross_entropy(x, t, w, reduction=r), inside, w, some[..., :1], **FEW,
             mean=lambda x, t, w, r=reduction: ref.bce_fwd(x, t, weight=w, reduction=r), bound=lambda x, *_: 9 * x.size)
        case("bce_logits_fwd", lambda x, t, w, v, r=reduction: F.binary_cross_entropy_with_logits(x, t, w, reduction=r, pos_weight=v),
             x, w, some, positive(n[-1]), mean=lambda x, t, w, v, r=reduction: ref.bce_logits_fwd(x, t, v, weight=w, reduction=r), grads=(0, 1),
             grad_tol=2e-5, bound=lambda x, *_: 30 * x.size, **FEW)

# ---- random numbers: the very numbers of the seed --------------------------------------------------------------------

AT = (2 ** 40 + 5, 0)                        # seed, draw
SEEDED = {"before": lambda: fastnn.manual_seed(AT[0])}
for to in ALL:
    kind, once = getattr(fastnn, to), {"dtypes": (to,), "out": to, **SEEDED}
    for n in (1, 77, 300):
        case("bernoulli", lambda n=n, k=kind: fastnn.empty(n, dtype=k).bernoulli_(0.3),
             mean=lambda n=n: ref.bernoulli(n, *AT, 0.3), **once)
        if to != "bool":
            case("randint", lambda n=n, k=kind: fastnn.randint(3, 90, (n,), dtype=k),
                 mean=lambda n=n: ref.randint(n, *AT, 3, 90), **once)
            m = min(n, 200)
            case("randperm", lambda m=m, k=kind: fastnn.randperm(m, dtype=k), mean=lambda m=m: ref.randperm(m, *AT),
                 **once)
for to, bits in (("float32", 32), ("float64", 64)):
    kind, once = getattr(fastnn, to), {"dtypes": (to,), "out": to, **SEEDED}
    for n in (1, 77, 300):
        uniform, normal = partial(ref.uniform, n, *AT, bits=bits), partial(ref.normal, n, *AT, bits=bits)
        case("uniform", lambda n=n, k=kind: fastnn.rand(n, dtype=k), mean=uniform, tol=1, **once)
        case("uniform", lambda n=n, k=kind: fastnn.empty(n, dtype=k).uniform_(-2, 3), mean=partial(uniform, -2, 3),
             bound=lambda: 3, tol=1, **once)
        case("normal", lambda n=n, k=kind: fastnn.randn(n, dtype=k), mean=normal, bound=lambda: 1, tol=8, **once)
        case("bernoulli", fastnn.bernoulli, RNG.random(n), mean=lambda p: ref.bernoulli(p.size, *AT, p),
             layouts=("contiguous", "sliced"), **once)
SEEDED["layouts"] = ("contiguous", "offset", "sliced")        # elements that fill their memory are drawn in its order
for n in ((5,), (4, 77)):
    case("dropout_fwd", lambda x: F.dropout(x, 0.3), randn(*n), mean=lambda x: ref.dropout_fwd(x, *AT, 0.3)[0], tol=2,
         grads=(0,), **SEEDED)
    case("dropout_bwd", partial(grad, lambda x: F.dropout(x, 0.3)), randn(*n), randn(*n), tol=2, **SEEDED,
         mean=lambda dy, x: ref.dropout_bwd(dy, ref.dropout_fwd(x, *AT, 0.3)[1], 0.3))
