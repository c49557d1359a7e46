"""csrc/softmax.c and its functions: softmax, log_softmax, logsumexp."""
import numpy as np
import pytest

import fastnn
import ref
from check import check_op, same_bits

NAMES = ("softmax", "log_softmax", "logsumexp")
# around the vectors' lengths; rows, then columns, the last ones more than the tile holds
CASES = (((5,), -1), ((3, 4), 0), ((33, 10), 1), ((2, 16), 1), ((2, 17), 1), ((2, 131), 1), ((3, 5, 7), 1), ((2, 3, 19), 0), ((1, 140, 3), 1), ((4, 1, 3), 1))


def values(shape, seed=0, scale=4):
    return np.random.default_rng(seed).normal(0, scale, shape)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape, dim", CASES, ids=str)
def test_forward_and_gradient(name, shape, dim):
    mean = ref.meaning(name if name == "logsumexp" else name + "_fwd")
    size = None if name == "softmax" else lambda x: np.abs(x).max(initial=1) * 2
    check_op(lambda x: getattr(fastnn, name)(x, dim), lambda x: mean(x, dim), values(shape), op=name if name == "logsumexp" else name + "_fwd", tol=40,
             bound=size, grads=(0,) if len(shape) == 3 else (), layouts=("contiguous", "transposed", "sliced") if shape == (3, 5, 7) else ("contiguous",))


def test_order_of_memory_is_kept():
    """A permuted tensor is read as it lies, gives its own order back, and the same values."""
    x = fastnn.from_numpy(values((2, 5, 4, 6)).astype(np.float32))
    for dim in range(4):
        p = x.permute(0, 2, 3, 1)
        for name in NAMES[:2]:
            y = getattr(fastnn, name)(p, dim)
            assert y.stride() == p.stride()
            np.testing.assert_allclose(y.numpy(), getattr(fastnn, name)(p.contiguous(), dim).numpy(), rtol=1e-6, atol=1e-6)


def test_rows_of_one_sum(isa, threads):
    y = fastnn.softmax(fastnn.from_numpy(values((100, 37), scale=30).astype(np.float32)), 1)
    np.testing.assert_allclose(y.sum(1).numpy(), np.ones(100), rtol=1e-6)


@pytest.mark.parametrize("row", ([np.inf, 1, 2], [-np.inf] * 3, [-np.inf, 0, 1], [np.nan, 1, 2], [1, np.nan, 3], [1e30, 0, 1], [-1e30, 0, 1], [0.0, -0.0, 0.0],
                                 [3e38, -3e38, 3e38], [np.inf, np.inf, 0], [np.inf, -np.inf, np.nan]), ids=str)
@pytest.mark.parametrize("repeat, inner", ((1, 1), (1, 3), (9, 1), (9, 20)))
def test_special_values(torch, isa, row, repeat, inner):
    x = np.repeat(np.tile(np.array(row, np.float32), repeat)[None, :, None], inner, 2)
    for name in NAMES:
        got, want = getattr(fastnn, name)(fastnn.from_numpy(x), 1), getattr(torch, name)(torch.tensor(x), 1)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5, atol=1e-6)


def test_logsumexp_of_several_dims():
    x = values((3, 4, 5))
    t = fastnn.from_numpy(x).requires_grad_()
    for dim in ((0, 1), (-1, 0), (0, 1, 2)):
        y, axes = fastnn.logsumexp(t, dim), tuple(d % 3 for d in dim)
        np.testing.assert_allclose(y.detach().numpy(), np.log(np.exp(x).sum(axes)), rtol=1e-12)
        assert fastnn.logsumexp(t, dim, keepdim=True).shape == np.exp(x).sum(axes, keepdims=True).shape
        t.grad = None
        y.sum().backward()
        np.testing.assert_allclose(t.grad.numpy(), np.exp(x) / np.exp(x).sum(axes, keepdims=True), rtol=1e-12)


def test_empty_and_scalar():
    assert fastnn.softmax(fastnn.zeros(0, 3), 1).shape == (0, 3) and fastnn.log_softmax(fastnn.zeros(3, 0), 1).shape == (3, 0)
    assert fastnn.logsumexp(fastnn.zeros(2, 0), 1).tolist() == [-np.inf] * 2 and fastnn.logsumexp(fastnn.zeros(0, 2), 1).shape == (0,)
    x = fastnn.tensor(3.0, requires_grad=True)
    assert fastnn.softmax(x, 0).item() == 1 and fastnn.log_softmax(x, -1).item() == 0 and fastnn.logsumexp(x, 0).item() == 3
    fastnn.log_softmax(x, 0).backward()
    assert x.grad.item() == 0


def test_dtype_and_errors():
    x = fastnn.tensor([[1, 2, 3]])
    assert fastnn.softmax(x, 1, dtype=fastnn.float64).dtype == fastnn.float64
    r = fastnn.zeros(2, 3, requires_grad=True)
    fastnn.log_softmax(r, 1, dtype=fastnn.float64).sum().backward()
    assert r.grad.dtype == fastnn.float32
    with pytest.raises(NotImplementedError, match="softmax.*not implemented for int64"):
        fastnn.softmax(x, 1)
    with pytest.raises(IndexError, match="Dimension out of range"):
        fastnn.softmax(r, 2)
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        same_bits(fastnn.nn.functional.softmax(r), fastnn.softmax(r, 1))


def test_input_may_be_output(isa):
    """A gradient that is a view, and one that is the output itself."""
    x = fastnn.from_numpy(values((6, 10)).astype(np.float32)).requires_grad_()
    for name in NAMES[:2]:
        y = getattr(fastnn, name)(x, 1)
        x.grad = None
        y.backward(fastnn.ones(1).expand(6, 10), retain_graph=True)
        first = x.grad
        x.grad = None
        y.backward(fastnn.ones(6, 10))
        same_bits(first, x.grad)
