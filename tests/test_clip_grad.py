"""fastnn.nn.utils: gradient norms and clipping against their meaning and PyTorch's; weights of bounded norm (max_norm.py);
parameters as one vector."""
import itertools
import math

import numpy as np
import pytest

import fastnn
import ref
from check import machine, same_bits
from fastnn import nn
from fastnn.nn import utils

SHAPES = ((3,), (4, 5), (0, 2), (), (5000,), (4096,))
POWERS = (2, 1, 3, 0.5, math.inf, -math.inf, -1)


def params_of(arrays, dtype="float32"):
    params = []
    for a in arrays:
        p = fastnn.zeros(np.shape(a), dtype=getattr(fastnn, dtype), requires_grad=True)
        p.grad = fastnn.tensor(np.asarray(a, dtype=dtype))
        params.append(p)
    return params


def arrays(seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_norm(power, dtype, isa):
    given = [a.astype(dtype) for a in arrays()]
    sizes = np.concatenate([np.abs(a.astype(np.float64)).ravel() for a in given])
    want = sizes.min() if power == -math.inf else ref.grad_norm(*[a.astype(np.float64) for a in given], power=power)
    results = []
    for threads in (1, 2, 3, 7):
        with machine(isa, threads):
            params = params_of(given, dtype)
            results.append(utils.get_total_norm([p.grad for p in params], power))
    assert results[0].shape == () and results[0].dtype.name == dtype
    assert abs(results[0].item() / want - 1) < (1e-7 if dtype == "float32" else 1e-13)
    for other in results[1:]:
        same_bits(results[0], other)


@pytest.mark.parametrize("max_norm, power", list(itertools.product((0.0, 0.5, 1e4), (2, 1, math.inf))))
def test_clipping_as_pytorch(torch, max_norm, power):
    given = [np.float32(a) for a in arrays(1)]
    ours, theirs = params_of(given), [torch.zeros(a.shape, requires_grad=True) for a in given]
    for q, a in zip(theirs, given):
        q.grad = torch.tensor(a)
    if power == math.inf:                    # which PyTorch refuses for an empty tensor
        ours, theirs = ours[:2], theirs[:2]
    a, b = utils.clip_grad_norm_(ours, max_norm, power), torch.nn.utils.clip_grad_norm_(theirs, max_norm, power)
    assert a.dtype == fastnn.float32 and abs(a.item() - b.item()) < 1e-5 * b.item()
    for p, q in zip(ours, theirs):
        assert np.allclose(p.grad.numpy(), q.grad.numpy(), rtol=3e-6, atol=0)
    if max_norm == 1e4:
        same_bits([p.grad for p in ours], given[:len(ours)])


def test_clipping_in_two_calls(threads):
    given = arrays(2)
    a, b = params_of(given), params_of(given)
    norm = utils.clip_grad_norm_(a, 0.7)
    again = utils.get_total_norm([p.grad for p in b])
    utils.clip_grads_with_norm_(b, 0.7, again)
    same_bits(norm, again)
    for p, q in zip(a, b):
        assert np.allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-6)
    assert abs(utils.get_total_norm([p.grad for p in a]).item() - 0.7) < 1e-5


def test_mixed_types():
    given = arrays(3, ((3,), (4,)))
    params = params_of(given[:1]) + params_of(given[1:], "float64")
    want = np.linalg.norm(np.concatenate([np.float32(given[0]), given[1]]).astype(np.float64))
    norm = utils.clip_grad_norm_(params, 0.5)
    assert norm.dtype == fastnn.float64 and abs(norm.item() - want) < 1e-12
    assert np.allclose(params[1].grad.numpy(), given[1] * 0.5 / (want + 1e-6), rtol=1e-14)
    assert np.allclose(params[0].grad.numpy(), given[0] * 0.5 / (want + 1e-6), rtol=1e-6)


def test_large_and_small_numbers_do_not_overflow():
    for size in (1e30, 1e-30):
        p, = params_of([np.full(7, size)])
        assert abs(utils.clip_grad_norm_([p], 1.0).item() / (size * math.sqrt(7)) - 1) < 1e-6


@pytest.mark.parametrize("bad", (math.nan, math.inf, -math.inf))
def test_not_finite(torch, bad):
    given = [np.float32(a) for a in arrays(4, ((3,), (40,)))]
    given[1][33] = bad
    for power in POWERS if math.isnan(bad) else [p for p in POWERS if p > 0]:
        params = params_of(given)
        with pytest.raises(RuntimeError, match="non-finite"):
            utils.clip_grad_norm_(params, 1.0, power, error_if_nonfinite=True)
        same_bits([p.grad for p in params], given)
    ours, theirs = params_of(given), [torch.zeros(a.shape, requires_grad=True) for a in given]
    for q, a in zip(theirs, given):
        q.grad = torch.tensor(a)
    a, b = utils.clip_grad_norm_(ours, 1.0), torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    assert np.array_equal(a.item(), b.item(), equal_nan=True)
    for p, q in zip(ours, theirs):
        assert np.array_equal(p.grad.numpy(), q.grad.numpy(), equal_nan=True)


def test_no_gradients():
    p = fastnn.ones(3, requires_grad=True)
    norm = utils.clip_grad_norm_([p], 1.0)
    assert norm.item() == 0 and norm.dtype == fastnn.float32 and p.grad is None
    assert utils.get_total_norm([]).item() == 0
    utils.clip_grad_value_([p], 1.0)
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_((q for q in ()), 1.0)
    with pytest.raises(NotImplementedError, match="norm_type=0"):
        utils.get_total_norm([p.detach()], 0)
    with pytest.raises(RuntimeError, match="int64"):
        utils.get_total_norm([fastnn.arange(3)])


@pytest.mark.parametrize("clip", [lambda p: utils.clip_grad_norm_(p, 0.1), lambda p: utils.clip_grad_value_(p, 0.1)])
def test_any_strides(clip):
    a = np.float32(arrays(5, ((4, 6),))[0])
    want, = params_of([a])
    clip(want)
    transposed = fastnn.tensor(a.T.copy()).t()
    base = fastnn.full((4, 13), -1.0)
    gappy = base[:, 1:13:2]
    gappy.copy_(fastnn.tensor(a))
    for g in (transposed, gappy):
        p = fastnn.zeros(4, 6, requires_grad=True)
        p.grad = g
        clip(p)
        assert p.grad is g and np.allclose(g.numpy(), want.grad.numpy(), rtol=1e-6)
    assert (base[:, ::2] == -1).all()


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_value(dtype, isa, threads):
    given = [a.astype(dtype) for a in arrays(6)]
    given[1].flat[:3] = math.nan, math.inf, -math.inf
    params = params_of(given, dtype)
    utils.clip_grad_value_(params, 0.5)
    for p, a in zip(params, given):
        assert np.array_equal(p.grad.numpy(), ref.grad_clamp(a, 0.5), equal_nan=True)


def test_captured():
    def run(wrap):
        p, q = fastnn.linspace(1, 2, 5).requires_grad_(), fastnn.ones(3, requires_grad=True)

        def step(x):
            p.grad = q.grad = None
            ((p * x).sum() ** 2 + (q ** 3).sum()).backward()
            norm = nn.utils.clip_grad_norm_([p, q], 0.5)
            utils.clip_grad_value_([p], 0.1)
            return norm, p.grad, q.grad
        f = wrap(step)
        return [[t.clone() for t in f(fastnn.full((5,), float(k)))] for k in range(6)]
    for a, b in zip(run(lambda f: f), run(fastnn.capture)):
        same_bits(a, b)
    with pytest.raises(fastnn.CaptureError):
        fastnn.capture(lambda x: utils.get_total_norm([x], error_if_nonfinite=True))(fastnn.ones(2))


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("power", (2, 1, 3, math.inf))
def test_max_norm_as_pytorch(torch, power, dtype, threads):
    """Rows and filters are projected, those within the ball and vectors are left as they are."""
    given = [a.astype(dtype) for a in arrays(7, ((6, 5), (4, 3, 3, 3), (0, 2), (7, 1), (9,)))]
    given[1][2] = 0
    params = [fastnn.tensor(a).requires_grad_() for a in given]
    bound = 1.5 if power != 1 else 5.0
    assert utils.max_norm_(params, bound, power) is None
    seen = []
    for p, a in zip(params[:4], given):
        if a.size:
            want = torch.renorm(torch.tensor(a), power, 0, bound).numpy()
            assert np.allclose(p.detach().numpy(), want, rtol=1e-6, atol=0)
            inside = np.linalg.norm(a.reshape(len(a), -1), power, 1) < bound * (1 - 1e-6)
            seen += list(inside)
            same_bits(p.detach()[fastnn.tensor(inside)], a[inside])
    assert 3 < sum(seen) < len(seen) - 3
    same_bits(params[4].detach(), given[4])


def test_max_norm_of_any_layout_and_captured():
    a = np.float32(arrays(8, ((4, 6),))[0])
    plain = fastnn.tensor(a)
    utils.max_norm_(plain, 1.0)
    turned = fastnn.tensor(a.T.copy()).t()
    step = fastnn.capture(lambda: utils.max_norm_([turned], 1.0))
    for k in range(4):
        turned.copy_(fastnn.tensor(a))
        step()
        assert np.allclose(turned.numpy(), plain.numpy(), rtol=1e-6)
    assert np.allclose(plain.norm(dim=1).numpy(), np.minimum(1, np.linalg.norm(a, axis=1)), rtol=1e-6)
    for bad in (0, -1, math.nan):
        with pytest.raises(ValueError, match="max_norm must be above 0"):
            utils.max_norm_([plain], bad)


def test_parameters_as_a_vector():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    vector = utils.parameters_to_vector(model.parameters())
    assert vector.shape == (11,) and vector.requires_grad
    same_bits(vector.detach()[:6].view(2, 3), model[0].weight.detach())
    places = [p.data_ptr() for p in model.parameters()]
    utils.vector_to_parameters(fastnn.arange(11).float(), model.parameters())
    assert model[1].weight.tolist() == [[8, 9]] and model[1].bias.tolist() == [10]
    assert [p.data_ptr() for p in model.parameters()] == places
    with pytest.raises(RuntimeError, match=r"5 elements .* shape \(2, 3\)"):
        utils.vector_to_parameters(fastnn.ones(5), model.parameters())
    with pytest.raises(TypeError, match="ndarray"):
        utils.vector_to_parameters(np.ones(11), model.parameters())
