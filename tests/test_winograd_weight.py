"""csrc/winograd_weight.c: sums over few tiles and many, in one chunk and several, of blocks that are whole and ragged, and where it overflows."""
import numpy as np
import pytest
from test_winograd import operands, rms

import fastnn
from fastnn import _core, kernels

LONG = [(16, 16, 16, 56, 56, 1), (8, 16, 16, 16, 16, 1), (64, 16, 16, 8, 8, 1), (9, 32, 64, 38, 40, 1)]        # a cache holds chunks with all of dU
CHUNKS = [(5, 96, 96, 14, 15, 1), (6, 112, 80, 18, 14, 0), (3, 96, 80, 29, 26, 3, 3)]     # dU is larger: of 64 tiles, ragged in panels
PARTS = [(1, 16, 16, 32, 32, 1), (4, 32, 32, 32, 29, 1), (32, 64, 64, 16, 16, 1), (40, 16, 16, 56, 56, 1), (27, 16, 32, 57, 54, 1), (30, 16, 32, 57, 54, 2, 2)]    # dU is small beside its tiles: two parts and more, one for a thread
BLOCKS = [(3, 288, 272, 9, 7, 1), (2, 272, 144, 6, 11, 1),      # all tiles in one: threads share blocks of dU, ragged in both,
          (8, 160, 144, 8, 7, 1), (10, 144, 144, 9, 7, 1)]      # of few input channels for up to 32 tiles, of more for more


def gradients(shape, dtype, winograd):
    """dw and db"""
    x, weight, _, options = operands(shape, dtype)
    outputs = (n + 2 * options["padding"] - 2 * options["dilation"] for n in x.shape[2:])
    dy = np.random.default_rng(1).standard_normal((len(x), len(weight), *outputs))
    return kernels.conv2d_backward(dy.astype(np.float32).astype(dtype), x, weight, **options, winograd=winograd)[1:]


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("shape", LONG + CHUNKS + BLOCKS, ids=str)
def test_error_is_under_four_times_that_of_the_direct_form(shape, isa):
    before = _core.get_isa()
    _core.set_isa(isa)
    try:
        (fast, db), (direct, _), (exact, _) = gradients(shape, "float32", True), gradients(shape, "float32", False), gradients(shape, "float64", False)
        double, sums = gradients(shape, "float64", True)
    finally:
        _core.set_isa(before)
    assert not np.array_equal(fast, direct), "the direct form ran"
    assert rms(fast - exact) < 4 * rms(direct - exact)
    assert rms(double - exact) < 1e-14 * rms(exact) and rms(db - sums) < 1e-5 * rms(sums)


def test_few_tiles_are_left_to_the_direct_form():
    few = (1, 288, 272, 8, 7, 1)
    assert all(np.array_equal(a, b) for a, b in zip(gradients(few, "float32", True), gradients(few, "float32", False)))


@pytest.mark.parametrize("shape", LONG + PARTS + CHUNKS + BLOCKS, ids=str)
def test_same_bits_for_any_threads(shape):
    before, grains = fastnn.get_num_threads(), _core.set_work_grains(0, 0)
    results = []
    try:
        for threads in (1, 2, 3, 7):
            fastnn.set_num_threads(threads)
            results.append([g.tobytes() for g in gradients(shape, "float32", True)])
    finally:
        fastnn.set_num_threads(before)
        _core.set_work_grains(*grains)
    assert all(r == results[0] for r in results)
    fast, direct = np.frombuffer(results[0][0], np.float32), gradients(shape, "float32", False)[0].reshape(-1)
    assert rms(fast - direct) < 1e-5 * rms(direct)


@pytest.mark.parametrize("shape, place", [(LONG[-1], (3, 2)), (CHUNKS[0], (3, 2)), (BLOCKS[1], (3, 2)), (CHUNKS[1], (0, 1)), (CHUNKS[1], (-1, -2))], ids=str)
@pytest.mark.parametrize("value", [np.inf, np.nan, 1e38])
def test_what_is_not_finite_makes_the_direct_form_do_it_again(shape, place, value):
    """Of the first and the last row only the first and the last taps tell."""
    x, weight, _, options = operands(shape, "float32")
    x[(-1, 5, *place)] = value
    dy = np.ones((len(x), len(weight), *(n + 2 * options["padding"] - 2 for n in x.shape[2:])), np.float32)
    with np.errstate(all="ignore"):
        fast, direct = (kernels.conv2d_backward(dy, x, weight, **options, winograd=w)[1] for w in (True, False))
    assert np.array_equal(np.isfinite(fast), np.isfinite(direct)) and np.array_equal(np.isnan(fast), np.isnan(direct))
