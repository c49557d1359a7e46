"""ResNet: its shapes, and beside the same network written in PyTorch."""
import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.models import ResNet, resnet20
from fastnn.models.resnet import BasicBlock
from steps import losses_of


# ---- shapes and options ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("depth, count", [(8, 1), (20, 3), (32, 5)])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_layers(depth, count, shortcut):
    net = ResNet(depth, shortcut, num_classes=7)
    stages = [net.layer1, net.layer2, net.layer3]
    assert [len(stage) for stage in stages] == [count] * 3 and [stage[-1].conv2.out_channels for stage in stages] == [16, 32, 64]
    assert [stage[0].conv1.stride for stage in stages] == [(1, 1), (2, 2), (2, 2)]
    main = [m for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and "downsample" not in n]
    assert len(main) == depth and all(m.bias is None for m in main[:-1])
    assert [n for n, _ in net.named_modules() if n.endswith("downsample.0")] == (["layer2.0.downsample.0", "layer3.0.downsample.0"]
                                                                                 if shortcut == "B" else [])
    assert net(fastnn.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("shape, options", [((2, 1, 28, 28), dict(in_channels=1)), ((2, 3, 9, 13), {}), ((1, 3, 32, 32), dict(width=8))])
def test_images_of_any_size(shape, options):
    for shortcut in "AB":
        assert ResNet(8, shortcut, **options).eval()(fastnn.rand(*shape)).shape == (shape[0], 10)


def test_sizes_of_the_source():
    """Table 6 of the paper: 0.27, 0.46, 0.66, 0.85 and 1.7 million parameters."""
    for depth, millions in ((20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)):
        assert abs(sum(p.numel() for p in ResNet(depth).parameters()) / 1e6 - millions) < 0.031
    assert sum(p.numel() for p in resnet20().parameters()) == 269722


@pytest.mark.parametrize("options, words", [
    (dict(depth=18), "6n . 2 .* got 18"), (dict(depth=2), "got 2"), (dict(depth=20.0), "got 20.0"), (dict(depth=True), "got True"),
    (dict(shortcut="C"), "one of A, B, got 'C'")])
def test_refusals(options, words):
    with pytest.raises(ValueError, match=words):
        ResNet(**options)


def test_the_shortcut_without_parameters():
    """Every second pixel, then channels of zeros: what is left of a block whose convolutions give nothing."""
    block = BasicBlock(4, 6, 2)
    nn.init.zeros_(block.bn2.weight)
    x = fastnn.rand(2, 4, 5, 6)
    want = np.zeros((2, 6, 3, 3), np.float32)
    want[:, :4] = x.numpy()[:, :, ::2, ::2]
    assert np.array_equal(block(x).detach().numpy(), want)
    assert [n for n, _ in block.named_parameters() if "downsample" in n] == []


# ---- beside PyTorch ----------------------------------------------------------------------------------------------------------------

def peer(torch, n, shortcut, width):
    """The same network, written plainly."""
    t, F = torch.nn, torch.nn.functional

    class Block(t.Module):
        def __init__(self, c, k, s):
            super().__init__()
            self.conv1, self.bn1 = t.Conv2d(c, k, 3, s, 1, bias=False), t.BatchNorm2d(k)
            self.conv2, self.bn2 = t.Conv2d(k, k, 3, 1, 1, bias=False), t.BatchNorm2d(k)
            self.stride, self.more = s, k - c
            if shortcut == "B" and (s, c) != (1, k):
                self.downsample = t.Sequential(t.Conv2d(c, k, 1, s, bias=False), t.BatchNorm2d(k))

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            side = self.downsample(x) if hasattr(self, "downsample") else F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.more))
            return F.relu(y + side)

    class Net(t.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = t.Conv2d(3, width, 3, 1, 1, bias=False), t.BatchNorm2d(width)
            c = width
            for stage in range(3):
                k = width << stage
                blocks = [Block(c if i == 0 else k, k, 2 if stage and i == 0 else 1) for i in range(n)]
                c = k
                setattr(self, f"layer{stage + 1}", t.Sequential(*blocks))
            self.fc = t.Linear(c, 10)

        def forward(self, x):
            x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
            return self.fc(x.mean((2, 3)))
    return Net()


def pair(torch, depth, shortcut, kind, width=16):
    """Both networks with the same state."""
    fastnn.manual_seed(1)
    ours = ResNet(depth, shortcut, width=width).to(getattr(fastnn, kind))
    theirs = peer(torch, depth // 6, shortcut, width).to(getattr(torch, kind))
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in state.items()})
    return ours, theirs


def batches(count, n, kind, size=32, seed=3):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((n, 3, size, size)).astype(kind), rng.integers(0, 10, n)) for _ in range(count)]


@pytest.mark.parametrize("depth, size", [(8, 17), (20, 16)])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_loss_and_all_gradients_as_torch(torch, depth, size, shortcut):
    """In double precision, so that nothing hides behind rounding; then evaluation with the statistics that training left."""
    ours, theirs = pair(torch, depth, shortcut, "float64")
    (x, y), = batches(1, 6, "float64", size)
    a, b = ours(fastnn.from_numpy(x)), theirs(torch.from_numpy(x))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11)
    a, b = nn.CrossEntropyLoss()(a, fastnn.from_numpy(y)), torch.nn.CrossEntropyLoss()(b, torch.from_numpy(y))
    assert abs(a.item() - b.item()) < 1e-11
    a.backward(), b.backward()
    grads = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), grads[name].grad.numpy(), rtol=1e-7, atol=1e-10, err_msg=name)
    for (name, p), q in zip(ours.named_buffers(), theirs.buffers()):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
    with fastnn.no_grad(), torch.no_grad():
        a, b = ours.eval()(fastnn.from_numpy(x)), theirs.eval()(torch.from_numpy(x))
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind, steps, rtol", [("float64", 10, 1e-9), ("float32", 2, 1e-5)])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_captured_steps_as_torch(torch, shortcut, kind, steps, rtol):
    """SGD with momentum and weight decay, ten steps beside PyTorch at float64; captured has the bits of eager.

    At float32 two by two, each time from the beginning: a rounding may turn a ReLU over, and what follows from that grows threefold a step.
    """
    data = batches(10, 8, kind, seed=12)

    def train(f, net, data, kind=kind, wrap=lambda step: step):
        """The loss of each step, and the parameters after them."""
        optimizer = f.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        losses = losses_of(f, net, optimizer, [(x.astype(kind), y) for x, y in data], wrap)
        return losses, [p.detach().numpy().tobytes() for p in net.parameters()]
    eager, captured = (train(fastnn, pair(torch, 8, shortcut, kind)[0], data, wrap=wrap) for wrap in (lambda step: step, fastnn.capture))
    assert eager == captured
    for first in range(0, 10, steps):
        (ours, theirs), some = pair(torch, 8, shortcut, kind), data[first:first + steps]
        exact = train(torch, theirs.double(), some, "float64")[0]
        np.testing.assert_allclose(train(fastnn, ours, some, wrap=fastnn.capture)[0], exact, rtol=rtol)


def test_learns():
    fastnn.manual_seed(0)
    x, y = fastnn.rand(12, 3, 8, 8).numpy(), np.arange(12) % 3
    model = ResNet(8, num_classes=3, width=8)
    assert losses_of(fastnn, model, fastnn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), [(x, y)] * 30, fastnn.capture)[-1] < 0.1
