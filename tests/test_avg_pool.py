"""csrc/avg_pool.c: what an average divides by, long windows, and windows that are alone; test_pool.py has what both pools have in common."""
import numpy as np
import pytest

import fastnn
import ref
from check import compare, everywhere
from fastnn import _core
from fastnn.nn import functional as F


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("options", ({}, {"count_include_pad": False}, {"divisor_override": 5}, {"ceil_mode": True},
                                     {"ceil_mode": True, "count_include_pad": False}), ids=str)
@pytest.mark.parametrize("kernel, stride, padding", ((2, 2, 1), (3, 2, 1), (3, 1, 1), (5, 3, 2), ((1, 4), (2, 2), (0, 2))), ids=str)
def test_counts_at_the_border(kernel, stride, padding, options, last):
    """Windows that reach into the padding, or beyond it by ceil_mode, and backward pixels held by windows of different counts."""
    check_one_way(np.random.default_rng(0).standard_normal((2, 3, 10, 37)), last, kernel_size=kernel, stride=stride, padding=padding, **options)


def check_one_way(x, last, **options):
    """Forward and backward against their meaning, on each instruction set and number of threads; last: channels-last."""
    want = ref.avg_pool2d_fwd(x, **options)
    dy = np.random.default_rng(1).standard_normal(want.shape)
    dx = ref.avg_pool2d_bwd(dy, x, **options)
    t = fastnn.tensor(x)
    t = (_core.nhwc(t) if last else t).requires_grad_()

    def run():
        t.grad = None
        y = (F.adaptive_avg_pool2d if "output_size" in options else F.avg_pool2d)(t, **options)
        y.backward(fastnn.tensor(dy))
        return y.detach(), t.grad
    for y, grad in everywhere(run):
        compare(y, want, "float64", 8, 1 + np.abs(want))
        compare(grad, dx, "float64", 8, 1 + np.abs(dx))


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("size", (1, 7, 31, 64, 200))
def test_one_window_over_all(size, last):
    x = np.random.default_rng(0).standard_normal((2, 5, 9, size)).astype(np.float32)
    t = fastnn.tensor(x)
    t = (_core.nhwc(t) if last else t).requires_grad_()
    dy = np.random.default_rng(1).standard_normal((2, 5, 1, 1)).astype(np.float32)
    for pool in (lambda: F.adaptive_avg_pool2d(t, 1), lambda: F.avg_pool2d(t, (9, size))):
        def run():
            t.grad = None
            y = pool()
            y.backward(fastnn.tensor(dy))
            return y.detach(), t.grad
        for y, dx in everywhere(run):
            compare(y, x.astype(float).mean((2, 3), keepdims=True), "float32", 8, np.abs(x).mean((2, 3), keepdims=True))
            compare(dx, np.broadcast_to(dy.astype(float) / (9 * size), x.shape), "float32")


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("kernel, stride, padding", (((9, 20), 40, 0), ((5, 33), 40, 0), ((4, 20), 40, 0), ((9, 33), (1, 40), (4, 0)),
                                                     ((9, 20), (40, 13), 0), ((11, 35), 40, 1)), ids=str)
def test_one_window_over_a_part(kernel, stride, padding, last):
    """A single window that leaves columns, rows or both out, that has neighbours below or beside it, and that reaches over every edge."""
    check_one_way(np.random.default_rng(0).standard_normal((2, 3, 9, 33)), last, kernel_size=kernel, stride=stride, padding=padding)


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("size, out", (((14, 14), (9, 9)), ((13, 13), (6, 6)), ((9, 15), (9, 4)), ((8, 60), (3, 23)), ((5, 7), (8, 16)),
                                       ((3, 1100), (2, 700)), ((3, 1100), (2, 7)), ((7, 40), (5, 1))), ids=str)
def test_adaptive_windows(size, out, last):
    """Rows within a vector and beyond, even windows and uneven ones, fewer outputs than inputs and more, rows longer than a line."""
    check_one_way(np.random.default_rng(0).standard_normal((2, 3, *size)), last, output_size=out)
