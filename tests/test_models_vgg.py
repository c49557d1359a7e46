"""VGG."""
import pytest

import fastnn
from fastnn import nn
from fastnn.models import VGG
from fastnn.models.vgg import CONFIGURATIONS


@pytest.mark.parametrize("cfg, size, left", [([4, "M", 8, 8, "M"], 32, 8 * 64), ([4, "M"], (6, 9), 4 * 3 * 4), ([5], 1, 5), (("M", 3), 2, 3)])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_shapes(cfg, size, left, batch_norm):
    shape = (size, size) if isinstance(size, int) else size
    model = VGG(cfg, batch_norm, in_channels=2, num_classes=7, image_size=size)
    assert model(fastnn.rand(3, 2, *shape)).shape == (3, 7) and model.classifier[-1].in_features == left
    convs = [m for m in model.features if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [c for c in cfg if c != "M"]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.features) == batch_norm * len(convs)
    assert all((m.bias is None) == batch_norm for m in convs)


@pytest.mark.parametrize("name, layers", [("vgg11", 8), ("vgg13", 10), ("vgg16", 13), ("vgg19", 16)])
def test_configurations(name, layers):
    cfg = CONFIGURATIONS[name]
    assert len(cfg) - 5 == layers and cfg.count("M") == 5 and [c for c in cfg if c != "M"] == sorted(c for c in cfg if c != "M")


def test_start_values():
    fastnn.manual_seed(0)
    model = VGG([64, 64], batch_norm=False)
    deviation = model.features[2].weight.std().item()
    assert abs(deviation - (2 / (64 * 9)) ** 0.5) < 2e-3 and model.features[2].bias.abs().max().item() == 0


@pytest.mark.parametrize("cfg, options, words", [
    ("vgg12", {}, "one of vgg11, vgg13, vgg16, vgg19, got 'vgg12'"), ([4, "A"], {}, "got 'A'"), ([0], {}, "got 0"), ([4.0], {}, "got 4.0"),
    ([4, "M", "M"], dict(image_size=3), "2 poolings leave nothing of an image of 3x3")])
def test_refusals(cfg, options, words):
    with pytest.raises(ValueError, match=words):
        VGG(cfg, **options)


def test_learns():
    fastnn.manual_seed(0)
    x, y = fastnn.rand(12, 3, 8, 8), fastnn.arange(12) % 3
    model, loss = VGG([8, "M", 16, "M"], num_classes=3, image_size=8, dropout=0.1), nn.CrossEntropyLoss()
    optimizer = fastnn.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
    assert value.item() < 0.1 and "classifier.1.p" not in model.state_dict()
    assert all(p.grad.abs().sum().item() > 0 for p in model.parameters())
