"""Activation layers against PyTorch's: values, gradients, print."""
import numpy as np
import pytest

import fastnn
from fastnn import nn

CASES = [("ReLU", {}), ("ReLU", {"inplace": True}), ("Sigmoid", {}), ("Tanh", {}), ("Softmax", {"dim": 1}),
         ("Softmax", {"dim": 0}), ("LogSoftmax", {"dim": -1})]


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
    assert repr(ours) == repr(theirs)


def test_inplace_is_honoured():
    x = fastnn.tensor([-1.0, 1.0])
    assert nn.ReLU(inplace=True)(x).data_ptr() == x.data_ptr() and x.tolist() == [0, 1]
    with pytest.raises(RuntimeError):
        nn.ReLU(inplace=True)(fastnn.ones(2, requires_grad=True))


def test_softmax_without_dim_warns():
    with pytest.warns(UserWarning, match="Implicit dimension"):
        nn.Softmax()(fastnn.ones(2, 3))
