"""fastnn.optim.lr_scheduler against PyTorch's numbers over 100 epochs; alone, chained, saved, and changing captured steps."""
import copy
import pickle

import numpy as np
import pytest

import fastnn
from check import same_bits
from fastnn import CaptureError
from fastnn.optim import SGD, Adam, lr_scheduler

EPOCHS = 100
pytestmark = pytest.mark.filterwarnings("ignore:Detected call")


class Wave:
    """A factor with a state of its own."""

    def __init__(self, size):
        self.size = size

    def __call__(self, epoch):
        return 1 + self.size * (epoch % 7)


def sequence(s, o):
    parts = [s.LinearLR(o, 0.1, total_iters=8), s.CosineAnnealingLR(o, 20, 1e-4), s.StepLR(o, 5, 0.5), s.LambdaLR(o, lambda e: 0.9 ** e)]
    return s.SequentialLR(o, parts, [10, 40, 60])


SCHEDULES = {
    "step": lambda s, o: s.StepLR(o, 7, 0.3), "step1": lambda s, o: s.StepLR(o, 1), "multistep": lambda s, o: s.MultiStepLR(o, [30, 5, 5, 80], 0.2),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.95), "cosine": lambda s, o: s.CosineAnnealingLR(o, 40),
    "cosine odd": lambda s, o: s.CosineAnnealingLR(o, 7, 0.01),
    "cosine 1": lambda s, o: s.CosineAnnealingLR(o, 1, 0.01), "linear": lambda s, o: s.LinearLR(o), "linear down": lambda s, o: s.LinearLR(o, 1.0, 0.0, 60),
    "lambda": lambda s, o: s.LambdaLR(o, lambda e: 1 / (1 + e)), "lambdas": lambda s, o: s.LambdaLR(o, [lambda e: 0.9 ** e, Wave(0.1)]),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=EPOCHS), "one cycle linear": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.1], epochs=20, steps_per_epoch=6, pct_start=0.45, anneal_strategy="linear", base_momentum=[0.8, 0.7], div_factor=10.0),
    "three phases": lambda s, o: s.OneCycleLR(o, 0.5, 110, three_phase=True, final_div_factor=100.0),
    "one cycle, no momentum": lambda s, o: s.OneCycleLR(o, 0.5, 110, pct_start=0.0, cycle_momentum=False),
    "sequence": sequence, "sequence from 0": lambda s, o: s.SequentialLR(o, [s.LinearLR(o), s.ExponentialLR(o, 0.9)], [0]),
    "sequence of sequences": lambda s, o: s.SequentialLR(o, [sequence(s, o), s.OneCycleLR(o, 0.3, 50, cycle_momentum=False)], [70])}
schedules = pytest.mark.parametrize("name", SCHEDULES)


def optimizer(package, kind="SGD"):
    a, b = package.ones(1, requires_grad=True), package.ones(2, requires_grad=True)
    options = {"momentum": 0.9} if kind == "SGD" else {}
    return getattr(package.optim, kind)([{"params": [a]}, {"params": [b], "lr": 0.02}], lr=0.3, **options)


def numbers(optimizer):
    return [x for g in optimizer.param_groups for x in (g["lr"], *np.atleast_1d(g.get("momentum", g.get("betas"))))]


def trace(o, scheduler, epochs=EPOCHS, tampering=False):
    """What the groups have in each epoch."""
    seen = []
    for k in range(epochs):
        seen.append(numbers(o) + scheduler.get_last_lr() + [scheduler.last_epoch])
        o.step()
        if tampering and k % 11 == 5:
            o.param_groups[0]["lr"] *= 0.7
        scheduler.step()
    return seen


@schedules
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_pytorch(torch, name, kind):
    """Each number of each epoch; also where someone else changes the learning rate meanwhile."""
    for tampering in (False, True):
        seen = []
        for package in (fastnn, torch):
            o = optimizer(package, kind)
            seen.append(trace(o, SCHEDULES[name](package.optim.lr_scheduler, o), tampering=tampering))
        np.testing.assert_allclose(*seen, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("options", [{}, {"mode": "max"}, {"threshold_mode": "abs", "threshold": 0.3}, {"mode": "max", "threshold_mode": "abs"},
                                     {"patience": 0, "cooldown": 3}, {"patience": 2, "min_lr": [0.05, 0.0]}, {"min_lr": 1e-3, "eps": 0.01}], ids=str)
def test_plateau_as_pytorch(torch, options):
    metrics = np.random.default_rng(1).standard_normal(EPOCHS).cumsum() + 5
    metrics[50] = np.nan
    seen = []
    for package in (fastnn, torch):
        o = optimizer(package)
        s = package.optim.lr_scheduler.ReduceLROnPlateau(o, **{"patience": 4, "factor": 0.5, **options})
        rates = []
        for m in metrics:
            s.step(m)
            rates.append(numbers(o) + s.get_last_lr() + [s.best, s.num_bad_epochs, s.cooldown_counter, s.last_epoch])
        seen.append(rates)
    np.testing.assert_allclose(*seen, rtol=1e-12)
    assert seen[0][0][0] != seen[0][-1][0]


def test_two_schedules_multiply(torch):
    seen = []
    for package in (fastnn, torch):
        o, s = optimizer(package), package.optim.lr_scheduler
        a, b = s.LinearLR(o, 0.2, total_iters=10), s.ExponentialLR(o, 0.97)
        rates = []
        for _ in range(EPOCHS):
            o.step()
            a.step()
            b.step()
            rates.append(numbers(o))
        seen.append(rates)
    np.testing.assert_allclose(*seen, rtol=1e-12)


@schedules
def test_going_on_from_a_saved_state(torch, name, tmp_path):
    """Through state_dict and load_state_dict, a file, PyTorch's own state, a deep copy and a pickle."""
    o = optimizer(fastnn)
    s = SCHEDULES[name](lr_scheduler, o)
    trace(o, s, 33)
    theirs = optimizer(torch)
    t = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    trace(theirs, t, 33)
    assert {k for k in t.state_dict() if k != "_get_lr_called_within_step"} <= set(s.state_dict())
    fastnn.save({"o": o.state_dict(), "s": s.state_dict()}, tmp_path / "state")
    loaded = fastnn.load(tmp_path / "state")
    twins = [copy.deepcopy((o, s))]
    if "lambda" not in name and name[:8] != "sequence":         # which hold functions that pickle cannot
        twins.append(pickle.loads(pickle.dumps((o, s))))
    for a, b in ((o.state_dict(), s.state_dict()), (loaded["o"], loaded["s"]), (theirs.state_dict(), t.state_dict())):
        p = optimizer(fastnn)
        again = SCHEDULES[name](lr_scheduler, p)
        p.load_state_dict(a)
        again.load_state_dict(copy.deepcopy({k: v for k, v in b.items() if k != "optimizer"}))
        twins.append((p, again))
    want = trace(o, s, 40)
    for p, again in twins:
        assert again.optimizer is p
        np.testing.assert_allclose(trace(p, again, 40), want, rtol=1e-12)


def test_resuming_by_last_epoch(torch):
    for name in ("step", "multistep", "exponential", "cosine", "linear", "lambda", "one cycle"):
        seen = []
        for package in (fastnn, torch):
            o, s = optimizer(package), package.optim.lr_scheduler
            trace(o, SCHEDULES[name](s, o), 6)
            make = {"step": lambda: s.StepLR(o, 7, 0.3, 5), "multistep": lambda: s.MultiStepLR(o, [5, 6, 30], 0.2, 5),
                    "exponential": lambda: s.ExponentialLR(o, 0.95, 5), "cosine": lambda: s.CosineAnnealingLR(o, 40, 0, 5),
                    "linear": lambda: s.LinearLR(o, last_epoch=5), "lambda": lambda: s.LambdaLR(o, lambda e: 1 / (1 + e), 5),
                    "one cycle": lambda: s.OneCycleLR(o, 0.5, EPOCHS, last_epoch=5)}[name]
            seen.append(trace(o, make(), 50))
        np.testing.assert_allclose(*seen, rtol=1e-12, err_msg=name)


def test_step_to_an_epoch(torch):
    for name in ("step", "multistep", "exponential", "cosine", "linear", "lambda"):
        seen = []
        for package in (fastnn, torch):
            o = optimizer(package)
            s = SCHEDULES[name](package.optim.lr_scheduler, o)
            o.step()
            for epoch in (3, 40, 0, 7):
                with pytest.warns(UserWarning, match="epoch parameter"):
                    s.step(epoch)
                seen.append((name, *numbers(o)))
        half = len(seen) // 2
        np.testing.assert_allclose([r[1:] for r in seen[:half]], [r[1:] for r in seen[half:]], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", ["step", "one cycle", "cosine", "sequence"])
@pytest.mark.parametrize("kind", [SGD, Adam, fastnn.optim.RMSprop, fastnn.optim.Adagrad])
def test_captured_steps_follow(name, kind):
    """Replays read the numbers that the schedule wrote: eager's bits, without a new program."""
    runs = []
    for wrap in (lambda f: f, fastnn.capture):
        a, b = fastnn.linspace(-1, 1, 5).requires_grad_(), fastnn.linspace(1, 2, 33).requires_grad_()
        o = kind([{"params": [a]}, {"params": [b], "lr": 0.002}], lr=0.01, **({} if kind is not SGD else {"momentum": 0.5}))
        if kind is fastnn.optim.Adagrad and name == "one cycle":
            s = lr_scheduler.OneCycleLR(o, 0.5, 100, cycle_momentum=False)
        else:
            s = SCHEDULES[name](lr_scheduler, o)

        def step(x):
            o.zero_grad()
            loss = ((a * x).sum() + (b ** 2).sum()) ** 2
            loss.backward()
            o.step()
            return loss
        f, losses = wrap(step), []
        for k in range(25):
            losses.append(f(fastnn.full((5,), 0.1 * k)).detach())
            s.step()
        runs.append(losses + [a.detach(), b.detach()])
    same_bits(*runs)
    assert f.replays >= 22 and f.info()["programs"] == 1


def test_a_captured_schedule_is_refused():
    for name in ("step", "sequence"):
        o = optimizer(fastnn)
        s = SCHEDULES[name](lr_scheduler, o)
        with pytest.raises(CaptureError, match=r"LR\.step\(\)"):
            fastnn.capture(lambda: s.step())()
    plateau = lr_scheduler.ReduceLROnPlateau(o)
    with pytest.raises(CaptureError, match=r"ReduceLROnPlateau\.step\(\)"):
        fastnn.capture(lambda: plateau.step(1.0))()


def test_learning_rate_as_a_tensor():
    lr, p = fastnn.tensor(0.5), fastnn.zeros(2, requires_grad=True)
    o = SGD([p], lr)
    s = lr_scheduler.ExponentialLR(o, 0.5)
    p.grad = fastnn.ones(2)
    o.step()
    s.step()
    o.step()
    assert o.param_groups[0]["lr"] is lr and lr.item() == 0.25 and s.get_last_lr() == [0.25] and p.tolist() == [-0.75, -0.75]


def test_a_schedule_of_ones_own():
    class Halving(lr_scheduler.LRScheduler):
        def get_lr(self):
            return [base / 2 ** self.last_epoch for base in self.base_lrs]
    o = optimizer(fastnn)
    s = Halving(o)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        s.step()
    assert s.get_last_lr() == [0.15, 0.01]
    with pytest.raises(NotImplementedError, match="LRScheduler has no get_lr"):
        lr_scheduler.LRScheduler(o)


O = optimizer(fastnn)
S = lr_scheduler


@pytest.mark.parametrize("call, error, message", [
    (lambda: S.StepLR(1, 2), TypeError, "int is not an Optimizer"), (lambda: S.StepLR(optimizer(fastnn), 2, last_epoch=3), KeyError, r"param_groups\[0\]"),
    (lambda: S.LinearLR(O, 0), ValueError, "greater than 0 and less or equal to 1, got 0"),
    (lambda: S.LinearLR(O, end_factor=2), ValueError, "between 0 and 1, got 2"),
    (lambda: S.LambdaLR(O, [abs]), ValueError, "lr_lambda has 1 values, param_groups has 2"), (lambda: S.OneCycleLR(O, 1), ValueError, "either total_steps OR"),
    (lambda: S.OneCycleLR(O, 1, 0), ValueError, "positive integer total_steps, but got 0"),
    (lambda: S.OneCycleLR(O, 1, 2.5), ValueError, "total_steps, but got 2.5"),
    (lambda: S.OneCycleLR(O, 1, epochs=-1, steps_per_epoch=2), ValueError, "epochs, but got -1"),
    (lambda: S.OneCycleLR(O, 1, epochs=1), ValueError, "You must define"),
    (lambda: S.OneCycleLR(O, 1, 9, pct_start=2.0), ValueError, "pct_start, but got 2.0"),
    (lambda: S.OneCycleLR(O, 1, 9, anneal_strategy="x"), ValueError, "instead got x"),
    (lambda: S.OneCycleLR(O, [1], 9), ValueError, "max_lr has 1 values"),
    (lambda: S.OneCycleLR(fastnn.optim.Adagrad([fastnn.ones(1)]), 1, 9), ValueError, "cycle_momentum"),
    (lambda: S.SequentialLR(O, [], []), ValueError, "at least one"),
    (lambda: S.SequentialLR(O, [S.StepLR(O, 1)], [2]), ValueError, "1 schedulers and 1 milestones"), (lambda: S.SequentialLR(O, [1], []), TypeError, "got int"),
    (lambda: S.SequentialLR(O, [S.StepLR(optimizer(fastnn), 1)], []), ValueError, "same optimizer"),
    (lambda: S.SequentialLR(O, [S.ReduceLROnPlateau(O)], []), ValueError, "at index 0"), (lambda: S.ReduceLROnPlateau(O, factor=1.0), ValueError, "got 1.0"),
    (lambda: S.ReduceLROnPlateau(O, mode="up"), ValueError, "mode up"), (lambda: S.ReduceLROnPlateau(O, threshold_mode="x"), ValueError, "threshold mode x"),
    (lambda: S.ReduceLROnPlateau(O, min_lr=[1]), ValueError, "min_lr has 1 values")])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_too_many_steps_and_groups():
    o = optimizer(fastnn)
    o.step()
    s = S.OneCycleLR(o, 1.0, 3)
    for _ in range(3):
        s.step()
    with pytest.raises(ValueError, match="Tried to step 4 times. The specified number of total steps is 3"):
        s.step()
    o = optimizer(fastnn)
    o.step()
    s, plateau, strict = S.StepLR(o, 1), S.ReduceLROnPlateau(o, patience=0), S.ReduceLROnPlateau(o, patience=0, min_lr=[0, 0])
    o.add_param_group({"params": [fastnn.ones(1)], "lr": 1.0})
    with pytest.raises(RuntimeError, match="StepLR was made for 2 parameter groups, but the optimizer has 3"):
        s.step()
    plateau.step(1.0)
    plateau.step(1.0)
    assert plateau.get_last_lr() == pytest.approx([0.03, 0.002, 0.1])
    strict.step(1.0)
    with pytest.raises(RuntimeError, match="2 min_lrs, but the optimizer has 3"):
        strict.step(1.0)
