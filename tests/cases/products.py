"""Matrix products and dense layers."""
from functools import partial

import numpy as np

import fastnn
import ref
from fastnn import _core
from fastnn.nn import functional as F
from .common import case, grad, randn


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
