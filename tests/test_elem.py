"""csrc/elem.c, fastnn/ops/elementwise.py and compare.py: operations against their meaning in every way that must not matter, their corners, and
PyTorch's values and gradients."""
import math

import numpy as np
import pytest

import fastnn
import ref
from check import ALL, INTS, LAYOUTS, NUMS, REALS, check_op, laid_out, same_bits
from fastnn import _core

RNG = np.random.default_rng(5)
SPECIAL = np.array([0.0, -0.0, 1, -1, 0.5, 2.5, -2.5, 3.5, np.nan, np.inf, -np.inf, 1e-40, 3e38])


def reals(*shape, special=True):
    """Normal numbers, with the special ones among them."""
    x = RNG.standard_normal(shape) * 3
    if special and x.size > 40:
        x.reshape(-1)[::5] = np.resize(RNG.permutation(SPECIAL), x.reshape(-1)[::5].size)
    return x


def whole(*shape, low=0, high=8):
    return RNG.integers(low, high, shape).astype(float)


# element types of each operation; meanings are ref's
BINARY = {"add": ALL, "mul": ALL, "maximum": ALL, "minimum": ALL, "eq": ALL, "ne": ALL, "lt": ALL, "le": ALL,
          "logical_and": ALL, "logical_or": ALL, "logical_xor": ALL, "sub": NUMS, "div": REALS,
          "bitwise_and": INTS + ("bool",), "bitwise_or": INTS + ("bool",), "bitwise_xor": INTS + ("bool",)}
UNARY = {"logical_not": ALL, "bitwise_not": INTS + ("bool",), "neg": NUMS, "abs": NUMS, "sign": ALL,
         "reciprocal": REALS, "sqrt": REALS, "rsqrt": REALS, "floor": REALS, "ceil": REALS, "round": REALS,
         "trunc": REALS, "isnan": REALS, "isinf": REALS, "isfinite": REALS, "exp": REALS, "log": REALS, "log1p": REALS,
         "sin": REALS, "cos": REALS, "erf": REALS}
ROUNDED = {"add": 1, "sub": 1, "mul": 1, "div": 1, "reciprocal": 1, "sqrt": 1, "rsqrt": 2, "exp": 3, "log": 3,
           "log1p": 3, "sin": 3, "cos": 3, "erf": 3}
EVERY = dict(layouts=LAYOUTS, threads=(1, 2, 3, 7), capture=True)
SOME = dict(layouts=("contiguous", "transposed", "sliced"), threads=(1, 3), capture=False)


def check(name, kinds, *shapes, **how):
    run, mean, tol = getattr(fastnn, name), ref.meaning(name), ROUNDED.get(name, 0)
    if "float32" in kinds:
        check_op(run, mean, *(reals(*s).astype("f4").astype("f8") for s in shapes), op=name, tol=tol, dtypes=REALS,
                 **how)
    if "int32" in kinds:
        check_op(run, mean, *(whole(*s, high=200) for s in shapes), op=name,
                 dtypes=[d for d in kinds if d not in REALS], **SOME)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    check(name, BINARY[name], (5, 300), (5, 300), **EVERY)
    for a, b in (((3, 7, 10), (7, 1)), ((4, 1, 40), (5, 1)), ((0, 3), (3,))):
        check(name, BINARY[name], a, b, **SOME)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    check(name, UNARY[name], (5, 300), **EVERY)
    for a in ((3, 7, 10), (1,), (2, 0)):
        check(name, UNARY[name], a, **SOME)


@pytest.mark.parametrize("n", (1, 3, 15, 16, 17, 64, 100))
def test_bits_do_not_depend_on_the_place(n, isa):
    """A tail gives the bits that the same numbers get inside a vector."""
    for dtype in REALS:
        x = fastnn.from_numpy(reals(400, special=False).astype(dtype))
        y = fastnn.from_numpy(reals(400, special=False).astype(dtype))
        for f in (lambda x, y: x.exp(), lambda x, y: fastnn.log1p(x.abs()), lambda x, y: x.sin(), lambda x, y: x.erf(),
                  lambda x, y: fastnn.add(x, y, alpha=0.1),
                  lambda x, y: fastnn.addcmul(x, y, x, value=0.3), lambda x, y: x.abs() ** y):
            same_bits(f(x, y)[5:5 + n].clone(), f(x[5:5 + n], y[5:5 + n]))


DIVIDERS = ("floor_divide", "remainder", "trunc_divide")


@pytest.mark.parametrize("name", DIVIDERS)
def test_division_of_integers(name):
    run, mean = getattr(_core, name), ref.meaning(name)
    check_op(run, mean, whole(4, 70, low=-60, high=60), np.where((b := whole(4, 70, low=-9, high=9)) == 0, 3, b),
             dtypes=("int64", "int32"), **SOME)
    check_op(run, mean, whole(4, 70, high=255), whole(4, 70, low=1, high=40), dtypes=("uint8",), **SOME)
    check_op(lambda x: run(x, -7), lambda x: mean(x, np.array(-7)), whole(300, low=-60, high=60),
             dtypes=("int64", "int32"), **SOME | dict(capture=True))
    check_op(lambda x: run(50, x), lambda x: mean(np.array(50), x), whole(70, low=1, high=60), dtypes=INTS, **SOME)


@pytest.mark.parametrize("name", DIVIDERS)
def test_division_of_reals(name):
    x, y = (reals(4, 300, special=False).astype("f4").astype("f8") for _ in "ab")
    check_op(getattr(_core, name), ref.meaning(name), x, np.rint(y) + 0.5, op=name, tol=8,
             bound=lambda a, b: np.abs(a) + np.abs(b))


def test_division_by_zero(isa):
    for dtype in INTS:
        x = fastnn.tensor([7, 0], dtype=getattr(fastnn, dtype))
        for f in (lambda y: x // y, lambda y: x % y, lambda y: fastnn.div(x, y, rounding_mode="trunc"),
                  lambda y: fastnn.div(x, y, rounding_mode="floor")):
            for y in (0, x, x * 0):
                with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                    f(y)
        assert (x / 0).tolist()[0] == math.inf and math.isnan((x / 0).tolist()[1])
    y = fastnn.tensor([5.0, -5.0, 0.0])
    assert (y // 0).tolist()[:2] == [math.inf, -math.inf] and all(map(math.isnan, (y % 0).tolist()))


def test_division_by_a_tensor_of_integers_is_not_captured():
    x = fastnn.tensor([7, 8])
    with pytest.raises(fastnn.CaptureError, match="floor_divide by a tensor of integers"):
        fastnn.capture(lambda x: x // x)(x)
    assert fastnn.capture(lambda x: x // 2)(x).tolist() == [3, 4]


def test_integers_wrap(isa):
    for dtype in ("int64", "int32"):
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        x = fastnn.tensor([low, high, -1], dtype=getattr(fastnn, dtype))

        def wrap(*values):
            return [(v - low) % (high - low + 1) + low for v in values]
        assert (x + 1).tolist() == wrap(low + 1, high + 1, 0) and (x - 1).tolist() == wrap(low - 1, high - 1, -2)
        assert (-x).tolist() == wrap(-low, -high, 1) and x.abs().tolist() == [low, high, 1]
        assert (x * 3).tolist() == wrap(low * 3, high * 3, -3) and (x // -1).tolist() == [low, -high, 1]
        assert (x % -1).tolist() == [0, 0, 0]
        assert fastnn.add(x, x, alpha=-5).tolist() == wrap(low * -4, high * -4, 4)
        assert (fastnn.tensor([3, -2], dtype=x.dtype) ** 70).tolist() == wrap(3 ** 70, 2 ** 70)
    x = fastnn.tensor([0, 1, 200, 255], dtype=fastnn.uint8)
    assert (x + 100).tolist() == [100, 101, 44, 99] and (x - 1).tolist() == [255, 0, 199, 254]
    assert (-x).tolist() == [0, 255, 56, 1]
    assert (x * x).tolist() == [0, 1, 64, 1] and (~x).tolist() == [255, 254, 55, 0]
    assert (x // 255).tolist() == [0, 0, 0, 1] and (x ** 3).tolist() == [0, 1, 0, 255]


def test_power():
    x = np.abs(reals(5, 261, special=False)) + 0.1
    for s in (0, 1, 2, 3, 0.5, -0.5, -1, -2, 1.7, -3.3):
        check_op(lambda a: a ** s, lambda a: a ** float(s), x.astype("f4").astype("f8"), op="pow", tol=3, **SOME)
    check_op(fastnn.pow, ref.pow_, reals(5, 300), reals(5, 300), dtypes=("float64",), op="pow", tol=1, **EVERY)
    check_op(lambda a: 2.5 ** a, lambda a: 2.5 ** a, reals(70, special=False), op="pow", tol=1, dtypes=("float64",),
             **SOME)
    check_op(fastnn.pow, ref.pow_, whole(70, low=-5, high=6), whole(70, low=-3, high=9), dtypes=("int64", "int32"),
             op="pow", **SOME)
    with pytest.raises(RuntimeError, match="negative integer powers"):
        fastnn.tensor([2]) ** -1


@pytest.mark.parametrize("low, high", [(-1, 1), (None, 0.5), (-0.5, None), (1, -1), (0, math.nan), (-math.inf, 0)])
def test_clamp(low, high):
    bounds = -math.inf if low is None else low, math.inf if high is None else high
    check_op(lambda x: x.clamp(low, high), lambda x: ref.clamp(x, *bounds), reals(5, 100), op="clamp", tol=0)


def test_clamp_of_integers():
    for low, high in ((2, 5), (None, 3), (4, None), (6, 1)):
        check_op(lambda x: x.clamp(low, high), lambda x: ref.clamp(x, 0 if low is None else low,
                                                                   255 if high is None else high),
                                                                   whole(5, 100, high=10),
                 dtypes=INTS, op="clamp", **SOME)
    x = fastnn.tensor([1, 5])
    assert x.clamp(1.5, 3).tolist() == [1.5, 3] and x.clamp(fastnn.tensor([2, 2]), fastnn.tensor(4)).tolist() == [2, 4]
    high = fastnn.tensor([4, 4])
    assert fastnn.clamp(x, fastnn.tensor([2, 2]), high, out=high) is high and high.tolist() == [2, 4]
    for bad, error in ((lambda: x.clamp(), RuntimeError), (lambda: x.clamp(fastnn.tensor(1), 2), TypeError),
                       (lambda: x.int().clamp(0, 2 ** 40), RuntimeError)):
        with pytest.raises(error, match="clamp"):
            bad()


def test_where_and_masked_fill():
    c = RNG.random((5, 300)) < 0.5
    for dtypes, x, y in ((REALS, reals(5, 300), reals(300)),
                         (INTS + ("bool",), whole(5, 300, high=2), whole(300, high=2))):
        check_op(fastnn.where, np.where, c, x, y, dtypes=dtypes, op="where", tol=0)
        check_op(lambda c, x: fastnn.where(c, x, True), lambda c, x: np.where(c, x, True), c, x, dtypes=dtypes,
                 op="where", tol=0, **SOME)
        check_op(lambda c, x: x.masked_fill(c, True), lambda c, x: np.where(c, True, x), c, x, dtypes=dtypes,
                 op="where", tol=0, **SOME)
    assert fastnn.where(fastnn.tensor([True, False]), 1, 2.5).tolist() == [1, 2.5]
    assert fastnn.where(fastnn.tensor([[True], [False]]), fastnn.tensor([1, 2]),
                        fastnn.tensor(3.0)).tolist() == [[1, 2], [3, 3]]
    assert fastnn.zeros(2, dtype=fastnn.int64).masked_fill(fastnn.tensor([True, False]), 2.5).tolist() == [2, 0]
    for bad in (lambda: fastnn.where(fastnn.tensor([1]), 1, 2),
                lambda: fastnn.zeros(2).masked_fill(fastnn.tensor([1, 0]), 2),
                lambda: fastnn.zeros(2).masked_fill(fastnn.tensor([True, False]), fastnn.ones(2))):
        with pytest.raises(RuntimeError, match="bool|0-dim"):
            bad()


def test_fused():
    a, b, c = (reals(*s, special=False) for s in ((5, 300), (5, 300), (300,)))
    size = dict(bound=lambda a, b, c=1: np.abs(a) + 3 * np.abs(b * c), tol=2)
    check_op(lambda a, b: fastnn.add(a, b, alpha=3), lambda a, b: a + 3 * b, a, b, op="add", **size)
    check_op(lambda a, b: fastnn.sub(a, b, alpha=3), lambda a, b: a - 3 * b, a, b, op="sub", **size)
    check_op(lambda a, b, c: fastnn.addcmul(a, b, c, value=3), lambda a, b, c: a + 3 * b * c, a, b, c, op="addcmul",
             **size)
    check_op(lambda a, b, c: fastnn.addcmul(a, b, c, value=3), lambda a, b, c: a + 3 * b * c, whole(5, 70),
             whole(5, 70), whole(70), dtypes=INTS, op="addcmul", **SOME)
    check_op(lambda a, b: fastnn.sub(a, b, alpha=3), lambda a, b: a - 3 * b, whole(5, 70, low=40, high=90),
             whole(5, 70), dtypes=INTS, op="sub", **SOME)


def test_a_number_on_either_side():
    x = reals(3, 70)
    for name, f in {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
                    "div": lambda a, b: a / b, "lt": lambda a, b: a < b,
                    "le": lambda a, b: a <= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b}.items():
        check_op(lambda a: f(a, 2.5), lambda a: ref.meaning(name)(a, 2.5), x, op=name, tol=1, **SOME)
        check_op(lambda a: f(3, a), lambda a: ref.meaning(name)(np.array(3.0), a), x,
                 op=None if name in ("lt", "le") else name, tol=1, **SOME)
    check_op(lambda a: (a > 2.5) & (a >= 1) & (3 > a), lambda a: (a > 2.5) & (a < 3), x, tol=0, **SOME)
    check_op(lambda a: 9 - a, lambda a: 9 - a, whole(70, high=9), dtypes=INTS, **SOME)


def test_corners():
    x = fastnn.tensor([math.nan, -0.0, 0.5, 1.5, -0.5, 2.5, -1.5])
    assert str(x.round().tolist()) == "[nan, -0.0, 0.0, 2.0, -0.0, 2.0, -2.0]"
    assert str(x.ceil().tolist()[:5]) == "[nan, -0.0, 1.0, 2.0, -0.0]"
    assert str(x.sign().tolist()[:3]) == "[0.0, 0.0, 1.0]"
    assert fastnn.round(fastnn.tensor([1.235, 15.0]), decimals=-1).tolist() == [0, 20]
    assert str((fastnn.tensor([-1.0, 1.0]) // fastnn.tensor([math.inf, -math.inf])).tolist()) == "[-1.0, -1.0]"
    assert (fastnn.tensor([7.0, -7.0, 7.0]) % fastnn.tensor([3.0, 3.0, -3.0])).tolist() == [1, 2, -2]
    tiny = fastnn.tensor([1e-40])
    assert bool((tiny > 0).all()) and (tiny * 1).item() > 0
    assert bool(fastnn.logical_not(tiny * 0).all())          # no flushing
    t, f = fastnn.tensor([True, True, False]), fastnn.tensor([True, False, False])
    assert (t + f).tolist() == [True, True, False] and (t * f).tolist() == [True, False, False]
    assert (t ^ f).tolist() == [False, True, False]
    assert (~t).tolist() == [False, False, True] and (t + 1).tolist() == [2, 2, 1]
    assert (t / 2).tolist() == [0.5, 0.5, 0] and t.square().dtype is fastnn.int64
    i = fastnn.tensor([3, -3])
    assert i.floor().dtype is fastnn.int64 and i.round().tolist() == [3, -3] and i.sqrt().dtype is fastnn.float32
    assert i.isnan().tolist() == [False, False]
    assert i.isfinite().all() and fastnn.div(i, 2, rounding_mode="trunc").tolist() == [1, -1]
    assert fastnn.div(i, 2, rounding_mode="floor").tolist() == [1, -2]


def test_closeness():
    a, b = fastnn.tensor([1.0, math.inf, math.nan]), fastnn.tensor([1.0 + 1e-6, math.inf, math.nan])
    assert fastnn.isclose(a, b).tolist() == [True, True, False] and fastnn.allclose(a, b, equal_nan=True)
    assert not fastnn.allclose(a, b)
    assert not fastnn.allclose(a[:2], fastnn.tensor([1.0, 1e30])) and not fastnn.allclose(a[:1], a[:1] + 1e-3)
    assert fastnn.allclose(a[:1], a[:1] + 1e-3, atol=1e-2)
    assert fastnn.equal(a[:2], a[:2].clone()) and not fastnn.equal(a, a) and not fastnn.equal(a[:1], a[:2])
    assert not fastnn.equal(a[:2], b[:2])
    with pytest.raises(RuntimeError, match="did not match"):
        fastnn.isclose(a, b.double())


# ---- where results lie, and writing into given tensors ----------------------------------------------------------------

def test_result_takes_the_order_of_the_first_full_operand():
    x = fastnn.empty(2, 5, 4, 3).permute(0, 3, 1, 2)                            # channels last
    row, bias = fastnn.empty(2, 3, 5, 4), fastnn.empty(3, 1, 1)
    for y in (x + 1, x * row, x + bias, bias + x, x > 0, x.exp(), fastnn.where(bias > 0, x, row)):
        assert y.stride() == x.stride()
    for y in (row + x, x[:, :1] + x[:1], row[..., ::2] * 2, fastnn.zeros(2, 1) + fastnn.zeros(3)):
        assert y.is_contiguous() and y.stride() == fastnn.empty(y.shape).stride()
    part = x[:, 1:, :, ::2]                                                     # gaps do not hide an order
    for y in (part + 1, part * row[:, 1:, :, ::2], bias[1:] + part, part.exp(), part > 0, part.clone(), part.double(), part.relu()):
        assert y.stride() == (20, 1, 4, 2)
    assert (row[:, 1:, :, ::2] * part).is_contiguous() and (x.transpose(0, 3)[1:, :2] + 1).stride() == (2, 1, 6, 30)


def test_eight_dimensions_and_none():
    a, b = RNG.standard_normal((2, 1, 2, 1, 2, 1, 2, 2)), RNG.standard_normal((1, 2, 1, 2, 1, 2, 1, 2))
    assert np.array_equal((fastnn.tensor(a) + fastnn.tensor(b)).numpy(), a + b)
    order = RNG.permutation(8)
    assert np.array_equal((fastnn.tensor(a).permute(*order.tolist()) * fastnn.tensor(b)).numpy(),
                          a.transpose(order) * b)
    x = fastnn.tensor(3.0)
    assert (x + x).shape == () and (x * 2).item() == 6 and (x > 2).item() is True
    assert (x + fastnn.zeros(0)).shape == (0,)


@pytest.mark.parametrize("layout", LAYOUTS[:4])
def test_in_place(layout, isa):
    a, b = reals(5, 300, special=False).astype("f4"), np.abs(reals(5, 300, special=False)).astype("f4") + 1
    for change, want in ((lambda x, y: x.add_(y, alpha=2), lambda a, b: a + 2 * b),
                         (lambda x, y: x.mul_(y), np.multiply), (lambda x, y: x.div_(y), np.divide),
                         (lambda x, y: x.clamp_(-1, 1), lambda a, b: np.clip(a, -1, 1)),
                         (lambda x, y: x.abs_().sqrt_(), lambda a, b: np.sqrt(np.abs(a))),
                         (lambda x, y: x.masked_fill_(y > 2, 0), lambda a, b: np.where(b > 2, 0, a)),
                         (lambda x, y: x.sub_(x[0]), lambda a, b: a - a[0]),
                         (lambda x, y: x.eq_(x), lambda a, b: np.ones_like(a)),
                         (lambda x, y: x.mul_(y.double()), lambda a, b: (a * b.astype("f8")).astype("f4"))):
        x, y = laid_out(a, layout)[0], laid_out(b, layout)[0]
        version, at = x._version, x.data_ptr()
        assert change(x, y) is x and x.data_ptr() == at and x._version > version
        np.testing.assert_allclose(x.numpy(), want(a, b).astype("f4"), rtol=3e-7)


def test_overlapping_memory():
    for n in (10, 1000):
        a = np.arange(float(n))
        x = fastnn.tensor(a)
        x[1:].add_(x[:-1])
        assert np.array_equal(x.numpy()[1:], a[1:] + a[:-1])
        x = fastnn.tensor(a).view(2, -1)
        x.mul_(x[1:])
        assert np.array_equal(x.numpy(), a.reshape(2, -1) * a.reshape(2, -1)[1:])
        x = fastnn.tensor(a)
        assert np.array_equal(fastnn.add(x[::2], x[1::2], out=x[::2]).numpy(), a[::2] + a[1::2])
    x = fastnn.tensor(np.arange(9.0)).view(3, 3)
    assert np.array_equal(x.add_(x.t()).numpy(), np.arange(9.0).reshape(3, 3) + np.arange(9.0).reshape(3, 3).T)


def test_out():
    x, y = fastnn.tensor([1.0, 2.0]), fastnn.empty(2)
    assert fastnn.add(x, 1, out=y) is y and y.tolist() == [2, 3]
    assert fastnn.exp(fastnn.zeros(2, dtype=fastnn.int64), out=y).tolist() == [1, 1]
    assert fastnn.lt(x, 2, out=y).tolist() == [1, 0] and fastnn.add(x.double(), x, out=y).tolist() == [2, 4]
    for run, text in ((lambda: fastnn.add(x, 1, out=fastnn.empty(3)), "doesn't match the broadcast shape"),
                      (lambda: x.add_(fastnn.ones(2, 2)), "doesn't match the broadcast shape"),
                      (lambda: fastnn.zeros(2, dtype=fastnn.int64).add_(1.5), "can't be cast"),
                      (lambda: fastnn.tensor([True]).add_(1), "can't be cast"),
                      (lambda: fastnn.add(x.requires_grad_(), 1, out=y), "don't support automatic differentiation")):
        with pytest.raises(RuntimeError, match=text):
            run()


@pytest.mark.parametrize("run, error, text", [
    (lambda x: x + fastnn.zeros(4), RuntimeError,
     r"add: The size of tensor a \(3\) must match the size of tensor b \(4\) at non-singleton dimension 1; the "
     r"shapes are \(2, 3\), \(4,\)"),
    (lambda x: fastnn.where(x > 0, x, fastnn.zeros(3, 3)), RuntimeError, r"where: .*\(2, 3\)"),
    (lambda x: x & 1, NotImplementedError, "bitwise_and.* not implemented for float32"),
    (lambda x: ~x, NotImplementedError, "bitwise_not"),
    (lambda x: -fastnn.tensor([True]), NotImplementedError, "neg"),
    (lambda x: fastnn.tensor([True]) - True, RuntimeError, "Subtraction"),
    (lambda x: fastnn.div(x, 2, rounding_mode="x"), RuntimeError, "rounding_mode"),
    (lambda x: fastnn.add(x, x, alpha="2"), TypeError, "alpha"),
    (lambda x: fastnn.add(x.long(), 1, alpha=0.5), RuntimeError, "floating point"),
    (lambda x: fastnn.add(x, 1, alpha=True), RuntimeError, "Boolean alpha"),
    (lambda x: fastnn.exp(2.0), TypeError, "must be Tensor, not float"),
    (lambda x: fastnn.maximum(x, 1), TypeError, "'other' must be Tensor"),
    (lambda x: fastnn.eq(1, x), TypeError, "must be Tensor"),
    (lambda x: fastnn.logical_and(x, 1), TypeError, "must be Tensor"),
    (lambda x: x + "a", TypeError, "unsupported operand"), (lambda x: x.abs_(1), TypeError, "positional"),
    (lambda x: fastnn.addcmul(x, 2, x), TypeError, "tensor1"),
    (lambda x: fastnn.zeros(3).expand(2, 3).add_(1), RuntimeError, "single memory location")])
def test_refused(run, error, text):
    with pytest.raises(error, match=text):
        run(fastnn.zeros(2, 3))


# ---- gradients --------------------------------------------------------------------------------------------------------

SMOOTH = {
    "add": (lambda a, b: fastnn.add(a, b, alpha=2), lambda a, b: a + 2 * b),
    "sub": (lambda a, b: fastnn.sub(a, b, alpha=2), lambda a, b: a - 2 * b), "mul": (lambda a, b: a * b, np.multiply),
    "div": (lambda a, b: a / b, np.divide), "pow": (lambda a, b: a ** b, np.power),
    "remainder": (lambda a, b: a % b, np.remainder), "maximum": (fastnn.maximum, np.maximum),
    "minimum": (fastnn.minimum, np.minimum),
    "where": (lambda a, b: fastnn.where(a > 1, a, b), lambda a, b: np.where(a > 1, a, b)),
    "clamp": (lambda a, b: a.clamp(b, b + 0.5), lambda a, b: np.clip(a, b, b + 0.5)),
    "addcmul": (lambda a, b: fastnn.addcmul(a, b, a, value=2), lambda a, b: a + 2 * b * a)}
SMOOTH_UNARY = {"exp": np.exp, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt, "rsqrt": ref.rsqrt,
                "reciprocal": ref.reciprocal, "sin": np.sin, "cos": np.cos, "erf": ref.erf, "neg": np.negative,
                "abs": np.abs, "square": np.square}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient(name):
    run, mean = SMOOTH[name]
    a, b = RNG.uniform(0.6, 1.9, (3, 5)), RNG.uniform(0.6, 1.9, (5,)) + 0.013
    check_op(run, mean, a, b, dtypes=("float64",), grads=(0, 1), layouts=("contiguous", "transposed"), threads=(1, 3),
             tol=8, grad_tol=1e-6)


@pytest.mark.parametrize("name", SMOOTH_UNARY)
def test_gradient_unary(name):
    check_op(getattr(fastnn, name), SMOOTH_UNARY[name], RNG.uniform(0.3, 1.9, (3, 5)), dtypes=("float64",), grads=(0,),
             layouts=("contiguous", "transposed"), threads=(1, 3), tol=8, grad_tol=1e-6)


def both(torch, f, *arrays):
    """f's value and gradients in fastnn and in PyTorch."""
    results = []
    for lib in (fastnn, torch):
        leaves = [lib.tensor(a, requires_grad=True) for a in arrays]
        y = f(lib, *leaves)
        (y * lib.tensor(np.linspace(1, 2, y.numel()).reshape(tuple(y.shape)))).sum().backward()
        results.append([y.detach().numpy()] + [None if x.grad is None else x.grad.numpy() for x in leaves])
    return results


KINKS = {
    "clamp at its bounds": lambda lib, a, b: a.clamp(-1, 1),
    "clamp by tensors": lambda lib, a, b: lib.clamp(a, b, b + 1),
    "clamp crossed": lambda lib, a, b: lib.clamp(a, b, -b), "clamp min": lambda lib, a, b: lib.clamp(a, min=b),
    "maximum of equals": lambda lib, a, b: lib.maximum(a, b), "minimum of equals": lambda lib, a, b: lib.minimum(a, b),
    "abs at 0": lambda lib, a, b: a.abs(), "pow 2": lambda lib, a, b: a ** 2, "pow 0": lambda lib, a, b: a ** 0,
    "pow 1": lambda lib, a, b: a ** 1, "0 pow b": lambda lib, a, b: 0 ** b, "2 pow b": lambda lib, a, b: 2 ** b,
    "a pow b": lambda lib, a, b: a.abs() ** b, "negative pow b": lambda lib, a, b: a ** b,
    "floor": lambda lib, a, b: a.floor(), "round": lambda lib, a, b: a.round(), "sign": lambda lib, a, b: a.sign() * b,
    "remainder": lambda lib, a, b: a % (b + 0.25),
    "div floor": lambda lib, a, b: lib.div(a, b + 0.25, rounding_mode="floor") + b,
    "div by 0": lambda lib, a, b: a / b, "sqrt of 0": lambda lib, a, b: a.abs().sqrt(),
    "masked_fill": lambda lib, a, b: a.masked_fill(b > 0, 7.0),
    "masked_fill tensor": lambda lib, a, b: a.masked_fill(a > 0, b.sum()),
    "where number": lambda lib, a, b: lib.where(a > b, a, 2.0), "number minus": lambda lib, a, b: 2 - a,
    "number by": lambda lib, a, b: 2 / (b + 0.25), "square": lambda lib, a, b: a.square(),
    "broadcast": lambda lib, a, b: a[:1] * b + a[:, :1] / (b * b + 1),
    "in place": lambda lib, a, b: (a * 1).mul_(b).add_(a, alpha=3).clamp_(-4, 4),
    "masked in place": lambda lib, a, b: (a * b).masked_fill_(b > 0, 1.5),
    "round decimals": lambda lib, a, b: lib.round(a * 3.3, decimals=1) + a}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINKS)
def test_kinks_as_torch(name, torch):
    a = np.array([[-2, -1, -0.5, 0], [1, 0.5, 2, 1], [0, 3, -1, 2.5]])
    b = np.array([[0, -1, 1, 0.0], [1, 2, -2, 3], [0, 3, 1, -2.5]])
    ours, theirs = both(torch, KINKS[name], a, b)
    for x, y in zip(ours, theirs):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-15)


def test_what_backward_needs_must_not_change():
    x, w = fastnn.ones(3), fastnn.ones(3, requires_grad=True)
    for f, ok in ((lambda: x * w, False), (lambda: x + w, True), (lambda: x / w, False), (lambda: w / x, False),
                  (lambda: w * 2, True), (lambda: (w * 1).exp(), True)):
        y = f().sum()
        x.add_(1)
        if ok:
            y.backward()
        else:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                y.backward()
    y = (w * 1).exp()
    z = y.sum()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()
    with pytest.raises(RuntimeError, match="derivative for floor_divide is not implemented"):
        (w // 2).sum().backward()


def attempt(f, *operands):
    """f's value as an array, or the type of what it raises."""
    try:
        return f(*operands).numpy()
    except RuntimeError as e:
        return type(e)


def test_values_as_torch(torch):
    """Every function, every pair of types."""
    f = reals(200).astype("f4")
    arrays = [f, f.astype("f8")[::-1].copy(), whole(200, low=-9, high=9).astype("i8"),
              whole(200, low=1, high=9).astype("i4"), whole(200, high=99).astype("u1"), RNG.random(200) < 0.5]
    for name in [*BINARY, *UNARY, "pow", "remainder", "floor_divide", "gt", "ge", "square"]:
        one = name in UNARY or name == "square"
        for a in arrays:
            for b in arrays[:1] if one else arrays:
                given = (a,) if one else (a, b)
                x, y = (attempt(getattr(lib, name), *map(lib.from_numpy, given)) for lib in (fastnn, torch))
                what = f"{name} {a.dtype} {b.dtype}"
                if isinstance(x, type) or isinstance(y, type):
                    assert isinstance(x, type) and isinstance(y, type), f"{what}: {x} {y}"
                    continue
                assert x.dtype == y.dtype, what
                if name == "remainder":                  # PyTorch's gives NaN by denormals
                    x, y = x[abs(b) > 1e-30], y[abs(b) > 1e-30]
                np.testing.assert_allclose(x, y, rtol=3e-6 if x.dtype == np.float32 else 1e-12, atol=1e-7, err_msg=what)
