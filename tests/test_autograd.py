"""The tape: accumulation, views, in-place operations, versions, release."""
import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import _core
from fastnn.autograd import Function, grad
from fastnn.nn import functional as F

torch = None
try:
    import torch
except ImportError:
    pass
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed; this compares with it")


def leaf(*shape, seed=0, lib=fastnn):
    a = np.random.default_rng(seed).standard_normal(shape)
    return lib.tensor(a, requires_grad=True)


def test_chain_and_sharing():
    x = fastnn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * x
    (y + y * x).sum().backward()
    assert x.grad.tolist() == [2 + 3, 4 + 12, 6 + 27]


def test_a_leaf_takes_the_gradient_itself():
    """One that nobody else holds, though it is seen in another shape; what somebody holds is copied."""
    n = 1 << 20

    class Seen(Function):
        @staticmethod
        def forward(ctx, x, held):
            ctx.held = held
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            dx = fastnn.full((n,), 2.0)
            ctx.held.append(dx) if ctx.held is not None else None
            return dx.view(2, n // 2), None

    for held in (None, []):
        x = fastnn.zeros(2, n // 2, requires_grad=True)
        y = Seen.apply(x, held)
        dy = fastnn.ones(2, n // 2)
        _core.reset_peak_memory()
        before = _core.memory_info()["in_use"]
        y.backward(dy)
        assert (_core.memory_info()["peak_in_use"] - before < 6 * n) == (held is None)
        if held:
            held[0].zero_()
        assert (x.grad == 2).all()
    x = fastnn.zeros(2, 16, 40, 40, requires_grad=True)          # a 1x1 filter over row-major images
    y, dy = F.conv2d(x, fastnn.ones(16, 16, 1, 1)), fastnn.ones(2, 16, 40, 40)
    _core.reset_peak_memory()
    before = _core.memory_info()["in_use"]
    y.backward(dy)
    assert _core.memory_info()["peak_in_use"] - before < 1.5 * x.numel() * 4


def test_gradients_accumulate_and_zero_grad_drops():
    x = fastnn.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    first = x.grad
    (x * 4).sum().backward()
    assert x.grad is first and first.tolist() == [7, 7]
    x.grad = None
    (x * 5).sum().backward()
    assert x.grad is not first and first.tolist() == [7, 7] and x.grad.tolist() == [5, 5]


def test_the_same_gradient_for_two_leaves_is_not_shared():
    a, b = fastnn.ones(2, requires_grad=True), fastnn.ones(2, requires_grad=True)
    (a + b).sum().backward()
    a.grad.mul_(10)
    assert b.grad.tolist() == [1, 1]


def test_given_gradient_is_not_taken():
    a = fastnn.ones(2, requires_grad=True)
    g = fastnn.ones(2)
    a.clone().backward(g)
    a.grad.mul_(10)
    assert g.tolist() == [1, 1]


def test_second_backward_raises_unless_retained():
    x = fastnn.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_non_scalar_needs_a_gradient():
    x = fastnn.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="scalar"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="shape"):
        (x * 2).backward(fastnn.ones(3))
    with pytest.raises(RuntimeError, match="does not require grad"):
        fastnn.ones(1).backward()


def test_higher_order_is_refused():
    x = fastnn.ones(1, requires_grad=True)
    with pytest.raises(NotImplementedError, match="create_graph"):
        (x * x).backward(create_graph=True)


def test_saved_and_changed_raises():
    x = fastnn.ones(2, requires_grad=True)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_inplace_on_leaf_raises():
    x = fastnn.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0] = 3
    with fastnn.no_grad():
        x.add_(1)
    assert x.tolist() == [2, 2] and x.is_leaf


def program_inplace(lib, x):
    y = x * 2
    y.mul_(y.detach() + 1)
    y[0] = x[1] * 3
    y[1:, 1].add_(x[1:, 0])
    v = y.t()
    v[0].mul_(5.0)
    z = y.view(-1)
    y.add_(1)
    z[2:4].zero_()
    return (y * x).sum() + z.sum() + v[1].sum()


def program_views(lib, x):
    y = x * 1
    a, b = y[:, :2], y[:, 1:]
    a.mul_(3)
    b.add_(a.sum())
    y.sigmoid_()
    return (a * b).sum() + y.permute(1, 0)[1].sum()


def program_masked(lib, x):
    y = x.clone()
    y[y > 0] = 0.5
    i = lib.tensor([0, 2, 0])
    y[i, lib.tensor([1, 1, 2])] = x[0, :3]
    return (y * y).sum() + x[i].sum()


def program_expand(lib, x):
    y = x[:1].expand(4, 3) * x[:, :1]
    y[1].copy_(x[2])
    return (y ** 2).sum() + y.split([1, 3])[1].sum() + lib.stack([y, y * 2])[1].sum() + lib.cat([y, x], 1).mean()


def program_fill(lib, x):
    y = x * 2
    y.zero_()
    w = x * 3
    w[:, 0].fill_(2.0)
    return y.sum() + (w * x).sum()


@needs_torch
@pytest.mark.parametrize("program", [program_inplace, program_views, program_masked, program_expand, program_fill])
def test_views_and_in_place_as_pytorch(program):
    results = []
    for lib in (fastnn, torch):
        x = leaf(4, 3, lib=lib)
        y = program(lib, x)
        y.backward()
        results.append((y.item(), x.grad.numpy()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-12)


@pytest.mark.parametrize("program", [program_inplace, program_views, program_masked, program_expand, program_fill])
def test_views_and_in_place_by_differences(program):
    x = leaf(4, 3)
    program(fastnn, x).backward()
    got = x.grad.numpy()
    base = x.detach().numpy().copy()
    if program is program_inplace:              # holds a detached factor that differences would see move
        return
    for i in np.ndindex(4, 3):
        values = []
        for h in (1e-6, -1e-6):
            a = base.copy()
            a[i] += h
            with fastnn.no_grad():
                values.append(program(fastnn, fastnn.tensor(a)).item())
        assert abs((values[0] - values[1]) / 2e-6 - got[i]) < 1e-5 * max(1, abs(got[i]))


def test_versions_are_shared_by_views():
    x = fastnn.zeros(4)
    v = x[1:]
    v.add_(1)
    assert x._version == v._version == 1
    x[0] = 3
    assert v._version == 2


def test_grad_of_inputs_and_intermediates():
    x = fastnn.tensor(2.0, requires_grad=True)
    y = x * x
    z = y * 3
    gy, gx = grad(z, (y, x))
    assert (gy.item(), gx.item()) == (3, 12) and x.grad is None
    w = fastnn.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="allow_unused"):
        grad((x * 2), (w,))
    assert grad(x * 2, (w,), allow_unused=True) == (None,)


def test_retain_grad():
    x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4, 8] and x.grad.tolist() == [8, 16]


def test_modes():
    x = fastnn.ones(1, requires_grad=True)
    with fastnn.no_grad():
        assert not (x * 2).requires_grad
        with fastnn.enable_grad():
            assert (x * 2).requires_grad
    assert fastnn.is_grad_enabled()

    @fastnn.no_grad()
    def f():
        assert not fastnn.is_grad_enabled()
        raise KeyError
    with pytest.raises(KeyError):
        f()
    assert fastnn.is_grad_enabled()
    fastnn.set_grad_enabled(False)
    assert not fastnn.is_grad_enabled()
    fastnn.set_grad_enabled(True)


def test_function():
    class Scale(Function):
        @staticmethod
        def forward(ctx, x, k):
            ctx.save_for_backward(x)
            ctx.k = k
            return x * k, x + 1

        @staticmethod
        def backward(ctx, d1, d2):
            x, = ctx.saved_tensors
            assert x.tolist() == [1, 2]
            return d1 * ctx.k + d2, None
    x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    a, b = Scale.apply(x, 5.0)
    (a.sum() + (b * 2).sum()).backward()
    assert x.grad.tolist() == [7, 7]
    with fastnn.no_grad():
        assert not Scale.apply(x, 1.0)[0].requires_grad


@pytest.mark.slow
def test_a_million_step_chain_is_released():
    x = fastnn.ones(1, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(1_000_000):
        y = y * 1.0
    del y


def test_no_cycles_hold_memory():
    import gc
    gc.collect()
    gc.disable()
    try:
        x = fastnn.ones(1000, requires_grad=True)
        before = fastnn._core.memory_info()["in_use"]
        for _ in range(20):
            y = (x.sigmoid() * x).tanh() * 1
            y[3:5].mul_(2)
            y.sum().backward()
            x.grad = None
            del y
        assert fastnn._core.memory_info()["in_use"] <= before + 20_000
    finally:
        gc.enable()


def test_deepcopy_and_pickle():
    x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    assert y.requires_grad and y.grad.tolist() == [2, 4] and y.data_ptr() != x.data_ptr()
    z = pickle.loads(pickle.dumps(x))
    assert z.tolist() == [1, 2] and z.requires_grad
    with pytest.raises(RuntimeError):
        copy.deepcopy(x * 2)


def test_detach_shares_and_cuts():
    x = fastnn.ones(2, requires_grad=True)
    y = x * 2
    d = y.detach()
    d.add_(1)
    assert y.tolist() == [3, 3] and not d.requires_grad
    y.detach_()
    assert y.is_leaf and not y.requires_grad


def test_requires_grad_rules():
    with pytest.raises(RuntimeError, match="floating point"):
        fastnn.ones(2, dtype=fastnn.int64).requires_grad_()
    x = fastnn.ones(2, requires_grad=True)
    y = x * 2
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad = False
    with pytest.raises(RuntimeError, match="requires grad"):
        y.numpy()
    with pytest.raises(RuntimeError, match="shape"):
        x.grad = fastnn.ones(3)


def test_gradient_keeps_for_noncontiguous_leaf():
    a = fastnn.tensor(np.arange(6.0).reshape(2, 3)).t().detach().requires_grad_()
    (a * fastnn.tensor(np.arange(6.0).reshape(3, 2))).sum().backward()
    assert a.grad.tolist() == np.arange(6.0).reshape(3, 2).tolist()
