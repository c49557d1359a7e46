"""Up and down once."""
import math

from .scheduler import LRScheduler, check_optimizer, for_groups


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr in the first pct_start of the steps, then down to max_lr / div_factor /
    final_div_factor; the momentum, or Adam's beta1, the other way round. Stepped after every batch.

    Args:
        max_lr, base_momentum, max_momentum: numbers, or lists with one for each group.
        total_steps: or else epochs and steps_per_epoch.
        anneal_strategy: 'cos' or 'linear'.
        cycle_momentum: False leaves the momentum alone.
        three_phase: down to max_lr / div_factor first, as fast as up, then to the end.

    Errors: ValueError for numbers out of range, for an optimizer without momentum to cycle, and for a step too many.
    Source: Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates, 2018.

    Example:
        >>> import fastnn
        >>> weight = fastnn.ones(1, requires_grad=True)
        >>> optimizer = fastnn.optim.SGD([weight], lr=1.0, momentum=0.9)
        >>> scheduler = fastnn.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.4)
        >>> rates = []
        >>> for epoch in range(5):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 4))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.04, 1.0, 0.75, 0.25, 0.0]
    """

    def __init__(self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3,
                 anneal_strategy="cos", cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0,
                 final_div_factor=1e4, three_phase=False, last_epoch=-1):
        check_optimizer(optimizer)
        if total_steps is None and None in (epochs, steps_per_epoch):
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        counts = dict(epochs=epochs, steps_per_epoch=steps_per_epoch) if total_steps is None else dict(total_steps=total_steps)
        for name, n in counts.items():
            if not isinstance(n, int) or n <= 0:
                raise ValueError(f"Expected positive integer {name}, but got {n}")
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.total_steps, self.cycle_momentum, self._anneal_func_type = math.prod(counts.values()), cycle_momentum, anneal_strategy
        top = pct_start * self.total_steps - 1
        way = [(top, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
        if three_phase:
            way += [(2 * top, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                    (self.total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum")]
        else:
            way += [(self.total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        keys = "end_step", "start_lr", "end_lr", "start_momentum", "end_momentum"
        self._schedule_phases = [dict(zip(keys, phase)) for phase in way]
        if last_epoch == -1:
            tops, lows, highs = (for_groups(name, value, optimizer) for name, value in (
                ("max_lr", max_lr), ("base_momentum", base_momentum), ("max_momentum", max_momentum)))
            for group, lr, low, high in zip(optimizer.param_groups, tops, lows, highs):
                group.update(initial_lr=lr / div_factor, max_lr=lr, min_lr=lr / div_factor / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=high, base_momentum=low)
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch > self.total_steps:
            raise ValueError(f"Tried to step {self.last_epoch} times. The specified number of total steps is {self.total_steps}")
        begin, phases = 0.0, self._schedule_phases
        for phase in phases:
            if self.last_epoch <= phase["end_step"] or phase is phases[-1]:
                break
            begin = phase["end_step"]
        width = phase["end_step"] - begin
        share = (self.last_epoch - begin) / width if width else 1.0

        def between(group, what):
            start, end = group[phase["start_" + what]], group[phase["end_" + what]]
            if self._anneal_func_type == "linear":
                return (end - start) * share + start
            return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                momentum = between(group, "momentum")
                group.update({"betas": (momentum, *group["betas"][1:])} if self.use_beta1 else {"momentum": momentum})
        return [between(group, "lr") for group in self.optimizer.param_groups]
