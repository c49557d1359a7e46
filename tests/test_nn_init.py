"""nn.init: moments, bounds, gains and refusals as PyTorch's."""
import math

import numpy as np
import pytest

import fastnn
from fastnn.nn import Parameter, init

SHAPE = (80, 30, 2)                      # fan_in 60, fan_out 160
CASES = [("uniform_", (-2.0, 3.0)), ("normal_", (1.0, 0.5)), ("xavier_uniform_", (2.0,)), ("xavier_normal_", ()),
         ("kaiming_uniform_", ()),
         ("kaiming_uniform_", (0.3, "fan_out")), ("kaiming_normal_", (0, "fan_in", "relu")),
         ("kaiming_normal_", (0, "fan_out", "tanh"))]


@pytest.mark.parametrize("name, args", CASES)
def test_distribution(torch, name, args):
    """Mean, deviation and extremes within what 4,800 draws allow of PyTorch's."""
    p = Parameter(fastnn.zeros(*SHAPE))
    assert getattr(init, name)(p, *args, generator=fastnn.Generator().manual_seed(1)) is p and p.requires_grad
    getattr(torch.nn.init, name)(torch.zeros(*SHAPE), *args)
    theirs = torch.cat([getattr(torch.nn.init, name)(torch.zeros(*SHAPE),
                                                     *args).reshape(-1) for _ in range(20)]).numpy()
    ours = p.detach().numpy().reshape(-1)
    assert abs(ours.mean() - theirs.mean()) < 5 * theirs.std() / math.sqrt(ours.size)
    assert abs(ours.std() / theirs.std() - 1) < 0.05
    if "uniform" in name:
        assert theirs.min() - 1e-2 * theirs.std() < ours.min() and ours.max() < theirs.max() + 1e-2 * theirs.std()


def test_constants():
    x = fastnn.full((3, 4), 9.0)
    assert init.constant_(x, 2)[0].tolist() == [2] * 4 and init.zeros_(x).sum().item() == 0
    assert init.ones_(x).sum().item() == 12
    assert init.eye_(x) is x and np.array_equal(x.numpy(), np.eye(3, 4))


def test_generator_decides():
    def draw(seed):
        return init.normal_(fastnn.empty(50), generator=fastnn.Generator().manual_seed(seed)).tolist()
    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize("shape", [(40, 70), (70, 40), (33, 33), (5, 3, 2), (1, 9)])
def test_orthogonal(shape, threads):
    x = fastnn.empty(*shape, dtype=fastnn.float64)
    init.orthogonal_(x, 2.0, generator=fastnn.Generator().manual_seed(4))
    a = x.numpy().reshape(shape[0], -1)
    k = min(a.shape)
    gram = a @ a.T if a.shape[0] == k else a.T @ a
    np.testing.assert_allclose(gram, 4 * np.eye(k), atol=1e-12)
    if threads > 1:
        fastnn.set_num_threads(1)
        again = init.orthogonal_(fastnn.empty(*shape, dtype=fastnn.float64), 2.0,
                                 generator=fastnn.Generator().manual_seed(4))
        assert np.array_equal(again.numpy(), x.numpy())


def test_orthogonal_is_not_always_of_one_sign():
    seeds = [fastnn.Generator().manual_seed(s) for s in range(20)]
    first = [init.orthogonal_(fastnn.empty(4, 4), generator=g)[0, 0].item() for g in seeds]
    assert min(first) < 0 < max(first)


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gain(torch, name):
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.5) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.5))


@pytest.mark.parametrize("act, error, words", [
    (lambda: init.calculate_gain("swish"), ValueError, "Unsupported nonlinearity swish"),
    (lambda: init.calculate_gain("leaky_relu", True), ValueError, "not a valid number"),
    (lambda: init.xavier_uniform_(fastnn.zeros(3)), ValueError, "fewer than 2 dimensions"),
    (lambda: init.kaiming_normal_(fastnn.zeros(3, 3), mode="fan"), ValueError, "Mode fan not supported"),
    (lambda: init.eye_(fastnn.zeros(3)), ValueError, "2 dimensions"),
    (lambda: init.orthogonal_(fastnn.zeros(3)), ValueError, "2 or more dimensions"),
])
def test_refusals(act, error, words):
    with pytest.raises(error, match=words):
        act()


def test_empty_warns():
    with pytest.warns(UserWarning, match="no-op"):
        init.kaiming_uniform_(fastnn.zeros(0, 3))
