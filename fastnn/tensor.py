"""The array class. Its storage and geometry are `_core.TensorBase`; its methods are the functions of `fastnn.ops`, bound here."""
import copy

import numpy as np

from . import _core, autograd, ops
from ._core import attach, needs_grad
from .ops import compare, create, elementwise, index, matmul, shape
from .printing import tensor_repr


def _zero_backward(node, dy):
    return (_core.full(tuple(dy.shape), 0, dy.dtype),)


def _copy_backward(node, dy):
    return (_core.full(tuple(dy.shape), 0, dy.dtype) if node.needs[0] else None), dy


def _in_place(function):
    """The method `x.<name>_()` of a function: with no gradient it writes into x, else x takes the result's value and history."""
    def method(self, *args, **kwargs):
        if not needs_grad(self, *args, *kwargs.values()):
            return function(self, *args, out=self, **kwargs)
        _core.check_inplace(self)
        return _take(self, function(_core.source_of(self), *args, **kwargs))
    method.__name__ = function.__name__ + "_"
    method.__doc__ = f"`{function.__name__}` in place."
    return method


def _take(x, y):
    if y.shape != x.shape:
        raise RuntimeError(f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(y.shape)}")
    if y.dtype != x.dtype:
        y = elementwise.cast(y, x.dtype)
    return _core.rebase(x, y)


class Tensor(_core.TensorBase):
    """An array with a gradient: PyTorch's names and rules on this package's kernels.

    Make one with `fastnn.tensor`, `fastnn.zeros`, `fastnn.from_numpy` and kin. Attributes: `shape`, `dtype`, `device`, `requires_grad`, `grad`,
    `grad_fn`, `is_leaf`, `data`. Every function of `fastnn` that takes a tensor first is also a method.

    Example:
        >>> import fastnn
        >>> x = fastnn.tensor([1., 2.], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
    """
    __array_priority__ = 1000
    device = property(lambda self: create.cpu, doc="Where it lives.")
    is_cuda = property(lambda self: False)

    def __new__(cls, *args, **kwargs):
        if args and cls is Tensor:
            if all(isinstance(a, int) for a in args):
                return create.empty(*args)
            if isinstance(args[0], (list, tuple, np.ndarray)):
                return create.tensor(args[0], dtype=create.float32)
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    @classmethod
    def _make_subclass(cls, subclass, data, requires_grad=False):
        return _core.make_subclass(subclass, data, requires_grad)

    # ---- what it is

    def size(self, dim=None):
        """The shape, or one size of it."""
        return self.shape if dim is None else self.shape[shape._wrap(dim, self.dim())]

    @property
    def ndim(self):
        return self.dim()

    def nelement(self):
        """Number of elements."""
        return self.numel()

    def element_size(self):
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def itemsize(self):
        return self.dtype.itemsize

    @property
    def nbytes(self):
        return self.numel() * self.dtype.itemsize

    def is_floating_point(self):
        return self.dtype.is_floating_point

    def ndimension(self):
        return self.dim()

    def get_device(self):
        return -1

    @property
    def data(self):
        """The same elements without a gradient; assigning gives this tensor other memory."""
        return _core.detach(self)

    @data.setter
    def data(self, value):
        if not isinstance(value, _core.TensorBase):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if self.requires_grad and not value.is_floating_point():
            raise RuntimeError(f"data set to a tensor that requires gradients must be floating point, got {value.dtype}")
        _core.set_data(self, value)

    T = property(lambda self: shape.permute(self, tuple(reversed(range(self.dim())))), doc="Dimensions reversed.")
    mT = property(lambda self: shape.transpose(self, -2, -1), doc="The last two dimensions swapped.")
    H = T

    # ---- the tape

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Add d self / d leaf to the `.grad` of each leaf. `gradient` has self's shape; None means 1 for a scalar."""
        autograd.backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self):
        """The same elements without a gradient; writes are shared."""
        return _core.detach(self)

    def detach_(self):
        """Cut this tensor from its graph."""
        if self._base is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        return _core.cut(self)

    def requires_grad_(self, requires_grad=True):
        """Record operations on this leaf, or stop."""
        _core.set_requires_grad(self, requires_grad)
        return self

    def retain_grad(self):
        """Keep `.grad` of a tensor that is not a leaf."""
        _core.retain_grad(self)

    # ---- to the host

    def item(self):
        """The one element, as a Python number."""
        return _core.item(self)

    def tolist(self):
        """Nested lists of Python numbers."""
        return self.detach().numpy().tolist()

    def numpy(self, *, force=False):
        """An array over the same memory; with force=True detached first."""
        return _core.to_numpy(_core.detach(self) if force else self)

    def __array__(self, dtype=None, copy=None):
        a = _core.to_numpy(self)
        if dtype is not None and a.dtype != np.dtype(dtype):
            if copy is False:
                raise ValueError(f"cannot give a {self.dtype} tensor as {np.dtype(dtype)} without a copy")
            return a.astype(dtype)
        return a.copy() if copy else a

    def __dlpack__(self, **kwargs):
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return _core.to_numpy(self).__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return (1, 0)

    def __repr__(self):
        _core.host_reads("printing a tensor")
        return tensor_repr(self)

    def __format__(self, spec):
        return format(self.item(), spec) if self.dim() == 0 and spec else object.__format__(self, spec)

    def __bool__(self):
        if self.numel() != 1:
            raise RuntimeError("Boolean value of Tensor with " + ("no values" if self.numel() == 0 else "more than one value") + " is ambiguous")
        _core.host_reads("branching on a tensor")
        return bool(_core.item(self))

    def _only(self):
        if self.numel() != 1:
            raise ValueError(f"only one element tensors can be converted to Python scalars, got one of shape {tuple(self.shape)}")
        return self.item()

    def __float__(self):
        return float(self._only())

    def __int__(self):
        return int(self._only())

    def __index__(self):
        if self.dtype.is_floating_point or self.numel() != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __contains__(self, value):
        if not isinstance(value, (_core.TensorBase, int, float, np.generic)):
            raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(value).__name__}")
        return bool((self == value).any())

    def __iter__(self):
        if self.dim() == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(shape.unbind(self, 0))

    __hash__ = object.__hash__

    # ---- type and place

    def to(self, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None):
        """This tensor with another dtype or device, or those of another tensor; itself if nothing changes and copy is False."""
        for a in args:
            if isinstance(a, _core.dtype):
                dtype = a
            elif isinstance(a, _core.TensorBase):
                dtype = a.dtype
            elif isinstance(a, (str, create.device)):
                device = a
            elif not isinstance(a, bool):
                raise TypeError(f"to() received an invalid argument of type {type(a).__name__}")
        if device is not None:
            create.device(device)
        if dtype is None or dtype == self.dtype:
            return shape.clone(self) if copy else self
        return elementwise.cast(self, dtype)

    def type(self, dtype=None):
        """The type's name, or this tensor as another type."""
        if dtype is None:
            return "fastnn." + {"float32": "Float", "float64": "Double", "int64": "Long", "int32": "Int", "uint8": "Byte", "bool": "Bool"}[
                self.dtype.name] + "Tensor"
        return self.to(dtype)

    def type_as(self, other):
        return self.to(other.dtype)

    def cpu(self):
        return self

    def cuda(self, *args, **kwargs):
        raise RuntimeError("cuda(): this build has no CUDA extension")

    def float(self):
        return self.to(create.float32)

    def double(self):
        return self.to(create.float64)

    def long(self):
        return self.to(create.int64)

    def int(self):
        return self.to(create.int32)

    def byte(self):
        return self.to(create.uint8)

    def bool(self):
        return self.to(create.bool)

    def half(self):
        raise NotImplementedError("float16: not supported")

    def bfloat16(self):
        raise NotImplementedError("bfloat16: not supported")

    def pin_memory(self):
        return self

    def share_memory_(self):
        raise NotImplementedError("share_memory_: not supported")

    # ---- in place

    def zero_(self):
        """Fill with zeros."""
        return self.fill_(0)

    def fill_(self, value):
        """Fill with one value."""
        if isinstance(value, _core.TensorBase):
            if value.dim():
                raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.dim()} dimensions.")
            return self.copy_(shape.expand(value, tuple(self.shape)))
        if not needs_grad(self):
            _core.fill_into(self, value)
            return self
        _core.check_inplace(self)
        filled = _core.full(tuple(self.shape), value, self.dtype)
        return _core.rebase(self, attach(filled, _zero_backward, (self,)))

    def copy_(self, src, non_blocking=False):
        """Take the values of src, broadcast and converted."""
        if not isinstance(src, _core.TensorBase):
            raise TypeError(f"copy_(): argument 'other' must be Tensor, not {type(src).__name__}")
        if not needs_grad(self, src):
            _core.copy_into(self, src)
            return self
        _core.check_inplace(self)
        src = elementwise.cast(shape.expand(src, tuple(self.shape)), self.dtype)
        return _core.rebase(self, attach(_core.clone(src), _copy_backward, (self, src)))

    def where(self, condition, other):
        """self where condition holds, else other."""
        return elementwise.where(condition, self, other)

    def __getitem__(self, key):
        return index.getitem(self, key)

    def __setitem__(self, key, value):
        index.setitem(self, key, value)

    # ---- copies

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.")
        new = _core.make_subclass(type(self), _core.clone(self), self.requires_grad)
        memo[id(self)] = new
        if self.grad is not None:
            new.grad = copy.deepcopy(self.grad, memo)
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    def __reduce_ex__(self, protocol):
        if not self.is_leaf:
            raise RuntimeError("only leaf tensors can be pickled; detach() first")
        return _rebuild, (type(self), np.array(self.detach().numpy(), order="C"), self.requires_grad, self.__dict__)


def _rebuild(cls, array, requires_grad, attributes):
    t = _core.make_subclass(cls, _core.clone(_core.from_numpy(array)), requires_grad)
    t.__dict__.update(attributes)
    return t


def _bind():
    for module in ops.MODULES:
        for name in module.METHODS:
            setattr(Tensor, name, getattr(module, name))
        for name in module.INPLACE:
            setattr(Tensor, name + "_", _in_place(getattr(module, name)))
    e, c = elementwise, compare

    def reflected(function):
        return lambda self, other: function(other, self)

    def operator(function):
        def run(self, other):
            if isinstance(other, (_core.TensorBase, int, float)):
                return function(self, other)
            if isinstance(other, np.ndarray):
                return function(self, create.as_tensor(other))
            return function(self, other.item()) if isinstance(other, np.generic) else NotImplemented
        return run
    for name, function in (("add", e.add), ("sub", e.sub), ("mul", e.mul), ("truediv", e.div), ("floordiv", e.floor_divide), ("mod", e.remainder),
                           ("pow", e.pow), ("and", c.bitwise_and), ("or", c.bitwise_or), ("xor", c.bitwise_xor)):
        setattr(Tensor, f"__{name}__", operator(function))
        setattr(Tensor, f"__r{name}__", operator(reflected(function)))
        setattr(Tensor, f"__i{name}__", operator(_in_place(function)))
    for name, function in (("eq", c.eq), ("ne", c.ne), ("lt", c.lt), ("le", c.le), ("gt", c.gt), ("ge", c.ge)):
        setattr(Tensor, f"__{name}__", operator(function))
    Tensor.__hash__ = object.__hash__
    Tensor.__neg__, Tensor.__abs__, Tensor.__pos__ = e.neg, e.abs, lambda self: self
    Tensor.__invert__ = lambda self: c.bitwise_not(self)
    Tensor.__matmul__ = lambda self, other: matmul.matmul(self, other)
    Tensor.__rmatmul__ = lambda self, other: matmul.matmul(other, self)


_bind()
_core.set_tensor_type(Tensor)
