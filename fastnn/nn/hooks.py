"""What the hooks of a module are made of: handles that remove them, and the taps that see gradients pass."""
import weakref
from itertools import count

from .._core import touch
from ..autograd import Function
from ..tensor import Tensor

_ids = count()


class RemovableHandle:
    """Removes one hook: by `remove()`, or at the end of a `with` block."""

    def __init__(self, hooks, *others):
        self.id = next(_ids)
        self._tables = [weakref.ref(table) for table in (hooks, *others)]

    def remove(self):
        for ref in self._tables:
            table = ref()
            if table is not None:
                table.pop(self.id, None)
        touch()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


class Hooks(dict):
    """Hooks by the id of their handle, in the order they run."""

    __slots__ = ("__weakref__",)

    def add(self, hook, *, prepend=False, entry=None):
        """Take `hook` (stored as `entry` if given) and return its handle."""
        if not callable(hook):
            raise TypeError(f"hook: expected a callable, got {type(hook).__name__}")
        handle = RemovableHandle(self)
        later = list(self.items()) if prepend else ()
        if prepend:
            self.clear()
        self[handle.id] = hook if entry is None else entry
        self.update(later)
        touch()
        return handle


class _Tap(Function):
    """The identity; its backward hands the gradients to `see`, which may change them."""

    @staticmethod
    def forward(ctx, see, *tensors):
        ctx.see = see
        return tuple(t.view(t.shape) for t in tensors)

    @staticmethod
    def backward(ctx, *grads):
        return None, *ctx.see(grads)


def _tap(values, see):
    """`values` (a tensor or a tuple) with its tensors behind a tap, and whether a gradient will come through it."""
    several = isinstance(values, tuple)
    items = list(values) if several else [values]
    places = [i for i, v in enumerate(items) if isinstance(v, Tensor)]
    if not any(items[i].requires_grad for i in places):
        return values, False

    def spread(grads):
        every = [None] * len(items)
        for i, g in zip(places, grads):
            every[i] = g
        every = see(tuple(every))
        return tuple(every[i] for i in places)

    for i, t in zip(places, _Tap.apply(spread, *(items[i] for i in places))):
        items[i] = t
    return (tuple(items) if several else items[0]), True


def _changed(hook, old, new):
    if new is None:
        return old
    new = new if isinstance(new, tuple) else (new,)
    if len(new) != len(old):
        raise RuntimeError(f"Backward hook returned an invalid number of grad, got {len(new)}, "
                           f"but expected {len(old)}: {hook}")
    return new


class BackwardHooks:
    """One call of a module under full backward hooks.

    hook(module, grad_input, grad_output) runs once the gradients of all tensor arguments are known, or those of the
    outputs where no argument needs one; a pre-hook(module, grad_output) runs before. What they return replaces
    grad_input or grad_output."""

    def __init__(self, module):
        self.module, self.out, self.n, self.tapped = module, None, 0, False

    def inputs(self, args):
        args, self.tapped = _tap(args, self._at_inputs)
        self.n = len(args)
        return args

    def outputs(self, result):
        if not isinstance(result, (Tensor, tuple)):
            return result
        return _tap(result, self._at_outputs)[0]

    def _at_outputs(self, grads):
        for hook in list(self.module._backward_pre_hooks.values()):
            grads = _changed(hook, grads, hook(self.module, grads))
        self.out = grads
        if not self.tapped:
            self._run((None,) * self.n)
        return grads

    def _at_inputs(self, grads):
        return self._run(grads)

    def _run(self, grads):
        for hook in list(self.module._backward_hooks.values()):
            grads = _changed(hook, grads, hook(self.module, grads, self.out))
        return grads
