"""Beside PyTorch: the same arguments and defaults; the same training from the same weights, random networks in float64, a real one in float32."""
import importlib
import inspect

import numpy as np
import pytest

import fastnn
from steps import losses_of

ACTIVATIONS = ("ReLU", "Tanh", "Sigmoid")
OPTIMIZERS = [("SGD", {}), ("SGD", {"momentum": 0.9}),
              ("SGD", {"momentum": 0.8, "dampening": 0.1, "weight_decay": 0.01}),
              ("SGD", {"momentum": 0.9, "nesterov": True}),
              ("Adam", {}), ("Adam", {"amsgrad": True, "weight_decay": 0.1}), ("AdamW", {"betas": (0.8, 0.95)}),
              ("AdamW", {"eps": 1e-6})]


class Config:
    """One random training: network, data, loss and optimizer, the same for both packages."""

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng(seed)
        self.widths = [int(n) for n in rng.integers(2, 40, rng.integers(2, 5))]
        self.activation, self.bias = rng.choice(ACTIVATIONS), bool(rng.integers(2))
        self.classes, rows = self.widths[-1], int(rng.integers(1, 40))
        self.loss = rng.choice(["cross_entropy", "soft", "nll", "mse", "multi"])
        self.options = {"reduction": str(rng.choice(["mean", "sum"]))}
        if self.loss in ("cross_entropy", "soft") and rng.integers(2):
            self.options["label_smoothing"] = 0.1
        self.weight = rng.uniform(0.5, 2, self.classes) if rng.integers(2) else None
        self.optimizer, self.settings = OPTIMIZERS[seed % len(OPTIMIZERS)]
        self.clip, self.to_none = (float(rng.uniform(0.1, 2)) if rng.integers(2) else None), bool(rng.integers(2))
        self.x = [rng.standard_normal((rows, self.widths[0])) for _ in range(8)]
        self.y = [self.target(rows) for _ in range(8)]
        shapes = [n for a, b in zip(self.widths, self.widths[1:]) for n in ([(b, a), (b,)] if self.bias else [(b, a)])]
        self.start = [rng.standard_normal(n) / np.sqrt(n[-1]) for n in shapes]

    def target(self, rows):
        if self.loss == "mse":
            return self.rng.standard_normal((rows, self.classes))
        if self.loss == "soft":
            return self.rng.dirichlet(np.ones(self.classes), rows)
        return self.rng.integers(0, self.classes, rows)

    def __repr__(self):
        return " ".join(f"{k}={v}" for k, v in vars(self).items() if k not in ("rng", "x", "y", "start"))


def train(f, c, wrap=lambda step: step):
    """(losses, norms of clipping, parameters) of a configuration with package f."""
    F, layers = f.nn.functional, []
    for a, b in zip(c.widths, c.widths[1:]):
        layers += [f.nn.Linear(a, b, bias=c.bias, dtype=f.float64), getattr(f.nn, c.activation)()]
    net = f.nn.Sequential(*layers[:-1])
    with f.no_grad():
        for p, start in zip(net.parameters(), c.start):
            p.copy_(f.from_numpy(start))
    optimizer = getattr(f.optim, c.optimizer)(net.parameters(), lr=0.05 if c.optimizer == "SGD" else 0.01, **c.settings)
    weight = None if c.weight is None else f.from_numpy(c.weight)

    def loss_of(y, t):
        if c.loss == "mse":
            return F.mse_loss(y, t, reduction=c.options["reduction"])
        if c.loss == "nll":
            return F.nll_loss(F.log_softmax(y, 1), t, weight=weight, ignore_index=0, **c.options)
        if c.loss == "multi":                # losses joined, a part of the graph detached, a term on the weights
            spread, size = (y - y.detach().mean(0)).pow(2).sum(), sum(p.abs().sum() for p in net.parameters())
            return F.cross_entropy(y, t, weight=weight, **c.options) + 0.1 * spread + 0.01 * size
        return F.cross_entropy(y, t, weight=weight, **c.options)

    def step(x, t):
        optimizer.zero_grad(set_to_none=c.to_none)
        loss = loss_of(net(x), t)
        loss.backward()
        norm = f.nn.utils.clip_grad_norm_(net.parameters(), c.clip) if c.clip else loss.detach()
        optimizer.step()
        return loss, norm
    step, seen = wrap(step), []
    for x, t in zip(c.x, c.y):
        loss, norm = step(f.from_numpy(x), f.from_numpy(t))
        seen.append([loss.item(), norm.item()])
    return np.array(seen), [p.detach().numpy() for p in net.parameters()]


@pytest.mark.parametrize("seed", range(32))
def test_random_training_as_torch(torch, seed):
    c = Config(seed)
    theirs, p_theirs = train(torch, c)
    for wrap in (lambda step: step, fastnn.capture):
        ours, p_ours = train(fastnn, c, wrap)
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12, equal_nan=True, err_msg=repr(c))
        for a, b in zip(p_ours, p_theirs):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, equal_nan=True, err_msg=repr(c))


@pytest.mark.parametrize("kind, options", [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 1e-3}),
                                           ("AdamW", {"lr": 1e-3})])
def test_digits_as_torch(torch, kind, options):
    """100 steps on real images: each loss within 1e-4 of PyTorch's."""
    data = fastnn.datasets.Digits()
    images = np.asarray(data.data, dtype=np.float32).reshape(len(data), -1) / 16
    classes = np.asarray(data.targets, dtype=np.int64)
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(n).astype(np.float32) / 8 for n in ((64, 64), (64,), (10, 64), (10,))]
    batches = [(images[rows], classes[rows]) for rows in rng.integers(0, len(images), (100, 64))]
    losses = []
    for f in (torch, fastnn):
        net = f.nn.Sequential(f.nn.Linear(64, 64), f.nn.ReLU(), f.nn.Linear(64, 10))
        net.load_state_dict({k: f.tensor(v) for k, v in zip(net.state_dict(), start)})
        losses.append(losses_of(f, net, getattr(f.optim, kind)(net.parameters(), **options), batches))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert np.mean(losses[1][-10:]) < 0.6 * losses[1][0]


def test_lenet_as_torch(torch):
    """100 steps of LeNet on real images scaled up to 28x28: each loss within 1e-4 of PyTorch's, eager and captured."""
    data = fastnn.datasets.Digits()
    images = np.asarray(data.data, dtype=np.float32).reshape(-1, 8, 8)[:640] / 16
    images = np.pad(np.kron(images, np.ones((3, 3), np.float32)), ((0, 0), (2, 2), (2, 2)))[:, None]
    classes = np.asarray(data.targets, dtype=np.int64)[:640]
    rng = np.random.default_rng(0)
    batches = [(images[rows], classes[rows]) for rows in rng.integers(0, len(images), (100, 64))]

    def lenet(f):
        return f.nn.Sequential(f.nn.Conv2d(1, 6, 5, padding=2), f.nn.ReLU(), f.nn.MaxPool2d(2), f.nn.Conv2d(6, 16, 5), f.nn.ReLU(),
                               f.nn.MaxPool2d(2), f.nn.Flatten(), f.nn.Linear(400, 120), f.nn.ReLU(), f.nn.Linear(120, 84), f.nn.ReLU(),
                               f.nn.Linear(84, 10))
    torch.manual_seed(0)
    start = {k: v.numpy() for k, v in lenet(torch).state_dict().items()}
    losses = []
    for f, wrap in ((torch, lambda step: step), (fastnn, lambda step: step), (fastnn, fastnn.capture)):
        net = lenet(f)
        net.load_state_dict({k: f.tensor(v) for k, v in start.items()})
        losses.append(losses_of(f, net, f.optim.SGD(net.parameters(), lr=0.02, momentum=0.9), batches, wrap))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[1] == losses[2] and np.mean(losses[1][-10:]) < 0.6 * losses[1][0]


@pytest.mark.parametrize("home", ["nn", "nn.functional", "nn.init", "nn.utils", "optim", "optim.lr_scheduler", "utils.data"])
def test_arguments_have_pytorchs_order_and_defaults(torch, home):
    """Of every function and class that both have. What is made anew in each library (functions, generators) is passed over."""
    def arguments(library, name):
        thing = getattr(importlib.import_module(f"{library}.{home}"), name, None)
        try:
            return {p.name: p.default for p in inspect.signature(thing.__init__ if inspect.isclass(thing) else thing).parameters.values()}
        except (TypeError, ValueError, AttributeError):         # not there, or written in C
            return {}
    compared = 0
    for name, thing in vars(importlib.import_module(f"fastnn.{home}")).items():
        ours, theirs = arguments("fastnn", name), arguments("torch", name)
        if name[0] == "_" or not callable(thing) or not theirs:
            continue
        both = [k for k in ours if k in theirs]
        assert both == [k for k in theirs if k in ours], name
        for k in both:
            if isinstance(theirs[k], (int, float, str, tuple, type(None))):
                assert ours[k] == theirs[k] and type(ours[k]) is type(theirs[k]), f"{name}({k}={ours[k]!r}), PyTorch has {theirs[k]!r}"
                compared += 1
    assert compared > 5
