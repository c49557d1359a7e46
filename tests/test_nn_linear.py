"""Linear and Identity."""
import numpy as np
import pytest

import fastnn
from fastnn import nn


@pytest.mark.parametrize("shape", [(5, 3), (3,), (2, 4, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    m, x = nn.Linear(3, 4, bias=bias), fastnn.randn(*shape)
    w = m.weight.detach().numpy().astype(np.float64)
    want = x.numpy().astype(np.float64) @ w.T + (m.bias.detach().numpy() if bias else 0)
    np.testing.assert_allclose(m(x).detach().numpy(), want, rtol=1e-5, atol=1e-6)


def test_as_pytorch(torch):
    m, t = nn.Linear(7, 5), torch.nn.Linear(7, 5)
    m.load_state_dict({k: fastnn.from_numpy(v.numpy()) for k, v in t.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((6, 7)).astype(np.float32)
    a, b = m(fastnn.from_numpy(x)), t(torch.from_numpy(x))
    (a * a).sum().backward()
    (b * b).sum().backward()
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)
    for p, q in zip(m.parameters(), t.parameters()):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-5)
    assert repr(m) == repr(t) and repr(nn.Linear(2, 3, bias=False)) == repr(torch.nn.Linear(2, 3, bias=False))


def test_start_values():
    fastnn.manual_seed(0)
    m = nn.Linear(100, 400)
    for p in (m.weight, m.bias):
        a = p.detach().numpy()
        assert a.min() >= -0.1 and a.max() < 0.1 and abs(a.std() - 0.1 / 3 ** 0.5) < 0.004 and abs(a.mean()) < 0.006
    fastnn.manual_seed(0)
    assert np.array_equal(nn.Linear(100, 400).weight.detach().numpy(), m.weight.detach().numpy())
    assert nn.Linear(0, 2)(fastnn.zeros(3, 0)).shape == (3, 2)
    assert nn.Linear(2, 3, dtype=fastnn.float64).weight.dtype == fastnn.float64


def test_identity():
    x = fastnn.ones(1)
    assert nn.Identity(54, unused=0.1)(x) is x


def test_refusals():
    with pytest.raises(RuntimeError, match="in_features"):
        nn.Linear(4, 3)(fastnn.zeros(8, 5))
    with pytest.raises(RuntimeError, match="negative dimension"):
        nn.Linear(-1, 3)
