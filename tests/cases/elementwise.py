"""Arithmetic, comparison, functions of one operand and activations."""
from functools import partial

import numpy as np

import fastnn
import ref
from check import ALL, INTS, NUMS
from fastnn.nn import functional as F
from .common import RNG, away, case, grad, positive, randn, whole

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
