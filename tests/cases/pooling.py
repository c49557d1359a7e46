"""Maxima and averages of windows."""
from functools import partial

import numpy as np

import ref
from fastnn.nn import functional as F
from .common import APART, RNG, case, grad, randn


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
    pools((1, 2, 9, 75), kernel_size=(3, 5), stride=4, padding=(1, 2))
    pools((1, 2, 9, 19), kernel_size=17, stride=3, padding=8)                # more taps than a byte counts
    pools((0, 3, 4, 4), kernel_size=2)
    pools((1, 1, 1, 1), kernel_size=1)
max_cases((1, 3, 9, 40), kernel_size=(2, 3), stride=2, padding=1, dilation=(3, 2))
max_cases((1, 3, 9, 70), kernel_size=(2, 3), stride=(1, 5), padding=1, dilation=(3, 2))
max_cases((2, 1, 11, 90), kernel_size=(3, 2), stride=(4, 7))
max_cases((1, 2, 8, 90), kernel_size=(7, 40), stride=(1, 3), padding=(2, 20))
max_cases((1, 1, 8, 90), kernel_size=(7, 40), dilation=(1, 2))
avg_cases((1, 3, 7, 38), kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
avg_cases((1, 70, 4, 5), kernel_size=3, stride=1, padding=1, divisor_override=-2)
avg_cases((1, 1, 2, 4500), kernel_size=(2, 5), stride=(2, 3), padding=(0, 2))                # rows in parts
avg_cases((1, 1, 1, 2500), kernel_size=(1, 1100), stride=(1, 700))
for size in ((1, 1), (3, 5), (5, 9), (2, 3)):
    avg_cases((2, 5, 4, 9), F.adaptive_avg_pool2d, output_size=size)
