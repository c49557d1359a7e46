"""Optimizers by name, and their steps under given gradients."""
import numpy as np
import pytest

import fastnn

SHAPES = ((), (1,), (5,), (3, 4), (0, 2), (17, 16), (2, 3, 3, 2), (4099,))
STEPS = 20
KINDS = {"sgd": lambda m, p, **o: m.SGD(p, 0.1, **o), "momentum": lambda m, p, **o: m.SGD(p, 0.1, momentum=0.9, dampening=0.2, **o),
         "adam": lambda m, p, **o: m.Adam(p, 0.1, **o), "amsgrad": lambda m, p, **o: m.AdamW(p, 0.1, amsgrad=True, **o),
         "rmsprop": lambda m, p, **o: m.RMSprop(p, 0.1, **o), "centered": lambda m, p, **o: m.RMSprop(p, 0.1, momentum=0.9, centered=True, **o),
         "adagrad": lambda m, p, **o: m.Adagrad(p, 0.1, lr_decay=0.1, initial_accumulator_value=0.1, **o)}
kinds = pytest.mark.parametrize("kind", KINDS)


def values(seed=0, shapes=SHAPES):
    """Starting points, and a gradient of each for every step."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes], [[rng.standard_normal(s) for s in shapes] for _ in range(STEPS)]


def rate(k):
    return 0.1 / (1 + 0.2 * k)


def leaves(start, dtype="float32"):
    return [fastnn.tensor(np.asarray(p, dtype=dtype)).requires_grad_() for p in start]


def give(params, grads):
    for p, g in zip(params, grads):
        p.grad = None if g is None else fastnn.tensor(np.asarray(g, dtype=p.dtype.name))


def train(optimizer, params, gradients, rates=True):
    for k, grads in enumerate(gradients):
        give(params, grads)
        if rates:
            optimizer.param_groups[0]["lr"] = rate(k)
        optimizer.step()
    return params


def near(params, wants, tol):
    for p, want in zip(params, wants):
        got = p.detach().numpy().astype(np.float64)
        assert got.shape == np.shape(want)
        assert (np.abs(got - want) <= tol * (1 + np.abs(want))).all(), np.abs(got - want).max()


def fresh_pair(kind):
    start, gradients = values(5, ((3,), (2, 2)))
    params = leaves(start)
    return params, KINDS[kind](fastnn.optim, params), gradients
