"""What Sequential joins has the bits of the modules one after another, which a hook that does nothing brings back."""
import numpy as np
import pytest

import fastnn
from fastnn import _core, nn

NETS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 8, 20), nn.ReLU(), nn.Linear(20, 5), nn.ReLU(inplace=True)),
    "conv": lambda: nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 20, 2, stride=2, bias=False), nn.ReLU()),
    "conv3x3": lambda: nn.Sequential(nn.Conv2d(3, 32, 3, padding=5), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=3), nn.ReLU()),
    "batch norm": lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(6 * 7 * 6), nn.ReLU()),
    "pool": lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "pool with padding": lambda: nn.Sequential(nn.Conv2d(3, 17, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)),
    "dilated pool": lambda: nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1, dilation=3)),
}


def joined(monkeypatch):
    """The names of what runs joined, noted as it runs."""
    seen = []
    for kind in (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d):
        def note(self, x, kind=kind, forward=kind.forward_relu):
            seen.append(kind.__name__)
            return forward(self, x)
        monkeypatch.setattr(kind, "forward_relu", note)
    return seen


def trained(net, x, captured):
    optimizer = fastnn.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        y = net(x)
        (y * y).sum().backward()
        optimizer.step()
        return y
    run = fastnn.capture(step) if captured else step
    return [run(x).detach().numpy().tobytes() for _ in range(4)] + [v.numpy().tobytes() for v in net.state_dict().values()]


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("name", NETS)
def test_same_bits(name, captured, isa):
    before = _core.get_isa()
    _core.set_isa(isa)
    try:
        results = []
        for hooked in (False, True):
            fastnn.manual_seed(0)
            net, x = NETS[name](), fastnn.randn(4, 3, 9, 8)
            with fastnn.no_grad():
                net[0 if name != "linear" else 1].weight[0].fill_(0)     # zeros and, with FTZ, signs of zero
            for module in net if hooked else ():
                module.register_forward_hook(lambda *_: None)
            results.append(trained(net, x, captured))
    finally:
        _core.set_isa(before)
    assert results[0] == results[1]


def test_zeros_have_no_sign_and_nan_stays():
    x = fastnn.tensor(np.array([[[[-0.0, -1.0], [-2.0, -0.0]], [[np.nan, -1.0], [1.0, 2.0]]]], np.float32))
    net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.MaxPool2d(2))
    with fastnn.no_grad():
        net[0].weight.copy_(fastnn.eye(2).reshape(2, 2, 1, 1))
        y = net(fastnn.where(x.isnan(), fastnn.zeros_like(x), x))
        assert y.flatten().tolist() == [0, 2] and not np.signbit(y.numpy()).any()
        assert np.isnan(net(x).numpy()).all()


def test_what_is_joined_and_what_is_not(monkeypatch):
    seen = joined(monkeypatch)
    x = fastnn.randn(2, 3, 9, 8)
    NETS["conv"]()(x), NETS["batch norm"]()(x), NETS["linear"]()(x), NETS["pool"]()(x)
    assert seen == ["Conv2d", "Conv2d", "BatchNorm2d", "BatchNorm1d", "Linear", "Linear"]

    class Loud(nn.ReLU):
        def forward(self, x):
            return super().forward(x) + 1
    net = nn.Sequential(nn.Linear(8, 2), Loud())
    assert (net(x) >= 1).all() and len(seen) == 6
    net = nn.Sequential(nn.Linear(8, 2), nn.ReLU())
    net[1].forward = lambda x: x * 0 + 7
    assert (net(x) == 7).all() and len(seen) == 6
    net = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2))
    y = x.clone()
    net(y)
    assert (y >= 0).all(), "a ReLU that begins works on the caller's tensor"


def test_training_flags_guard_a_captured_step():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
    step, x = fastnn.capture(lambda x: net(x)), fastnn.randn(6, 4)
    for _ in range(3):
        train = step(x).numpy()
    net[1].eval()
    quiet = net(x).detach().numpy()
    assert np.array_equal(step(x).numpy(), quiet) and not np.array_equal(train, quiet)
