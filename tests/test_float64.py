"""float64 takes the paths of float32: the same operations in the same order, the same fusions, and results that are closer to the truth."""
import numpy as np
import pytest

import fastnn
from check import machine
from fastnn import _core, nn, optim
from fastnn.models import ResNet

NETS = {  # network, shape of a batch, optimizer, an operation that only the fast path has
    "mlp": (lambda: nn.Sequential(nn.Linear(20, 300), nn.ReLU(), nn.Linear(300, 10)), (64, 20), optim.Adam, "dense_step"),
    "convolutions": (lambda: nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                                           nn.Linear(256, 10)), (16, 3, 28, 28), optim.SGD, "dense_step"),
    "resnet": (lambda: ResNet(8), (2, 3, 32, 32), lambda p: optim.SGD(p, 0.1, momentum=0.9), "winograd_fwd"),
    "depthwise": (lambda: nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 1), nn.MaxPool2d(2),
                                        nn.Flatten(), nn.Linear(32 * 16, 10)), (4, 16, 8, 8), optim.AdamW, "dense_step"),
    "norms": (lambda: nn.Sequential(nn.Linear(24, 24), nn.LayerNorm(24), nn.GELU(), nn.RMSNorm(24), nn.Linear(24, 10)), (9, 24), optim.RMSprop, "dense_step"),
    "attention": (lambda: nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), nn.Flatten(), nn.Linear(80, 10)), (3, 5, 16),
                  optim.Adagrad, "attention_fwd")}


def trained(name, dtype):
    """(loss of each step, the program's operations and their types) of some captured steps."""
    make, shape, optimizer, _ = NETS[name]
    rng, dtype = np.random.default_rng(0), getattr(fastnn, dtype)
    fastnn.manual_seed(0)
    net, loss = make().to(dtype), nn.CrossEntropyLoss()
    optimizer = optimizer(net.parameters())
    x, y = fastnn.tensor(rng.standard_normal(shape), dtype=dtype), fastnn.tensor(rng.integers(0, 10, shape[0]))

    @fastnn.capture
    def step(x, y):
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value
    losses = [step(x, y).item() for _ in range(4)]
    assert step.replays
    return losses, step.operations()[-1]


@pytest.mark.parametrize("name", NETS)
def test_the_same_operations(name):
    for isa in _core.isas():
        with machine(isa):
            (single, ops), (double, wide) = (trained(name, dtype) for dtype in ("float32", "float64"))
            assert [op for op, _ in ops] == [op for op, _ in wide] and NETS[name][3] in dict(ops), (isa, ops, wide)
            assert [kind for _, kind in wide] == [{"float32": "float64"}.get(kind, kind) for _, kind in ops]
            np.testing.assert_allclose(single, double, rtol=2e-3)
