"""Copies with conversion against NumPy, transposition, fills and ranges."""
import itertools

import numpy as np
import pytest

import fastnn
from check import ALL, LAYOUTS, check_op, laid_out, machine, same_bits
from fastnn import _core

RNG = np.random.default_rng(3)
WHOLE = RNG.integers(0, 120, (3, 5, 37)).astype(float)
WHOLE[:, 1] = 0


@pytest.mark.parametrize("to", ALL)
def test_all_pairs(to):
    """36 pairs of types: values that both types hold."""
    kind = getattr(fastnn, to)
    check_op(lambda x: x.to(kind) if x.dtype is not kind else x.clone(),
             lambda x: x != 0 if to == "bool" else x.astype("f8"), WHOLE, dtypes=ALL, out=to,
             op=("copy", to), capture=to == "float32")


@pytest.mark.parametrize("to", ALL)
@pytest.mark.parametrize("source", ("float32", "float64"))
def test_reals_cut_towards_zero(source, to, isa):
    """Out of range, integers get the least number of their type (uint8: of 32 bits, cut), as PyTorch
    on x86 has it; NaN is True."""
    x = np.array([0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 2.5, 254.9, 255.0, 256.0, 300.7, -1.0, -255.5, 1e-40, np.nan, np.inf,
                  -np.inf, 3e9, -3e9, 1e20, -1e20,
                  2.0 ** 31, -2.0 ** 31, 2.0 ** 63, -2.0 ** 63, 2.0 ** 62] * 3, dtype=source)
    got = fastnn.from_numpy(x).to(getattr(fastnn, to)).numpy()
    if to == "bool":
        want = x != 0
    elif to.startswith("float"):
        with np.errstate(over="ignore"):
            want = x.astype(to)
    else:
        bits = 63 if to == "int64" else 31
        want = [int(v) if -2.0 ** bits <= v < 2.0 ** bits else -2 ** bits for v in x.tolist()]
        want = np.array([v % 256 for v in want] if to == "uint8" else want).astype(to)
    assert np.array_equal(got, want, equal_nan=to[0] == "f")


@pytest.mark.parametrize("to", ALL)
def test_integers_wrap(to, isa):
    for source in ("int64", "int32", "uint8", "bool"):
        if source == "bool":
            x = np.array([True, False] * 40)
        else:
            i = np.iinfo(source)
            x = np.array([0, 1, i.max, i.max - 1, i.min, i.min // 2, 255, i.max // 3, 16777217 % (i.max + 1),
                          97] * 9).astype(source)
        got = fastnn.from_numpy(x).to(getattr(fastnn, to)).numpy()
        assert np.array_equal(got, x.astype(to)), source


SHAPES = [(1, 1), (2, 2), (4, 4), (5, 7), (3, 64), (64, 3), (3, 1000), (1000, 3), (33, 65), (128, 128), (31, 4),
          (4, 31), (1025, 2), (2, 3, 4), (2, 3, 65),
          (3, 40, 50), (2, 3, 16, 17), (2, 16, 17, 3), (4, 5, 6, 7), (2, 2, 2, 2, 2, 2, 2, 2), (0, 3), (3, 0),
          (7, 1, 5), (21, 512), (2, 18, 32, 32)]


@pytest.mark.parametrize("dtype", ("float32", "float64", "uint8"))
def test_transposed(dtype, isa, threads):
    """Every order of dimensions (of some shapes), read and written."""
    for shape in SHAPES:
        x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        orders = list(itertools.permutations(range(len(shape)))) if len(shape) < 4 else [
            tuple(range(len(shape)))[::-1], (0,) + tuple(range(2, len(shape))) + (1,),
            (0, len(shape) - 1) + tuple(range(1, len(shape) - 1))]
        for order in orders:
            t = fastnn.from_numpy(x).permute(order)
            want = x.transpose(order)
            same_bits(t.contiguous(), np.ascontiguousarray(want), f"{shape} {order}")
            y = fastnn.empty(shape, dtype=t.dtype).permute(order)
            y.copy_(fastnn.from_numpy(np.ascontiguousarray(want)))
            assert np.array_equal(y.numpy(), want), (shape, order)


@pytest.mark.parametrize("to", LAYOUTS[:4])
def test_copy_into(to, isa):
    for source, (shape, given) in itertools.product(LAYOUTS[:4],
                                                    (((6, 300), (6, 300)), ((6, 300), (300,)), ((6, 300), (6, 1)),
                                                     ((4, 5, 6), (5, 1)),
                                                                  ((4, 5, 6), ()), ((300, 2), (300, 1)))):
        a = np.asarray(RNG.standard_normal(given))
        x, a = laid_out(a, source) if a.ndim else (fastnn.tensor(a), a)
        for dtype, threads in itertools.product(("float64", "float32"), (1, 3)):
            y, _ = laid_out(np.zeros(shape, dtype), to)
            around = y._base
            before = None if around is None else around.numpy().copy()
            version = y._version
            with machine(threads=threads):
                y.copy_(x)
            assert np.array_equal(y.numpy(), np.broadcast_to(a, shape).astype(dtype)) and y._version == version + 1
            if around is not None and before.size > y.numel():
                assert np.isnan(around.numpy()).sum() == before.size - y.numel()       # what lies around is as it was


def test_copy_into_itself():
    x = fastnn.arange(12.0)
    x[1:].copy_(x[:-1])
    assert x.tolist() == [0, *range(11)]
    x = fastnn.arange(9.0).view(3, 3)
    x.copy_(x.t())
    assert x.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    x.copy_(x)
    x.copy_(x[0])
    assert x.tolist() == [[0, 3, 6]] * 3


def test_cast_and_contiguous():
    x = fastnn.arange(6.0).view(2, 3)
    assert _core.cast(x, fastnn.float32) is x and _core.contiguous(x) is x
    y = x.t().double()
    assert y.stride() == (1, 3) and y.contiguous().stride() == (2, 1)         # order of dimensions stays
    assert x.t().expand(4, 3, 2).long().stride() == (6, 1, 3)
    assert fastnn.zeros(0, 3).t().contiguous().shape == (3, 0)


@pytest.mark.parametrize("dtype", ALL)
def test_fill(dtype, isa, threads):
    for shape in ((), (1,), (65,), (3, 300), (0, 2), (2, 3, 4)):
        for layout in LAYOUTS[:4]:
            y, _ = laid_out(np.zeros(shape, dtype), layout)
            assert np.array_equal(y.fill_(7).numpy(), np.full(shape, 7).astype(dtype))
            if y._base is not None and y.numel() and dtype != "bool" and y._base.numel() > y.numel():
                assert (y._base.numpy() == 7).sum() == y.numel()


@pytest.mark.parametrize("dtype, value, want", [
    ("uint8", -1, 255), ("int32", 1.7, 1), ("int32", -1.7, -1), ("bool", 2.5, True), ("bool", 0.0, False),
    ("float32", True, 1), ("int64", 2 ** 62, 2 ** 62),
    ("float64", 1e300, 1e300), ("float32", float("inf"), float("inf")), ("uint8", 300, None), ("int32", 2 ** 31, None),
    ("int64", 2 ** 63, None),
    ("int32", float("nan"), None), ("int64", float("inf"), None), ("float32", 1e300, None)])
def test_fill_converts_or_refuses(dtype, value, want):
    y = fastnn.zeros(3, dtype=getattr(fastnn, dtype))
    if want is None:
        with pytest.raises(RuntimeError, match="without overflow"):
            y.fill_(value)
        assert y.tolist() == [0, 0, 0]
    else:
        assert y.fill_(value).tolist() == [want] * 3


@pytest.mark.parametrize("dtype", ALL[:5])
def test_arange(dtype, isa, threads):
    kind = getattr(fastnn, dtype)
    assert fastnn.arange(3, 150, 7, dtype=kind).tolist() == list(range(3, 150, 7))
    assert fastnn.arange(0, dtype=kind).shape == (0,)
    if dtype != "uint8":
        assert fastnn.arange(5, -300, -2, dtype=kind).tolist() == list(range(5, -300, -2))
    if dtype.startswith("float"):
        y = fastnn.arange(0.1, 300.3, 0.3, dtype=kind)
        np.testing.assert_allclose(y.numpy(), 0.1 + np.arange(1001) * 0.3, rtol=1e-15 if dtype == "float64" else 6e-8)
        for n in (1, 5, 66, 1000):
            same_bits(fastnn.arange(0.1, 0.05 + 0.3 * n, 0.3, dtype=kind), y[:n].clone())
        assert fastnn.arange(2.0 ** 24, 2.0 ** 24 + 8,
                             dtype=fastnn.float64).tolist() == [2.0 ** 24 + i for i in range(8)]


@pytest.mark.parametrize("run, error, text", [
    (lambda: fastnn.zeros(2, 3).copy_(fastnn.zeros(4)), RuntimeError,
     r"must match the size .*destination has shape \(2, 3\), the source \(4,\)"),
    (lambda: fastnn.zeros(3).copy_(fastnn.zeros(2, 3)), RuntimeError, "more dimensions"),
    (lambda: fastnn.zeros(3).expand(2, 3).copy_(fastnn.zeros(2, 3)), RuntimeError, "single memory location"),
    (lambda: fastnn.zeros(3).copy_(1), TypeError, "must be Tensor"),
    (lambda: fastnn.zeros(1).fill_(10 ** 400), OverflowError, "large"),
    (lambda: fastnn.zeros(3).fill_(fastnn.zeros(2)), RuntimeError, "0-dimension")])
def test_refused(run, error, text):
    with pytest.raises(error, match=text):
        run()
