"""fastnn/_fusion_loss.pxi: a loss makes its gradient at once, with eager's bits; traps are left as they were."""
import numpy as np
import pytest

import fastnn
from check import machine
from fastnn.nn import functional as F


def bits(t):
    return None if t is None else t.detach().numpy().tobytes()


def same(step, *leaves, joined, steps=4):
    """Eager's bits from captured steps, of whose losses so many make their gradient at once. step(leaves) gives what it returns."""
    def run(f):
        out = []
        for _ in range(steps):
            for x in leaves:
                x.grad = None
            y = f()
            out.append([*map(bits, y), *[bits(x.grad) for x in leaves], *map(bits, leaves)])
        return out
    start = [x.detach().clone() for x in leaves]
    eager = run(lambda: step(*leaves))
    for x, s in zip(leaves, start):
        with fastnn.no_grad():
            x.copy_(s)
    f = fastnn.capture(lambda: step(*leaves))
    captured = run(f)
    for i, (a, b) in enumerate(zip(eager, captured)):
        assert a == b, f"step {i}"
    assert f.info()["replays"] >= 1 and not f.info()["eager"]
    ops = [name for name, _ in f.operations()[-1]]
    assert sum(o.endswith("with gradient") for o in ops) == joined, ops
    assert joined or any(o.endswith("_bwd") for o in ops)
    return ops


def step_of(f, target, **options):
    """A step that takes a loss and its gradient."""
    def step(x):
        loss = f(x, target, **options)
        loss.backward()
        return [loss]
    return step


def rng(seed=0):
    return np.random.default_rng(seed)


def logits(*shape, dtype=fastnn.float32):
    return fastnn.tensor(rng().normal(0, 3, shape), dtype=dtype, requires_grad=True)


def classes(shape, ignored=True):
    t = rng(1).integers(0, shape[1], (shape[0], *shape[2:]))
    t[rng(2).random(t.shape) < 0.2 * ignored] = -100
    return fastnn.tensor(t)


# few items and classes, turned; one part; several; columns of images, with more classes than a tile
SHAPES = [(5, 3), (32, 4), (40, 1000), (2500, 10), (2, 140, 9), (2, 5, 40, 100)]


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy(shape, threads, isa):
    dtype = fastnn.float64 if threads == 2 else fastnn.float32
    x, t, w = logits(*shape, dtype=dtype), classes(shape), fastnn.tensor(rng(3).uniform(0.1, 2, shape[1]), dtype=dtype)
    soft = fastnn.tensor(rng(4).random(shape), dtype=dtype)
    with machine(isa, threads=threads):
        for options in ({}, {"weight": w}, {"label_smoothing": 0.1}, {"label_smoothing": 0.1, "weight": w, "reduction": "sum"}):
            ops = same(step_of(F.cross_entropy, t, **options), x, joined=1)
            assert ops == ["cross_entropy_fwd with gradient"], "neither filled nor kept"
        same(step_of(F.cross_entropy, soft, weight=w), x, joined=1)
        same(step_of(F.cross_entropy, soft, reduction="sum"), x, joined=1)


def test_classes_out_of_range():
    x, t = logits(40, 300), classes((40, 300))

    @fastnn.capture
    def step(t):
        x.grad = None
        loss = F.cross_entropy(x, t)
        loss.backward()
        return loss
    for _ in range(3):
        step(t)
    assert step.operations()[-1][0][0] == "cross_entropy_fwd with gradient"
    t[3] = 300
    with pytest.raises(IndexError, match="out of bounds"):
        step(t)


PAIRS = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.smooth_l1_loss, "logits": F.binary_cross_entropy_with_logits,
         "bce": lambda x, t, **o: F.binary_cross_entropy(x.sigmoid(), t, **o), "kl_div": lambda x, t, **o: F.kl_div(x, t, **o),
         "kl_div_log": lambda x, t, **o: F.kl_div(x, t, log_target=True, **o),
         "gaussian": lambda x, t, **o: F.gaussian_nll_loss(x, t, t + 0.5, **o)}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_single_elements(name, threads, isa):
    for n in (3, 100, 30_011):
        for dtype in (fastnn.float32, fastnn.float64):
            x, t = logits(n, dtype=dtype), fastnn.tensor(rng(1).random(n), dtype=dtype)
            for reduction in ("sum",) if name.startswith("kl") else ("mean", "sum"):       # kl_div's mean is a division of its own
                with machine(isa, threads=threads):
                    same(step_of(PAIRS[name], t, reduction=reduction), x, joined=1)


def test_every_gradient():
    """Of the target and the variance too; of items without reduction; from another gradient than 1."""
    x, t, v = logits(9000), logits(9000), fastnn.tensor(rng(5).uniform(0.1, 2, 9000), dtype=fastnn.float32, requires_grad=True)
    g, quarter = fastnn.tensor(rng(6).normal(0, 1, 9000), dtype=fastnn.float32), fastnn.tensor(0.25)

    def pair(x, t):
        loss = F.mse_loss(x, t, reduction="none")
        loss.backward(g)
        return [loss]

    def gaussian(x, t, v):
        loss = F.gaussian_nll_loss(x, t, v)
        loss.backward(quarter)
        return [loss]

    def entropy(x):
        loss = F.cross_entropy(x.view(90, 100), classes_, reduction="none")
        loss.backward(g[:90])
        return [loss]
    classes_ = classes((90, 100))
    for threads in (1, 3):
        with machine(threads=threads):
            same(pair, x, t, joined=1)
            same(lambda t: pair(x.detach(), t), t, joined=1)
            same(gaussian, x, t, v, joined=1)
            same(entropy, x, joined=1)


def read_between(x, t, g):
    loss = F.cross_entropy(x, t)
    twice = loss.detach() * 2
    loss.backward(g)
    return [loss, twice]


def read_behind(x, t, g):
    loss = F.cross_entropy(x, t)
    loss.backward(g)
    return [loss, loss.detach() * 2]


def scaled(x, t, g):
    loss = F.cross_entropy(x, t) * 0.5
    loss.backward(g)
    return [loss]


def summed(x, t, g):
    loss = F.cross_entropy(x, t) + F.mse_loss(x, x.detach() * 0.5)
    loss.backward(g)
    return [loss]


def one_after_another(x, t, g):
    first = F.cross_entropy(x, t)
    first.backward(g)
    second = F.mse_loss(x, x.detach() * 0.5)
    second.backward(g)
    return [first, second]


def logits_written(x, t, g):
    """In place, when the probabilities have been taken."""
    y = x * 2
    loss = F.cross_entropy(y, t)
    y.detach().mul_(3)
    loss.backward(g)
    return [loss, y]


def leaf_written(x, t, g):
    loss = F.cross_entropy(x, t)
    x.detach().mul_(0.5)
    loss.backward(g)
    return [loss]


def kept(x, t, g):
    loss = F.cross_entropy(x, t)
    loss.backward(g, retain_graph=True)
    loss.backward(g)
    return [loss]


def of_one_input(x, t, g):
    """Two losses that read the same."""
    first, second = F.mse_loss(x, t * 0.5), F.mse_loss(x, t * 0.5)
    second.backward(g)
    first.backward(g)
    return [first, second]


# how many losses make their gradient at once, where the gradient of the loss is 1, and where it is another
TRAPS = {read_between: (1, 0), read_behind: (1, 1), scaled: (0, 0), summed: (2, 0), one_after_another: (2, 2), logits_written: (1, 0),
         leaf_written: (1, 0), kept: (0, 0), of_one_input: (2, 2)}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("step", TRAPS, ids=lambda f: f.__name__)
def test_traps(step, threads):
    t, g = classes((70, 200)), fastnn.tensor(3.0)
    target = fastnn.tensor(rng(4).random((70, 200)), dtype=fastnn.float32) if step is of_one_input else t
    with machine(threads=threads):
        same(lambda x: step(x, target, None), logits(70, 200), joined=TRAPS[step][0])
        same(lambda x: step(x, target, g), logits(70, 200), joined=TRAPS[step][1])
