"""fit and evaluate: the loop over epochs, and its state."""
import time
from collections import namedtuple

from .._core import capture, default_generator
from ..autograd import no_grad
from .interrupt import Interrupt

Evaluation = namedtuple("Evaluation", ["loss", "accuracy"])


def _pair(batch):
    if not isinstance(batch, (list, tuple)) or len(batch) != 2:
        of = f" of {len(batch)}" if isinstance(batch, (list, tuple)) else ""
        raise ValueError(f"fit: a batch should be (input, target), got {type(batch).__name__}{of}")
    return batch


def _correct(output, target):
    """How many classes are right; None where the target is no class."""
    if target.is_floating_point() or output.dim() != target.dim() + 1:
        return None
    return (output.argmax(1) == target).sum()


class _Totals:
    """Sums over the samples of an epoch."""

    def __init__(self, loss=0.0, correct=0, samples=0, targets=0):
        self.loss, self.correct, self.samples, self.targets = loss, correct, samples, targets

    def add(self, loss, correct, target):
        self.loss += loss.item() * target.shape[0]
        self.samples += target.shape[0]
        if correct is not None:
            self.correct += correct.item()
            self.targets += target.numel()

    def means(self):
        return Evaluation(self.loss / self.samples if self.samples else float("nan"),
                          self.correct / self.targets if self.targets else None)


class Run:
    """A training under way: what callbacks see, and what a checkpoint holds.

    Attributes:
        model, data, loss, optimizer, epochs, validation: as given to fit.
        epoch: epochs done. batch: batches done of the next one. step: steps done in all.
        history: a dict for each epoch done (History.COLUMNS).
        last_loss: of the last step, a float.
        stop: set it to True to end after the step or epoch under way.
    """

    def __init__(self, model, data, loss, optimizer, epochs, validation=None, callbacks=()):
        self.model, self.data, self.loss, self.optimizer = model, data, loss, optimizer
        self.epochs, self.validation, self.callbacks = epochs, validation, list(callbacks)
        self.epoch = self.batch = self.step = 0
        self.drained = False                         # this epoch's data are used up, its validation is not done
        self.history, self.stop, self.last_loss = [], False, None
        self.totals, self.seconds, self.since = _Totals(), 0.0, None
        self._train = capture(self._train_step, strict=False)
        self._evaluate = capture(_evaluation_step(model, loss), strict=False)

    def state_dict(self):
        """Everything that the rest of the training depends on."""
        loader = self.data.state_dict() if hasattr(self.data, "state_dict") else None
        if loader is not None:
            loader["taken"] = self.batch             # the loader may be a batch ahead, fetched but not trained on
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "loader": loader,
                "rng": list(default_generator.get_state()), "epoch": self.epoch, "batch": self.batch, "step": self.step,
                "drained": self.drained, "history": self.history, "totals": dict(vars(self.totals)),
                "seconds": self._elapsed()}

    def load_state_dict(self, state):
        """Take up a training that another Run, made alike, gave by state_dict."""
        if state["batch"] and not hasattr(self.data, "load_state_dict"):
            raise ValueError("fit: the state was taken in the middle of an epoch, but this data has no load_state_dict "
                             "to go on there")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["loader"] is not None and hasattr(self.data, "load_state_dict"):
            self.data.load_state_dict(state["loader"])
        default_generator.set_state(tuple(state["rng"]))
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.drained, self.history = state["drained"], list(state["history"])
        self.totals, self.seconds = _Totals(**state["totals"]), state["seconds"]

    def tell(self, event):
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _elapsed(self):
        return self.seconds + (time.perf_counter() - self.since if self.since is not None else 0.0)

    def _train_step(self, x, y):
        self.optimizer.zero_grad()
        output = self.model(x)
        loss = self.loss(output, y)
        loss.backward()
        self.tell("after_backward")
        self.optimizer.step()
        return loss.detach(), _correct(output.detach(), y)

    def run(self):
        """All epochs that are left; returns the history."""
        with Interrupt() as interrupt:
            try:
                self.tell("start")
                while self.epoch < self.epochs and not self.stop:
                    self._epoch(interrupt)
                    interrupt.check()
                self.tell("end")
            except KeyboardInterrupt:
                if not interrupt.torn:
                    interrupt.waiting = False
                    self.tell("interrupted")
                raise
        return self.history

    def _epoch(self, interrupt):
        self.model.train()
        self.since = time.perf_counter()
        self.tell("epoch_start")
        batches, batch = iter(() if self.drained else self.data), ()
        while not self.stop:
            interrupt.check()
            interrupt.waiting = True
            batch = next(batches, None)
            interrupt.waiting = False
            if batch is None:
                break
            x, y = _pair(batch)
            loss, correct = self._train(x, y)
            self.totals.add(loss, correct, y)
            self.last_loss = loss.item()
            self.batch += 1
            self.step += 1
            self.tell("step_end")
        if batch is not None:                        # stopped within the epoch
            return
        self.drained = True
        trained = self._elapsed()
        train = self.totals.means()
        before, val = default_generator.get_state(), Evaluation(None, None)
        try:
            if self.validation is not None:
                val = _evaluated(self.model, self.validation, self._evaluate, interrupt)
        except KeyboardInterrupt:
            default_generator.set_state(before)
            raise
        self.history.append({
            "epoch": self.epoch + 1, "train_loss": train.loss, "train_accuracy": train.accuracy, "val_loss": val.loss,
            "val_accuracy": val.accuracy, "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": self.totals.samples / trained, "seconds": self._elapsed()})
        self.epoch += 1
        self.batch, self.drained, self.totals, self.seconds, self.since = 0, False, _Totals(), 0.0, None
        self.tell("epoch_end")


def fit(model, data, loss, optimizer, epochs, validation=None, callbacks=(), bptt=None):
    """Train a model: for each batch zero_grad, forward, loss, backward and optimizer step, captured where it can be.

    Args:
        model: nn.Module. data: a DataLoader, or what gives batches (input, target) for each `iter()`.
        loss: loss(output, target), the mean over a batch. optimizer: over model's parameters. epochs: int.
        validation: like data, evaluated after each epoch.
        callbacks: see Callback.
        bptt: not supported.

    Returns:
        The history: for each epoch a dict of epoch, train_loss, train_accuracy, val_loss, val_accuracy, lr,
        images_per_second and seconds. Accuracies are None where targets are no classes.

    Raises:
        KeyboardInterrupt: Ctrl-C, after the step under way; a Checkpoint has been written then.

    Example:
        >>> import fastnn
        >>> from fastnn import nn, optim, train
        >>> from fastnn.utils.data import DataLoader, TensorDataset
        >>> model, data = nn.Linear(1, 1), TensorDataset(fastnn.ones(8, 1), fastnn.zeros(8, 1))
        >>> rows = train.fit(model, DataLoader(data, 4), nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), 2)
        >>> rows[1]["train_loss"] < rows[0]["train_loss"]
        True
    """
    if bptt is not None:
        raise NotImplementedError("fit(bptt=): not supported")
    return Run(model, data, loss, optimizer, epochs, validation, callbacks).run()


def _evaluation_step(model, loss):
    def step(x, y):
        output = model(x)
        return loss(output, y), _correct(output, y)
    return step


def _evaluated(model, data, step, interrupt=None):
    totals, mode = _Totals(), model.training
    model.eval()
    try:
        with no_grad():
            for batch in data:
                x, y = _pair(batch)
                totals.add(*step(x, y), y)
                if interrupt is not None:
                    interrupt.check()
    finally:
        model.train(mode)
    return totals.means()


def evaluate(model, data, loss):
    """(loss, accuracy) of a model over data, as means over samples, in eval mode and without gradients."""
    return _evaluated(model, data, _evaluation_step(model, loss))
