"""Batch, layer and group normalisation."""
from functools import partial

import numpy as np

import ref
from fastnn.nn import functional as F
from .common import APART, case, grad, positive, randn

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
