"""Sums, extrema and the like over dimensions."""
from functools import partial

import numpy as np

import ref
from check import ALL, INTS, NUMS
from .common import APART, RNG, away, case, randn, whole


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
