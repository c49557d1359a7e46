"""csrc/depthwise_weight.c: the gradients of weight and bias where groups are channels, over planes and over channels."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, compare, laid_images, machine, same_bits
from fastnn import _core
from test_depthwise import GROUPS, SHAPES, operands

MORE = [((70, 3, 5, 4), (3, 3), 1, (1, 1), (1, 1), (1, 1)),              # several parts
        ((2, 70, 40, 33), (3, 3), 1, (1, 1), (1, 1), (1, 1)), ((2, 32, 9, 11), (2, 9), 1, (2, 1), (0, 0), (1, 1)),
        ((1, 16, 20, 18), (11, 11), 1, (1, 1), (5, 5), (1, 1))]


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("shape, size, groups, m, stride, padding, dilation",
                         [(s, f, s[1], *o) for s, f, *o in SHAPES + MORE] + [(s, f, g, 1, *o) for s, f, g, *o in GROUPS])
def test_forms(shape, size, groups, m, stride, padding, dilation, dtype, isa):
    """The meaning; of each order of images, the same bits for all threads; dw alone and db alone what they are together."""
    x, w, _, dy, mean = operands(shape, size, m, (stride, padding, dilation), dtype, groups)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    wants = [ref.conv2d_bwd_w(f(dy.astype(float)), f(x.astype(float)), w.shape, *mean) for f in (np.array, np.abs)]
    for layout in range(3):
        first, images = None, (laid_images(dy, layout), laid_images(x, layout))
        for n in THREADS:
            with machine(isa, n):
                both = _core.conv2d_bwd_w(*images, w.shape, **options)
                dw, none = _core.conv2d_bwd_w(*images, w.shape, **options, need_bias=False)
                nothing, db = _core.conv2d_bwd_w(*images, w.shape, **options, need_weight=False)
            assert none is nothing is None and all(map(_core.guard_words_whole, both))
            first = first or both
            same_bits(first, both, f"layout {layout}, {n} threads, result")
            same_bits(first, (dw, db), f"alone, layout {layout}, {n} threads, result")
        for got, want, size, what in zip(first, *wants, ("dw", "db")):
            compare(got, want, dtype, 30, size, f"{what}, layout {layout}")


@pytest.mark.parametrize("layout", (0, 1))
def test_long_sums_are_accurate(layout, isa):
    """160000 equal terms in float32."""
    x, dy = (laid_images(np.full((4, 16, 200, 200), v, np.float32), layout) for v in (0.1, 0.7))
    with machine(isa):
        dw, db = _core.conv2d_bwd_w(dy, x, (16, 1, 1, 1), groups=16)
    np.testing.assert_allclose(dw.numpy(), 160000 * float(np.float32(0.1)) * float(np.float32(0.7)), rtol=1e-4)
    np.testing.assert_allclose(db.numpy(), 160000 * float(np.float32(0.7)), rtol=1e-4)


@pytest.mark.parametrize("layout", (0, 1))
@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_a_bad_number_reaches_what_it_meets(dtype, bad, layout, isa):
    """Of x: in a corner one tap alone, at the second row's begin the first of two rows. Of dy: one channel."""
    for at, rows, column in (((0, 0, 0, 0), 0, 0), ((1, 0, 11, 10), -1, -1), ((0, 0, 1, 0), slice(2), 0)):
        x, dy = np.ones((3, 37, 12, 11), dtype), np.ones((3, 37, 10, 9), dtype)
        x[at] = bad
        with machine(isa):
            dw, db = (t.numpy() for t in _core.conv2d_bwd_w(laid_images(dy, layout), laid_images(x, layout), (37, 1, 3, 3), groups=37))
            hit = np.zeros(dw.shape, bool)
            hit[0, 0, rows, column] = True
            np.testing.assert_array_equal(~np.isfinite(dw), hit)
            assert np.isfinite(db).all()
            dy[1, 2, 1, 1], x[at] = bad, 1
            dw, db = (t.numpy() for t in _core.conv2d_bwd_w(laid_images(dy, layout), laid_images(x, layout), (37, 1, 3, 3), groups=37))
        assert not np.isfinite(dw[2]).any() and np.isfinite(np.delete(dw, 2, 0)).all()
        assert np.flatnonzero(~np.isfinite(db)).tolist() == [2]


def test_nothing_to_sum():
    dw, db = _core.conv2d_bwd_w(fastnn.zeros(0, 7, 3, 3), fastnn.zeros(0, 7, 4, 4), (7, 1, 2, 2), groups=7)
    assert not dw.numpy().any() and not db.numpy().any()
