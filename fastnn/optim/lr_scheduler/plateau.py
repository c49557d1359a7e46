"""A schedule that waits until a metric stands still."""
import math

from ... import _core
from .scheduler import LRScheduler, check_optimizer, for_groups, last_lr, set_lr


class ReduceLROnPlateau(LRScheduler):
    """lr times factor when a metric has not become better for more than `patience` epochs; `step(metric)`.

    Args:
        mode: 'min', smaller is better, or 'max'.
        threshold, threshold_mode: better by a share ('rel') or an amount ('abs') of this.
        cooldown: epochs after a reduction that do not count.
        min_lr: a number, or a list with one for each group.
        eps: reductions by no more than this are left out.

    Errors: ValueError for a factor of 1 or more, another mode, or a list min_lr of another length.

    Example:
        >>> import fastnn
        >>> optimizer = fastnn.optim.SGD([fastnn.ones(1, requires_grad=True)], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        >>> for loss in (3.0, 2.0, 2.0, 2.0):
        ...     scheduler.step(loss)
        >>> scheduler.get_last_lr()
        [0.1]
    """

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0,
                 min_lr=0, eps=1e-8):
        if factor >= 1.0:
            raise ValueError(f"Factor should be < 1.0, got {factor}")
        check_optimizer(optimizer)
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        self.optimizer, self.factor, self.patience, self.cooldown, self.eps = optimizer, factor, patience, cooldown, eps
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = for_groups("min_lr", min_lr, optimizer)
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.best, self.cooldown_counter, self.num_bad_epochs, self.last_epoch = self.mode_worse, 0, 0, 0
        self._last_lr = last_lr(optimizer)

    @property
    def in_cooldown(self):
        """Is this an epoch that does not count?"""
        return self.cooldown_counter > 0

    def _better(self, metric):
        sign = -1 if self.mode == "min" else 1
        bound = self.best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else self.best + sign * self.threshold
        return metric < bound if self.mode == "min" else metric > bound

    def step(self, metrics):
        """Look at an epoch's metric, a number or a Tensor of one element."""
        _core.host_reads("ReduceLROnPlateau.step()")
        metric = float(metrics)
        self.last_epoch += 1
        better = self._better(metric)
        self.best = metric if better else self.best
        self.num_bad_epochs = 0 if better else self.num_bad_epochs + 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce_lr()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = last_lr(self.optimizer)

    def _reduce_lr(self):
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(f"ReduceLROnPlateau has {len(self.min_lrs)} min_lrs, but the optimizer has {len(groups)} "
                                   "parameter groups now")
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, lr, least in zip(groups, last_lr(self.optimizer), self.min_lrs):
            new = max(lr * self.factor, least)
            if lr - new > self.eps:
                set_lr(group, new)
