"""LeNet."""
import math

import pytest

import fastnn
from fastnn import nn
from fastnn.models import LeNet


@pytest.mark.parametrize("size, first", [(4, 64), (8, 256), (15, 576), (16, 64), (28, 400), (31, 400), (32, 400), (64, 2704), ((28, 8), 896), ((40, 32), 560)])
@pytest.mark.parametrize("channels", [1, 3])
def test_sized_to_its_images(size, first, channels):
    shape = (size, size) if isinstance(size, int) else size
    model = LeNet(channels, 7, size)
    assert model(fastnn.rand(2, channels, *shape)).shape == (2, 7)
    assert [m.in_features for m in model if isinstance(m, nn.Linear)] == [first, 120, 84]


def test_the_classic_one():
    kinds = ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    model = LeNet()
    assert [type(m).__name__ for m in model] == kinds
    assert [tuple(p.shape) for p in model.parameters()] == [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)]
    assert sum(math.prod(p.shape) for p in model.parameters()) == 61706
    assert model[0].padding in (2, (2, 2)) and LeNet(image_size=32)[0].padding in (0, (0, 0))


@pytest.mark.parametrize("size, words", [(3, "4x4 at least, got 3x3"), ((28, 2), "got 28x2"), (0, "got 0x0")])
def test_refusals(size, words):
    with pytest.raises(ValueError, match=words):
        LeNet(image_size=size)


def test_learns():
    fastnn.manual_seed(0)
    x, y = fastnn.rand(16, 1, 8, 8), fastnn.arange(16) % 4
    model, loss = LeNet(1, 4, 8), nn.CrossEntropyLoss()
    optimizer = fastnn.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
    assert value.item() < 0.05 and all(p.grad.abs().sum().item() > 0 for p in model.parameters())
