"""csrc/winograd_weight.c: sums over few tiles and many, in one chunk and several, of blocks that are whole and ragged, and where it overflows."""
import numpy as np
import pytest
from test_winograd import operands, rms

import fastnn
from fastnn import _core, kernels

LONG = [(16, 16, 16, 56, 56, 1), (8, 16, 16, 16, 16, 1), (64, 16, 16, 8, 8, 1), (9, 32, 64, 38, 40, 1)]        # chunks that a cache holds with all of dU
CHUNKS = [(5, 96, 96, 14, 15, 1), (6, 112, 80, 18, 14, 0)]      # dU is larger: of 64 tiles, ragged in panels
BLOCKS = [(3, 288, 272, 9, 7, 1), (2, 272, 144, 6, 11, 1)]      # all tiles in one: threads share blocks of dU, ragged in both


def gradient(shape, dtype, winograd):
    x, weight, _, padding = operands(shape, dtype)
    pad = (padding, padding) if isinstance(padding, int) else padding
    dy = np.random.default_rng(1).standard_normal((len(x), len(weight), *(n + 2 * p - 2 for n, p in zip(x.shape[2:], pad))))
    return kernels.conv2d_backward(dy.astype(np.float32).astype(dtype), x, weight, padding=padding, winograd=winograd)[1]


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("shape", LONG + CHUNKS + BLOCKS, ids=str)
def test_error_is_under_four_times_that_of_the_direct_form(shape, isa):
    before = _core.get_isa()
    _core.set_isa(isa)
    try:
        fast, direct, exact = gradient(shape, "float32", True), gradient(shape, "float32", False), gradient(shape, "float64", False)
        double = gradient(shape, "float64", True)
    finally:
        _core.set_isa(before)
    assert not np.array_equal(fast, direct), "the direct form ran"
    assert rms(fast - exact) < 4 * rms(direct - exact)
    assert rms(double - exact) < 1e-14 * rms(exact)


@pytest.mark.parametrize("shape", LONG + CHUNKS + BLOCKS, ids=str)
def test_same_bits_for_any_threads(shape):
    before, grains = fastnn.get_num_threads(), _core.set_work_grains(0, 0)
    results = []
    try:
        for threads in (1, 2, 3, 7):
            fastnn.set_num_threads(threads)
            results.append(gradient(shape, "float32", True).tobytes())
    finally:
        fastnn.set_num_threads(before)
        _core.set_work_grains(*grains)
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("shape", [LONG[-1], CHUNKS[0], BLOCKS[1]], ids=str)
@pytest.mark.parametrize("value", [np.inf, np.nan, 1e38])
def test_what_is_not_finite_makes_the_direct_form_do_it_again(shape, value):
    x, weight, _, padding = operands(shape, "float32")
    x[-1, 5, 3, 2] = value
    dy = np.ones((len(x), len(weight), *(n + 2 * padding - 2 for n in x.shape[2:])), np.float32)
    with np.errstate(all="ignore"):
        fast, direct = (kernels.conv2d_backward(dy, x, weight, padding=padding, winograd=w)[1] for w in (True, False))
    assert np.array_equal(np.isfinite(fast), np.isfinite(direct)) and np.array_equal(np.isnan(fast), np.isnan(direct))
