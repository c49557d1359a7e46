"""Scaled dot product attention."""
from functools import partial

import numpy as np

import ref
from fastnn.nn import functional as F
from .common import APART, case, grad, randn

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
