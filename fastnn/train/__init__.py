"""The training loop, what hooks into it, and pictures of it."""
from . import plots
from .callbacks import Callback, Checkpoint, EarlyStopping, GradientClipping, History, ProgressBar
from .loop import Run, evaluate, fit
from .penalty import l1_penalty, l2_penalty

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "GradientClipping", "History", "ProgressBar", "Run", "evaluate",
           "fit", "l1_penalty", "l2_penalty", "plots"]
