"""Reductions: the plans a shape can lead to, accuracy, NaN and wrapping; options, ties and gradients as PyTorch has them."""
import itertools

import numpy as np
import pytest

import fastnn
import ref
from check import INTS, REALS, array_of, check_op, compare, laid_out, machine, same_bits
from fastnn import _core

RNG = np.random.default_rng(7)
NAN = float("nan")

# shape, axes: lines short, alone and many at once, of a block and a bit, in several runs; columns narrow (folded, with rows left over), wide, strided; one
# output of many parts; columns and lines in parts; reduced dimensions on both sides of the kept one
PLANS = [((37, 9), 1), ((53, 33), 1), ((2, 21, 100), 2), ((5, 1025), 1), ((70001,), None), ((3, 50000), 1), ((4, 3, 150), (0, 2)), ((6, 5, 49), (0, 2)), ((3001, 3), 0), ((900, 130), 0),
         ((300, 700), 0), ((40000, 16), 0), ((9, 1100), 0), ((20, 9, 30, 3), (0, 2)), ((2, 3, 4, 5), (1, 3)), ((1, 7), 0), ((7, 1), 1)]
TOO_FEW = np.array([[1, 2], [3, 4]], np.float32)


def long(x):
    """x in a type that sums it better than float64, whose columns NumPy adds one by one."""
    return x.astype(np.longdouble)


def over(name, axes, *options):
    def run(x):
        return getattr(_core, name)(x, (axes,) if isinstance(axes, int) else axes, *options)
    return run


@pytest.mark.parametrize("shape, axes", PLANS, ids=lambda v: str(v).replace(" ", ""))
def test_plans(shape, axes):
    how = dict(layouts=("contiguous", "transposed", "sliced") if len(shape) > 1 else ("contiguous", "offset"), threads=(1, 2, 3, 7), capture=False)
    x = RNG.standard_normal(shape) + 0.5
    check_op(over("sum_", axes), lambda x: ref.sum_(long(x), axes), x, bound=lambda x: np.sum(np.abs(x), axes), **how)
    check_op(over("sumsq", axes), lambda x: ref.sumsq(long(x), axes), x, **how)
    check_op(over("sumdev2", axes), lambda x: ref.sumdev2(long(x), axes), x, tol=8, bound=lambda x: ref.sumdev2(x, axes) + 0.01, **how)
    for name, mean in (("max_", np.max), ("min_", np.min)):
        check_op(over(name, axes), lambda x: mean(x, axes), x, tol=0, **how)
    kept = [d for d in range(len(shape)) if axes is not None and d not in np.atleast_1d(axes)]
    for name in ("argmax", "argmin"):                    # ties: 7 values
        check_op(over(name, axes), lambda x: getattr(np, name)(
            np.moveaxis(x, kept, range(len(kept))).reshape(*[shape[d] for d in kept], -1), -1), RNG.integers(0, 7, shape).astype(float),
            out="int64", dtypes=("float32", "int64", "uint8"), **how)
    check_op(over("sum_", axes), lambda x: ref.sum_(x, axes), RNG.integers(0, 200, shape).astype(float), dtypes=INTS, out="int64", **how)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("n", [1, 2, 4, 7, 16, 17, 64, 131, 500])
def test_a_line_does_not_depend_on_the_others(isa, dtype, n):
    x = RNG.integers(-9, 9, (37, n)) / np.array([3.0, 7.0])[RNG.integers(0, 2, (37, n))]
    x[5, n // 2] = NAN
    x = fastnn.tensor(x.astype(dtype))
    rounded = ("sum", "prod", "norm", "var") if n >= 16 else ()           # shorter ones are columns, which are added one by one
    for name in ("max", "min", "argmax", "argmin", "any", "all", *rounded):
        def run(t, dim):
            y = getattr(t, name)(dim=dim)
            return y if isinstance(y, fastnn.Tensor) else y.values
        same_bits(run(x, 1), fastnn.stack([run(x[i].clone(), 0) for i in range(37)]), name)


@pytest.mark.parametrize("dtype, most", [("float32", 1e-7), ("float64", 1e-14)])
def test_long_sums_are_accurate(isa, dtype, most):
    for shape, axis in (((1000000,), 0), ((1000000, 2), 0), ((2, 500000), 1)):
        x = RNG.random(shape).astype(dtype)
        want = x.astype(np.longdouble).sum(axis)
        got = fastnn.from_numpy(x).sum(axis).numpy()
        assert np.all(np.abs(got - want) <= most * want), np.abs(got - want) / want


def test_variance_beside_a_large_mean():
    x = (1e4 + np.random.default_rng(7).standard_normal(1000000)).astype(np.float32)
    for shape, axis in (((-1,), 0), ((-1, 4), 0), ((4, -1), 1), ((20, -1), 0)):
        y = x.reshape(shape)
        np.testing.assert_allclose(fastnn.from_numpy(y).var(axis).numpy(), y.astype(float).var(axis, ddof=1), rtol=1e-6)
        assert not fastnn.full(y.shape, 0.1).var(axis).any()


@pytest.mark.parametrize("shape, axis", [((200, 5), 0), ((5, 9000), 1), ((170, 3, 4), 0), ((9000,), 0), ((3, 97, 2), 1)], ids=str)
def test_the_extreme_may_stand_anywhere(shape, axis, isa):
    """In every block of rows or of a line, at its ends and in the middle."""
    n = shape[axis]
    for at in {0, 31, 32, 63, 64, 95, 96, n // 2, n - n % 32, n - 2, n - 1} & set(range(n)):
        x = np.zeros(shape, np.float32)
        np.moveaxis(x, axis, 0)[at] = 1
        t = fastnn.from_numpy(x)
        assert (t.argmax(axis) == at).all() and ((-t).argmin(axis) == at).all() and (t.amax(axis) == 1).all() and t.argmax().item() == x.argmax()
        for dtype in (fastnn.int64, fastnn.int32, fastnn.uint8):
            i = t.to(dtype)
            assert (i.amax(axis) == 1).all() and ((1 - i).amin(axis) == 0).all() and i.amax().item() == 1


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape, axis, at", [((5000,), 0, (2048,)), ((40, 50), 0, (33, 7)), ((40, 50), 1, (33, 7)), ((3,), 0, (2,)), ((90, 2), 0, (89, 1))])
def test_nan_wins(isa, threads, dtype, shape, axis, at):
    x = RNG.standard_normal(shape).astype(dtype)
    x[at] = NAN
    t = fastnn.from_numpy(x)
    for name in ("amax", "amin"):
        compare(getattr(t, name)(axis), getattr(np, name)(x, axis), dtype, tol=0)
    for name in ("max", "min"):
        values, indices = getattr(t, name)(axis)
        compare(values, getattr(np, name)(x, axis), dtype, tol=0)
        compare(indices, getattr(np, "arg" + name)(x, axis), "int64")
    assert t.any() and fastnn.full((3,), NAN).all()


def test_infinities_and_denormals(isa):
    tiny = fastnn.full((100,), 1e-40)
    assert bool(tiny.any()) and bool(tiny.all()) and tiny.sum().item() == pytest.approx(1e-38, rel=1e-2) and tiny.argmax().item() == 0
    x = fastnn.tensor([1.0, float("inf"), -float("inf")])
    assert np.isnan(x.sum().item()) and x.max().item() == float("inf") and x.min().item() == -float("inf")
    assert fastnn.full((40, 3), -float("inf")).amax(0).tolist() == [-float("inf")] * 3 and fastnn.full((9,), float("inf")).argmin().item() == 0


def test_integers_wrap_and_widen(isa):
    big = fastnn.full((3,), 2 ** 62, dtype=fastnn.int64)
    assert big.sum().item() == 3 * 2 ** 62 - 2 ** 64 and big.prod().item() == 0 and big.cumsum(0)[1].item() == -2 ** 63
    x = fastnn.full((300, 2), 255, dtype=fastnn.uint8)
    assert x.sum(0).tolist() == [76500] * 2 and x.sum(0).dtype is fastnn.int64 and x.sum(dtype=fastnn.uint8).item() == 153000 % 256
    flags = fastnn.tensor([True, False, True])
    assert flags.sum().item() == 2 and flags.sum().dtype is fastnn.int64 and flags.cumsum(0).tolist() == [1, 1, 2]
    assert fastnn.tensor([-2 ** 63, 5]).min().item() == -2 ** 63 and fastnn.tensor([-2 ** 63, -2 ** 63]).argmax().item() == 0


def test_empty():
    x = fastnn.zeros(0, 3)
    assert x.sum(0).tolist() == [0] * 3 and x.prod(0).tolist() == [1] * 3 and np.isnan(x.mean(0).numpy()).all() and np.isnan(x.var(0).numpy()).all()
    assert x.sum(1).shape == (0,) and x.amax(1).shape == (0,) and x.argmax(1).shape == (0,) and x.cumsum(0).shape == (0, 3)
    assert x.any().item() is False and x.all().item() is True and x.norm().item() == 0
    np.testing.assert_array_equal(x.logsumexp(0).numpy(), [-np.inf] * 3)


# ---- options, ties and gradients beside PyTorch ----------------------------------------------------------------------

A = RNG.standard_normal((4, 3, 5))
TIES = RNG.integers(0, 3, (4, 3, 5)).astype(float)
ZEROS = np.where(RNG.random((4, 3, 5)) < 0.2, 0, A)
PROGRAMS = {
    "sum": lambda f, x: (x.sum(), x.sum(1), x.sum((0, -1)), x.sum((0, 2), keepdim=True), f.sum(x, dim=-1), x.sum(()), x.sum(dim=(1,), dtype=f.float32)),
    "mean": lambda f, x: (x.mean(), x.mean(1, True), x.mean((0, 2)), f.mean(x, -2), x.mean(dtype=f.float32)),
    "var": lambda f, x: (x.var(), x.var(1), x.var(unbiased=False), x.var((0, 2), keepdim=True), x.var(dim=0, correction=0),
                         x.var(2, correction=2), x.var(False)),
    "std": lambda f, x: (x.std(), x.std(1), x.std(0, unbiased=False), x.std((0, 2), keepdim=True, correction=0)),
    "var_mean": lambda f, x: (*f.var_mean(x, 1), *f.std_mean(x, dim=(0, 1), keepdim=True)),
    "prod": lambda f, x: (x.prod(), x.prod(1), x.prod(-1, keepdim=True)),
    "max": lambda f, x: (x.max(), *x.max(1), *x.max(-1, keepdim=True), f.max(x, -x), x.amax((0, 2)), x.amax(1, True), x.amax()),
    "min": lambda f, x: (x.min(), *x.min(dim=1), *f.min(x, 0, True), f.min(x, other=-x), x.amin((0, 2)), x.amin(dim=1)),
    "arg": lambda f, x: (x.argmax(), x.argmin(), x.argmax(1), x.argmin(-1, True), f.argmax(x, dim=0, keepdim=True)),
    "norm": lambda f, x: (x.norm(), x.norm(1), x.norm(dim=1), x.norm(2, (0, 2), True), x.norm(float("inf"), 1),
                          x.norm(float("-inf"), 2), x.norm(3, 1), x.norm(0),
                          x.norm(1.5, dim=0)),
    "logsumexp": lambda f, x: (x.logsumexp(1), x.logsumexp((0, 2)), x.logsumexp(-1, keepdim=True), x.logsumexp((0, 1), True)),
    "logic": lambda f, x: ((x > 0).any(), (x > 0).all(1), x.any(0, True), x.all((0, 1)), x.byte().any(1), x.count_nonzero(), x.count_nonzero((0, 1))),
    "cumsum": lambda f, x: (x.cumsum(0), x.cumsum(-1), x.transpose(0, 2).cumsum(1), x.cumsum(1, dtype=f.float32)),
    "types": lambda f, x: (x.int().sum(), x.int().prod(0), x.bool().sum(1), x.byte().cumsum(0), x.long().max(),
                           x.bool().max(1)[0], x.int().amax(), x.bool().amin(0),
                           x.long().sum(dtype=f.int32), x.int().sum(dtype=f.float64)),
    "scalar": lambda f, x: (x[0, 0, 0].sum(0), x[0, 0, 0].mean(), x[0, 0, 0].max(0)[0], x[0, 0, 0].argmax(), x[0, 0, 0].cumsum(0), x[0, 0, 0].logsumexp(0),
                            x[0, 0, 0].norm(), x[0, 0, 0].amax(-1)),
}


def both(torch, program, a):
    """Results and gradients, all outputs weighed, with both packages."""
    found = []
    for f in (fastnn, torch):
        x = f.tensor(a, requires_grad=True)
        ys = tuple(program(f, x))
        real = [y for y in ys if y.requires_grad]
        if real:
            sum((y.double() * f.tensor(np.random.default_rng(3).uniform(1, 2, tuple(y.shape)))).sum() for y in real).backward()
        found.append(([(y.detach().numpy(), str(y.dtype).split(".")[1], y.requires_grad) for y in ys], x.grad.numpy() if real else None))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("data", ["plain", "ties", "zeros", "nan"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_as_torch(torch, name, data):
    a = {"plain": A, "ties": TIES, "zeros": ZEROS, "nan": np.where(RNG.random(A.shape) < 0.1, NAN, A)}[data]
    if data == "nan" and name == "types":
        pytest.skip("what integer a NaN becomes is not defined")
    (ours, grad), (theirs, want) = both(torch, PROGRAMS[name], a)
    for (y, dtype, needs), (z, kind, wanted) in zip(ours, theirs, strict=True):
        assert (dtype, needs, y.shape) == (kind, wanted, z.shape)
        np.testing.assert_allclose(y, z, rtol=2e-6 if dtype == "float32" else 1e-12, atol=1e-12)
    if grad is not None:
        np.testing.assert_allclose(grad, want, rtol=1e-6, atol=1e-12)


def test_nan_takes_the_gradient_of_the_extreme_of_all():
    for name in ("max", "min"):
        x = fastnn.tensor([[1.0, NAN, 3.0], [NAN, 0.0, -1.0]], requires_grad=True)
        getattr(x, name)().backward()
        assert x.grad.tolist() == [[0, 0.5, 0], [0.5, 0, 0]]


def test_named_results():
    r = fastnn.tensor([[1.0, 3.0]]).max(1)
    assert (r.values.item(), r.indices.item()) == (3, 1) and type(r).__name__ == "max"


# ---- errors ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("f, error, text", [
    (lambda x: x.sum(2), IndexError, r"range of \[-2, 1\], but got 2"), (lambda x: x.sum((0, 0)), RuntimeError, "dim 0 appears multiple times"),
    (lambda x: x.int().mean(), RuntimeError, "int32"), (lambda x: x.mean(dtype=fastnn.int64), RuntimeError, "floating point"),
    (lambda x: x[:0].max(), RuntimeError, r"numel\(\) == 0.*\(0, 2\)"), (lambda x: x[:0].argmax(), RuntimeError, "argmax"),
    (lambda x: x[:0].amax(0), IndexError, "dim 0 to have non-zero size"), (lambda x: x[:0].max(0), IndexError, r"max\(\).*non-zero"),
    (lambda x: x.max((0, 1)), TypeError, "must be int"), (lambda x: x.prod((0, 1)), TypeError, "must be int"), (lambda x: x.cumsum(3), IndexError, "range"),
    (lambda x: x.norm("nuc"), NotImplementedError, "nuc"), (lambda x: x.var(0, True, correction=1), TypeError, "not both"),
    (lambda x: fastnn.sum([1.0]), TypeError, "Tensor"), (lambda x: x.bool().argmax(), NotImplementedError, "bool"),
    (lambda x: x.int().std(), RuntimeError, "int32"),
])
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f(fastnn.tensor(TOO_FEW))


# ---- the same bits ---------------------------------------------------------------------------------------------------

def test_layouts_without_gaps_give_the_bits_of_their_copies():
    """A captured program copies its inputs; a view with gaps must not sum in another order than its copy."""
    for shape, axes in itertools.product(((60, 7, 33), (300, 4, 130)), (None, (0,), (1,), (2,), (0, 2))):
        for layout in ("sliced", "transposed", "broadcast", "offset"):
            x, _ = laid_out(RNG.standard_normal(shape).astype(np.float32), layout)
            step = fastnn.capture(lambda x: (x.sum(axes), x.var(axes), x.amax(axes)))
            same_bits((x.sum(axes), x.var(axes), x.amax(axes)), step(x))


@pytest.mark.slow
def test_gradients_do_not_depend_on_threads():
    first = None
    for n in (1, 2, 3, 7):
        with machine(threads=n):
            x = fastnn.from_numpy(RNG.__class__(np.random.PCG64(1)).standard_normal((50, 2000))).requires_grad_()
            (x.std(0).sum() + x.norm(dim=1).sum() + x.logsumexp(0).mean() + x.cumsum(1).sum()).backward()
        first = first if first is not None else array_of(x.grad).copy()
        assert first.tobytes() == array_of(x.grad).tobytes()
