"""Hooks of modules: handles, and full backward hooks against PyTorch's."""
import pytest

import fastnn
from fastnn import nn
from fastnn.nn.hooks import Hooks


def test_handles():
    hooks = Hooks()
    first, second = hooks.add(print), hooks.add(len, prepend=True)
    assert list(hooks.values()) == [len, print]
    first.remove()
    first.remove()
    assert list(hooks.values()) == [len]
    with second:
        pass
    assert not hooks
    with pytest.raises(TypeError, match="callable"):
        hooks.add(3)


def _seen(lib, nn, x, hooks):
    """What hooks of a small net see and what gradient reaches x."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with lib.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(lib.arange(p.numel()).reshape(p.shape).float() / 4 + i / 8)
    seen = []
    hooks(net, seen)
    net(x).sum().backward()
    return seen, None if x.grad is None else x.grad.tolist(), [p.grad.tolist() for p in net.parameters()]


def _plain(grads):
    return tuple(None if g is None else g.tolist() for g in grads)


def _watch(net, seen):
    net[2].register_full_backward_hook(lambda m, gi, go: seen.append((_plain(gi), _plain(go))))
    net[0].register_full_backward_hook(lambda m, gi, go: seen.append((_plain(gi), _plain(go))))
    net[0].register_full_backward_pre_hook(lambda m, go: seen.append(_plain(go)))


def _change(net, seen):
    net[2].register_full_backward_hook(lambda m, gi, go: (gi[0] * 3,))
    net[2].register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    net[0].register_full_backward_hook(lambda m, gi, go: seen.append(_plain(go)))


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.parametrize("hooks", [_watch, _change])
@pytest.mark.parametrize("leaf", [True, False])
def test_as_pytorch(torch, hooks, leaf):
    data = [[1.0, -2.0], [0.5, 4.0]]
    assert (_seen(fastnn, nn, fastnn.tensor(data, requires_grad=leaf), hooks)
            == _seen(torch, torch.nn, torch.tensor(data, requires_grad=leaf), hooks))


def test_wrong_number_is_refused():
    m = nn.Linear(2, 2)
    m.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    with pytest.raises(RuntimeError, match="invalid number of grad, got 2, but expected 1"):
        m(fastnn.ones(1, 2, requires_grad=True)).sum().backward()


def test_without_gradients_nothing_happens():
    m, seen = nn.Linear(2, 2), []
    m.register_full_backward_hook(lambda *args: seen.append(args))
    with fastnn.no_grad():
        m(fastnn.ones(1, 2))
    assert not seen
