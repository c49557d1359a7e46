"""csrc/conv_scatter.c: the gradient of an input of few channels."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, compare, laid_images, machine, same_bits
from fastnn import _core


@pytest.mark.parametrize("stride, dilation", ((1, 1), (2, 1), (1, 2), (3, 2), ((2, 1), (1, 3))), ids=str)
def test_gradient_of_few_channels(stride, dilation):
    """Shares of a row of dx, added up: 1 to 16 channels, groups, row-major and channels-last dy, blocks of rows, any number of threads."""
    rng = np.random.default_rng(0)
    for N, C, K, H, W, R, groups in ((2, 1, 16, 14, 13, 5, 1), (1, 6, 16, 14, 14, 5, 1), (3, 3, 40, 60, 57, 7, 1),
                                     (1, 16, 20, 9, 12, 3, 1), (2, 6, 32, 11, 10, 5, 2)):
        x, w = rng.standard_normal((N, C, H, W)), rng.standard_normal((K, C // groups, R, R))
        pairs = [n if isinstance(n, tuple) else (n, n) for n in (stride, dilation)]
        options = pairs[0], (2, 2, 2, 2), pairs[1], groups
        dy = rng.standard_normal(ref.conv2d_fwd(x, w, None, *options).shape)
        for dtype in ("float32", "float64"):
            rounded = [v.astype(dtype).astype(float) for v in (dy, w)]
            want, size = (ref.conv2d_bwd_x(*map(f, rounded), x.shape, *options) for f in (np.array, np.abs))
            for isa in _core.isas():
                first = None
                for threads in THREADS:
                    for layout in range(3):
                        with machine(isa, threads):
                            dx = _core.conv2d_bwd_x(laid_images(dy.astype(dtype), layout), fastnn.tensor(w.astype(dtype)),
                                                    x.shape, pairs[0], 2, pairs[1], groups, winograd=False)
                        first = dx if first is None else first
                        same_bits(dx, first)
                compare(first, want, dtype, tol=4, bound=size, what=f"{(N, C, K, H, W, R, groups)} {options} {isa}")


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("C, K, R", ((1, 6, 5), (6, 16, 5), (3, 4, 3)))
def test_a_bad_number_reaches_its_window(C, K, R, bad, dtype, isa):
    """Of dy, in all channels of dx."""
    w, shape = fastnn.ones(K, C, R, R, dtype=getattr(fastnn, dtype)), (2, C, 12, 20)
    for h, column in ((0, 0), (5, 7), (11, 19), (4, 0)):
        hit = np.zeros(shape, bool)
        hit[1, :, max(h - R // 2, 0):h + R // 2 + 1, max(column - R // 2, 0):column + R // 2 + 1] = True
        dy = np.ones((2, K, 12, 20), dtype)
        dy[1, K - 1, h, column] = bad
        for layout in (0, 1):
            dx = _core.conv2d_bwd_x(laid_images(dy, layout), w, shape, padding=R // 2, winograd=False).numpy()
            np.testing.assert_array_equal(~np.isfinite(dx), hit)
