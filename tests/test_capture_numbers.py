"""What moves between the replays of a captured step: numbers of optimizers, schedules, indices. Each test also shows that
a training in which it stood still would differ, so that a value baked into the program cannot pass."""
import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F
from fastnn.optim import lr_scheduler as schedules
from steps import bits, both, data, run, trainer

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "dampening": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.3),
    "adam": lambda p: optim.Adam(p, 1e-2),
    "amsgrad": lambda p: optim.Adam(p, 1e-2, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, 1e-2, weight_decay=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, 1e-2),
    "rmsprop momentum": lambda p: optim.RMSprop(p, 1e-2, alpha=0.9, momentum=0.9, weight_decay=1e-3),
    "rmsprop centered": lambda p: optim.RMSprop(p, 1e-2, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, 0.1),
    "adagrad decay": lambda p: optim.Adagrad(p, 0.1, lr_decay=0.5, weight_decay=1e-3, initial_accumulator_value=0.1),
}
MOVED = [("sgd", "lr", 0.01), ("sgd", "maximize", True), ("nesterov", "momentum", 0.5), ("nesterov", "nesterov", False),
         ("nesterov", "weight_decay", 0.1), ("dampening", "dampening", 0.0),
         ("adam", "lr", 1e-3), ("adam", "betas", (0.5, 0.9)), ("adam", "eps", 0.1), ("adam", "weight_decay", 0.1),
         ("amsgrad", "amsgrad", False), ("adamw", "weight_decay", 0.5),
         ("rmsprop", "lr", 1e-3), ("rmsprop", "alpha", 0.5), ("rmsprop", "eps", 0.1), ("rmsprop", "weight_decay", 0.1),
         ("rmsprop", "maximize", True), ("rmsprop momentum", "momentum", 0.3), ("rmsprop centered", "centered", False),
         ("adagrad", "lr", 0.01), ("adagrad", "eps", 0.1), ("adagrad", "weight_decay", 0.1), ("adagrad", "maximize", True),
         ("adagrad decay", "lr_decay", 2.0)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers_from_the_first_step(optimizer):
    f = both(trainer(optimizer), lambda m, o: data(8))
    assert f.info()["replays"] >= 4 and f.info()["programs"] == 1


@pytest.mark.parametrize("optimizer, number, value", MOVED, ids=[f"{o}-{n}" for o, n, _ in MOVED])
def test_each_number_of_an_optimizer_moves(optimizer, number, value):
    def calls(model, opt):
        for i, args in enumerate(data(9)):
            if i == 5:
                opt.param_groups[0][number] = value
            yield args
    make = trainer(OPTIMIZERS[optimizer])
    f = both(make, calls)
    assert f.info()["replays"] >= 6
    assert run(make, calls)[0] != run(make, lambda m, o: data(9))[0], "the number does not matter"


SCHEDULES = {
    "step": lambda o: schedules.StepLR(o, 2, 0.5),
    "multi step": lambda o: schedules.MultiStepLR(o, [3, 5], 0.1),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.7),
    "linear": lambda o: schedules.LinearLR(o, 0.1, total_iters=6),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 8),
    "lambda": lambda o: schedules.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.2, total_steps=12),                  # moves the momentum too
    "sequential": lambda o: schedules.SequentialLR(o, [schedules.ExponentialLR(o, 0.5), schedules.StepLR(o, 1, 0.8)], [4]),
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, factor=0.5, patience=0),
}


@pytest.mark.parametrize("schedule, optimizer", [
    (s, o) for s in SCHEDULES for o in ("nesterov", "adam", "rmsprop momentum", "adagrad decay")
    if (s, o) != ("one cycle", "adagrad decay")])             # which has no momentum to cycle
def test_schedules_step_between_replays(schedule, optimizer):
    seen = []

    def calls(model, opt):
        s = SCHEDULES[schedule](opt)
        for i, args in enumerate(data(9)):
            seen.append(opt.param_groups[0]["lr"])
            yield args
            s.step(*[float(i)] * isinstance(s, schedules.ReduceLROnPlateau))
    make = trainer(OPTIMIZERS[optimizer])
    f = both(make, calls)
    assert f.info()["replays"] >= 6 and f.info()["programs"] == 1
    assert seen[:9] == seen[9:] and len(set(seen[3:9])) > 1

    def stopped(model, opt):                                # as a program would that had kept what it recorded
        for i, args in enumerate(calls(model, opt)):
            if i > 1:
                opt.param_groups[0]["lr"] = seen[1]
            yield args
    assert run(make, calls)[0] != run(make, stopped)[0], "the schedule does not matter"


@pytest.mark.parametrize("step", ["StepLR", "ReduceLROnPlateau"])
def test_a_schedule_inside_the_step_is_refused(step):
    model, train, opt = trainer()()
    s = getattr(schedules, step)(opt, *[2] * (step == "StepLR"))

    def both_steps(x, y):
        loss = train(x, y)
        s.step(*[1.0] * (step != "StepLR"))
        return loss
    with pytest.raises(fastnn.CaptureError, match=f"{step}.step"):
        fastnn.capture(both_steps)(*data(1)[0])


def worded(padding=None):
    def model():
        fastnn.manual_seed(1)
        return nn.Sequential(nn.Embedding(9, 6, padding_idx=padding), nn.Flatten(), nn.Linear(12, 5))
    return model


def sentences(n=8, rows=16, dtype=fastnn.int64):
    """Words from ever other corners of the table, so that no two steps touch the same rows."""
    rng = np.random.default_rng(3)
    return [(fastnn.tensor(rng.integers(i % 3, i % 3 + 7, (rows, 2))).to(dtype), fastnn.tensor(rng.integers(0, 5, rows)))
            for i in range(n)]


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("dtype", [fastnn.int64, fastnn.int32], ids=lambda d: d.name)
@pytest.mark.parametrize("optimizer", ["nesterov", "adam", "adagrad"])
def test_indices_of_an_embedding_change(optimizer, dtype, padding):
    make = trainer(OPTIMIZERS[optimizer], model=worded(padding))
    words = sentences(dtype=dtype)
    f = both(make, lambda m, o: words)
    assert f.info()["replays"] >= 5 and f.info()["programs"] == 1
    assert run(make, lambda m, o: words)[0] != run(make, lambda m, o: [(words[1][0], y) for _, y in words])[0]


def test_indices_changed_in_place_between_replays():
    """Indices that the step finds outside, and that are written where they lie."""
    def make():
        model, step, _ = trainer(model=worded(0))()
        held = fastnn.zeros(16, 2).long()
        return model, lambda y: step(held, y), held

    def calls(model, held):
        for words, y in sentences():
            held.copy_(words)
            yield (y,)
    f = both(make, calls)
    assert f.info()["replays"] >= 5


def test_rows_that_a_replay_does_not_name_have_no_gradient():
    w = nn.Parameter(fastnn.ones(6, 2))

    def step(words):
        w.grad = None
        F.embedding(words, w).sum().backward()
    f = fastnn.capture(step)
    for words in ([0, 0, 1], [1, 2, 2], [3, 3, 3], [5, 4, 5], [0, 1, 2], [4, 4, 4]):
        f(fastnn.tensor(words))
        assert w.grad[:, 0].tolist() == np.bincount(words, minlength=6).tolist()
    assert f.info()["replays"] >= 3 and bits(w) == bits(fastnn.ones(6, 2))
