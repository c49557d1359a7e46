"""Ctrl-C in fit: between two steps, at once while waiting, at once the second time; and the training can go on."""
import os
import signal
import threading

import pytest

import fastnn
from fastnn.train import Callback
from fastnn.train.interrupt import Interrupt
from fastnn.utils.data import DataLoader, TensorDataset
from test_train_loop import bits, make_run, problem, timeless

pytestmark = pytest.mark.skipif(not hasattr(signal, "raise_signal") or os.name == "nt", reason="needs SIGINT")


def press():
    signal.raise_signal(signal.SIGINT)


class Keep(Callback):
    """Counts steps, presses Ctrl-C inside step `at` (after_backward), keeps the state that an interrupt leaves."""

    def __init__(self, at=None, times=1):
        self.at, self.times, self.done, self.states = at, times, 0, []

    def after_backward(self, run):
        if self.done == self.at:
            for _ in range(self.times):
                press()

    def step_end(self, run):
        self.done += 1

    def interrupted(self, run):
        self.states.append(run.state_dict())


class Samples(TensorDataset):
    """One by one; the sample number `at` presses Ctrl-C."""
    at, taken = None, 0

    def __getitem__(self, i):
        self.taken += 1
        if self.taken == self.at:
            press()
        return super().__getitem__(i)


class Batches(list):
    """A validation whose second round presses Ctrl-C and uses random numbers."""
    rounds = 0

    def __iter__(self):
        self.rounds += 1
        if self.rounds == 2:
            fastnn.rand(1)
            press()
        return super().__iter__()


def sampled(callbacks=(), at=None):
    """make_run over Samples."""
    data = Samples(*problem().tensors)
    data.at = at
    run = make_run(3, callbacks)
    run.data = DataLoader(data, 4, shuffle=True)
    return run


@pytest.mark.parametrize("where, steps", [("step", 9), ("data", 8), ("validation", 12)])
def test_leaves_a_state_to_go_on_from(where, steps):
    """Pressed in a step, while a sample is fetched, in the validation: the rest has the bits of an undisturbed run."""
    make = sampled if where == "data" else lambda callbacks=(): make_run(3, callbacks)
    whole, keep = make(), Keep(8 if where == "step" else None)
    whole.run()
    run = sampled([keep], at=22 + 2 * 4 + 2) if where == "data" else make([keep])
    run._train = run._train_step                                 # eager, so that the press comes inside the step
    if where == "validation":
        run.validation = Batches(run.validation)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert len(keep.states) == 1 and run.step == keep.done == steps
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    rest = make()
    rest.load_state_dict(keep.states[0])
    rest.run()
    assert bits(rest) == bits(whole) and timeless(rest.history) == timeless(whole.history)


def test_second_is_immediate_and_saves_nothing():
    keep = Keep(2, times=2)
    run = make_run(1, [keep])
    run._train = run._train_step
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert keep.done == 2 and not keep.states


def test_only_where_nobody_else_handles_it():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with Interrupt() as interrupt:
            press()
            interrupt.check()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]


def test_in_another_thread_nothing_is_installed():
    found = []

    def work():
        with Interrupt():
            found.append(signal.getsignal(signal.SIGINT))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def test_waiting_is_interrupted_at_once():
    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt):
        interrupt.waiting = True
        press()
        raise AssertionError("not reached")
    assert not interrupt.torn
