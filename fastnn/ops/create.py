"""Making tensors: from data, filled, by rule."""
import builtins
import warnings

import numpy as np

from .. import _core
from .._core import DTYPES, from_numpy
from .shape import _dims

float32, float64, int64, int32, uint8, bool = DTYPES
_default = [float32]


def get_default_dtype():
    """The type that Python floats become.

    Example:
        >>> import fastnn
        >>> fastnn.get_default_dtype()
        fastnn.float32
    """
    return _default[0]


def set_default_dtype(d):
    """Make Python floats float32 or float64 tensors.

    Example:
        >>> import fastnn
        >>> fastnn.set_default_dtype(fastnn.float64)
        >>> fastnn.tensor(1.0).dtype
        fastnn.float64
        >>> fastnn.set_default_dtype(fastnn.float32)
    """
    if d not in (float32, float64):
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _default[0] = d


class device:
    """Where a tensor lives: 'cpu'.

    Example:
        >>> import fastnn
        >>> fastnn.device("cpu")
        device(type='cpu')
    """

    def __init__(self, type, index=None):
        if isinstance(type, device):
            type, index = type.type, type.index
        name, _, number = str(type).partition(":")
        if name == "cuda":
            raise RuntimeError("device 'cuda': this build has no CUDA extension")
        if name != "cpu":
            raise RuntimeError(f"Expected one of cpu, cuda device type at start of device string: {type}")
        self.type, self.index = name, int(number) if number else index

    def __repr__(self):
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other):
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self):
        return hash((self.type, self.index))


cpu = device("cpu")


def _finish(t, requires_grad, where):
    if where is not None:
        device(where)
    return t.requires_grad_(True) if requires_grad else t


def _kind(dtype, otherwise=None):
    if dtype is None:
        return otherwise or _default[0]
    if not isinstance(dtype, _core.dtype):
        raise TypeError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype!r}")
    return dtype


def _array(data, real=None):
    """data as a NumPy array of a type we carry; Python floats take the type `real`, or else the default type."""
    if isinstance(data, (list, tuple)) and data and any(isinstance(x, _core.TensorBase) for x in data):
        data = [x.tolist() if isinstance(x, _core.TensorBase) else x for x in data]
    try:
        a = np.asarray(data)
    except ValueError as e:
        raise ValueError(f"tensor(): {e}") from None
    if a.dtype == object:
        raise TypeError(f"tensor(): cannot make a tensor from {type(data).__name__} holding other things than numbers of a regular shape")
    if a.dtype.kind in "USMmV":
        raise TypeError(f"new(): invalid data type '{a.dtype}'")
    if not isinstance(data, (np.ndarray, np.generic)):
        if a.dtype == np.float64 and not _holds_numpy(data):
            return a.astype((real or _default[0]).name)
        if a.dtype.kind == "u" and a.dtype.itemsize == 8:
            raise RuntimeError("Overflow when unpacking long")
    if a.dtype.kind == "c":
        raise TypeError("complex numbers are not supported")
    return a


def _holds_numpy(data):
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic))


def _check_fits(a, kind):
    """Do Python numbers fit a type of integers? Negative ones wrap in uint8, as PyTorch has it."""
    limits = np.iinfo(kind.name)
    if a.size and not (builtins.min(limits.min, -limits.max) <= a.min() and a.max() <= limits.max):
        raise RuntimeError(f"value cannot be converted to type {kind.name} without overflow: tensor() of numbers from {a.min()} to {a.max()}")


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A fresh tensor with a copy of `data`: a number, nested lists, an array.

    Floats become the default type (float32), ints int64, bools bool; arrays keep their type. With dtype they are cast.

    Errors: ValueError for ragged lists, TypeError for what holds no numbers or numbers of no type we carry; RuntimeError for a number
    that dtype cannot hold (arrays wrap, as in NumPy).

    Example:
        >>> import fastnn
        >>> fastnn.tensor([[1, 2], [3, 4]])
        tensor([[1, 2],
                [3, 4]])
    """
    _core.host_reads("tensor()")
    if isinstance(data, _core.TensorBase):
        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
                      "sourceTensor.detach().clone().requires_grad_(True), rather than fastnn.tensor(sourceTensor).", UserWarning, stacklevel=2)
        t = _core.clone(data)
        t = t if dtype is None else _core.cast(t, _kind(dtype))
    else:
        a = _array(data, dtype if dtype in (None, float32) else float64)
        if dtype is not None:
            kind = _kind(dtype)
            if kind in (int64, int32, uint8) and a.dtype.kind in "fiu" and not isinstance(data, (np.ndarray, np.generic)):
                _check_fits(a, kind)
            if a.dtype.kind == "f" and kind.code >= 2 or not a.dtype.isnative:
                with np.errstate(invalid="ignore"):
                    a = a.astype(kind.name)
            elif a.dtype.name not in _core.DTYPE_NAMES:
                a = a.astype(kind.name)
        shared = from_numpy(a if all(s >= 0 for s in a.strides) and a.flags.aligned else np.array(a, order="C"))
        t = _core.clone(shared) if dtype is None or shared.dtype == dtype else _core.cast(shared, _kind(dtype))
        if not t.is_contiguous():
            t = _core.contiguous(t)
    return _finish(t, requires_grad, device)


def as_tensor(data, dtype=None, device=None):
    """`data` as a tensor, without a copy where it already is one or is an array of the wanted type.

    Example:
        >>> import fastnn
        >>> import numpy as np
        >>> a = np.zeros(2, np.float32)
        >>> t = fastnn.as_tensor(a)
        >>> a[0] = 1
        >>> t
        tensor([1., 0.])
    """
    if isinstance(data, _core.TensorBase):
        return data if dtype is None or data.dtype == dtype else data.to(dtype)
    if isinstance(data, np.ndarray) and all(s >= 0 for s in data.strides):
        t = from_numpy(data)
        return _finish(t if dtype is None or t.dtype == dtype else t.to(dtype), False, device)
    return tensor(data, dtype=dtype, device=device)


asarray = as_tensor


def from_dlpack(ext_tensor):
    """A tensor over the memory of any CPU array that speaks DLPack.

    Example:
        >>> import fastnn, numpy as np
        >>> fastnn.from_dlpack(np.arange(3))
        tensor([0, 1, 2])
    """
    return from_numpy(np.from_dlpack(ext_tensor))


def empty(*size, dtype=None, device=None, requires_grad=False, pin_memory=False, memory_format=None):
    """A tensor of any values.

    Example:
        >>> import fastnn
        >>> fastnn.empty(2, 3).shape
        fastnn.Size([2, 3])
    """
    return _finish(_core.full(_dims(size, "empty"), None, _kind(dtype)), requires_grad, device)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """A tensor of one value; without dtype, of the value's kind.

    Example:
        >>> import fastnn
        >>> fastnn.full((2,), 3.5)
        tensor([3.5000, 3.5000])
    """
    if isinstance(fill_value, _core.TensorBase):
        fill_value = fill_value.item()
    if fill_value is None:
        raise TypeError("full(): argument 'fill_value' must be Number, not NoneType")
    if dtype is None:
        dtype = bool if isinstance(fill_value, builtins.bool) else int64 if isinstance(fill_value, int) else _default[0]
    return _finish(_core.full(_dims((size,), "full"), fill_value, _kind(dtype)), requires_grad, device)


def zeros(*size, dtype=None, device=None, requires_grad=False):
    """A tensor of zeros.

    Example:
        >>> import fastnn
        >>> fastnn.zeros(2, 2)
        tensor([[0., 0.],
                [0., 0.]])
    """
    return _finish(_core.full(_dims(size, "zeros"), 0, _kind(dtype)), requires_grad, device)


def ones(*size, dtype=None, device=None, requires_grad=False):
    """A tensor of ones.

    Example:
        >>> import fastnn
        >>> fastnn.ones(2, dtype=fastnn.int64)
        tensor([1, 1])
    """
    return _finish(_core.full(_dims(size, "ones"), 1, _kind(dtype)), requires_grad, device)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False):
    """Ones on the diagonal of an (n, m) matrix of zeros.

    Example:
        >>> import fastnn
        >>> fastnn.eye(2, 3)
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
    """
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n must be greater or equal to 0, got {n if n < 0 else m}")
    m = n if m is None else m
    t = _core.full((n, m), 0, _kind(dtype))
    k = builtins.min(n, m)
    if k:
        _core.fill_into(_core.as_strided(t, (k,), (m + 1,)), 1)
    return _finish(t, requires_grad, device)


def arange(*args, start=None, end=None, step=None, dtype=None, device=None, requires_grad=False):
    """start, start + step, ... below end.

    Example:
        >>> import fastnn
        >>> fastnn.arange(0, 1, 0.25)
        tensor([0.0000, 0.2500, 0.5000, 0.7500])
    """
    given = [0, None, 1]
    if len(args) == 1:
        given[1] = args[0]
    else:
        given[:len(args)] = args
    given = [g if k is None else k for g, k in zip(given, (start, end, step))]
    given = [g.item() if isinstance(g, _core.TensorBase) else g for g in given]
    start, end, step = given
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not all(np.isfinite(g) for g in given):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    kind = _kind(dtype, int64 if all(isinstance(g, int) for g in given) else None)
    if kind.is_floating_point:
        n = int(np.ceil((end - start) / step))
    else:
        start, step = int(start), int(step)
        n = int(np.ceil((end - start) / step)) if any(isinstance(g, float) for g in given) else -((start - end) // step)
    if n >= 1 << 60:
        raise RuntimeError(f"arange(): invalid size, possible overflow: {n} numbers from {start} to {end}")
    return _finish(_core.arange(start, step, n, kind), requires_grad, device)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False):
    """`steps` values evenly from start to end, both included.

    Example:
        >>> import fastnn
        >>> fastnn.linspace(0, 1, 5)
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    kind = _kind(dtype)
    a = np.linspace(start, end, steps, dtype=kind.name if kind.is_floating_point else np.float64)
    return _finish(_core.clone(from_numpy(a.astype(kind.name))), requires_grad, device)


def _like(make):
    def like(input, *, dtype=None, device=None, requires_grad=False, memory_format=None):
        return make(tuple(input.shape), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)
    like.__name__ = make.__name__ + "_like"
    like.__doc__ = f"`{make.__name__}` with the shape and type of `input`."
    return like


zeros_like, ones_like, empty_like = _like(zeros), _like(ones), _like(empty)


def full_like(input, fill_value, *, dtype=None, device=None, requires_grad=False, memory_format=None):
    """`full` with the shape and type of `input`.

    Example:
        >>> import fastnn
        >>> fastnn.full_like(fastnn.tensor([1, 2]), 7)
        tensor([7, 7])
    """
    return full(tuple(input.shape), fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_zeros(input, *size, dtype=None, device=None, requires_grad=False):
    """Zeros of another shape, of input's type.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1, 2]).new_zeros(3)
        tensor([0, 0, 0])
    """
    return zeros(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_ones(input, *size, dtype=None, device=None, requires_grad=False):
    """Ones of another shape, of input's type."""
    return ones(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_empty(input, *size, dtype=None, device=None, requires_grad=False):
    """Any values of another shape, of input's type."""
    return empty(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_full(input, size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One value in another shape, of input's type.

    Example:
        >>> import fastnn
        >>> fastnn.tensor([1., 2.]).new_full((3,), 7)
        tensor([7., 7., 7.])
    """
    return full(size, fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_tensor(input, data, *, dtype=None, device=None, requires_grad=False):
    """`tensor(data)` of input's type."""
    return tensor(data, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


METHODS = ("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor")
FUNCTIONS = ("tensor", "as_tensor", "asarray", "from_numpy", "from_dlpack", "empty", "full", "zeros", "ones", "eye", "arange", "linspace", "zeros_like",
             "ones_like", "empty_like", "full_like", "device", "get_default_dtype", "set_default_dtype")
INPLACE = ()
