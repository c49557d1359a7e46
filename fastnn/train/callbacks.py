"""What hooks into fit: Callback and the ones that a plain training wants."""
import contextlib
import csv
import math
import os
import sys
import time

from ..serialization import load, save


class Callback:
    """Base: each method is called with the Run and does nothing. `after_backward` is part of the captured step."""

    def start(self, run):
        """Before the first epoch."""

    def epoch_start(self, run):
        """Before an epoch, or the rest of one."""

    def after_backward(self, run):
        """Between backward and the optimizer's step."""

    def step_end(self, run):
        """After a step."""

    def epoch_end(self, run):
        """After an epoch and its validation."""

    def end(self, run):
        """After the last epoch."""

    def interrupted(self, run):
        """At Ctrl-C, between two steps."""


class Checkpoint(Callback):
    """Keeps the whole state of the training in one file, so that it can go on with the same bits.

    Args:
        path: a safetensors file; replaced as a whole, so a crash leaves the one before.
        resume: begin from the file if there is one.
        seconds: save between steps when that much time went by since the last save.
        steps: save after each so many steps; None for never.
        extra: a dict saved along as "extra".

    It saves after the last epoch and at Ctrl-C, and after other epochs unless the last save is less than a second old.
    """

    def __init__(self, path, resume=False, seconds=30.0, steps=None, extra=None):
        self.path, self.resume, self.seconds, self.steps, self.extra = path, resume, seconds, steps, extra
        self.saved = -math.inf

    def save(self, run):
        """Save now."""
        save({**run.state_dict(), "extra": self.extra}, self.path)
        self.saved = time.monotonic()

    def start(self, run):
        if self.resume and os.path.exists(self.path):
            run.load_state_dict(load(self.path))
        self.saved = time.monotonic()

    def step_end(self, run):
        if (self.steps and run.step % self.steps == 0) or time.monotonic() - self.saved >= self.seconds:
            self.save(run)

    def epoch_end(self, run):
        if time.monotonic() - self.saved >= 1:
            self.save(run)

    def end(self, run):
        self.save(run)

    interrupted = end


class History(Callback):
    """Keeps the history as a CSV file with the columns of COLUMNS; what is not known is left empty."""

    COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "images_per_second",
               "seconds")

    def __init__(self, path):
        self.path = path

    def epoch_end(self, run):
        new = f"{self.path}.tmp"
        try:
            with open(new, "w", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(self.COLUMNS)
                rows.writerows([row[column] for column in self.COLUMNS] for row in run.history)
            os.replace(new, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise

    start = epoch_end


class EarlyStopping(Callback):
    """Stops when `monitor`, a column of the history, has not fallen below its least for `patience` epochs (with mode
    "max": not risen above its greatest)."""

    def __init__(self, monitor="val_loss", patience=5, mode="min"):
        if mode not in ("min", "max"):
            raise ValueError(f"EarlyStopping: mode should be 'min' or 'max', got {mode!r}")
        if monitor not in History.COLUMNS:
            raise ValueError(f"EarlyStopping: monitor should be one of {', '.join(History.COLUMNS)}, got {monitor!r}")
        self.monitor, self.patience, self.sign = monitor, patience, 1 if mode == "min" else -1

    def epoch_end(self, run):
        values = [row[self.monitor] for row in run.history]
        if values[-1] is None:
            raise ValueError(f"EarlyStopping: {self.monitor} is not known (fit without validation?)")
        best = min(range(len(values)), key=lambda i: math.inf if math.isnan(values[i]) else self.sign * values[i])
        run.stop = run.stop or len(values) - 1 - best >= self.patience


class GradientClipping(Callback):
    """Scales all gradients so that their norm is `max_norm` at the most, before each optimizer step."""

    def __init__(self, max_norm, norm_type=2.0):
        self.max_norm, self.norm_type = max_norm, norm_type

    def after_backward(self, run):
        from ..nn.utils import clip_grad_norm_
        clip_grad_norm_(run.model.parameters(), self.max_norm, self.norm_type)


class ProgressBar(Callback):
    """A bar over the batches on a terminal, where tqdm is installed, and a line for each epoch."""

    def __init__(self, file=None):
        self.file, self.bar = file, None

    def epoch_start(self, run):
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self.bar = tqdm(total=len(run.data) if hasattr(run.data, "__len__") else None, initial=run.batch, leave=False,
                        disable=None, desc=f"epoch {run.epoch + 1}/{run.epochs}", unit="batch", file=sys.stderr)

    def step_end(self, run):
        if self.bar is not None and self.bar.update():
            self.bar.set_postfix(loss=f"{run.last_loss:.4f}", refresh=False)

    def _close(self):
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def epoch_end(self, run):
        self._close()
        row = run.history[-1]
        parts = [f"epoch {row['epoch']:>{len(str(run.epochs))}}/{run.epochs}"]
        for name in ("train", "val"):
            if row[f"{name}_loss"] is not None:
                parts.append(f"{name} loss {row[f'{name}_loss']:.4f}")
            if row[f"{name}_accuracy"] is not None:
                parts.append(f"accuracy {100 * row[f'{name}_accuracy']:.2f} %")
        parts.append(f"{row['images_per_second']:,.0f} images/s")
        print("  ".join(parts), file=self.file or sys.stdout, flush=True)

    def interrupted(self, run):
        self._close()

    end = interrupted
