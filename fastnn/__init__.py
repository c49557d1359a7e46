"""fastnn: train neural networks fast on the CPU, with PyTorch's names on C kernels."""
from .version import __version__
from ._core import (CaptureError, Generator, Size, capture, default_generator, dtype, empty_cache, get_num_threads, set_num_threads)
from .autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .tensor import Tensor
from . import ops as _ops
from .ops.create import bool, float32, float64, int32, int64, uint8

float, double, long, int = float32, float64, int64, int32

for _module in _ops.MODULES:
    for _name in _module.FUNCTIONS:
        globals()[_name] = getattr(_module, _name)

from . import autograd, backends, cuda, kernels, nn, optim, utils  # noqa: E402
from .nn.parameter import Parameter as _Parameter  # noqa: E402,F401
from .serialization import load, save  # noqa: E402


def set_flush_denormal(mode):
    """Treat numbers below about 1e-38 as zero in this thread outside kernels too; True if the machine can."""
    from . import _core
    _core.flush_denormals(True if mode else False)
    return True


_LAZY = ("datasets", "train", "models", "transforms", "bptt")


def __getattr__(name):
    if name in _LAZY:
        import importlib
        try:
            return importlib.import_module("." + name, __name__)
        except ModuleNotFoundError as e:
            if e.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module 'fastnn' has no attribute '{name}'")
