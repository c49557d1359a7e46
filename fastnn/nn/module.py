"""Module: the base of all layers. Parameters, buffers and children by name; state; hooks; modes.

Every change that a captured step could depend on moves the guard counter (`touch`), and every call shows itself to an
open recorder (`enter_module`): see _capture.pxi.
"""
from collections import OrderedDict, namedtuple
from collections.abc import Mapping

from .._core import enter_module, touch
from ..autograd import no_grad
from ..ops.create import empty, float32, float64
from ..tensor import Tensor
from .hooks import BackwardHooks, Hooks
from .parameter import Parameter

_MEMBERS = ("_parameters", "_buffers", "_modules")


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What load_state_dict(strict=False) could not match."""

    __slots__ = ()

    def __repr__(self):
        return "<All keys matched successfully>" if not any(self) else super().__repr__()


def _kind(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"


class Module:
    """Base of all layers and models.

    A subclass calls `super().__init__()`, assigns parameters and children as attributes, and computes in `forward`.

    Example:
        >>> import fastnn
        >>> class Twice(fastnn.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner = fastnn.nn.Linear(2, 1)
        ...     def forward(self, x):
        ...         return 2 * self.inner(x)
        >>> [name for name, _ in Twice().named_parameters()]
        ['inner.weight', 'inner.bias']
    """

    training: bool

    def __init__(self):
        self.__dict__.update(
            training=True, _parameters={}, _buffers={}, _non_persistent_buffers_set=set(), _modules={},
            _forward_pre_hooks=Hooks(), _forward_hooks=Hooks(), _backward_pre_hooks=Hooks(), _backward_hooks=Hooks(),
            _state_dict_pre_hooks=Hooks(), _state_dict_hooks=Hooks(),
            _load_state_dict_pre_hooks=Hooks(), _load_state_dict_post_hooks=Hooks())

    # ---- the call

    def forward(self, *args, **kwargs):
        """The computation; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args, **kwargs):
        enter_module(self)
        if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks:
            return self._call_hooked(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_hooked(self, args, kwargs):
        for hook, with_kwargs in list(self._forward_pre_hooks.values()):
            if with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise RuntimeError("forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                                           f"but got {changed}.")
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        backward = BackwardHooks(self) if self._backward_hooks or self._backward_pre_hooks else None
        pending = list(self._forward_hooks.values())
        result = None
        try:
            result = self.forward(*(backward.inputs(args) if backward else args), **kwargs)
            while pending:
                result = self._forward_hook(pending.pop(0), args, kwargs, result)
        except BaseException:
            for entry in pending:
                if entry[2]:
                    self._forward_hook(entry, args, kwargs, result)
            raise
        return backward.outputs(result) if backward else result

    def _forward_hook(self, entry, args, kwargs, result):
        hook, with_kwargs, _ = entry
        changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
        return result if changed is None else changed

    # ---- hooks

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """hook(module, args) or hook(module, args, kwargs) before `forward`; what it returns replaces the arguments."""
        return self._forward_pre_hooks.add(hook, prepend=prepend, entry=(hook, with_kwargs))

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """hook(module, args, output) or hook(module, args, kwargs, output) after `forward`; what it returns replaces
        the output. With always_call it also runs, on None, when `forward` or an earlier hook fails."""
        return self._forward_hooks.add(hook, prepend=prepend, entry=(hook, with_kwargs, always_call))

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """hook(module, grad_output) before the module's backward; what it returns replaces grad_output."""
        return self._backward_pre_hooks.add(hook, prepend=prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """hook(module, grad_input, grad_output) after the module's backward; what it returns replaces grad_input."""
        return self._backward_hooks.add(hook, prepend=prepend)

    def register_backward_hook(self, hook):
        raise NotImplementedError("register_backward_hook: not supported; use register_full_backward_hook")

    def register_state_dict_pre_hook(self, hook):
        """hook(module, prefix, keep_vars) before state_dict gathers this module."""
        return self._state_dict_pre_hooks.add(hook)

    def register_state_dict_post_hook(self, hook):
        """hook(module, state_dict, prefix, local_metadata) after state_dict took this module, to change it in place."""
        return self._state_dict_hooks.add(hook)

    def register_load_state_dict_pre_hook(self, hook):
        """hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs) before
        this module is loaded."""
        return self._load_state_dict_pre_hooks.add(hook)

    def register_load_state_dict_post_hook(self, hook):
        """hook(module, incompatible_keys) after loading this module and its children; it changes the keys in place."""
        return self._load_state_dict_post_hooks.add(hook)

    # ---- members

    def _check_name(self, what, name, own):
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {_kind(name)}")
        if hasattr(self, name) and name not in own:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')

    def register_parameter(self, name, param):
        """Add a Parameter, or None for one that an option left out.

        Raises:
            KeyError: the name is taken, empty or has a dot.
            TypeError: param is neither a Parameter nor None.
            ValueError: param was computed from other tensors.
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(f"cannot assign '{_kind(param)}' object to parameter '{name}' "
                                "(fastnn.nn.Parameter or None required)")
            if not param.is_leaf:
                raise ValueError(f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                                 f"created explicitly. To express '{name}' as a function of another Tensor, compute "
                                 "the value in the forward() method.")
        self._parameters[name] = param
        touch()

    def register_buffer(self, name, tensor, persistent=True):
        """Add a tensor that is state but not a parameter; state_dict has it if persistent."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{_kind(tensor)}' object to buffer '{name}' "
                            "(fastnn.Tensor or None required)")
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)
        touch()

    def add_module(self, name, module):
        """Add a child module (or None) under a name that need not be an identifier."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_kind(module)} is not a Module subclass")
        if "_modules" not in self.__dict__:
            raise AttributeError("cannot assign module before Module.__init__() call")
        self._check_name("module", name, self._modules)
        self._modules[name] = module
        touch()

    register_module = add_module

    def __getattr__(self, name):
        members = self.__dict__
        if "_parameters" in members:
            for kind in _MEMBERS:
                if name in members[kind]:
                    return members[kind][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _clear_name(self, name):
        self.__dict__.pop(name, None)
        for kind in _MEMBERS:
            self.__dict__[kind].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __setattr__(self, name, value):
        own = self.__dict__
        ready = "_parameters" in own
        if isinstance(value, Parameter) or isinstance(value, Module):
            if not ready:
                what = "parameters" if isinstance(value, Parameter) else "module"
                raise AttributeError(f"cannot assign {what} before Module.__init__() call")
            kind = "_parameters" if isinstance(value, Parameter) else "_modules"
            if name not in own[kind]:
                self._clear_name(name)
            (self.register_parameter if kind == "_parameters" else self.add_module)(name, value)
        elif ready and name in own["_parameters"]:
            if value is not None:
                raise TypeError(f"cannot assign '{_kind(value)}' as parameter '{name}' "
                                "(fastnn.nn.Parameter or None expected)")
            self.register_parameter(name, None)
        elif ready and name in own["_modules"]:
            if value is not None:
                raise TypeError(f"cannot assign '{_kind(value)}' as child module '{name}' "
                                "(fastnn.nn.Module or None expected)")
            self.add_module(name, None)
        elif ready and name in own["_buffers"]:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"cannot assign '{_kind(value)}' as buffer '{name}' (fastnn.Tensor or None expected)")
            self.register_buffer(name, value, name not in self._non_persistent_buffers_set)
        else:
            object.__setattr__(self, name, value)
            touch()

    def __delattr__(self, name):
        for kind in _MEMBERS:
            if name in self.__dict__.get(kind, ()):
                self._clear_name(name)
                break
        else:
            object.__delattr__(self, name)
        touch()

    def __dir__(self):
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[:1].isdigit())

    # ---- walking

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        """(name, module) of this module, then of all below it, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self):
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self):
        """(name, module) of the direct children, each once."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self):
        """The direct children, each once."""
        for _, child in self.named_children():
            yield child

    def _named_members(self, kind, prefix, recurse, remove_duplicate):
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in module.__dict__[kind].items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """(name, Parameter), a shared one once unless remove_duplicate is False."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        """The parameters, each once: what an optimizer is given."""
        for _, p in self.named_parameters(recurse=recurse):
            yield p

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """(name, buffer), a shared one once unless remove_duplicate is False."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        """The buffers, each once."""
        for _, b in self.named_buffers(recurse=recurse):
            yield b

    def get_submodule(self, target):
        """The module at a dotted path; "" is this one. AttributeError if there is none."""
        module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def _get_member(self, target, kind, word):
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{type(owner).__name__} has no attribute `{name}`")
        if name not in owner.__dict__[kind]:
            raise AttributeError(f"`{name}` is not {word}")
        return getattr(owner, name)

    def get_parameter(self, target):
        """The parameter at a dotted path. AttributeError if there is none."""
        return self._get_member(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target):
        """The buffer at a dotted path. AttributeError if there is none."""
        return self._get_member(target, "_buffers", "a buffer")

    def apply(self, fn):
        """fn(module) for every module below and this one last; returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- modes and types

    def train(self, mode=True):
        """Training mode on this module and all below; returns self."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self):
        """Same as train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Freeze or unfreeze every parameter; returns self."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        touch()
        return self

    def zero_grad(self, set_to_none=True):
        """Drop every gradient, or fill it with zeros."""
        for p in self.parameters():
            grad = p.grad
            if grad is not None:
                if set_to_none:
                    p.grad = None
                else:
                    with no_grad():
                        grad.zero_()

    def _apply(self, fn, recurse=True):
        """Every parameter's data, its gradient and every buffer through fn. Parameters keep their identity."""
        for child in self.children() if recurse else ():
            child._apply(fn)
        with no_grad():
            for p in self._parameters.values():
                if p is not None:
                    grad, p.grad = p.grad, None
                    p.data = fn(p.data)
                    if grad is not None:
                        p.grad = fn(grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        touch()
        return self

    def to(self, *args, **kwargs):
        """`to(dtype)`, `to(device)`, `to(device, dtype)` or `to(tensor)` for parameters and buffers; returns self.

        Only what is of floating point changes its dtype. The CPU is the only device.
        """
        wanted = [empty(0, dtype=d).to(*args, **kwargs).dtype for d in (float32, float64)]
        if wanted == [float32, float64]:                          # no dtype was asked for
            return self
        if not wanted[0].is_floating_point:
            raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={wanted[0]}")
        return self._apply(lambda t: t.to(wanted[0]) if t.is_floating_point() else t)

    def float(self):
        """Floating-point parameters and buffers to float32; returns self."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self):
        """Floating-point parameters and buffers to float64; returns self."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def type(self, dst_type):
        """All parameters and buffers to dst_type; returns self."""
        return self._apply(lambda t: t.type(dst_type))

    def cpu(self):
        """Returns self: everything is there."""
        return self

    def cuda(self, device=None):
        raise NotImplementedError("cuda: not supported")

    def half(self):
        raise NotImplementedError("half: float16 is not supported")

    def bfloat16(self):
        raise NotImplementedError("bfloat16: not supported")

    # ---- state

    def get_extra_state(self):
        """What a subclass wants in its state_dict beside tensors; it then defines set_extra_state too."""
        raise NotImplementedError("get_extra_state: defined by subclasses that have one")

    def set_extra_state(self, state):
        """Take back what get_extra_state gave."""
        raise NotImplementedError("set_extra_state: defined by subclasses that have one")

    def _persistent(self):
        """(name, tensor) of the parameters and buffers that state_dict has."""
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._non_persistent_buffers_set:
                yield name, value

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        for name, value in self._persistent():
            destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not Module.get_extra_state:
            destination[prefix + "_extra_state"] = self.get_extra_state()

    def state_dict(self, *, destination=None, prefix="", keep_vars=False):
        """All parameters and persistent buffers by dotted name, detached (unless keep_vars) but sharing memory.

        Example:
            >>> import fastnn
            >>> list(fastnn.nn.Linear(2, 1).state_dict(prefix="a."))
            ['a.weight', 'a.bias']
        """
        destination = OrderedDict() if destination is None else destination
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            hook(self, destination, prefix, {})
        return destination

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                              error_msgs):
        for hook in self._load_state_dict_pre_hooks.values():
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        known = set()
        for name, value in list(self._persistent()):
            key = prefix + name
            known.add(key)
            if key not in state_dict:
                missing_keys.append(key)
                continue
            given = state_dict[key]
            if not isinstance(given, Tensor):
                error_msgs.append(f'While copying the parameter named "{key}", expected fastnn.Tensor from checkpoint '
                                  f"but received {type(given)}")
            elif given.shape != value.shape:
                error_msgs.append(f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, "
                                  f"the shape in current model is {value.shape}.")
            elif local_metadata.get("assign_to_params_buffers"):
                if name in self._parameters:
                    given = given if isinstance(given, Parameter) else Parameter(given, value.requires_grad)
                    self.register_parameter(name, given)
                else:
                    self.register_buffer(name, given)
            else:
                with no_grad():
                    value.copy_(given)
        if type(self).set_extra_state is not Module.set_extra_state:
            key = prefix + "_extra_state"
            known.add(key)
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            else:
                missing_keys.append(key)
        for key in state_dict:
            head, dot, _ = key[len(prefix):].partition(".")
            if key not in known and not (dot and head in self._modules):
                unexpected_keys.append(key)

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """Copy tensors by name into the parameters and persistent buffers, or put them in their place (assign).

        Returns:
            (missing_keys, unexpected_keys), a named tuple.

        Raises:
            RuntimeError: a shape differs, or (strict) a key is missing or unexpected; it lists all of them.
            TypeError: state_dict is not a mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        state_dict = OrderedDict(state_dict)
        missing, unexpected, errors = [], [], []
        metadata = {"assign_to_params_buffers": True} if assign else {}

        def load(module, state, prefix):
            module._load_from_state_dict(state, prefix, dict(metadata), True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = f"{prefix}{name}."
                    load(child, {k: v for k, v in state.items() if k.startswith(below)}, below)
            for hook in module._load_state_dict_post_hooks.values():
                hook(module, IncompatibleKeys(missing, unexpected))

        load(self, state_dict, "")
        if strict and unexpected:
            errors.insert(0, "Unexpected key(s) in state_dict: {}. ".format(", ".join(f'"{k}"' for k in unexpected)))
        if strict and missing:
            errors.insert(0, "Missing key(s) in state_dict: {}. ".format(", ".join(f'"{k}"' for k in missing)))
        if errors:
            raise RuntimeError("\n\t".join([f"Error(s) in loading state_dict for {type(self).__name__}:", *errors]))
        return IncompatibleKeys(missing, unexpected)

    # ---- printing

    def _get_name(self):
        return type(self).__name__

    def extra_repr(self):
        """What a subclass prints between the parentheses."""
        return ""

    def __repr__(self):
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if len(lines) == 1 and not self._modules:
            return f"{self._get_name()}({extra})"
        for name, child in self._modules.items():
            lines.append(f"({name}): " + repr(child).replace("\n", "\n  "))
        return f"{self._get_name()}({''.join(chr(10) + '  ' + line for line in lines)}{chr(10) if lines else ''})"
