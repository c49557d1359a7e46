"""csrc/conv_first.c: the weight's gradient of a first layer; with AVX-512 in float32 the shapes are its own. What a maximum behind it makes of all
passes is in test_fusion_pool.py."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, compare, laid_images, machine, same_bits
from fastnn import _core

# one and two vectors of taps, rows that come in across both; odd rows and columns, units that are parts of an image, one image, long sums
SHAPES = [((8, 1, 28, 28), (6, 1, 5, 5), (2, 2)), ((1, 1, 28, 28), (8, 1, 5, 5), (2, 2)), ((2, 1, 13, 21), (3, 1, 3, 3), (1, 1)),
          ((5, 1, 9, 22), (5, 1, 2, 13), (0, 3)), ((2, 1, 12, 9), (7, 1, 5, 3), (1, 0)), ((3, 1, 11, 40), (5, 1, 1, 25), (0, 2)),
          ((2, 1, 3, 40), (6, 1, 1, 8), (0, 0)), ((2, 1, 40, 3), (6, 1, 8, 1), (4, 1)), ((1, 1, 260, 60), (6, 1, 5, 5), (2, 2)),
          ((2, 1, 6, 7), (8, 1, 5, 6), (1, 0)), ((33, 1, 5, 5), (6, 1, 5, 5), (0, 0)), ((1, 1, 9, 33), (6, 1, 3, 5), (4, 5))]


@pytest.mark.parametrize("x_shape, w_shape, padding", SHAPES, ids=lambda v: str(v).replace(" ", ""))
def test_meaning(x_shape, w_shape, padding, isa):
    """The same bits for any number of threads and both layouts; dw alone and db alone are what they are together."""
    rng, first = np.random.default_rng(0), None
    shape = (x_shape[0], w_shape[0], *(n + 2 * p - r + 1 for n, p, r in zip(x_shape[2:], padding, w_shape[2:])))
    x, dy = (rng.standard_normal(n).astype("float32") for n in (x_shape, shape))
    for threads in THREADS:
        for layout in (0, 1):
            with machine(isa, threads):
                t, g = laid_images(x, layout), laid_images(dy, layout)
                found = _core.conv2d_bwd_w(g, t, w_shape, padding=padding)
                alone = (_core.conv2d_bwd_w(g, t, w_shape, padding=padding, need_bias=False)[0],
                         _core.conv2d_bwd_w(g, t, w_shape, padding=padding, need_weight=False)[1])
            assert all(map(_core.guard_words_whole, found))
            first = first or found
            same_bits(first, found, f"{threads} threads, layout {layout}, result")
            same_bits(first, alone, f"alone, {threads} threads, layout {layout}, result")
    pads = (padding[0],) * 2 + (padding[1],) * 2
    X, DY = x.astype(float), dy.astype(float)
    want, size = (ref.conv2d_bwd_w(f(DY), f(X), w_shape, (1, 1), pads, (1, 1), 1) for f in (np.array, np.abs))
    for got, want, size in zip(first, want, size):
        compare(got, want, "float32", 30, size)


@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("at", [(0, 0), (3, 8), (8, 20), (8, 0), (1, 20)])
def test_a_bad_number_reaches_its_taps(at, bad, isa):
    x, dy = np.ones((2, 1, 9, 21), "float32"), np.ones((2, 5, 7, 19), "float32")
    x[(1, 0, *at)] = bad
    with machine(isa):
        dw, db = (t.numpy() for t in _core.conv2d_bwd_w(fastnn.tensor(dy), fastnn.tensor(x), (5, 1, 3, 3)))
    hit = np.zeros((3, 3), bool)
    hit[max(at[0] - 6, 0):at[0] + 1, max(at[1] - 18, 0):at[1] + 1] = True
    np.testing.assert_array_equal(~np.isfinite(dw[:, 0]), np.broadcast_to(hit, (5, 3, 3)))
    assert (db == 2 * 7 * 19).all()


def test_long_sums_are_accurate(isa):
    x, dy = fastnn.full((16, 1, 202, 52), 0.1), fastnn.full((16, 6, 200, 50), 0.7)
    with machine(isa):
        dw, db = _core.conv2d_bwd_w(dy, x, (6, 1, 3, 3))
    np.testing.assert_allclose(dw.numpy(), 160000 * float(np.float32(0.1)) * float(np.float32(0.7)), rtol=1e-4)
    np.testing.assert_allclose(db.numpy(), 160000 * float(np.float32(0.7)), rtol=1e-4)


def test_nothing_to_sum(isa):
    with machine(isa):
        dw, db = _core.conv2d_bwd_w(fastnn.zeros(0, 6, 4, 4), fastnn.zeros(0, 1, 8, 8), (6, 1, 5, 5))
    assert dw.shape == (6, 1, 5, 5) and not dw.numpy().any() and db.shape == (6,) and not db.numpy().any()
