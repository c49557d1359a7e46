"""csrc/conv_slide.c: three or five taps that slide along a row, in all passes; with AVX-512 in float32 the shapes are its own."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, bad_pixels, compare, laid_images, machine, same_bits
from fastnn import _core

# rows of 4 or 5 pixels at a time, all output channels or fewer than a vector's
SHAPES = (((3, 16, 11, 32), (16, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1), ((2, 7, 13, 25), (11, 7, 3, 3), (2, 1), (1, 1), (1, 1), 1),
          ((2, 18, 12, 14), (7, 18, 5, 5), (1, 1), (0, 0), (2, 1), 1), ((2, 10, 9, 44), (16, 5, 5, 5), (1, 1), (2, 2), (1, 1), 2),
          ((9, 6, 14, 14), (16, 6, 5, 5), (1, 1), (0, 0), (1, 1), 1))


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("x_shape, w_shape, stride, padding, dilation, groups", SHAPES, ids=lambda v: str(v).replace(" ", ""))
def test_all_passes(x_shape, w_shape, stride, padding, dilation, groups, dtype, isa):
    """The meaning; the same bits for any number of threads and both layouts."""
    rng, options, first = np.random.default_rng(0), (stride, padding, dilation, groups), None
    pads = (padding[0],) * 2 + (padding[1],) * 2
    x, w, b = (rng.standard_normal(n).astype(dtype) for n in (x_shape, w_shape, w_shape[:1]))
    wide = [a.astype(float) for a in (x, w, b)]
    dy = rng.standard_normal(ref.conv2d_fwd(*wide, stride, pads, dilation, groups).shape).astype(dtype)
    k, bias = fastnn.tensor(w), fastnn.tensor(b)
    for threads in THREADS:
        for layout in (0, 1):
            with machine(isa, threads):
                t, g = laid_images(x, layout), laid_images(dy, layout)
                found = (_core.conv2d_fwd(t, k, bias, *options, act=1, winograd=False), _core.conv2d_bwd_x(g, k, x_shape, *options, winograd=False),
                         *_core.conv2d_bwd_w(g, t, w_shape, *options, winograd=False))
            assert all(_core.guard_words_whole(v) for v in found)
            first = first or found
            same_bits(first, found, f"{threads} threads, layout {layout}, result")
    wide.append(dy.astype(float))
    means = (lambda x, w, b, dy: ref.conv2d_fwd(x, w, b, stride, pads, dilation, groups),
             lambda x, w, b, dy: ref.conv2d_bwd_x(dy, w, x_shape, stride, pads, dilation, groups),
             lambda x, w, b, dy: ref.conv2d_bwd_w(dy, x, w_shape, stride, pads, dilation, groups)[0], lambda x, w, b, dy: dy.sum((0, 2, 3)))
    for mean, got, kind in zip(means, first, ("y", "dx", "dw", "db")):
        want = mean(*wide)
        compare(got, np.maximum(want, 0) if kind == "y" else want, dtype, 40, mean(*map(np.abs, wide)), kind)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("C, K, R", ((6, 16, 5), (16, 16, 3), (3, 4, 3)))
def test_a_bad_number_reaches_its_window(C, K, R, bad, dtype, isa):
    """Of x, in all channels of y."""
    w = fastnn.ones(K, C, R, R, dtype=getattr(fastnn, dtype))
    for x, hit in bad_pixels(C, K, R, bad, dtype):
        for layout in (0, 1):
            y = _core.conv2d_fwd(laid_images(x, layout), w, padding=R // 2, winograd=False).numpy()
            np.testing.assert_array_equal(~np.isfinite(y), hit)
