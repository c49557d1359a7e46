"""Schedules that go on from the learning rate they find, so that several can be stepped one after the other."""
import math
from collections import Counter

from .scheduler import LRScheduler, last_lr


class Chained(LRScheduler):
    """Of one group: `_next(lr, base)` goes on from the learning rate it has, `_closed(base)` does without."""

    def get_lr(self):
        return [self._next(lr, base) for lr, base in zip(last_lr(self.optimizer), self.base_lrs)]

    def _get_closed_form_lr(self):
        return [self._closed(base) for base in self.base_lrs]


class StepLR(Chained):
    """lr times gamma every step_size epochs.

    Example:
        >>> import fastnn
        >>> optimizer = fastnn.optim.SGD([fastnn.ones(1, requires_grad=True)], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        >>> rates = []
        >>> for epoch in range(5):
        ...     rates += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, lr, base):
        return lr * self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else lr

    def _closed(self, base):
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(Chained):
    """lr times gamma at each of the epochs in milestones.

    Example:
        >>> import fastnn
        >>> weight = fastnn.ones(1, requires_grad=True)
        >>> optimizer = fastnn.optim.SGD([weight], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3], gamma=0.1)
        >>> rates = []
        >>> for epoch in range(4):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 4))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [1.0, 0.1, 0.1, 0.01]
    """

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, lr, base):
        return lr * self.gamma ** self.milestones[self.last_epoch] if self.last_epoch in self.milestones else lr

    def _closed(self, base):
        return base * self.gamma ** sum(n for epoch, n in self.milestones.items() if epoch <= self.last_epoch)


class ExponentialLR(Chained):
    """lr times gamma every epoch.

    Example:
        >>> import fastnn
        >>> weight = fastnn.ones(1, requires_grad=True)
        >>> optimizer = fastnn.optim.SGD([weight], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        >>> rates = []
        >>> for epoch in range(4):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 4))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, lr, base):
        return lr if self._is_initial else lr * self.gamma

    def _closed(self, base):
        return base * self.gamma ** self.last_epoch


class LinearLR(Chained):
    """lr times a factor that goes from start_factor to end_factor in total_iters epochs.

    Errors: ValueError for a start_factor outside (0, 1] or an end_factor outside [0, 1].

    Example:
        >>> import fastnn
        >>> weight = fastnn.ones(1, requires_grad=True)
        >>> optimizer = fastnn.optim.SGD([weight], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
        >>> rates = []
        >>> for epoch in range(4):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 4))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if not 0 < start_factor <= 1:
            raise ValueError(f"Starting multiplicative factor expected to be greater than 0 and less or equal to 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"Ending multiplicative factor expected to be between 0 and 1, got {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _next(self, lr, base):
        if self.last_epoch == 0:
            return lr * self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor
        return lr * (1 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise))

    def _closed(self, base):
        share = min(self.total_iters, self.last_epoch) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class CosineAnnealingLR(Chained):
    """eta_min + (initial lr - eta_min) (1 + cos(pi epoch / T_max)) / 2: down in T_max epochs, up again in the next.

    Source: Loshchilov and Hutter, SGDR: Stochastic gradient descent with warm restarts, 2017, without restarts.

    Example:
        >>> import fastnn
        >>> weight = fastnn.ones(1, requires_grad=True)
        >>> optimizer = fastnn.optim.SGD([weight], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
        >>> rates = []
        >>> for epoch in range(5):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 4))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _height(self, epoch):
        return 1 + math.cos(math.pi * epoch / self.T_max)

    def _next(self, lr, base):
        if self._is_initial:
            return lr
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:         # from the bottom, which has no height
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return self._height(self.last_epoch) / self._height(self.last_epoch - 1) * (lr - self.eta_min) + self.eta_min

    def _closed(self, base):
        return self.eta_min + (base - self.eta_min) * self._height(self.last_epoch) / 2
