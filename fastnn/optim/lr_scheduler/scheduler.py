"""The base of the schedules."""
import warnings

from ... import _core
from ..optimizer import Optimizer


class LRScheduler:
    """Base: a derived class writes `get_lr()`, and `_get_closed_form_lr()` if it can do without the epochs before.

    Args:
        optimizer: its groups get an "initial_lr" if they have none.
        last_epoch: -1 to begin; another number goes on after that epoch, with the "initial_lr" of the groups.

    Attributes:
        last_epoch: epochs counted so far. base_lrs: "initial_lr" of each group.

    Errors: TypeError for what is no Optimizer; KeyError for last_epoch >= 0 without "initial_lr"; RuntimeError for a group
    added later; CaptureError for a step inside a captured function, where it would be taken once and never again.
    """
    _is_initial = False

    def __init__(self, optimizer, last_epoch=-1):
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", number(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                               f"last_epoch={last_epoch}: load the optimizer's state first")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self):
        self._step_count, self._is_initial = 0, True
        self.step()
        self._is_initial = False

    def get_lr(self):
        """The learning rates of epoch `last_epoch`, one for each group; `get_last_lr` tells those in use."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr()")

    def get_last_lr(self):
        """The learning rates that the last step set."""
        return self._last_lr

    def step(self, epoch=None):
        """Set the learning rates of the next epoch; with the deprecated `epoch` those of that one."""
        _core.host_reads(f"{type(self).__name__}.step()")
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn("Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first value of the schedule "
                          "is skipped", stacklevel=2)
        if epoch is not None:
            warnings.warn("The epoch parameter in `scheduler.step()` is deprecated; use `scheduler.step()`", stacklevel=2)
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch=None):
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise RuntimeError(f"{type(self).__name__} was made for {len(self.base_lrs)} parameter groups, but the optimizer "
                               f"has {len(groups)} now")
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        anew = epoch is not None and hasattr(self, "_get_closed_form_lr")
        for group, lr in zip(groups, self._get_closed_form_lr() if anew else self.get_lr()):
            set_lr(group, lr)
        self._last_lr = last_lr(self.optimizer)

    def state_dict(self):
        """All attributes but the optimizer, named as PyTorch's."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict):
        """Take the attributes of a `state_dict`. The optimizer's learning rates are in its own."""
        self.__dict__.update(state_dict)


# ---- what schedules share ----------------------------------------------------------------------------------------------

def number(value):
    """A number, from a Tensor too."""
    return float(value) if isinstance(value, _core.TensorBase) else value


def last_lr(optimizer):
    """The learning rate of each group, as numbers."""
    return [number(group["lr"]) for group in optimizer.param_groups]


def check_optimizer(optimizer):
    """TypeError for what is no Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def set_lr(group, lr):
    """Write group["lr"], in place if it is a Tensor."""
    if isinstance(group["lr"], _core.TensorBase):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def for_groups(name, value, optimizer):
    """A list with a value for each group."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
                         f"param_groups has {groups}.")
    return list(value)
