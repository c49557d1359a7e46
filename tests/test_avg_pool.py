"""csrc/avg_pool.c: what an average divides by, and long windows; test_pool.py has what both pools have in common."""
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
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 10, 37))
    options = dict(kernel_size=kernel, stride=stride, padding=padding, **options)
    want = ref.avg_pool2d_fwd(x, **options)
    dy = rng.standard_normal(want.shape)
    dx = ref.avg_pool2d_bwd(dy, x, **options)
    t = fastnn.tensor(x)
    t = (_core.nhwc(t) if last else t).requires_grad_()

    def run():
        t.grad = None
        y = F.avg_pool2d(t, **options)
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
    for run in (lambda: F.adaptive_avg_pool2d(t, 1), lambda: F.avg_pool2d(t, (9, size))):
        for y, in everywhere(lambda: [run().detach()]):
            compare(y, x.astype(float).mean((2, 3), keepdims=True), "float32", 8, np.abs(x).mean((2, 3), keepdims=True))
        t.grad = None
        run().sum().backward()
        np.testing.assert_allclose(t.grad.numpy(), np.full(x.shape, 1 / (9 * size)), rtol=1e-6)
