"""One schedule after another."""
from bisect import bisect_right

from ... import _core
from .plateau import ReduceLROnPlateau
from .scheduler import LRScheduler, set_lr


class SequentialLR(LRScheduler):
    """One schedule after another: schedulers[i + 1] begins at epoch milestones[i].

    Errors: ValueError for no scheduler, one of another optimizer, a ReduceLROnPlateau or a wrong number of milestones.

    Example:
        >>> import fastnn
        >>> from fastnn.optim.lr_scheduler import ExponentialLR, LinearLR, SequentialLR
        >>> optimizer = fastnn.optim.SGD([fastnn.ones(1, requires_grad=True)], lr=1.0)
        >>> warmup, decay = LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, 0.5)
        >>> scheduler = SequentialLR(optimizer, [warmup, decay], milestones=[3])
        >>> rates = []
        >>> for epoch in range(6):
        ...     rates += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.5, 0.75, 1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        if not schedulers:
            raise ValueError("SequentialLR expects at least one scheduler, but got no scheduler.")
        for i, s in enumerate(schedulers):
            if not isinstance(s, LRScheduler):
                raise TypeError(f"SequentialLR at index {i} should have a scheduler, got {type(s).__name__}")
            if isinstance(s, ReduceLROnPlateau):
                raise ValueError(f"SequentialLR does not support `ReduceLROnPlateau`, whose step takes a metric, but got one at "
                                 f"index {i}")
            if s.optimizer is not optimizer:
                raise ValueError(f"SequentialLR expects all schedulers to belong to the same optimizer, but {type(s).__name__} at "
                                 f"index {i} has another")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError("Sequential Schedulers expects number of schedulers provided to be one more than the number of "
                             f"milestone points, but got {len(schedulers)} schedulers and {len(milestones)} milestones")
        self._schedulers, self._milestones, self.optimizer = schedulers, milestones, optimizer
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            set_lr(group, group["initial_lr"])
        self._undo()
        first = schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def _undo(self):
        """Take back the step that each schedule took when it was made."""
        for s in self._schedulers:
            if isinstance(s, SequentialLR):
                s._undo()
            else:
                s.last_epoch -= 1

    def step(self):
        """Step the schedule whose turn it is."""
        _core.host_reads("SequentialLR.step()")
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i and self._milestones[i - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self):
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict):
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for s, kept in zip(self._schedulers, state_dict["_schedulers"]):
            s.load_state_dict(kept)
