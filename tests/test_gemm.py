"""csrc/gemm.c through _core.gemm: products of any shape and strides, with their epilogues, in every form."""
import random

import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, compare, machine, same_bits
from fastnn import _core

ACTS = ("none", "relu", "sigmoid", "tanh")
SIZES = (1, 2, 3, 5, 8, 13, 14, 15, 16, 17, 28, 31, 32, 33, 48, 64, 65, 71, 100, 129)
DEPTHS = (0, 1, 2, 3, 7, 16, 17, 64, 100, 257, 300)
LARGE = ((97, 96, 64), (90, 93, 95), (200, 49, 100), (49, 200, 257), (80, 80, 1030), (300, 71, 49), (65, 600, 64), (80, 90, 4200))


def operand(rng, shape, dtype, order):
    """An array (batch, rows, columns) as a tensor of that order in memory, within a larger one full of NaN."""
    n, r, c = shape
    if order == "columns":
        around = np.full((n, c, r + 3), np.nan, dtype)
        x = around[:, :, 1:r + 1].transpose(0, 2, 1)
    elif order == "apart":
        around = np.full((n, 2 * r + 1, 3 * c + 2), np.nan, dtype)
        x = around[:, 1:2 * r + 1:2, 2:3 * c + 2:3]
    else:
        around = np.full((n, r + 1, c + (order == "rows")), np.nan, dtype)
        x = around[:, :r, :c]
    x[...] = rng.standard_normal(shape)
    return fastnn.from_numpy(x), x.astype(np.float64)


def product_everywhere(a, b, A, B, bias=None, act=0, start=None, what="", summed=False):
    """gemm on every instruction set and number of threads against its meaning: the same bits for all threads, nothing else written."""
    dtype = a.dtype.name
    if summed:                                   # a sum of products is one product along a longer k
        A, B = np.concatenate(A, -1), np.concatenate(B, -2)
    want = ref.gemm(A, B, None if start is None else start.astype(float), None if bias is None else bias.numpy().astype(float), ACTS[act])
    bound = np.abs(A) @ np.abs(B) + 3
    for isa in _core.isas():
        first = None
        for n in THREADS:
            with machine(isa, n):
                out = None if start is None else fastnn.tensor(start)
                y = _core.gemm(a, b, bias, act, out, start is not None, summed)
            if first is None:
                compare(y, want, dtype, tol=4 + 2 * A.shape[-1] ** 0.5, bound=bound, what=f"{what} {isa}")
            first = y if first is None else first
            same_bits(first, y, f"{what} {isa}, {n} threads")


@pytest.mark.parametrize("seed", range(60))
def test_random_products(seed):
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    M, N, K, batch = draw.choice(SIZES), draw.choice(SIZES), draw.choice(DEPTHS), draw.choice((1, 1, 1, 2, 5))
    orders, dtype, act = draw.choices(("dense", "rows", "columns", "apart"), k=2), draw.choice((np.float32, np.float64)), draw.choice((0, 0, 1, 2, 3))
    (a, A), (b, B) = operand(rng, (batch, M, K), dtype, orders[0]), operand(rng, (batch, K, N), dtype, orders[1])
    bias = fastnn.tensor(rng.standard_normal(N).astype(dtype)) if draw.random() < 0.5 else None
    start = rng.standard_normal((batch, M, N)).astype(dtype) if draw.random() < 0.5 else None
    product_everywhere(a, b, A, B, bias, act, start, f"{batch}x{M}x{N}x{K} {orders} {ACTS[act]} bias={bias is not None} accumulate={start is not None}")


@pytest.mark.parametrize("seed", range(32))
def test_random_products_worth_splitting(seed):
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    (M, N, K), batch, summed = LARGE[seed % len(LARGE)], draw.choice((1, 1, 2, 5)), draw.random() < 0.3
    orders, act = draw.choices(("dense", "rows", "columns", "apart"), k=2), draw.choice((0, 0, 1, 2, 3))
    (a, A), (b, B) = operand(rng, (batch, M, K), np.float32, orders[0]), operand(rng, (batch, K, N), np.float32, orders[1])
    bias = fastnn.tensor(rng.standard_normal(N).astype(np.float32)) if draw.random() < 0.5 else None
    start = rng.standard_normal(((batch,) if not summed else ()) + (M, N)).astype(np.float32) if draw.random() < 0.5 else None
    product_everywhere(a, b, A, B, bias, act, start, f"{batch}x{M}x{N}x{K} {orders} {ACTS[act]} bias={bias is not None} accumulate={start is not None} "
                       f"summed={summed}", summed)


@pytest.mark.parametrize("M, N, K, orders", [
    (300, 290, 260, ("dense", "dense")), (130, 600, 40, ("columns", "dense")), (300, 300, 300, ("columns", "columns")),      # blocks, packed and not
    (64, 300, 1300, ("columns", "dense")), (40, 700, 600, ("columns", "rows")), (300, 40, 1100, ("columns", "dense")),        # weight gradients, of few rows
    (150, 600, 600, ("columns", "dense")), (290, 130, 64, ("columns", "columns")), (40, 100, 1024, ("dense", "dense")),        # of many; rows pages apart
    (3, 4, 9000, ("dense", "columns")), (20, 30, 3000, ("columns", "dense")), (1, 700, 1500, ("dense", "dense")),             # parts of k
    (8, 70, 600, ("dense", "columns")), (7, 21, 1040, ("dense", "columns")), (13, 40, 700, ("rows", "columns")),              # taller dot products
    (13, 100, 1024, ("dense", "columns")), (100, 9, 1021, ("dense", "columns")), (4, 64, 8192, ("dense", "columns")), (5, 1100, 1000, ("dense", "columns")),     # of rows pages apart; far ones
    (20, 1024, 600, ("dense", "dense")), (64, 4200, 256, ("columns", "dense")),                                              # low blocks, broad ones
    (30, 1100, 1000, ("dense", "dense")), (3, 4200, 300, ("dense", "dense")),                                                # of whole rows
    (1900, 60, 140, ("dense", "dense")),                                                                                     # the last two vectors a pair
    (1, 2500, 40, ("dense", "dense")), (1, 700, 90, ("dense", "rows")),                                                       # a single row
    (100, 40, 1024, ("dense", "dense")), (16, 300, 1021, ("dense", "columns")), (500, 20, 8200, ("dense", "dense")),           # few lanes; long runs
    (100, 8, 1021, ("dense", "dense")), (70, 13, 900, ("dense", "rows")), (7, 90, 300, ("columns", "columns")),                # dot products that turn one
    (300, 100, 70, ("columns", "dense")), (90, 127, 300, ("columns", "rows")),                                               # rows beside one another as they lie
    (1, 1, 70000, ("dense", "dense")), (1, 515, 800, ("dense", "columns")), (515, 1, 800, ("dense", "dense")),               # dot products
    (4, 70, 600, ("dense", "columns")), (70, 7, 600, ("rows", "columns")), (515, 1, 800, ("columns", "dense")), (2, 0, 5, ("dense", "dense"))], ids=str)
def test_each_form(M, N, K, orders):
    rng = np.random.default_rng(0)
    (a, A), (b, B) = operand(rng, (1, M, K), np.float32, orders[0]), operand(rng, (1, K, N), np.float32, orders[1])
    bias, start = fastnn.tensor(rng.standard_normal(N).astype(np.float32)), rng.standard_normal((1, M, N)).astype(np.float32)
    product_everywhere(a, b, A, B, bias, 1, None, f"{M}x{N}x{K}")
    product_everywhere(a, b, A, B, bias, 3, start, f"{M}x{N}x{K}, accumulating")


@pytest.mark.parametrize("batch, M, N, K, orders", [
    (3, 64, 70, 50, ("dense", "columns")), (20, 33, 40, 17, ("columns", "dense")), (5, 130, 300, 70, ("rows", "rows")),      # shares of a batch, and none
    (2, 16, 20, 3000, ("dense", "columns")), (17, 5, 3, 9, ("apart", "dense")), (4, 20, 300, 300, ("columns", "columns")),   # k cut as well; a turn of each
    (3, 70, 600, 600, ("columns", "dense")), (20, 1, 515, 90, ("dense", "dense")), (2, 9, 7, 0, ("dense", "dense")), (1, 8, 9, 10, ("dense", "dense"))], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sum_over_a_batch(batch, M, N, K, orders, dtype):
    rng = np.random.default_rng(0)
    (a, A), (b, B) = operand(rng, (batch, M, K), dtype, orders[0]), operand(rng, (batch, K, N), dtype, orders[1])
    bias, start = fastnn.tensor(rng.standard_normal(N).astype(dtype)), rng.standard_normal((M, N)).astype(dtype)
    product_everywhere(a, b, A, B, what="plain", summed=True)
    product_everywhere(a, b, A, B, bias, 1, None, "bias, relu", True)
    product_everywhere(a, b, A, B, bias, 2, start, "bias, sigmoid, accumulating", True)


def test_sum_over_no_batch_is_zero():
    assert _core.gemm(fastnn.zeros(0, 3, 4), fastnn.zeros(0, 4, 2), summed=True).tolist() == [[0, 0]] * 3


def test_bits_of_a_row_do_not_depend_on_its_neighbours(isa):
    """Where a tile, a strip or a block begins is not seen: the first rows of a tall product are those of a lower one of the same form."""
    rng = np.random.default_rng(0)
    a, b = fastnn.tensor(rng.standard_normal((300, 70)).astype(np.float32)), fastnn.tensor(rng.standard_normal((70, 90)).astype(np.float32))
    whole = a @ b
    for rows in (15, 29, 64, 141, 299) if isa != "amx" else (97, 141, 299):
        same_bits(whole[:rows], a[:rows] @ b)
        same_bits(whole[-rows:], a[-rows:] @ b)


def test_packed_weight_gives_the_same_bits(isa):
    rng = np.random.default_rng(0)
    for M, N, K in ((1, 5, 3), (7, 300, 90), (33, 70, 1030), (150, 33, 17), (80, 90, 1130), (150, 300, 90), (2, 64, 2000)):
        x, w, b = [fastnn.tensor(rng.standard_normal(n).astype(np.float32)) for n in ((M, K), (N, K), (N,))]
        packed = _core.linear_pack(w)
        for n in THREADS:
            with machine(isa, n):
                same_bits(_core.linear_fwd(x, w, b, 1), _core.linear_fwd(x, w, b, 1, packed))
    with pytest.raises(ValueError, match=r"packed is a float32 weight \(64, 2000\).*\(64, 1999\)"):
        _core.linear_fwd(x[:, 1:], w[:, 1:], None, 0, packed)
    for other in _core.isas():
        if other != isa:
            with machine(other), pytest.raises(ValueError, match=f"for {isa}.*instruction set is {other}"):
                _core.linear_fwd(x, w, None, 0, packed)


@pytest.mark.parametrize("shape", [(3, 4, 40), (20, 5, 300), (2, 600, 33)])
def test_nan_and_infinity(isa, shape):
    """Each result with what it owes to NaN and infinity, and no other."""
    M, N, K = shape
    rng = np.random.default_rng(0)
    for bad in (np.nan, np.inf, -np.inf):
        a, b = rng.standard_normal((M, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)
        a[1, K // 2] = b[K - 1, N - 1] = bad
        for act in range(4):
            y = _core.gemm(fastnn.tensor(a), fastnn.tensor(b), None, act).numpy()
            with np.errstate(invalid="ignore"):
                compare(y, ref.gemm(a.astype(float), b.astype(float), act=ACTS[act]), "float32", tol=60, bound=9, what=f"{bad} {ACTS[act]}")
