"""Arrays as tensors over the same memory, results as arrays, options by name."""
import numpy as np

from .. import _core
from .._core import from_numpy

_LAYOUTS = ("NCHW", "NHWC")
_ACTIVATIONS = (None, "relu", "sigmoid", "tanh")


def _in(a, name):
    """An array as a tensor over the same memory; strides that a tensor cannot have are copied away."""
    if not isinstance(a, (np.ndarray, np.generic)):
        raise TypeError(f"{name}: expected a NumPy array, got {type(a).__name__}")
    a = np.asarray(a)
    if a.dtype not in (np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_) or not a.dtype.isnative:
        raise TypeError(f"{name}: expected a float32 or float64 array, got {a.dtype}")
    if any(s < 0 or s % a.itemsize for s in a.strides):
        a = a.copy()
    return from_numpy(a)


def _out(t, out=None):
    """A result as an array, in `out` if given."""
    if out is None:
        return t.numpy()
    if not isinstance(out, np.ndarray) or out.shape != tuple(t.shape) or out.dtype.name != t.dtype.name:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise RuntimeError(f"out: the result is {t.dtype.name} {tuple(t.shape)}, got {got}")
    _core.copy_into(from_numpy(out), t)
    return out


def _option(value, allowed, name):
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is not one of {allowed}")
    return allowed.index(value)


def _images_in(a, name, layout):
    """An array of images as a tensor (N,C,H,W)."""
    t = _in(a, name)
    if t.dim() != 4:
        raise RuntimeError(f"{name}: expected four dimensions ({','.join(layout)}), got {tuple(t.shape)}")
    return t if layout == "NCHW" else t.permute(0, 3, 1, 2)


def _images_out(t, layout, out=None):
    """Images as an array in the caller's layout."""
    return _out(t.permute(0, 2, 3, 1), out) if layout == "NHWC" else np.ascontiguousarray(_out(t)) if out is None else _out(t, out)


def _channels_in(a, name, layout):
    """An array (N,C), (N,C,L) or (N,C,H,W), or with its channels last, as a tensor with them second."""
    t = _in(a, name)
    return t if layout == "NCHW" or t.dim() < 3 else t.permute(0, t.dim() - 1, *range(1, t.dim() - 1))


def _channels_out(t, layout, out=None):
    t = t if layout == "NCHW" or t.dim() < 3 else t.permute(0, *range(2, t.dim()), 1)
    return _out(t, out) if out is not None else np.ascontiguousarray(_out(t))
