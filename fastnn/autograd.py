"""The tape as users see it: gradient modes, `grad`, `Function`. The nodes and the backward pass are in `_autograd.pxi`."""
import functools

from . import _core
from ._core import attach, detach, is_grad_enabled, run_backward, set_grad_mode

__all__ = ["no_grad", "enable_grad", "set_grad_enabled", "is_grad_enabled", "grad", "backward", "Function"]


class set_grad_enabled:
    """Switch this thread's gradient mode, as a call or a context manager.

    Example:
        >>> import fastnn
        >>> x = fastnn.ones(2, requires_grad=True)
        >>> with fastnn.set_grad_enabled(False):
        ...     (x * 2).requires_grad
        False
    """

    def __init__(self, mode):
        self.mode = bool(mode)
        self.before = set_grad_mode(self.mode)

    def __enter__(self):
        set_grad_mode(self.mode)

    def __exit__(self, *exc):
        set_grad_mode(self.before)


class _Mode:
    """A gradient mode as a context manager or a decorator."""
    mode = None

    def __new__(cls, function=None):
        self = super().__new__(cls)
        if function is None:
            return self
        self.before = []
        return self(function)

    def __init__(self, function=None):
        self.before = []

    def __enter__(self):
        self.before.append(set_grad_mode(self.mode))

    def __exit__(self, *exc):
        set_grad_mode(self.before.pop())

    def __call__(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with type(self)():
                return function(*args, **kwargs)
        return wrapped


class no_grad(_Mode):
    """Within it nothing is recorded for backward. Also a decorator.

    Example:
        >>> import fastnn
        >>> x = fastnn.ones(2, requires_grad=True)
        >>> with fastnn.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """
    mode = False


class enable_grad(_Mode):
    """Within it operations are recorded again, inside a `no_grad` too."""
    mode = True


def _as_tuple(x):
    return (x,) if isinstance(x, _core.TensorBase) or x is None else tuple(x)


def _seeds(outputs, grads, what):
    """The gradients to start from: given ones, or 1 for scalars."""
    grads = (None,) * len(outputs) if grads is None else _as_tuple(grads)
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    seeds = []
    for y, g in zip(outputs, grads):
        if not isinstance(y, _core.TensorBase):
            raise TypeError(f"{what}: expected tensors, got {type(y).__name__}")
        if not y.requires_grad:
            raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
        if g is None:
            if y.numel() != 1:
                raise RuntimeError(f"grad can be implicitly created only for scalar outputs, but this one has shape {tuple(y.shape)}")
            g = _core.full(tuple(y.shape), 1, y.dtype)
        elif not isinstance(g, _core.TensorBase):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        elif g.shape != y.shape:
            raise RuntimeError(f"Mismatch in shape: grad_output[0] has a shape of {tuple(g.shape)} and output[0] has a shape of {tuple(y.shape)}.")
        elif g.dtype != y.dtype:
            raise RuntimeError(f"{what}: gradient has dtype {g.dtype}, but the tensor has {y.dtype}")
        seeds.append(detach(g))
    return seeds


def _refuse_double(create_graph):
    if create_graph:
        raise NotImplementedError("create_graph=True: higher-order gradients are not supported")


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None):
    """Add the gradients of `tensors` to the `.grad` of the leaves they came from.

    Args:
        tensors: one tensor or several that require grad.
        grad_tensors: a gradient of the same shape for each; None for scalars means 1.
        retain_graph: keep what the graph saved, to go backward again.
        create_graph: not supported.
        inputs: only these get a `.grad`.

    Example:
        >>> import fastnn
        >>> x = fastnn.tensor([1., 2.], requires_grad=True)
        >>> fastnn.autograd.backward((x * x).sum())
        >>> x.grad
        tensor([2., 4.])
    """
    _refuse_double(create_graph)
    tensors = _as_tuple(tensors)
    seeds = _seeds(tensors, grad_tensors, "backward")
    if inputs is None:
        run_backward(tensors, seeds, bool(retain_graph))
        return
    inputs = _as_tuple(inputs)
    for x, g in zip(inputs, run_backward(tensors, seeds, bool(retain_graph), inputs)):
        if g is not None:
            with no_grad():
                x.grad = g.clone() if x.grad is None else x.grad + g


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=None, is_grads_batched=False,
         materialize_grads=False):
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no `.grad` changes.

    Errors: RuntimeError if an input does not require grad, or was not used and `allow_unused` is not set.

    Example:
        >>> import fastnn
        >>> x = fastnn.tensor(3., requires_grad=True)
        >>> fastnn.autograd.grad(x * x, x)
        (tensor(6.),)
    """
    _refuse_double(create_graph)
    if is_grads_batched:
        raise NotImplementedError("is_grads_batched=True: not supported")
    outputs, inputs = _as_tuple(outputs), _as_tuple(inputs)
    for x in inputs:
        if not x.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    found = run_backward(outputs, _seeds(outputs, grad_outputs, "grad"), bool(retain_graph), inputs)
    if materialize_grads:
        found = [_core.full(tuple(x.shape), 0, x.dtype) if g is None else g for x, g in zip(inputs, found)]
    elif not allow_unused and any(g is None for g in found):
        raise RuntimeError("One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if this is the "
                           "desired behavior.")
    return tuple(found)


class _Context:
    """What `Function.forward` leaves for `Function.backward`."""
    saved_tensors = ()

    def save_for_backward(self, *tensors):
        self._to_save = tensors

    def mark_non_differentiable(self, *tensors):
        self._plain = tensors

    def mark_dirty(self, *tensors):
        raise NotImplementedError("Function.mark_dirty: not supported")


def _function_backward(node, *dys):
    function, ctx, shapes = node.meta
    ctx.saved_tensors = node.saved
    dys = [_core.full(shape, 0, dtype) if dy is None else dy for dy, (shape, dtype) in zip(dys, shapes)]
    grads = function.backward(ctx, *dys)
    grads = grads if isinstance(grads, tuple) else (grads,)
    missing = len(node.needs) - len(grads)
    return grads + (None,) * missing if missing > 0 else grads


class Function:
    """A function with its own gradient: subclass with static `forward(ctx, ...)` and `backward(ctx, *dy)`, call by `apply`.

    Example:
        >>> import fastnn
        >>> class Cube(fastnn.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x * x
        ...     @staticmethod
        ...     def backward(ctx, dy):
        ...         x, = ctx.saved_tensors
        ...         return 3 * x * x * dy
        >>> x = fastnn.tensor(2., requires_grad=True)
        >>> Cube.apply(x).backward()
        >>> x.grad
        tensor(12.)
    """

    @staticmethod
    def forward(ctx, *args):
        raise NotImplementedError("autograd.Function: forward(ctx, ...) is to be defined")

    @staticmethod
    def backward(ctx, *grads):
        raise NotImplementedError("autograd.Function: backward(ctx, ...) is to be defined")

    @classmethod
    def apply(cls, *args):
        ctx = _Context()
        ctx.needs_input_grad = tuple(isinstance(a, _core.TensorBase) and a.requires_grad for a in args)
        ctx._to_save = ()
        with no_grad():
            y = cls.forward(ctx, *args)
        outputs = y if isinstance(y, tuple) else (y,)
        outputs = tuple(detach(o) if any(o is a for a in args) else o for o in outputs)
        shapes = [(tuple(o.shape), o.dtype) for o in outputs]
        outputs = attach(outputs, _function_backward, args, ctx._to_save, (cls, ctx, shapes))
        return outputs if isinstance(y, tuple) else outputs[0]
