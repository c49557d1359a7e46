"""csrc/dropout.c: dropout against its meaning, its gradient, its rate, and what layouts and options do."""
import numpy as np
import pytest

import fastnn
import ref
from check import check_op, same_bits
from fastnn import _core

SEED, DRAW = 77, 5


def start():
    fastnn.default_generator.set_state((SEED, DRAW))


@pytest.mark.parametrize("p, shape", [(0.25, (1,)), (0.5, (33,)), (0.9, (2, 3, 4, 5))])
def test_dropout(p, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    check_op(lambda x: fastnn.dropout(x, p), lambda x: ref.dropout_fwd(x, SEED, DRAW, p)[0], x, op="dropout_fwd", grads=(0,), before=start, tol=2,
             layouts=("contiguous", "offset", "sliced"))


def test_threads_share_the_work(isa, threads):
    x = fastnn.randn(40000)
    start()
    y, mask = _core.dropout(x, 0.3)
    keep = np.array(ref.bernoulli(40000, SEED, DRAW, 0.7), dtype=np.uint8)
    assert (mask.numpy() == keep).all()
    scale = np.float32(1 / 0.7)
    same_bits(y, x.numpy() * (keep * scale))
    same_bits(_core.dropout_backward(x, mask, 0.3), y)


@pytest.mark.parametrize("shape, run", [((6, 4), 4), ((6, 4), 2), ((2, 3, 5, 5), 25), ((3, 70, 1, 1), 1), ((1, 1, 3, 3), 9)])
def test_runs(shape, run, isa, threads):
    """One draw for `run` neighbours."""
    x = fastnn.arange(1, int(np.prod(shape)) + 1).float().view(shape).requires_grad_()
    start()
    y = fastnn.dropout(x, 0.5, run=run)
    keep = np.repeat(ref.bernoulli(x.numel() // run, SEED, DRAW, 0.5), run).reshape(shape)
    assert (y.detach().numpy() == x.detach().numpy() * keep * 2).all()
    y.backward(fastnn.full(shape, 3.0))
    assert (x.grad.numpy() == 6 * keep).all()


def test_channels():
    """feature_dropout drops whole channels, and the same ones in every layout."""
    x = fastnn.randn(4, 6, 3, 2)
    last = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    results = []
    for t in (x, last):
        t = t.detach().requires_grad_()
        start()
        y = fastnn.feature_dropout(t, 0.4)
        y.sum().backward()
        results.append((y.detach().contiguous(), t.grad.contiguous()))
    same_bits(*results)
    keep = np.array(ref.bernoulli(24, SEED, DRAW, 0.6)).reshape(4, 6, 1, 1)
    same_bits(results[0][0], x.numpy() * (keep.astype(np.float32) * np.float32(1 / 0.6)))


def test_layout_is_kept():
    """Channels-last and transposed tensors keep their memory order, in the gradient too."""
    x = fastnn.randn(2, 5, 5, 3).permute(0, 3, 1, 2).detach().requires_grad_()
    y = fastnn.dropout(x, 0.5)
    assert y.stride() == x.stride()
    kept = y.detach().numpy() != 0
    y.backward(fastnn.ones(2, 3, 5, 5))
    assert (x.grad.numpy() == 2 * kept).all()
    assert (y.detach().numpy() == np.where(kept, 2 * x.detach().numpy(), 0)).all()


def test_rate():
    fastnn.manual_seed(0)
    for p in (0.1, 0.5, 0.8):
        y = fastnn.dropout(fastnn.ones(200000), p).numpy()
        assert abs((y == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / y.size)
        assert abs(y.mean() - 1) < 4 * np.sqrt(p / (1 - p) / y.size)


def test_ends_of_the_range():
    x = fastnn.tensor([1.0, -2.0, float("inf"), float("nan")])
    assert fastnn.dropout(x, 0) is x and fastnn.dropout(x, 0.5, False) is x
    y = fastnn.dropout(x, 1.0).tolist()
    assert y[:2] == [0, 0] and np.isnan(y[2:]).all()
    y, mask = _core.dropout(x, 0)
    assert y.tolist()[:3] == x.tolist()[:3] and mask.tolist() == [1] * 4
    assert fastnn.dropout(fastnn.zeros(0, 3), 0.5).shape == (0, 3)
    leaf = fastnn.ones(5, requires_grad=True)
    fastnn.dropout(leaf, 1.0).sum().backward()
    assert leaf.grad.tolist() == [0] * 5


def test_in_place():
    x = fastnn.ones(1000)
    start()
    want = fastnn.dropout(x, 0.5)
    start()
    assert x.dropout_(0.5) is x
    same_bits(x, want)
    leaf = fastnn.ones(10, requires_grad=True)
    y = leaf * 3
    y.dropout_(0.5)
    y.sum().backward()
    assert (leaf.grad.numpy() == y.detach().numpy()).all()


@pytest.mark.parametrize("call, error, message", [
    (lambda: fastnn.dropout(fastnn.ones(2), 1.5), ValueError, "between 0 and 1, but got 1.5"),
    (lambda: fastnn.dropout(fastnn.ones(2), -0.1, False), ValueError, "-0.1"),
    (lambda: fastnn.dropout(fastnn.ones(2, 3), 0.5, run=4), ValueError, "run=4 .* 6 elements of shape \\(2, 3\\)"),
    (lambda: fastnn.dropout(fastnn.ones(2).long(), 0.5), NotImplementedError, "dropout_fwd.*int64"),
    (lambda: fastnn.feature_dropout(fastnn.ones(2), 0.5), RuntimeError, "channels"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
