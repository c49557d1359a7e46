"""The comparer is tested before anything is compared: what it must refuse, it refuses."""
import numpy as np
import pytest

import fastnn
from check import LAYOUTS, as_pytorch, captured_everywhere, check_op, compare, laid_out, machine, numeric_gradient, same_bits
from fastnn import _core

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 7))


def one_bad(x):
    x = x.copy()
    x[3, 2] *= 1 + 1e-5
    return x


def with_nan(x):
    x = x.copy()
    x[4, 6] = np.nan
    return x


def test_compare_accepts_rounding():
    compare(X.astype(np.float32), X, "float32", tol=1)
    compare(np.array([np.nan, np.inf, -np.inf, 0], np.float32), np.array([np.nan, np.inf, -np.inf, 0]), "float32")
    compare(np.array([np.inf], np.float32), np.array([1e39]), "float32")
    compare(np.array([1], np.uint8), np.array([257]), "uint8")
    compare(np.zeros((0, 3), np.float32), np.zeros((0, 3)), "float32")


@pytest.mark.parametrize("wrong, match", [
    (np.zeros_like(X), "35 of 35 elements are wrong"), (-X, "35 of 35"),
    (one_bad(X), r"1 of 35 elements are wrong, first at \(3, 2\)"),
    (with_nan(X), r"first at \(4, 6\): got .*nan"), (np.full_like(X, np.inf), "35 of 35"),
    (X.T, r"shape \(7, 5\), expected \(5, 7\)"),
    (X[:1], r"shape \(1, 7\)"), (X.astype(np.float64), "dtype float64, expected float32")])
def test_compare_refuses(wrong, match):
    if "dtype" not in match:
        wrong = wrong.astype(np.float32)
    with pytest.raises(AssertionError, match=match):
        compare(wrong, X, "float32")


def test_compare_refuses_what_hides_in_a_wide_range():
    """An error must not hide behind the largest element, nor a finite number where NaN or infinity belongs, nor an
    infinity of the wrong sign."""
    for got, want in (([1e6, 0], [1e6, 1e-3]), ([0, 1], [np.nan, 1]), ([3e38, 1], [np.inf, 1]),
                      ([-np.inf, 1], [np.inf, 1]), ([np.nan], [np.inf])):
        with pytest.raises(AssertionError, match="1 of"):
            compare(np.array(got, np.float32), np.array(want), "float32")
    for got, want in (([1, 2, 4], [1, 2, 3]), ([0, 0, 0], [1, 2, 3])):
        with pytest.raises(AssertionError, match="elements are wrong"):
            compare(np.array(got), np.array(want), "int64", tol=1e9)
    with pytest.raises(AssertionError, match="1 of 2"):
        compare(np.array([True, False]), np.array([True, True]), "bool")


def test_compare_with_bound():
    """A sum is as exact as its terms are large, not as it is."""
    compare(np.array([1e-7], np.float32), np.array([0.0]), "float32", bound=np.array([1.0]))
    with pytest.raises(AssertionError, match="1 of 1"):
        compare(np.array([1e-5], np.float32), np.array([0.0]), "float32", bound=np.array([1.0]))


def test_same_bits_refuses():
    a = fastnn.tensor([1.0, 0.0, 3.0])
    same_bits(a, a.clone())
    same_bits(fastnn.tensor([float("nan")]), fastnn.tensor([float("nan")]))
    for b, match in ((np.nextafter(np.float32(a.numpy()), np.float32(9)), "3 of 3 elements differ"),
                     (np.array([1, -0.0, 3], np.float32), "1 of 3"),
                     (a.numpy().astype(np.float64), "float64"), (a.numpy()[:2], r"\(2,\)")):
        with pytest.raises(AssertionError, match=match):
            same_bits(a, b)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (0, 3), (3, 0), (4, 3), (2, 1, 4)])
def test_laid_out(layout, shape):
    a = RNG.standard_normal(shape).astype(np.float32)
    t, values = laid_out(a, layout)
    assert tuple(t.shape) == shape and np.array_equal(t.numpy(), values)
    if layout != "broadcast":
        assert np.array_equal(values, a)
    if a.size > 4 and a.ndim > 1:
        assert t.is_contiguous() == (layout in ("contiguous", "offset"))
        assert (t.storage_offset() > 0) == (layout in ("offset", "sliced"))
        assert (0 in t.stride()) == (layout == "broadcast")


def test_machine_is_put_back():
    before = _core.get_isa(), fastnn.get_num_threads(), _core.set_work_grains(123, 45)
    with pytest.raises(KeyError), machine(_core.isas()[0], 3):
        assert (_core.get_isa(), fastnn.get_num_threads()) == (_core.isas()[0], 3)
        raise KeyError
    assert (_core.get_isa(), fastnn.get_num_threads()) == before[:2]
    assert _core.set_work_grains(*before[2]) == (123, 45)


def test_numeric_gradient():
    places, g = numeric_gradient(lambda a, b: (a * a * b, a), [X, X + 2], 0, [np.ones_like(X), 3 * np.ones_like(X)])
    assert np.allclose(g, (2 * X * (X + 2) + 3).reshape(-1)[places], rtol=1e-8) and len(set(places)) == 16
    assert numeric_gradient(np.exp, [np.zeros(3)], 0, [np.ones(3)])[0].tolist() == [0, 1, 2]


# ---- check_op refuses each kind of fault -----------------------------------------------------------------------------

def mul(a, b):
    return a * b


def test_check_op_accepts():
    check_op(mul, np.multiply, X, X + 3, op="mul", grads=(0, 1), tol=1, same_everywhere=True)
    check_op(lambda a: (a > 0, a * 2), lambda a: (a > 0, a * 2), X, op="mul")


class Wrong(fastnn.autograd.Function):
    """a * b with a gradient of the wrong sign for b."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved_tensors
        return dy * b, -(dy * a)


def by_threads(a, b):
    return a * b + fastnn.get_num_threads() * 1e-7


def by_isa(a, b):
    return a * b * (1 if _core.get_isa() == _core.isas()[-1] else 1.001)


def by_layout(a, b):
    return a * b + (0 if a.is_contiguous() else 1e-3)


def writes_operand(a, b):
    y = a * b
    a.detach().copy_(y)
    return y


one_isa = pytest.mark.skipif(len(_core.isas()) < 2, reason="one instruction set here")


@pytest.mark.parametrize("run, options, match", [
    (lambda a, b: a * 0, {}, "elements are wrong"), (lambda a, b: -(a * b), {}, "elements are wrong"),
    (lambda a, b: (a * b).t(), {}, "shape"), (lambda a, b: (a * b).double(), {}, "dtype float64, expected float32"),
    (lambda a, b: (a * b, a), {}, "2 results, expected 1"),
    (by_threads, {"tol": 1e3}, "2 threads against 1"), (by_layout, {}, "transposed"),
    (writes_operand, {"threads": (1,)}, "wrote to an operand"),
    (lambda a, b: a * b, {"op": "add"}, "does not contain"),
    (Wrong.apply, {"grads": (0, 1)}, "gradient of operand 1, .* are wrong"),
    (lambda a, b: Wrong.apply(a, b).detach() + 0 * a, {"grads": (0,)}, "gradient of operand 0"),
    pytest.param(by_isa, {}, _core.isas()[0], marks=one_isa)])
def test_check_op_refuses(run, options, match):
    with pytest.raises(AssertionError, match=match):
        check_op(run, np.multiply, X, X + 3, **options)


def test_check_op_refuses_a_captured_call_that_differs():
    """Each call moves a number that the next one adds."""
    moves = fastnn.ones(1)

    def run(a):
        y = a + moves
        moves.add_(1)
        return y
    with pytest.raises(AssertionError, match="call 0 of a captured function"):
        check_op(run, lambda a: a + 1, X, threads=(1,))


def test_captured_everywhere_gives_the_operations_and_refuses_other_bits():
    """Of the threads, of a captured call, and of a gradient alone."""
    w, x, moves = fastnn.ones(3).requires_grad_(), fastnn.tensor([1.0, 2.0, 3.0]), fastnn.ones(1)

    def step(x, of=lambda x: x):
        w.grad = None
        y = (w * of(x)).sum()
        y.backward()
        return y.detach()

    def moved(x):
        with fastnn.no_grad():
            moves.add_(1)
        return x + moves
    assert "mul" in captured_everywhere(step, [w], x)
    for of, match in ((lambda x: by_threads(x, x), "2 threads, captured=False"), (moved, "1 threads, captured=True")):
        with pytest.raises(AssertionError, match=match):
            captured_everywhere(lambda x: step(x, of), [w], x)
    with pytest.raises(AssertionError, match="result or gradient 1"):
        captured_everywhere(lambda x: step(moved(x)) * 0, [w], x)


def test_as_pytorch_refuses_another_result_or_gradient(torch):
    assert as_pytorch(torch, lambda lib, a, b: lib.add(a, b), X, X + 3).shape == (5, 7)
    for run, match in ((lambda lib, a: a * (1 if lib is torch else 1.001), "result"), (lambda lib, a: a if lib is torch else a.t(), "shape"),
                       (lambda lib, a: a.detach() * 2 - a if lib is torch else a, "gradient 0")):
        with pytest.raises(AssertionError, match=match):
            as_pytorch(torch, run, X)
