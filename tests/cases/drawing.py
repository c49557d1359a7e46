"""Random numbers: the very numbers of the seed."""
from functools import partial

import fastnn
import ref
from check import ALL
from fastnn.nn import functional as F
from .common import RNG, case, grad, randn

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
