"""csrc/conv_scatter.c: the gradient of an input of few channels."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, bad_pixels, compare, laid_images, machine, same_bits
from fastnn import _core


@pytest.mark.parametrize("stride, dilation", ((1, 1), (2, 1), (1, 2), (3, 2), ((2, 1), (1, 3))), ids=str)
def test_gradient_of_few_channels(stride, dilation):
    """Shares of a row of dx, added up: 1 to 24 channels, groups, row-major and channels-last dy, blocks of rows, any number of threads."""
    rng = np.random.default_rng(0)
    for N, C, K, H, W, R, groups in ((2, 1, 16, 14, 13, 5, 1), (1, 6, 16, 14, 14, 5, 1), (3, 3, 40, 60, 57, 7, 1),
                                     (1, 16, 20, 9, 12, 3, 1), (2, 6, 32, 11, 10, 5, 2), (8, 20, 50, 8, 9, 5, 1),
                                     (4, 11, 30, 11, 12, 5, 1), (2, 48, 32, 9, 11, 4, 2)):
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
@pytest.mark.parametrize("C, K, R", ((1, 6, 5), (6, 16, 5), (3, 4, 3), (20, 50, 5)))
def test_a_bad_number_reaches_its_window(C, K, R, bad, dtype, isa):
    """Of dy, in all channels of dx."""
    w = fastnn.ones(K, C, R, R, dtype=getattr(fastnn, dtype))
    for dy, hit in bad_pixels(K, C, R, bad, dtype):
        for layout in (0, 1):
            dx = _core.conv2d_bwd_x(laid_images(dy, layout), w, hit.shape, padding=R // 2, winograd=False).numpy()
            np.testing.assert_array_equal(~np.isfinite(dx), hit)


def sparse(rng, shape, share):
    dy = rng.standard_normal(shape)
    dy[rng.random(shape) >= share] = 0
    return dy.astype("float32")


@pytest.mark.parametrize("N, C, K, H, W, R, padding",
                         [(3, 6, 16, 14, 14, 5, 0), (2, 6, 16, 14, 14, 5, 2), (2, 1, 20, 9, 12, 3, 1), (2, 5, 33, 60, 57, 3, 1),
                          (1, 3, 16, 40, 21, 4, 3), (2, 7, 40, 6, 7, 2, 1),
                          (2, 4, 16, 30, 30, (2, 5), 1), (2, 8, 24, 30, 20, (5, 3), (4, 2)), (2, 6, 17, 90, 40, 5, 0)])
def test_zeros_of_dy_are_passed_over(N, C, K, H, W, R, padding, isa):
    """The bits of the same numbers row-major, of which none is passed over; signs of zeros too. Images differ in their zeros."""
    rng, R, padding = np.random.default_rng(0), *((n if isinstance(n, tuple) else (n, n)) for n in (R, padding))
    w = rng.standard_normal((K, C, *R)).astype("float32")
    for share in (0, 0.02, 0.25, 0.5):
        dy = sparse(rng, (N, K, *(n + 2 * p - r + 1 for n, p, r in zip((H, W), padding, R))), share)
        dy[0, 1] = rng.standard_normal(dy.shape[2:])
        first = None
        for threads in THREADS:
            for layout in (0, 1):
                with machine(isa, threads):
                    dx = _core.conv2d_bwd_x(laid_images(dy, layout), fastnn.tensor(w), (N, C, H, W), padding=padding, winograd=False)
                first = dx if first is None else first
                same_bits(first, dx, f"{threads} threads, layout {layout}, a share of {share}")
        assert not np.signbit(first.numpy()[first.numpy() == 0]).any()
        want = ref.conv2d_bwd_x(dy.astype(float), w.astype(float), (N, C, H, W), (1, 1), (padding[0],) * 2 + (padding[1],) * 2, (1, 1), 1)
        np.testing.assert_allclose(first.numpy(), want, atol=1e-4)


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_zeros_meet_bad_weights(bad, isa):
    """A zero of dy times an infinity is NaN, wherever it lies."""
    w = np.ones((16, 6, 5, 5), "float32")
    w[3, 2, 1, 4] = bad
    dy = sparse(np.random.default_rng(0), (2, 16, 10, 10), 0.1)
    with machine(isa):
        dx = _core.conv2d_bwd_x(laid_images(dy, 1), fastnn.tensor(w), (2, 6, 14, 14), winograd=False).numpy()
    hit = np.zeros(dx.shape, bool)
    hit[:, 2, 1:11, 4:14] = True
    assert not np.isfinite(dx[hit]).any() and np.isfinite(np.delete(dx, 2, 1)).all()


def test_bad_numbers_among_zeros(isa):
    dy = np.zeros((2, 16, 10, 10), "float32")
    dy[1, 5, 3, 4], dy[1, 15, 9, 0] = np.nan, -np.inf
    with machine(isa):
        dx = _core.conv2d_bwd_x(laid_images(dy, 1), fastnn.ones(16, 6, 5, 5), (2, 6, 14, 14), winograd=False).numpy()
    hit = np.zeros(dx.shape, bool)
    hit[1, :, 3:8, 4:9] = hit[1, :, 9:14, :5] = True
    np.testing.assert_array_equal(~np.isfinite(dx), hit)
