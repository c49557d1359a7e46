"""The state of optimizers (fastnn/optim/optimizer.py): PyTorch's layout, saved, loaded, copied, reset."""
import copy
import pickle

import numpy as np

import fastnn
from check import same_bits
from fastnn.optim import SGD
from optimizers import KINDS, fresh_pair, kinds, leaves, near, train, values


def layout(state_dict):
    """Keys and shapes of a state dict, PyTorch's or ours."""
    return ({i: {k: (tuple(v.shape), str(v.dtype).split(".")[-1]) for k, v in s.items()} for i, s in state_dict["state"].items()}, state_dict["param_groups"])


@kinds
def test_state_dict_layout_is_pytorchs(torch, kind):
    start, gradients = values(4, ((3,), (2, 2), (4,)))
    ours, theirs = leaves(start), [torch.tensor(p, dtype=torch.float32, requires_grad=True) for p in start]
    a, b = KINDS[kind](fastnn.optim, ours), KINDS[kind](torch.optim, theirs)
    assert layout(a.state_dict()) == layout(b.state_dict())
    for grads in gradients[:3]:
        for i, (p, q, g) in enumerate(zip(ours, theirs, grads)):
            if i != 1:
                p.grad, q.grad = fastnn.tensor(np.float32(g)), torch.tensor(np.float32(g))
        a.step()
        b.step()
    assert layout(a.state_dict()) == layout(b.state_dict())
    assert list(a.state_dict()["param_groups"][0]) == list(b.state_dict()["param_groups"][0])
    for s, t in zip(a.state_dict()["state"].values(), b.state_dict()["state"].values()):
        assert list(s) == list(t)
        for k in t:
            assert np.allclose(s[k].numpy(), t[k].numpy(), rtol=1e-5, atol=1e-7), k


@kinds
def test_going_on_from_a_saved_state(kind, tmp_path):
    """Ten steps, then ten more: in place, from a state dict, from a file, from a deep copy and from a pickle."""
    params, optimizer, gradients = fresh_pair(kind)
    train(optimizer, params, gradients[:10], rates=False)
    saved, weights = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in params]
    fastnn.save(saved, tmp_path / "state")
    twins = copy.deepcopy((params, optimizer)), pickle.loads(pickle.dumps((params, optimizer)))
    want = [p.detach() for p in train(optimizer, params, gradients[10:], rates=False)]
    for state in (saved, fastnn.load(tmp_path / "state")):
        again, other, _ = fresh_pair(kind)
        other.load_state_dict(state)
        for p, w in zip(again, weights):
            p.data = w.clone()
        same_bits([p.detach() for p in train(other, again, gradients[10:], rates=False)], want)
    for again, other in twins:
        assert other.param_groups[0]["params"][0] is again[0]
        same_bits([p.detach() for p in train(other, again, gradients[10:], rates=False)], want)
    with fastnn.no_grad():
        [p.copy_(w) for p, w in zip(params, weights)]
    optimizer.load_state_dict(saved)
    same_bits([p.detach() for p in train(optimizer, params, gradients[10:], rates=False)], want)


@kinds
def test_loading_pytorchs_state(torch, kind):
    start, gradients = values(6, ((3,), (2, 2)))
    theirs = [torch.tensor(p, dtype=torch.float32, requires_grad=True) for p in start]
    b = KINDS[kind](torch.optim, theirs)

    def go(grads):
        for q, g in zip(theirs, grads):
            q.grad = torch.tensor(np.float32(g))
        b.step()
    for grads in gradients[:7]:
        go(grads)
    b.param_groups[0]["lr"] = 0.03
    ours = leaves([q.detach().numpy() for q in theirs])
    a = KINDS[kind](fastnn.optim, ours)
    a.load_state_dict(b.state_dict())
    assert a.param_groups[0]["lr"] == 0.03
    for grads in gradients[7:]:
        go(grads)
    train(a, ours, gradients[7:], rates=False)
    near(ours, [q.detach().numpy() for q in theirs], 2e-6)


def test_a_momentum_of_ones_own_is_taken_up():
    """A buffer without a count of steps is one that has been in use: the first gradient is damped, as in PyTorch."""
    p, b = fastnn.zeros(2, requires_grad=True), fastnn.tensor([1.0, 2.0])
    optimizer = SGD([p], 1.0, momentum=0.5, dampening=0.5)
    optimizer.state[p] = {"momentum_buffer": b}
    p.grad = fastnn.ones(2)
    optimizer.step()
    assert p.tolist() == [-1.0, -1.5]


@kinds
def test_state_reset(kind):
    """A state dict from before the first step, or an empty `state`, starts the optimizer anew."""
    start, gradients = values(7, ((3,), (2, 2)))
    wants = None
    for reset in (None, "load", "assign", "clear"):
        params, optimizer, _ = fresh_pair(kind)
        unused = copy.deepcopy(optimizer.state_dict())
        if reset:
            train(optimizer, params, gradients[:3], rates=False)
            if reset == "load":
                optimizer.load_state_dict(unused)
            elif reset == "assign":
                optimizer.state = {}
            else:
                optimizer.state.clear()
        with fastnn.no_grad():
            [p.copy_(fastnn.tensor(np.float32(w))) for p, w in zip(params, start)]
        got = [p.detach() for p in train(optimizer, params, gradients[:5], rates=False)]
        wants = wants or got
        same_bits(got, wants)
