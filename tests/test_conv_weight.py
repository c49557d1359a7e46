"""csrc/conv_weight.c: the gradients of weight and bias in each of their forms, alone and together, long sums, bad numbers."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, compare, machine, same_bits
from fastnn import _core

# name of the form, x, w, options; with AVX-512 in float32 the forms are those
FORMS = {
    "tiles": ((3, 20, 9, 10), (40, 20, 3, 3), {"padding": (1, 1)}), "tiles, strides": ((2, 5, 17, 15), (70, 5, 4, 3), {"stride": (2, 3), "dilation": (2, 1)}),
    "tiles of many panels": ((2, 192, 3, 4), (192, 192, 3, 3), {"padding": (1, 1)}), "tiles, 1x1": ((5, 30, 12, 13), (64, 30, 1, 1), {}),
    "tiles of chunks, in parts": ((2, 150, 20, 19), (40, 150, 3, 3), {"padding": (1, 1)}),
    "tiles of chunks, 1x1 with a stride": ((3, 150, 21, 18), (140, 150, 1, 1), {"stride": (2, 3)}),
    "tiles of chunks, groups": ((3, 268, 6, 7), (66, 134, 3, 2), {"groups": 2, "stride": (1, 2)}),
    "tiles, groups": ((2, 24, 8, 8), (48, 8, 3, 3), {"groups": 3}),
    "sliding": ((3, 16, 11, 13), (16, 16, 3, 3), {"padding": (1, 1)}), "sliding, 5x5": ((9, 6, 14, 14), (16, 6, 5, 5), {}),
    "sliding, rows apart": ((2, 11, 19, 9), (13, 11, 3, 5), {"stride": (2, 1), "dilation": (2, 1), "padding": (1, 2)}),
    "sliding, groups": ((2, 14, 9, 8), (24, 7, 4, 3), {"groups": 2}), "turned": ((3, 64, 12, 11), (3, 64, 3, 3), {"padding": (1, 1)}),
    "turned, strides": ((2, 40, 17, 15), (2, 40, 4, 3), {"stride": (2, 3)}), "turned, 1x1": ((2, 50, 9, 10), (4, 50, 1, 1), {}),
    "lanes of many channels": ((2, 4, 21, 40), (7, 4, 5, 7), {"padding": (2, 3)}), "lanes": ((8, 1, 28, 28), (6, 1, 5, 5), {"padding": (2, 2)}),
    "lanes, rows apart": ((2, 3, 19, 40), (4, 3, 3, 7), {"stride": (2, 1), "dilation": (1, 2), "padding": (1, 3)}),
    "lanes, groups": ((2, 6, 9, 33), (4, 3, 2, 2), {"groups": 2})}


def operands(x_shape, w_shape, options, dtype, layout):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(x_shape).astype(dtype)
    dy = rng.standard_normal(_core.conv2d_fwd(fastnn.tensor(x), fastnn.zeros(*w_shape, dtype=getattr(fastnn, dtype)), **options).shape).astype(dtype)
    tensors = [fastnn.from_numpy(np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if layout == "NHWC" else a) for a in (x, dy)]
    return x.astype(float), dy.astype(float), *tensors


def direct(dy, x, w_shape, **options):
    return _core.conv2d_bwd_w(dy, x, w_shape, **options, winograd=False)


def meaning(dy, x, w_shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    return ref.conv2d_bwd_w(dy, x, w_shape, stride, (padding[0],) * 2 + (padding[1],) * 2, dilation, groups)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("form", FORMS)
def test_forms(form, dtype, isa):
    """The meaning; the same bits for all threads and both layouts, but for a 1x1 filter, which is a dense layer over channels-last images; dw alone
    and db alone what they are together."""
    x_shape, w_shape, options = FORMS[form]
    found = {}
    for layout in ("NCHW", "NHWC"):
        X, DY, x, dy = operands(x_shape, w_shape, options, dtype, layout)
        for n in THREADS:
            with machine(isa, n):
                both = direct(dy, x, w_shape, **options)
                dw, none = direct(dy, x, w_shape, **options, need_bias=False)
                nothing, db = direct(dy, x, w_shape, **options, need_weight=False)
            assert none is nothing is None and all(map(_core.guard_words_whole, both))
            first = found.setdefault(layout if w_shape[2:] == (1, 1) and not options else 0, both)
            same_bits(first, both, f"{layout}, {n} threads, result")
            same_bits(first, (dw, db), f"alone, {layout}, {n} threads, result")
    for first in found.values():
        for got, want, size, what in zip(first, meaning(DY, X, w_shape, **options), meaning(np.abs(DY), np.abs(X), w_shape, **options), ("dw", "db")):
            compare(got, want, dtype, 30, size, what)


@pytest.mark.parametrize("C, K, groups", [(2, 3, 1), (2, 40, 1)])
def test_long_sums_are_accurate(C, K, groups):
    """Parts and lanes keep the error of a long sum small: 160000 equal terms in float32."""
    x, dy = fastnn.full((4, C, 200, 200), 0.1), fastnn.full((4, K, 200, 200), 0.7)
    dw, db = direct(dy, x, (K, C // groups, 1, 1), groups=groups)
    np.testing.assert_allclose(dw.numpy(), 160000 * float(np.float32(0.1)) * float(np.float32(0.7)), rtol=1e-4)
    np.testing.assert_allclose(db.numpy(), 160000 * float(np.float32(0.7)), rtol=1e-4)


@pytest.mark.parametrize("form", ("tiles", "sliding", "sliding, 5x5", "turned", "lanes", "lanes of many channels"))
@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_a_bad_number_reaches_what_it_meets(form, dtype, bad, isa):
    """Of x, without padding and in rows of odd lengths: in a corner one tap alone, at the second row's begin the first of two
    rows. Of dy: one output channel."""
    x_shape, w_shape, options = FORMS[form]
    x_shape, groups = (*x_shape[:3], x_shape[3] // 2 * 2 + w_shape[3] % 2), options.get("groups", 1)
    for at, rows, column in (((0, 0, 0, 0), 0, 0), ((1, 0, x_shape[2] - 1, x_shape[3] - 1), -1, -1), ((0, 0, 1, 0), slice(2), 0)):
        x, dy = (np.ones(n, dtype) for n in (x_shape, (x_shape[0], w_shape[0], x_shape[2] - w_shape[2] + 1, x_shape[3] - w_shape[3] + 1)))
        x[at] = bad
        dw, db = (t.numpy() for t in direct(fastnn.tensor(dy), fastnn.tensor(x), w_shape, groups=groups))
        hit = np.zeros(w_shape, bool)
        hit[slice(1) if groups > 1 else slice(None), 0, rows, column] = True
        np.testing.assert_array_equal(~np.isfinite(dw), hit)
        assert np.isfinite(db).all()
        dy[1, 2, 1, 1] = bad
        dw, db = (t.numpy() for t in direct(fastnn.tensor(dy), fastnn.tensor(np.ones(x_shape, dtype)), w_shape, groups=groups))
        assert not np.isfinite(dw[2]).any() and np.isfinite(np.delete(dw, 2, 0)).all() and np.flatnonzero(~np.isfinite(db)).tolist() == [2]


def test_nothing_to_sum():
    dw, db = direct(fastnn.zeros(0, 7, 3, 3), fastnn.zeros(0, 5, 4, 4), (7, 5, 2, 2))
    assert dw.shape == (7, 5, 2, 2) and not dw.numpy().any() and db.shape == (7,) and not db.numpy().any()
