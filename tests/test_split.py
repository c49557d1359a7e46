"""csrc/split.h through _core.gemm: products on tile registers, of numbers split in three, beside chains of multiply-adds."""
import numpy as np
import pytest

import fastnn
from check import machine, same_bits
from fastnn import _core

pytestmark = pytest.mark.skipif("amx" not in _core.isas(), reason="this processor has no tile registers, or this build no kernels for them")
SHAPES = ((80, 80, 256), (128, 512, 784), (500, 48, 2100), (100, 96, 65), (256, 256, 256), (96, 80, 5000))


def product(a, b, isa="amx"):
    with machine(isa):
        return _core.gemm(fastnn.tensor(a), fastnn.tensor(b)).numpy()


def operands(M, N, K, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((M, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", (0, 12))
def test_as_accurate_as_multiply_adds(shape, spread):
    """The rms error is below that of a chain of multiply-adds; with numbers of 2^-spread to 2^spread too."""
    a, b = operands(*shape)
    if spread:
        rng = np.random.default_rng(1)
        a, b = (x * np.exp2(rng.uniform(-spread, spread, x.shape)).astype(np.float32) for x in (a, b))
    want = a.astype(float) @ b.astype(float)
    split, chain = (np.sqrt(np.mean((product(a, b, isa) - want) ** 2)) for isa in ("amx", "avx512"))
    assert 0 < split <= chain


def test_whole_numbers_of_sixteen_bits_are_exact():
    rng = np.random.default_rng(0)
    a, b = np.zeros((96, 96), np.float32), np.zeros((96, 100), np.float32)
    a[np.arange(96), np.arange(96)] = rng.integers(-2**16, 2**16, 96)
    b[:] = rng.integers(-2**8, 2**8, b.shape)
    np.testing.assert_array_equal(product(a, b), a.astype(float) @ b.astype(float))


@pytest.mark.parametrize("value", (np.inf, -np.inf, np.nan, 3.4e38, -3.4e38))
@pytest.mark.parametrize("side", (0, 1))
def test_what_is_not_finite_is_made_by_multiply_adds(value, side):
    """And nothing else: the other numbers keep their bits."""
    a, b = operands(100, 70, 1100)
    a *= np.float32(0.1)
    plain = product(a, b)
    touched = np.zeros(plain.shape, bool)
    for at in ((3, 5), (3, 1090), (69, 64)):
        if side:
            b[at[::-1]] = value
            touched[:, at[0]] = True
        else:
            a[at] = value
            touched[at[0]] = True
    split, chain = product(a, b), product(a, b, "avx512")
    np.testing.assert_array_equal(split[~touched], plain[~touched])
    if not np.isfinite(value):
        np.testing.assert_array_equal(split[~np.isfinite(chain)], chain[~np.isfinite(chain)])
        return
    both = np.isfinite(split) & np.isfinite(chain)           # a part of a sum may overflow where the whole does not
    assert both[touched].mean() > 0.5
    np.testing.assert_allclose(split[both & touched], chain[both & touched], rtol=1e-5)


def test_infinity_times_a_number_of_few_bits():
    """An infinity meets zeros, the lesser pieces of 2.0, and is no NaN for it."""
    a, b = np.ones((96, 128), np.float32), np.full((128, 96), 2, np.float32)
    a[7, 9], b[50, 3] = np.inf, -np.inf
    got, want = product(a, b), np.full((96, 96), 256.0)
    want[7], want[:, 3] = np.inf, -np.inf
    want[7, 3] = np.nan
    np.testing.assert_array_equal(got, want)


def test_denormals_count_as_zero():
    a, b = operands(96, 96, 128)
    a[:] = 1e-40
    assert np.all(product(a, b * np.float32(1e30)) == 0)


def laid(x, order):
    """x by rows, by columns, or with gaps between its numbers; within an array of NaN."""
    rows, columns = x.shape
    around = np.full((3 * max(x.shape), 3 * max(x.shape)), np.nan, np.float32)
    inside = around[:columns, :rows].T if order == "columns" else around[:3 * rows:3, :3 * columns:3] if order == "apart" else around[:rows, :columns]
    inside[...] = x
    return fastnn.from_numpy(inside)


@pytest.mark.parametrize("shape", ((64, 300, 201), (301, 70, 95), (97, 99, 1101)))
def test_layouts_give_the_same_bits(shape):
    """What lies beside an operand is not read, either: NaN would have numbers made anew by multiply-adds."""
    a, b = operands(*shape)
    with machine("amx"):
        first = _core.gemm(fastnn.tensor(a), fastnn.tensor(b))
        for order in ("rows", "columns", "apart"):
            for other in ("rows", "columns", "apart"):
                same_bits(first, _core.gemm(laid(a, order), laid(b, other)), f"{order}, {other}")


def test_one_that_adds_to_another_has_its_other_kernels():
    with machine("amx"):
        y = fastnn.tensor([1.0, -2.0]).exp()
    with machine("avx512"):
        same_bits(y, fastnn.tensor([1.0, -2.0]).exp())
