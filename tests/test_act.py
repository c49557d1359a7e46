"""csrc/act.c and fastnn/ops/activation.py: activations, forward and backward. tests/cases/elementwise.py has the common ways of each."""
import numpy as np
import pytest

import fastnn
import fastnn.nn.functional as F
import ref
from check import LAYOUTS, NUMS, check_op, machine, same_bits

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


# ---- activations of the input and of numbers --------------------------------------------------------------------------------

NUMBERED = [("leaky_relu", {}), ("leaky_relu", {"negative_slope": -0.3}), ("elu", {}), ("elu", {"alpha": 1.7}), ("elu", {"alpha": -0.5}), ("selu", {}),
            ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("softplus", {}), ("softplus", {"beta": 3.0, "threshold": 2}),
            ("softplus", {"beta": -0.7, "threshold": 50}), ("hardtanh", {}), ("hardtanh", {"min_val": -0.4, "max_val": 3}), ("relu6", {})]
MEANT = {"leaky_relu": lambda x: ref.prelu_fwd(x, 0.01), "elu": ref.elu_fwd, "silu": ref.silu_fwd, "gelu": ref.gelu_fwd, "softplus": ref.softplus_fwd}


@pytest.mark.parametrize("name", MEANT)
def test_numbered_larger_than_a_share(name):
    check_op(getattr(F, name), MEANT[name], values((70, 257)), layouts=("contiguous", "transposed"), threads=(1, 7), bound=lambda x: 1 + np.abs(x),
             same_everywhere=True)


@pytest.mark.parametrize("n", ((5,), (6, 1), (2, 3, 17), (2, 5, 3, 4)), ids=str)
@pytest.mark.parametrize("name, options", NUMBERED, ids=str)
def test_numbered_parity(torch, isa, name, options, n):
    for dtype, near in (("float32", {"rtol": 1e-5, "atol": 2e-6}), ("float64", {"rtol": 1e-12, "atol": 1e-14})):
        x, dy, found = values(n).astype(dtype), values(n, 1).astype(dtype), []
        for lib, f in ((fastnn, F), (torch, torch.nn.functional)):
            a = lib.tensor(x, requires_grad=True)
            y = getattr(f, name)(a, **options)
            y.backward(lib.tensor(dy))
            found.append((y.detach().numpy(), a.grad.numpy()))
        for ours, theirs in zip(*found):
            np.testing.assert_allclose(ours, theirs, **near)


EXTREME = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e13, -1e13, 100, -100, 20, 21, 88.7, 88.8, -104, 1e-20, -1e-20, 6, -1, 1])


@pytest.mark.parametrize("name, options", NUMBERED, ids=str)
def test_extreme_values_parity(torch, isa, name, options):
    """As PyTorch, but where that depends on its vectors: at NaN the slope of elu, at infinity gelu."""
    for dtype in (np.float32, np.float64):
        x = np.delete(EXTREME, {"elu": 2, "selu": 2, "gelu": 3}.get(name, [])).astype(dtype)
        ours, theirs = fastnn.from_numpy(x).requires_grad_(), torch.tensor(x, requires_grad=True)
        y, z = getattr(F, name)(ours, **options), getattr(torch.nn.functional, name)(theirs, **options)
        y.backward(fastnn.ones_like(y))
        z.backward(torch.ones_like(z))
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_nan_stays(isa):
    x = fastnn.tensor([np.nan, 1.0])
    for name, options in [*NUMBERED, ("step", {})]:
        assert np.isnan(getattr(F, name)(x, **options).tolist()[0]), name
    assert F.gelu(fastnn.tensor([np.inf])).item() == np.inf and F.softplus(fastnn.tensor([1000.0]), threshold=2000).item() == 1000


@pytest.mark.parametrize("name", ("leaky_relu", "elu", "selu", "silu", "hardtanh", "relu6"))
def test_numbered_in_place(name):
    f = getattr(F, name)
    x = fastnn.from_numpy(values((4, 9)))
    want, address = f(x), x.data_ptr()
    assert f(x, inplace=True) is x and x.data_ptr() == address
    same_bits(x, want)
    a = fastnn.from_numpy(values((4, 9))).requires_grad_()
    f(a * 1, inplace=True).sum().backward()
    b = a.detach().requires_grad_()
    f(b * 1).sum().backward()
    same_bits(a.grad, b.grad)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        f(a, inplace=True)


def test_named_in_place():
    for name in ("leaky_relu_", "elu_", "selu_", "hardtanh_"):
        x = fastnn.from_numpy(values((7,)))
        want = getattr(F, name[:-1])(x)
        assert getattr(F, name)(x) is x
        same_bits(x, want)


def test_step():
    x = fastnn.tensor([-1.0, 0.0, -0.0, 1e-30, np.inf], requires_grad=True)
    y = F.step(x)
    y.backward(fastnn.ones(5))
    assert y.tolist() == [0, 0, 0, 1, 1] and x.grad.tolist() == [0] * 5


@pytest.mark.parametrize("n, m", (((4, 3), (3,)), ((2, 3, 35), (3,)), ((2, 3, 4, 5), (3,)), ((2, 3, 4, 5), (1,)), ((6,), (1,)),
                                  ((2, 3), ()), ((), (1,))), ids=str)
def test_prelu_parity(torch, isa, n, m):
    """Input and gradient of different strides."""
    x, w, dy, order, found = values(n), values(m, 1), values(n, 2), tuple(reversed(range(len(n)))), []
    for lib in (fastnn, torch):
        f = lib.nn.functional.prelu
        a, b = lib.tensor(x, requires_grad=True), lib.tensor(w, requires_grad=True)
        y = f(a.permute(order).contiguous().permute(order), b)
        y.backward(lib.tensor(dy))
        found.append((y.detach().numpy(), a.grad.numpy(), b.grad.numpy()))
    for ours, theirs in zip(*found):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_prelu_weight_has_the_same_bits_for_any_threads(isa):
    x, w, dy, first = values((40, 3, 50)), values((3,), 1), fastnn.from_numpy(values((40, 3, 50), 2)), None
    for n in (1, 2, 3, 7):
        with machine(threads=n):
            a, b = fastnn.tensor(x, requires_grad=True), fastnn.tensor(w, requires_grad=True)
            F.prelu(a, b).backward(dy)
        first = first or (a.grad, b.grad)
        same_bits(first, (a.grad, b.grad), f"{n} threads")


def test_prelu_of_a_layers_channels_last(threads):
    """As of the row-major copy, bit for bit in y and dx."""
    rng = np.random.default_rng(0)
    x = fastnn.tensor(rng.standard_normal((2, 5, 6, 7)).astype(np.float32))
    w = fastnn.tensor(rng.standard_normal(5).astype(np.float32), requires_grad=True)
    last, flat = fastnn._core.nhwc(x).requires_grad_(), x.requires_grad_()
    y, z = F.prelu(last, w), F.prelu(flat, w)
    assert y.stride() == last.stride()
    same_bits(y.detach().contiguous().numpy().copy(), z.detach().numpy())
    for t, at in ((y, last), (z, flat)):
        t.backward(fastnn.ones_like(t))
    same_bits(np.ascontiguousarray(last.grad.numpy()), np.ascontiguousarray(flat.grad.numpy()))


BAD = [(lambda: F.leaky_relu(fastnn.tensor([1])), NotImplementedError, '"leaky_relu" not implemented for int64'),
       (lambda: F.elu(fastnn.tensor([True])), NotImplementedError, '"elu" not implemented for bool'),
       (lambda: F.gelu(fastnn.zeros(2), approximate="erf"), RuntimeError, "approximate argument must be either none or tanh.*'erf'"),
       (lambda: F.hardtanh(fastnn.zeros(2), 1, -1), ValueError, "min_val cannot be greater than max_val.*min_val=1, max_val=-1"),
       (lambda: F.silu([1.0]), TypeError, "silu.*must be Tensor, not list"),
       (lambda: F.prelu(fastnn.zeros(2, 3), fastnn.zeros(2)), RuntimeError, r"parameter numbers = 2 and channel size = 3: input \(2, 3\), weight \(2,\)"),
       (lambda: F.prelu(fastnn.zeros(2, 3), fastnn.zeros(3, 1)), RuntimeError, r"scalar or 1D tensor.*ndim = 2, shape \(3, 1\)"),
       (lambda: F.prelu(fastnn.zeros(()), fastnn.zeros(2)), RuntimeError, "zero-dim input tensor"),
       (lambda: F.prelu(fastnn.zeros(2, 3), fastnn.zeros(3, dtype=fastnn.float64)), RuntimeError, "float32 and float64"),
       (lambda: F.prelu(fastnn.zeros(2, 3), 0.25), TypeError, "argument 'weight' must be Tensor, not float")]


@pytest.mark.parametrize("call, error, words", BAD)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_refused_by_pytorch_too(torch):
    t = torch.nn.functional
    for f in (lambda: t.leaky_relu(torch.tensor([1])), lambda: t.elu(torch.tensor([True])), lambda: t.gelu(torch.zeros(2), approximate="erf"),
              lambda: t.prelu(torch.zeros(2, 3), torch.zeros(2)), lambda: t.prelu(torch.zeros(2, 3), torch.zeros(3, 1)),
              lambda: t.prelu(torch.zeros(()), torch.zeros(2)), lambda: t.prelu(torch.zeros(2, 3), torch.zeros(3, dtype=torch.float64))):
        with pytest.raises(RuntimeError):                    # NotImplementedError is one
            f()
    with pytest.raises(ValueError):
        t.hardtanh(torch.zeros(2), 1, -1)
