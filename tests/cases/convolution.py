"""Convolution: all three passes of each form."""
from functools import partial

import numpy as np

import ref
from fastnn import _core
from fastnn.nn import functional as F
from .common import APART, case, grad, randn


def conv_cases(x_shape, w_shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, form="conv2d", spread=np.asarray, draw=randn, **ways):
    """The three operations of one convolution, in the form that these shapes have. spread: np.max where sums of all sizes share their roundings."""
    x, w, b = draw(*x_shape), draw(*w_shape), draw(w_shape[0])
    options = stride, (padding[0],) * 2 + (padding[1],) * 2, dilation, groups
    dy = draw(*ref.conv2d_fwd(x, w, b, *options).shape)

    def fwd(x, w, b):
        return ref.conv2d_fwd(x, w, b, *options)

    def bwd_x(dy, x, w):
        return ref.conv2d_bwd_x(dy, w, x_shape, *options)

    def bwd_w(dy, x):
        return ref.conv2d_bwd_w(dy, x, w_shape, *options)

    def size(f):
        return lambda *arrays: spread(f(*map(np.abs, arrays)))
    conv = partial(F.conv2d, stride=stride, padding=padding, dilation=dilation, groups=groups)
    ways.setdefault("tol", 12)
    case(form + "_fwd", conv, x, w, b, mean=fwd, bound=size(fwd), grads=(0, 1, 2), **ways)
    case(form + "_bwd_x", lambda dy, x, w: grad(conv, dy, x, w), dy, x, w, mean=bwd_x, bound=size(bwd_x), **ways)
    case(form + "_bwd_w", lambda dy, x: _core.conv2d_bwd_w(dy, x, w_shape, stride, padding, dilation, groups)[0], dy, x,
         mean=lambda dy, x: bwd_w(dy, x)[0], bound=lambda dy, x: spread(bwd_w(np.abs(dy), np.abs(x))[0]), **ways)
    case(form + "_bwd_w", lambda dy, x: _core.conv2d_bwd_w(dy, x, w_shape, stride, padding, dilation, groups, True, False)[1],
         dy, x, mean=lambda dy, x: bwd_w(dy, x)[1], bound=lambda dy, x: spread(bwd_w(np.abs(dy), np.abs(x))[1]), **ways)


conv_cases((2, 3, 7, 9), (20, 3, 3, 3), padding=(1, 1))
conv_cases((2, 17, 6, 5), (33, 17, 2, 3), padding=(1, 2), layouts=APART)
conv_cases((3, 1, 9, 21), (5, 1, 5, 4), padding=(2, 0), layouts=APART)                       # vectors along pixels
conv_cases((1, 4, 11, 8), (6, 2, 3, 2), (2, 3), (1, 0), (1, 2), 2, layouts=APART)
conv_cases((9, 12, 4, 3), (33, 12, 3, 3), padding=(1, 1))                                   # rows of a tile are images
conv_cases((10, 12, 5, 6), (18, 6, 3, 2), (2, 1), (1, 1), (1, 2), 2, layouts=APART)
conv_cases((2, 32, 15, 14), (48, 32, 3, 3), padding=(1, 1), form="winograd", tol=40)
for x_shape, w_shape, padding in ((2, 32, 27, 30), (48, 32, 4, 4), (1, 1)), ((2, 32, 27, 26), (16, 32, 5, 5), (2, 1)), ((2, 32, 30, 31), (32, 32, 7, 7), (3, 2)):
    numbers = np.random.default_rng(w_shape[2])
    conv_cases(x_shape, w_shape, (2, 2), padding, form="winograd", tol=40, spread=np.max, draw=lambda *n, r=numbers: r.standard_normal(n))
conv_cases((2, 18, 5, 6), (18, 1, 3, 3), (1, 2), (1, 1), groups=18, layouts=APART, form="depthwise")
conv_cases((2, 3, 6, 17), (6, 1, 3, 2), (2, 1), (1, 1), groups=3, form="depthwise")
conv_cases((2, 8, 5, 6), (16, 4, 1, 1), (1, 2), groups=2, layouts=APART)                     # of one group it is a product of matrices
conv_cases((0, 3, 5, 5), (4, 3, 2, 2), layouts=APART[:1])
conv_cases((1, 1, 1, 1), (1, 1, 1, 1), layouts=APART[:1])
