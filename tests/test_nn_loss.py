"""Loss layers against PyTorch's: every option, values and gradients."""
import numpy as np
import pytest

import fastnn
from fastnn import nn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 5)).astype(np.float32)
T = np.array([0, 4, 2, -100, 1, 1])
W = np.array([1, 2, 0.5, 1, 3], dtype=np.float32)
SOFT = np.abs(RNG.standard_normal((6, 5)).astype(np.float32))
CASES = [("MSELoss", {}, SOFT), ("CrossEntropyLoss", {}, T), ("CrossEntropyLoss", {"weight": W}, T),
         ("CrossEntropyLoss", {"label_smoothing": 0.1}, T),
         ("CrossEntropyLoss", {"weight": W, "label_smoothing": 0.2}, T),
         ("CrossEntropyLoss", {"ignore_index": 1}, np.abs(T) % 5),
         ("L1Loss", {}, SOFT), ("SmoothL1Loss", {"beta": 0.5}, SOFT), ("HuberLoss", {"delta": 0.7}, SOFT),
         ("BCEWithLogitsLoss", {"pos_weight": W, "weight": W}, SOFT),
         ("BCEWithLogitsLoss", {}, SOFT), ("CrossEntropyLoss", {}, SOFT), ("NLLLoss", {}, T),
         ("NLLLoss", {"weight": W, "ignore_index": 4}, np.abs(T) % 5), ("KLDivLoss", {}, SOFT),
         ("KLDivLoss", {"log_target": True}, SOFT)]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name, options, target", [*CASES, ("KLDivLoss", {"reduction": "batchmean"}, SOFT)])
def test_as_pytorch(torch, name, options, target, reduction):
    results = []
    for lib in (fastnn, torch):
        x = lib.tensor(X, requires_grad=True)
        given = {k: lib.tensor(v) if v is W else v for k, v in options.items()}
        m = getattr(lib.nn, name)(**{"reduction": reduction, **given})
        y = m(x, lib.tensor(target))
        y.sum().backward()
        results.append((y.detach().numpy(), x.grad.numpy(), repr(m), list(m.state_dict())))
    (y, dx, text, state), (u, dt, text2, state2) = results
    np.testing.assert_allclose(y, u, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, dt, rtol=1e-4, atol=1e-6)
    assert text == text2 and state == state2


@pytest.mark.parametrize("options", [{}, {"weight": W}])
def test_bce_as_pytorch(torch, options):
    p, t = 1 / (1 + np.exp(-X)), np.clip(SOFT, 0, 1)
    results = []
    for lib in (fastnn, torch):
        m = lib.nn.BCELoss(**{k: lib.tensor(v) for k, v in options.items()})
        results.append((m(lib.tensor(p), lib.tensor(t)).item(), repr(m), list(m.state_dict())))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5) and results[0][1:] == results[1][1:]


@pytest.mark.parametrize("options", [{}, {"full": True, "eps": 0.5}, {"reduction": "sum"}, {"reduction": "none"}])
def test_gaussian_nll_as_pytorch(torch, options):
    results = []
    for lib in (fastnn, torch):
        m, args = lib.nn.GaussianNLLLoss(**options), [lib.tensor(a, requires_grad=True) for a in (X, SOFT, SOFT[:, :1] + 0.1)]
        y = m(*args)
        y.sum().backward()
        results.append((y.detach().numpy(), *[a.grad.numpy() for a in args], repr(m)))
    for ours, theirs in zip(results[0][:-1], results[1]):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert results[0][-1] == results[1][-1]


@pytest.mark.parametrize("make, error, words", [
    (lambda: nn.KLDivLoss(reduction="batch"), ValueError, "batch is not a valid value for reduction"),
    (lambda: nn.GaussianNLLLoss()(fastnn.zeros(2), fastnn.zeros(2), -fastnn.ones(2)), ValueError, "negative"),
    (lambda: nn.MSELoss(size_average=True), NotImplementedError, "MSELoss: size_average and reduce: not supported"),
    (lambda: nn.MSELoss(reduction="avg"), ValueError, "avg is not a valid value for reduction"),
    (lambda: nn.CrossEntropyLoss()(fastnn.zeros(2, 3), fastnn.tensor([0, 3])), IndexError, "3"),
])
def test_refusals(make, error, words):
    with pytest.raises(error, match=words):
        make()
