"""csrc/act.c and fastnn/ops/activation.py: relu, sigmoid, tanh, forward and backward."""
import numpy as np
import pytest

import fastnn
import ref
from check import LAYOUTS, NUMS, check_op, same_bits

SHAPES = ((), (67,), (3, 1, 33), (4, 0))
NAMES = ("relu", "sigmoid", "tanh")


def values(shape, seed=0):
    return np.array(np.random.default_rng(seed).normal(0, 3, shape) + 0.01)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_gradient(name, shape):
    check_op(getattr(fastnn, name), ref.meaning(name + "_fwd"), values(shape), op=name + "_fwd", grads=(0,), same_everywhere=True,
             layouts=LAYOUTS if shape == SHAPES[2] else LAYOUTS[:2])


@pytest.mark.parametrize("name", NAMES)
def test_larger_than_a_share(name):
    check_op(getattr(fastnn, name), ref.meaning(name + "_fwd"), values((70, 257)), op=name + "_fwd", layouts=("contiguous", "transposed"), threads=(1, 7))


def test_relu_of_integers():
    for dtype in NUMS[2:]:
        x = fastnn.tensor([[-3, 0, 5], [1, -1, 127]]).to(getattr(fastnn, dtype))
        assert fastnn.relu(x).dtype == x.dtype and fastnn.relu(x).tolist() == x.clamp(min=0).tolist()
    with pytest.raises(RuntimeError, match="Boolean inputs not supported for relu"):
        fastnn.relu(fastnn.tensor([True]))


def test_integers_become_real():
    y = fastnn.sigmoid(fastnn.tensor([-1, 2]))
    assert y.dtype == fastnn.float32
    np.testing.assert_allclose(y.numpy(), [0.26894143, 0.8807971], rtol=1e-6)
    with pytest.raises(RuntimeError, match="can't be cast"):
        fastnn.tensor([1, 2]).tanh_()


def test_nan_and_infinity(isa):
    x = fastnn.tensor([np.nan, np.inf, -np.inf, 0.0, -0.0], requires_grad=True)
    for name, want, slope in (("relu", [np.nan, np.inf, 0, 0, 0], [1, 1, 0, 0, 0]), ("sigmoid", [np.nan, 1, 0, 0.5, 0.5], [np.nan, 0, 0, 0.25, 0.25]),
                              ("tanh", [np.nan, 1, -1, 0, 0], [np.nan, 0, 0, 1, 1])):
        x.grad = None
        y = getattr(fastnn, name)(x)
        y.backward(fastnn.ones(5))
        np.testing.assert_array_equal(y.detach().numpy(), np.array(want, np.float32))
        np.testing.assert_array_equal(x.grad.numpy(), np.array(slope, np.float32))


def test_layouts_in_and_out():
    """Gradient and output in different layouts; the result keeps the order of the output."""
    for name in NAMES:
        x = fastnn.from_numpy(values((6, 35)).astype(np.float32)).t().requires_grad_()
        y = getattr(fastnn, name)(x)
        assert y.stride() == x.stride()
        dy = fastnn.from_numpy(values((35, 6), 1).astype(np.float32))
        y.backward(dy)
        flat = x.detach().contiguous().requires_grad_()
        getattr(fastnn, name)(flat).backward(dy)
        same_bits(x.grad.contiguous(), flat.grad, name)


@pytest.mark.parametrize("name", NAMES)
def test_in_place(name):
    x = fastnn.from_numpy(values((4, 9)).astype(np.float32))
    want, address = getattr(fastnn, name)(x), x.data_ptr()
    assert getattr(x, name + "_")() is x and x.data_ptr() == address
    same_bits(x, want)
    a = fastnn.from_numpy(values((4, 9))).requires_grad_()
    b = a * 1
    getattr(b, name + "_")().sum().backward()
    c = a.detach().requires_grad_()
    getattr(c * 1, name)().sum().backward()
    same_bits(a.grad, c.grad)


def test_parity(torch, isa):
    for name in NAMES:
        x = values((9, 31)).astype(np.float32)
        ours, theirs = fastnn.from_numpy(x).requires_grad_(), torch.tensor(x, requires_grad=True)
        y, z = getattr(fastnn, name)(ours), getattr(torch, name)(theirs)
        y.backward(y.detach())
        z.backward(z.detach())
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=5e-7, atol=1e-12)
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=3e-6, atol=1e-6)


def test_backward_refuses_other_shapes():
    from fastnn import _core
    y = fastnn.zeros(2, 3)
    with pytest.raises(RuntimeError, match=r"relu: the gradient has shape \(3, 2\), but the output has \(2, 3\)"):
        _core.relu_backward(fastnn.zeros(3, 2), y)
    with pytest.raises(TypeError, match="float64 for an output of float32"):
        _core.tanh_backward(fastnn.zeros(2, 3, dtype=fastnn.float64), y)
