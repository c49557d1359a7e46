"""fastnn.optim.LBFGS against PyTorch's: the same losses, calls and state; with captured closures; what it refuses."""
import copy
import pickle

import numpy as np
import pytest

import fastnn
from check import same_bits
from fastnn import CaptureError, nn
from fastnn.optim import LBFGS

SEARCHES = pytest.mark.parametrize("search", [None, "strong_wolfe"])


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def steep(x):
    """Far from a parabola: log cosh, and a ridge."""
    return (x.exp() + (-x).exp()).log().sum() + (x[0] * x[1] - 1) ** 2


def bowl(x):
    return ((x - 1) ** 2 * (x * 0 + 3)).sum()


def run(package, function, steps=20, dtype="float64", start=None, **options):
    """Losses of the steps, the parameters and the state."""
    start = np.random.default_rng(0).standard_normal(10) if start is None else start
    a, b = (package.tensor(s.astype(dtype), requires_grad=True) for s in (start[:4].reshape(2, 2), start[4:]))
    optimizer = package.optim.LBFGS([a, b], **options)

    def closure():
        optimizer.zero_grad()
        loss = function(package.cat([a.reshape(-1), b]))
        loss.backward()
        return loss
    losses = [optimizer.step(closure).item() for _ in range(steps)]
    return losses, np.concatenate([a.detach().numpy().ravel(), b.detach().numpy()]), optimizer


@SEARCHES
@pytest.mark.parametrize("function", [rosenbrock, steep, bowl])
def test_pytorch(torch, function, search):
    """Loss by loss and call by call, as far as rounding lets two trajectories stay together."""
    for options in ({}, {"history_size": 3, "max_iter": 7}, {"max_eval": 4}, {"max_iter": 1, "steps": 25}, {"tolerance_grad": 0.5},
                    {"tolerance_change": 0.1}):
        options = {"line_search_fn": search, "lr": 0.7 if search else 2e-3, "steps": 7, **options}
        (losses, x, ours), (wants, y, theirs) = (run(package, function, **options) for package in (fastnn, torch))
        np.testing.assert_allclose(losses, wants, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
        s, t = (o.state_dict()["state"][0] for o in (ours, theirs))
        assert (s["n_iter"], s["func_evals"], len(s.get("ro", ()))) == (t["n_iter"], t["func_evals"], len(t.get("ro", ())))
        assert set(s) == set(t) - {"al"} and ours.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]


@SEARCHES
def test_float32_gets_to_the_minimum(search):
    least = run(fastnn, steep, line_search_fn="strong_wolfe")[0][-1]
    losses = run(fastnn, steep, dtype="float32", line_search_fn=search)[0]
    assert losses[0] > 1.3 * least and abs(losses[-1] - least) < 1e-5 * least
    x = run(fastnn, bowl, dtype="float32", line_search_fn=search)[1]
    np.testing.assert_allclose(x, 1, atol=1e-4)


@SEARCHES
def test_saved_state(torch, search, tmp_path):
    """Five steps and five more: from a state dict, a file, a copy and a pickle; and from PyTorch's state."""
    options = {"line_search_fn": search, "lr": 1 if search else 2e-3, "max_iter": 5}
    want = run(fastnn, rosenbrock, 10, **options)[0]
    _, x, half = run(fastnn, rosenbrock, 5, **options)
    fastnn.save(half.state_dict(), tmp_path / "state")
    theirs = run(torch, rosenbrock, 5, **options)[2].state_dict()
    for state, tol in ((half.state_dict(), 0), (fastnn.load(tmp_path / "state"), 0), (pickle.loads(pickle.dumps(half)).state_dict(), 0),
                       (copy.deepcopy(half).state_dict(), 0), (theirs, 1e-7)):
        a, b = fastnn.tensor(x[:4].reshape(2, 2), requires_grad=True), fastnn.tensor(x[4:], requires_grad=True)
        optimizer = LBFGS([a, b])
        optimizer.load_state_dict(state)

        def closure():
            optimizer.zero_grad()
            loss = rosenbrock(fastnn.cat([a.reshape(-1), b]))
            loss.backward()
            return loss
        np.testing.assert_allclose([optimizer.step(closure).item() for _ in range(5)], want[5:], rtol=tol)
    half.load_state_dict({"state": {}, "param_groups": half.state_dict()["param_groups"]})
    assert "n_iter" not in half.state[half.param_groups[0]["params"][0]]


@SEARCHES
def test_a_captured_closure_gives_eagers_bits(search):
    runs = []
    for wrap in (lambda f: f, fastnn.capture):
        fastnn.manual_seed(0)
        model, x, y = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)), fastnn.randn(20, 3), fastnn.randn(20, 1)
        optimizer = LBFGS(model.parameters(), lr=1 if search else 0.1, line_search_fn=search, max_iter=4)

        def gradients(x, y):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            return loss
        f = wrap(gradients)
        losses = [optimizer.step(lambda: f(x, y)).detach() for _ in range(5)]
        runs.append(losses + [p.detach() for p in model.parameters()])
    same_bits(*runs)
    assert runs[0][4].item() < 0.9 * runs[0][0].item() and f.replays > 10


def test_a_captured_step_is_refused():
    w = fastnn.ones(2, requires_grad=True)
    optimizer = LBFGS([w])

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss
    with pytest.raises(CaptureError, match=r"LBFGS\.step\(\)"):
        fastnn.capture(lambda: optimizer.step(closure))()


def test_gradients_that_are_missing_zero_or_kept():
    a, b = fastnn.ones(2, requires_grad=True), fastnn.ones(3, requires_grad=True)
    optimizer = LBFGS([a, b], lr=0.1)

    def closure():
        optimizer.zero_grad(set_to_none=False)
        loss = (a * a).sum()
        loss.backward()
        return loss
    optimizer.step(closure)
    held = a.grad
    optimizer.step(closure)
    assert b.tolist() == [1, 1, 1] and a.grad is held and abs(a.tolist()[0]) < 0.1
    with fastnn.no_grad():
        a.zero_()
    calls = optimizer.state[a]["func_evals"]
    assert optimizer.step(closure).item() == 0 and optimizer.state[a]["func_evals"] == calls + 1


W = fastnn.ones(2, requires_grad=True)


@pytest.mark.parametrize("call, error, message", [
    (lambda: LBFGS([W], lr=-1), ValueError, "Invalid learning rate: -1"), (lambda: LBFGS([W], lr=fastnn.ones(2)), ValueError, "1-element"),
    (lambda: LBFGS([W], line_search_fn="armijo"), RuntimeError, "only 'strong_wolfe' is supported, got line_search_fn='armijo'"),
    (lambda: LBFGS([{"params": [W]}, {"params": [fastnn.ones(1, requires_grad=True)]}]), ValueError, "doesn't support per-parameter options"),
    (lambda: LBFGS([W]).add_param_group({"params": [W]}), ValueError, "doesn't support per-parameter options"),
    (lambda: LBFGS([W]).step(), TypeError, "closure")])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
