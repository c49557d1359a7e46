"""A schedule by a function."""
import types

from .scheduler import LRScheduler, check_optimizer, for_groups


class LambdaLR(LRScheduler):
    """Initial lr times lr_lambda(epoch).

    Args:
        lr_lambda: a function, or a list with one for each group. Of a callable object, its attributes are saved.

    Errors: ValueError for a list of another length.

    Example:
        >>> import fastnn
        >>> optimizer = fastnn.optim.SGD([fastnn.ones(1, requires_grad=True)], lr=1.0)
        >>> scheduler = fastnn.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
        >>> optimizer.step()
        >>> scheduler.step()
        >>> optimizer.param_groups[0]["lr"]
        0.5
    """

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        check_optimizer(optimizer)
        self.lr_lambdas = for_groups("lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * f(self.last_epoch) for f, base in zip(self.lr_lambdas, self.base_lrs)]

    def state_dict(self):
        kept = [None if isinstance(f, types.FunctionType) else dict(vars(f)) for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": kept}

    def load_state_dict(self, state_dict):
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for f, kept in zip(self.lr_lambdas, state_dict["lr_lambdas"]):
            if kept is not None:
                f.__dict__.update(kept)
