"""csrc/winograd.c: close to the direct form where it is chosen, bit for bit the same for any threads, and out of the way otherwise. What each
size of taps makes of a tile is in test_winograd_taps.py."""
import numpy as np
import pytest

import fastnn
from fastnn import _core, kernels

SHAPES = [(2, 32, 48, 16, 14, 1), (2, 64, 32, 14, 22, 0), (3, 48, 64, 9, 31, (2, 0)), (5, 32, 32, 22, 22, 2)]
SHAPES += [(4, 16, 16, 17, 18, 1), (3, 48, 16, 23, 19, 1)]      # one vector of filters, or channels, is all
SHAPES += [(1, 16, 16, 32, 32, 1), (1, 32, 32, 16, 16, 1), (1, 48, 64, 13, 16, 1), (1, 64, 112, 9, 10, 1)]      # low blocks; one group of tiles: teams share panels
SHAPES += [(2, 32, 48, 30, 29, 2, 2), (3, 48, 64, 25, 31, (4, 0), 3), (4, 16, 32, 37, 34, 4, 4)]       # dilated, in phases of unequal sizes
SHAPES += [(2, 32, 48, 30, 41, (2, 3), (2, 3)), (3, 32, 16, 31, 40, (0, 1), (3, 1))]                    # by two numbers
# lines, dilated ones, several, of images whose padding and dilation of rows they do not see; V that passes; of four numbers
LINES = [(3, 32, 48, 1, 61, (0, 1), 1, (1, 3)), (2, 16, 32, 1, 150, (0, 8), (1, 4), (1, 3)), (5, 48, 16, 1, 70, 0, (1, 3), (1, 3)), (2, 32, 48, 9, 30, (0, 1), 1, (1, 3))]
LINES += [(2, 32, 48, 6, 40, (1, 2), (3, 2), (1, 4)), (2, 272, 288, 1, 64, (0, 1), 1, (1, 3)), (3, 32, 48, 1, 90, (0, 3), (1, 2), (1, 4)), (1, 16, 16, 1, 700, (0, 1), 1, (1, 3))]
# filters of five rows or columns of taps, whose weights' gradient is left to the direct form
FIVE = [(2, 32, 48, 16, 15, 2, 1, 5), (3, 48, 16, 15, 23, (0, 4), 1, 5), (2, 16, 32, 25, 28, 4, 2, 5), (1, 192, 32, 28, 28, 2, 1, 5), (1, 32, 32, 9, 10, 2, 1, 5)]
FIVE += [(2, 64, 48, 1, 200, (0, 4), 1, (1, 5)), (3, 32, 16, 1, 131, (0, 6), (1, 3), (1, 5))]                                     # and lines of five
FIVE += [(2, 32, 48, 21, 32, (2, 1), 1, (5, 3)), (2, 32, 32, 30, 31, (4, 3), (2, 3), (5, 3)), (2, 32, 48, 33, 34, (5, 2), 1, (10, 5), 2), (3, 48, 32, 30, 29, (3, 2), 1, (9, 6), 2)]
# stride 2: sizes that leave each phase of x and dx another number of pixels, low blocks, one group of tiles, several, V that passes, over parts of the channels
STRIDED = [(3, 32, 48, 26, 29, 1, 1, 4, 2), (4, 16, 16, 31, 34, 0, 1, 4, 2), (2, 48, 16, 27, 28, (2, 0), 1, 4, 2), (1, 16, 32, 28, 28, 1, 1, 4, 2), (2, 64, 64, 57, 40, 3, 1, 4, 2)]
STRIDED += [(3, 32, 48, 25, 27, 2, 1, 5, 2), (5, 16, 16, 28, 21, (1, 4), 1, 5, 2), (2, 48, 64, 37, 34, 2, 1, 6, 2), (1, 32, 16, 36, 36, (3, 0), 1, 6, 2)]
STRIDED += [(3, 144, 272, 18, 23, 1, 1, 4, 2), (2, 112, 144, 27, 21, 2, 1, 5, 2)]
STRIDED += [(3, 32, 48, 26, 29, 3, 1, 7, 2), (2, 48, 16, 37, 36, (2, 3), 1, 7, 2), (2, 64, 64, 31, 40, 0, 1, 8, 2), (3, 144, 272, 25, 22, 3, 1, 8, 2)]
# 3x3 filters of stride 2, both phases in a tile: dx begins with either, or with both, which is left to the direct form
STRIDED += [(3, 32, 48, 31, 30, 1, 1, 3, 2), (4, 16, 32, 62, 64, 0, 1, 3, 2), (1, 64, 64, 47, 48, 2, 1, 3, 2), (2, 64, 48, 30, 46, (0, 2), 1, 3, 2), (1, 48, 32, 64, 63, 1, 1, 3, 2)]
STRIDED += [(4, 272, 288, 16, 16, 1, 1, 3, 2), (9, 64, 32, 16, 16, 1, 1, 3, 2), (2, 112, 144, 27, 31, (3, 1), 1, 3, 2)]
UNEQUAL = [(3, 48, 32, 31, 47, (1, 0), 1, 3, 2)]
# 2x2 and 4x4 filters of stride 1
EVEN = [(3, 32, 48, 30, 27, 1, 1, 2), (2, 32, 48, 20, 21, (1, 2), 1, 4), (2, 48, 64, 31, 26, 0, 2, 4), (2, 272, 288, 17, 22, 1, 1, 4)]
# channels that are no multiple of 16, whose phases are folded (dx is left to the direct form, but where a machine's vectors divide them): less
# than a vector of rows, several, rows of x that are shorter than a vector, whole rows of tiles and parts of them
FOLDED = [(3, 3, 64, 56, 57, 3, 1, 7, 2), (40, 3, 64, 21, 10, (3, 4), 1, 7, 2), (2, 6, 48, 61, 60, 0, 1, 8, 2), (2, 20, 32, 50, 49, (3, 2), 1, 7, 2), (1, 3, 64, 224, 224, 3, 1, 7, 2)]
FOLDED += [(4, 12, 64, 64, 62, 1, 1, 4, 2), (3, 4, 64, 60, 59, (2, 0), 1, 5, 2), (2, 3, 64, 61, 58, (2, 1), 1, 6, 2), (3, 2, 64, 64, 64, 3, 1, 8, 2), (2, 36, 64, 45, 44, 2, 1, 6, 2), (3, 3, 64, 67, 70, 4, 1, 9, 3), (2, 3, 96, 131, 127, 2, 1, 11, 4), (5, 1, 64, 99, 95, 4, 1, 11, 4)]
# dx by the direct form may be nine short sums, added up (conv_scatter.c): more accurate than one long chain
SHORT = [(2, 16, 32, 40, 40, 0), (1, 16, 32, 36, 36, (3, 0), 1, 6, 2)]
WIDE = [(2, 288, 272, 9, 7, 1), (2, 272, 544, 8, 8, 1)]         # weights that no cache holds: V passes over panel after panel, over parts of the channels
PASSING = [(4, 288, 272, 24, 21, 1), (3, 256, 256, 56, 56, 1), (2, 288, 272, 43, 45, 2, 2)]    # and tiles in several groups, and blocks of one
# groups of channels: as many as threads, fewer, more; in phases of stride 2; both phases in a tile; dilated; lines
GROUPS = [(2, 64, 96, 16, 14, 1, 1, 3, 1, 2), (3, 96, 48, 13, 16, (2, 0), 1, 3, 1, 3), (2, 112, 224, 9, 22, 1, 1, 3, 1, 7), (1, 256, 256, 14, 13, 1, 1, 3, 1, 16)]
GROUPS += [(3, 64, 96, 26, 29, 1, 1, 4, 2, 2), (4, 64, 64, 31, 30, 1, 1, 3, 2, 2), (2, 96, 96, 30, 29, 2, 2, 3, 1, 3), (3, 64, 96, 1, 61, (0, 1), 1, (1, 3), 1, 2)]
GROUPS += [(4, 576, 544, 16, 15, 1, 1, 3, 1, 2)]


def operands(shape, dtype, seed=0):
    n, c, k, h, w, padding, dilation, size, stride, groups = (*shape, *(1, 3, 1, 1)[len(shape) - 6:])
    rng, filt = np.random.default_rng(seed), size if isinstance(size, tuple) else (size, size)
    x, weight, bias = (rng.standard_normal(s).astype(np.float32).astype(dtype) for s in ((n, c, h, w), (k, c // groups, *filt), (k,)))
    return x, weight, bias, {"padding": padding, "dilation": dilation, "stride": stride, "groups": groups}


def passes(shape, dtype, winograd, seed=0, x=None):
    given, weight, bias, options = operands(shape, dtype, seed)
    x = given if x is None else x
    y = kernels.conv2d_forward(x, weight, bias, **options, winograd=winograd)
    dy = np.random.default_rng(seed + 1).standard_normal(y.shape).astype(np.float32).astype(dtype)
    return (y, *kernels.conv2d_backward(dy, x, weight, **options, winograd=winograd))


def rms(a):
    return np.sqrt(np.mean(np.square(a, dtype=np.float64)))


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES + LINES + FIVE + EVEN + SHORT + WIDE + GROUPS + STRIDED + UNEQUAL + FOLDED, ids=str)
def test_error_is_under_four_times_that_of_the_direct_form(shape, dtype, isa):
    before = _core.get_isa()
    _core.set_isa(isa)
    try:
        fast, direct = passes(shape, dtype, True), passes(shape, dtype, False)
    finally:
        _core.set_isa(before)
    exact = passes(shape, "float64", False) if dtype == "float32" else None
    for name, a, b, c in zip(("y", "dx", "dw"), fast, direct, exact or direct):
        if shape in FIVE and name == "dw" or shape in FOLDED + UNEQUAL and name == "dx" and np.array_equal(a, b):
            continue
        assert not np.array_equal(a, b), f"{name}: the direct form ran"
        if dtype == "float32":
            times = 6 if shape in SHORT and name == "dx" else 4
            assert rms(a - c) < times * max(rms(b - c), 1e-8 * rms(c)), name
        else:
            assert rms(a - b) < 1e-14 * rms(b), name


@pytest.mark.parametrize("shape", SHAPES + LINES + FIVE + EVEN + WIDE + PASSING + GROUPS + STRIDED + UNEQUAL + FOLDED, ids=str)
def test_same_bits_for_any_threads(shape):
    before, grains = fastnn.get_num_threads(), _core.set_work_grains(0, 0)
    try:
        results = []
        for threads in (1, 2, 3, 7):
            fastnn.set_num_threads(threads)
            results.append([r.tobytes() for r in passes(shape, "float32", True)])
    finally:
        fastnn.set_num_threads(before)
        _core.set_work_grains(*grains)
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("shape", [SHAPES[0], (2, 32, 48, 30, 29, 2, 2), LINES[3], FIVE[0], FIVE[-4], EVEN[0], EVEN[1], STRIDED[0], STRIDED[5], STRIDED[-12], STRIDED[-8], STRIDED[-7], FOLDED[2], FOLDED[3],
                                   FOLDED[7], GROUPS[0], GROUPS[2], GROUPS[4]], ids=str)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e38])
def test_what_is_not_finite_stays_where_the_direct_form_puts_it(value, shape):
    x, *_ = operands(shape, "float32")
    x[1, min(3, shape[1] - 1), 5, 6] = value
    with np.errstate(all="ignore"):
        for a, b in zip(passes(shape, "float32", True, x=x), passes(shape, "float32", False, x=x)):
            assert np.array_equal(np.isfinite(a), np.isfinite(b)) and np.array_equal(np.isnan(a), np.isnan(b))


@pytest.mark.parametrize("isa", _core.isas())
def test_what_overflows_in_one_place_of_a_tile_is_done_again(isa):
    """A tile's last column is m5 - 8 m4, others take m4 at most four times: of images for which m0 = -m4, m5 = 7 m4 and the rest
    is 0, only that term leaves float32's range where no multiply-add keeps it inside, while no result does."""
    x, weight = np.zeros((48, 64, 6, 6), np.float32), np.zeros((64, 64, 3, 3), np.float32)
    x[:, :, 0], weight[:, :, 0] = np.float32(2.4e35) * np.array([-2, -2, 4, -8, 16, -11], np.float32), 1
    before = _core.get_isa()
    _core.set_isa(isa)
    try:
        fast, direct = (kernels.conv2d_forward(x, weight, winograd=w) for w in (True, False))
    finally:
        _core.set_isa(before)
    assert np.isfinite(direct).all() and np.abs(fast - direct).max() <= 1e-5 * direct.max()


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("padding", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 32, 32, 62, 63, (3, 3), 2), *((2, 32, 48, 23, 24, (size, size), 2) for size in (4, 5, 6, 7, 8)),
                                   (2, 32, 48, 27, 28, (10, 5), 2), (2, 32, 48, 27, 28, (9, 6), 2), (2, 3, 64, 33, 34, (7, 7), 2), (2, 5, 64, 23, 24, (6, 6), 2),
                                   (2, 20, 48, 23, 24, (5, 5), 2), (3, 3, 64, 50, 51, (8, 8), 3), (3, 7, 64, 33, 34, (9, 9), 3), (2, 3, 64, 79, 75, (11, 11), 4)], ids=str)
def test_every_phase(shape, padding, isa):
    """Any padding before sizes that leave each phase another number of pixels: a pixel or tap in another's place is no rounding."""
    before, (n, c, k, h, w, size, stride) = _core.get_isa(), shape
    _core.set_isa(isa)
    try:
        for H, W in ((h, w), (h + 1, w + 3), (h + 3, w - 3)):
            fast, direct = (passes((n, c, k, H, W, padding, 1, size, stride), "float64", winograd) for winograd in (True, False))
            for name, a, b in zip(("y", "dx", "dw"), fast, direct):
                assert rms(a - b) < 1e-14 * rms(b), name
                assert not np.array_equal(a, b) or name == "dx" and c % 16 or name == "dw" and size[0] > size[1], f"{name}: the direct form ran"
    finally:
        _core.set_isa(before)


def test_stride_is_refused_where_it_does_not_pay():
    """Unequal strides, long ones, filters that see less than 100 numbers, or of other sizes: bit for bit the direct form."""
    rng = np.random.default_rng(0)
    for channels, size, stride in ((32, 3, (2, 1)), (32, 3, 3), (20, 3, 2), (32, 4, (2, 1)), (32, 4, 3), (32, 5, 4), (32, 9, 2), (32, (3, 5), 1), (32, (3, 1), 1), (32, (7, 5), 2), (3, 3, 2), (3, 7, (2, 1)), (3, 4, 4), (3, 14, 5), (2, 7, 2), (3, 5, 2)):
        x, w = rng.standard_normal((2, channels, 30, 30)), rng.standard_normal((32, channels, *(size if isinstance(size, tuple) else (size, size))))
        y, z = (kernels.conv2d_forward(x, w, stride=stride, winograd=win) for win in (True, False))
        assert np.array_equal(y, z)
        for a, b in zip(*(kernels.conv2d_backward(y, x, w, stride=stride, winograd=win) for win in (True, False))):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("size", [(3, 3), (5, 5), (5, 3), (1, 3)], ids=str)
def test_taps_far_outside(size):
    """All but the middle one."""
    x, weight = operands((40, 16, 32, 3, 4, 1, 1, size), "float32")[:2]
    far = {"padding": tuple(3000 * (n // 2) for n in size), "dilation": 3000}
    y = kernels.conv2d_forward(x, weight, **far)
    middle = weight[:, :, size[0] // 2, size[1] // 2]
    np.testing.assert_allclose(y, np.einsum("nchw,kc->nkhw", x, middle), rtol=1e-5, atol=1e-5)
    dx, dw, _ = kernels.conv2d_backward(y, x, weight, **far)
    np.testing.assert_allclose(dx, np.einsum("nkhw,kc->nchw", y, middle), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dw[:, :, size[0] // 2, size[1] // 2], np.einsum("nkhw,nchw->kc", y, x), rtol=1e-4, atol=1e-3)
    assert not np.delete(dw.reshape(32, 16, -1), size[0] * size[1] // 2, 2).any()


def test_turned_off():
    import os
    import subprocess
    import sys
    code = ("import sys; sys.path.insert(0, sys.argv[1]); from test_winograd import *; "
            "a, b = passes(SHAPES[0], 'float32', True), passes(SHAPES[0], 'float32', False); "
            "print(all(np.array_equal(x, y) for x, y in zip(a, b)))")
    for value, same in (("0", "True"), ("1", "False")):
        done = subprocess.run([sys.executable, "-c", code, os.path.dirname(__file__)], env={**os.environ, "FASTNN_WINOGRAD": value},
                              capture_output=True, text=True, check=True)
        assert done.stdout.strip() == same
