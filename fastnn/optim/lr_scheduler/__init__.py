"""Learning rate schedules: they write `lr` in an optimizer's param_groups, epoch by epoch.

Call `scheduler.step()` after `optimizer.step()`. Steps captured before see the new numbers.
"""
from .chained import CosineAnnealingLR, ExponentialLR, LinearLR, MultiStepLR, StepLR
from .lambda_lr import LambdaLR
from .one_cycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .scheduler import LRScheduler
from .sequential import SequentialLR

__all__ = ["CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR",
           "ReduceLROnPlateau", "SequentialLR", "StepLR"]
