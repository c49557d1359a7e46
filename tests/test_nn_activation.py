"""Activation layers against PyTorch's: values, gradients, print."""
import numpy as np
import pytest

import fastnn
from fastnn import nn

CASES = [("ReLU", {}), ("ReLU", {"inplace": True}), ("Sigmoid", {}), ("Tanh", {}), ("Softmax", {"dim": 1}),
         ("Softmax", {"dim": 0}), ("LogSoftmax", {"dim": -1}), ("LeakyReLU", {}), ("LeakyReLU", {"negative_slope": 0.2, "inplace": True}),
         ("PReLU", {}), ("PReLU", {"num_parameters": 6, "init": 0.4}), ("ELU", {}), ("ELU", {"alpha": 2.0, "inplace": True}), ("SELU", {}),
         ("SELU", {"inplace": True}), ("GELU", {}), ("GELU", {"approximate": "tanh"}), ("SiLU", {}), ("SiLU", {"inplace": True}), ("Softplus", {}),
         ("Softplus", {"beta": 2, "threshold": 10}), ("Hardtanh", {}), ("Hardtanh", {"min_val": -2, "max_val": 0.5, "inplace": True}), ("ReLU6", {}),
         ("ReLU6", {"inplace": True})]


@pytest.mark.parametrize("name, options", CASES)
def test_as_pytorch(torch, name, options):
    a = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    x, t = fastnn.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    y, u = ours(x * 1), theirs(t * 1)
    (y * y).sum().backward()
    (u * u).sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), u.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-4, atol=1e-6)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    for p, q in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_inplace_is_honoured():
    x = fastnn.tensor([-1.0, 1.0])
    assert nn.ReLU(inplace=True)(x).data_ptr() == x.data_ptr() and x.tolist() == [0, 1]
    with pytest.raises(RuntimeError):
        nn.ReLU(inplace=True)(fastnn.ones(2, requires_grad=True))


def test_softmax_without_dim_warns():
    with pytest.warns(UserWarning, match="Implicit dimension"):
        nn.Softmax()(fastnn.ones(2, 3))


def test_step_and_bounds():
    assert nn.Step()(fastnn.tensor([-1.0, 0.0, 2.0])).tolist() == [0, 0, 1] and repr(nn.Step()) == "Step()"
    with pytest.raises(AssertionError, match="max_val=0 must be above min_val=1"):
        nn.Hardtanh(1, 0)


def test_a_prelu_learns():
    """The slope that made the data is found, eager and captured alike."""
    x = fastnn.tensor(np.random.default_rng(0).standard_normal((64, 3)))
    want, found = nn.functional.prelu(x, fastnn.tensor([0.1, 0.7, -0.2], dtype=fastnn.float64)), []
    for wrap in (lambda f: f, fastnn.capture):
        model = nn.PReLU(3, dtype=fastnn.float64)
        optimizer = fastnn.optim.SGD(model.parameters(), lr=2.0)

        def step(x, t):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), t)
            loss.backward()
            optimizer.step()
            return loss
        step = wrap(step)
        for _ in range(60):
            step(x, want)
        found.append(model.weight.tolist())
    np.testing.assert_allclose(found[0], [0.1, 0.7, -0.2], atol=1e-6)
    assert found[0] == found[1]
