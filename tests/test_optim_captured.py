"""Captured steps of optimizers take the numbers and the state that are there."""
import numpy as np
import pytest

import fastnn
from check import same_bits
from fastnn import _core
from fastnn.optim import Adam
from optimizers import KINDS, kinds, leaves


def quadratic(make):
    """A step on two parameters, and what it moves."""
    params = leaves([np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(1, 2, 4)])
    optimizer = make(params)

    def step(x):
        optimizer.zero_grad()
        loss = ((params[0] * x).sum() + (params[1] ** 2).sum()) ** 2
        loss.backward()
        optimizer.step()
        return loss
    return params, optimizer, step


def change_rate(k, params, o):
    o.param_groups[0].update(lr=0.01 / (k + 1), weight_decay=0.1 * (k > 7))


def momentum_on(k, params, o):
    if k == 6:
        o.param_groups[0].update({k: v for k, v in dict(momentum=0.5, amsgrad=True, centered=True).items() if k in o.param_groups[0]})


def reset(k, params, o):
    if k == 6:
        o.state = {}


def reset_one(k, params, o):
    if k == 6:
        o.state.pop(params[0], None)


def double(k, params, o):
    if k == 6:
        for p in params:
            p.data = p.data.double()


def new_group(k, params, o):
    if k == 6:
        o.add_param_group({"params": [fastnn.ones(2, requires_grad=True)], "lr": 1.0})
        o.param_groups[0]["lr"] = 0.002


@pytest.mark.parametrize("change", [change_rate, momentum_on, reset, reset_one, double, new_group])
@kinds
def test_captured_steps_are_eagers(kind, change):
    runs = []
    for wrap in (lambda f: f, fastnn.capture):
        params, optimizer, step = quadratic(lambda p: KINDS[kind](fastnn.optim, p))
        optimizer.param_groups[0]["lr"] = 0.001
        f, losses = wrap(step), []
        for k in range(12):
            change(k, params, optimizer)
            losses.append(f(fastnn.full((2, 3), 0.1 * k)).detach())
        runs.append(losses + [p.detach() for p in params] + [t for s in optimizer.state_dict()["state"].values() for t in s.values()])
    same_bits(*runs)
    assert f.replays >= 5


def test_a_step_alone_can_be_captured():
    p = fastnn.ones(3, requires_grad=True)
    optimizer = Adam([p], 0.1)
    q = fastnn.ones(3, requires_grad=True)
    other = Adam([q], 0.1)
    f = fastnn.capture(optimizer.step)
    for k in range(8):
        if k == 5:
            p.data, q.data = p.data.clone(), q.data.clone()
        p.grad, q.grad = fastnn.full((3,), float(k)), fastnn.full((3,), float(k))
        f()
        other.step()
        same_bits(p.detach(), q.detach())


def test_steppers_are_quick_to_sync():
    """The numbers of a group are copied without touching its parameters: what a replay pays does not grow with them."""
    params = [fastnn.ones(1, requires_grad=True) for _ in range(500)]
    optimizer = Adam(params, 0.1)
    block = optimizer._steppers[0]
    assert optimizer._sync() is False and optimizer._steppers[0] is block
    optimizer.param_groups[0]["lr"] = 0.7
    assert optimizer._sync() is False
    for p in params:
        p.grad = fastnn.ones(1)
    optimizer.step()
    assert abs(params[0].item() - 0.3) < 1e-6
    assert isinstance(block, _core.Stepper)
