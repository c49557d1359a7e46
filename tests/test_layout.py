"""The layout tag: a tensor that a layer left channels-last counts as contiguous (docs/design.md, layouts)."""
import numpy as np
import pytest

import fastnn
from fastnn import _core


def tagged(*shape, requires_grad=False):
    """(row-major, the same values as a layer leaves them)"""
    x = fastnn.arange(int(np.prod(shape))).float().reshape(shape)
    return x, _core.nhwc(x).requires_grad_(requires_grad)


def strides(t):
    return tuple(s for s, n in zip(t.stride(), t.shape) if n > 1)


def test_strides_tell_the_memory_and_contiguity_the_tag():
    x, y = tagged(2, 3, 4, 5)
    assert y.is_contiguous() and y.stride() == (60, 1, 15, 3) and y.numpy().strides == (240, 4, 60, 12)
    assert not x.permute(0, 2, 3, 1).is_contiguous() and not y.permute(0, 2, 3, 1).permute(0, 3, 1, 2).is_contiguous()
    assert y.contiguous().stride() == x.stride() and fastnn.equal(x, y)


@pytest.mark.parametrize("shape", [(-1, 60), (2, 3, 20), (6, 20), (120,), (2, 3, 4, 5), (4, 5, 2, 3), (2, 1, 60)])
def test_view_and_reshape_show_logical_order(shape):
    x, y = tagged(2, 3, 4, 5)
    for way in ("view", "reshape"):
        assert np.array_equal(getattr(y, way)(*shape).numpy(), getattr(x, way)(*shape).numpy())
    assert np.array_equal(y.flatten(1).view(2, 3, -1).view(-1).numpy(), x.view(-1).numpy())
    assert np.array_equal(y[1].view(-1).numpy(), x[1].view(-1).numpy())
    assert np.array_equal(y[1:].view(-1).numpy(), x[1:].view(-1).numpy())
    assert np.array_equal(y[1].unsqueeze(0).flatten().numpy(), x[1].flatten().numpy())
    assert np.array_equal(y[:1].squeeze(0).flatten().numpy(), x[0].flatten().numpy())


def test_writing_to_what_view_shows_raises():
    _, y = tagged(2, 3, 4, 5)
    for write in (lambda v: v.zero_(), lambda v: v.add_(1), lambda v: v.__setitem__(0, 1.0), lambda v: v[0].fill_(3)):
        with pytest.raises(RuntimeError, match=r"shape .*view of a channels-last one.*clone\(\)"):
            write(y.view(2, 60))
    y.view(2, 60).clone().zero_()
    y.view(2, 3, 4, 5).zero_()
    y[0].add_(1)
    assert y.sum().item() == 60
    z = _core.nhwc(fastnn.ones(2, 1, 4, 5))              # one channel: both orders at once, so the view is one
    z.view(2, 20).zero_()
    assert z.sum().item() == 0


def test_results_take_the_layout():
    x, y = tagged(2, 3, 4, 5)
    for r in (y + 1, y * x, fastnn.relu(y), y.double(), y.clone(), y.detach(), y + fastnn.ones(3, 1, 1), -y):
        assert r.is_contiguous() and strides(r) == strides(y)
    for r in (x * y, x + 1):
        assert strides(r) == strides(x)
    assert not (y + 1)[:, 1:].is_contiguous() and (y + 1)[1:].is_contiguous()


def test_gradients_pass_through_views():
    _, y = tagged(2, 3, 4, 5, requires_grad=True)
    w = fastnn.arange(120).float()
    ((y * 2).view(2, 60) * w.view(2, 60)).sum().backward()
    assert np.array_equal(y.grad.numpy(), 2 * w.view(2, 3, 4, 5).numpy())
    ((y * 2).flatten() * w).sum().backward()
    assert np.array_equal(y.grad.numpy(), 4 * w.view(2, 3, 4, 5).numpy())
    leaf = fastnn.zeros(6, 4, requires_grad=True)
    for _ in range(2):                                    # the gradient is what a view showed; it is added to all the same
        (_core.nhwc(fastnn.ones(1, 2, 3, 4)).reshape(6, 4) * leaf).sum().backward()
    assert leaf.grad.numpy().min() == 2


def test_gradient_of_a_part_lies_as_the_whole():
    for whole in tagged(2, 3, 4, 6):
        y = whole.requires_grad_() * 2
        y.retain_grad()
        y[:, 1:, ::2, 3].sum().backward()
        want = np.zeros((2, 3, 4, 6), np.float32)
        want[:, 1:, ::2, 3] = 2
        assert np.array_equal(whole.grad.numpy(), want) and strides(y.grad) == strides(whole)


def test_captured_as_eager():
    def step(t):
        return fastnn.relu(t - 50).view(t.shape[0], -1).sum(1), t.is_contiguous()
    x, y = tagged(2, 3, 4, 5)
    captured = fastnn.capture(step)
    for t in (y, x, y, x, y, x, y.permute(0, 1, 3, 2).contiguous(), y[:1], y):
        want, got = step(t), captured(t)
        assert np.array_equal(want[0].numpy(), got[0].numpy()) and want[1] is got[1]


def test_data_pickle_and_files(tmp_path):
    import copy
    import pickle
    x, y = tagged(2, 3, 4, 5)
    for z in (copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        assert fastnn.equal(z, x) and np.array_equal(z.view(-1).numpy(), x.view(-1).numpy())
    fastnn.save({"y": y}, tmp_path / "y.safetensors")
    assert fastnn.equal(fastnn.load(tmp_path / "y.safetensors")["y"], x)
    x.data = y
    assert x.is_contiguous() and np.array_equal(x.view(-1).numpy(), y.view(-1).numpy())
