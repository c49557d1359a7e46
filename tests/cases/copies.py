"""Copies, conversions and constants."""
from functools import partial

import numpy as np

import fastnn
import ref
from check import ALL
from .common import case, randn, whole

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
