"""Small trainings, run eagerly and captured: eager is the oracle, bit for bit."""
import numpy as np

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F


def bits(t):
    return t.detach().numpy().tobytes()


def data(n=6, rows=16, seed=0, features=12, classes=5):
    rng = np.random.default_rng(seed)
    return [(fastnn.tensor(rng.standard_normal((rows, features)).astype(np.float32)),
             fastnn.tensor(rng.integers(0, classes, rows))) for _ in range(n)]


def net(seed=1, dropout=0.0):
    fastnn.manual_seed(seed)
    layers = [nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5)]
    if dropout:
        layers.insert(2, nn.Dropout(dropout))
    return nn.Sequential(*layers)


def trainer(optimizer=lambda p: optim.SGD(p, 0.1, momentum=0.9), dropout=0.0, clip=None, model=None):
    """A function that makes (model, step(x, y), optimizer) anew, the same each time."""
    def make():
        m = model() if model else net(dropout=dropout)
        opt = optimizer(m.parameters())

        def step(x, y):
            opt.zero_grad()
            loss = F.cross_entropy(m(x), y)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(m.parameters(), clip)
            opt.step()
            return loss
        return m, step, opt
    return make


def losses_of(f, net, optimizer, batches, wrap=lambda step: step):
    """The loss of each step of a classifier of library f, by cross-entropy."""
    criterion = f.nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        return loss
    step = wrap(step)
    return [step(f.tensor(x), f.tensor(y)).item() for x, y in batches]


def run(make, calls, wrap=lambda step: step):
    """(bits of the losses, parameters and gradients of a training, the step as wrapped); calls(model, optimizer) yields the
    arguments of each step, and may change things between them."""
    model, step, extra = make()
    step = wrap(step)
    losses = [bits(step(*args)) for args in calls(model, extra)]
    grads = [None if p.grad is None else bits(p.grad) for p in model.parameters()]
    return (losses, [bits(p) for p in model.parameters()], grads), step


def both(make_step, calls, **options):
    """Run the same training eagerly and captured: all must agree. Returns the captured function."""
    eager, _ = run(make_step, calls)
    captured, step = run(make_step, calls, lambda f: fastnn.capture(f, **options))
    for what, a, b in zip(("losses", "parameters", "gradients"), eager, captured):
        assert a == b, f"{what} of the captured training differ"
    return step
