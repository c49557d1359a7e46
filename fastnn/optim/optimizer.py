"""The base of the optimizers: parameter groups, state, saving and loading."""
import copy
import warnings
from collections import defaultdict

import numpy as np

from .. import _core
from ..autograd import enable_grad
from ..ops.create import float32, from_numpy


class _State(defaultdict):
    """parameter -> dict of its state; replacing an entry makes captured steps stale."""

    def __init__(self, changed):
        super().__init__(dict)
        self._changed = changed


def _watched(name):
    method = getattr(defaultdict, name)

    def call(self, *args, **kwargs):
        self._changed()
        return method(self, *args, **kwargs)
    call.__name__ = name
    return call


for _name in ("__setitem__", "__delitem__", "clear", "pop", "popitem", "update"):
    setattr(_State, _name, _watched(_name))


class Optimizer:
    """Moves parameters along their gradients.

    Args:
        params: an iterable of Tensors, of (name, Tensor) pairs, or of dicts with "params" and options of their own.
        defaults: dict of options for groups that do not give them.

    Attributes:
        param_groups: list of dicts. Their numbers may be changed between steps, those of a captured step too.
        state: parameter -> dict of tensors, made with the optimizer.
        defaults: as given.

    A derived class names its `_kernel` and the `_tensors` of a parameter's state, or writes its own `step`.

    Errors: TypeError for a single Tensor, a set, or what is no Tensor; ValueError for no parameters, a non-leaf, or a
    parameter in two groups.
    """
    _kernel = None
    _tensors = {}                            # state tensor: the option that calls for it, None for always
    _initial = {}                            # state tensor: the option with its first value, where that is not 0
    _hidden = ()                             # keys of a parameter's state that state_dict leaves out

    def __init__(self, params, defaults):
        self.defaults, self.param_groups, self._steppers = defaults, [], []
        self.state = {}
        self._stepped = self._kernel is None     # a schedule asks
        if isinstance(params, _core.TensorBase):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                            f"{type(params).__name__}")
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    @property
    def state(self):
        return self._state

    @state.setter
    def state(self, value):
        self._state = _State(self._changed)
        self._state.update(value)

    def add_param_group(self, param_group):
        """Add {"params": parameters, **options} to `param_groups`; options left out are the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but the ordering of tensors "
                            "in sets will change between runs. Please use a list instead.")
        params = [params] if isinstance(params, _core.TensorBase) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names and len(names) != len(params):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        if self.param_groups and bool(names) != ("param_names" in self.param_groups[0]):
            raise ValueError("all optimizer param groups should be with/without names")
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        for p in params:
            if not isinstance(p, _core.TensorBase):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not (p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        ids = {id(p) for p in params}
        if len(ids) < len(params):
            warnings.warn("optimizer contains a parameter group with duplicate parameters; each is stepped as often as it "
                          "is named", stacklevel=3)
        if any(id(p) in ids for group in self.param_groups for p in group["params"]):
            raise ValueError("some parameters appear in more than one parameter group")
        options = {k: v for k, v in param_group.items() if k != "params"}
        named = {"param_names": names} if names else {}
        self._changed()
        self.param_groups.append({"params": params, **named, **options, **{k: v for k, v in self.defaults.items()
                                                                           if k not in options}})
        self._sync()
        if self._steppers:
            self._steppers[-1].prepare(params, self.state)

    def step(self, closure=None):
        """One step of every parameter that has a gradient.

        closure: a function that clears the gradients, computes the loss, calls its backward() and returns it; step does
        so too."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if self._kernel is None:
            raise NotImplementedError(f"{type(self).__name__} has no step()")
        self._stepped = True
        self._sync()
        _core.note_optimizer(self)
        for stepper, group in zip(self._steppers, self.param_groups):
            stepper.step(group["params"], self._state)
        return loss

    def zero_grad(self, set_to_none=True):
        """Drop the gradients, or fill them with zeros."""
        for group in self.param_groups:
            if set_to_none:
                _core.clear_grads(group["params"])
            else:
                for g in _core.grads_of(group["params"]):
                    _core.fill_into(g, 0)

    def _sync(self):
        """Copy the numbers of `param_groups` to where kernels read them. True: steps captured before are stale."""
        changed = False
        if self._kernel is not None:
            while len(self._steppers) < len(self.param_groups):
                self._steppers.append(_core.Stepper(self._kernel, self.defaults, self._tensors))
            for stepper, group in zip(self._steppers, self.param_groups):
                changed |= stepper.sync(group)
        return changed

    def _changed(self):
        for stepper in self._steppers:
            stepper.renew()

    # ---- saving and loading

    def state_dict(self):
        """{"state": {index: tensors by name}, "param_groups": options, with indices for parameters}, laid out as PyTorch's.

        A parameter that was never stepped has no state in it, but for Adagrad's; `step` is a float32 scalar. Tensors are
        those in use."""
        _core.host_reads("state_dict() of an optimizer")
        order, groups, packed = {}, [], {}
        for group in self.param_groups:
            for p in group["params"]:
                order.setdefault(id(p), len(order))
            groups.append({**{k: v for k, v in group.items() if k != "params"},
                           "params": [order[id(p)] for p in group["params"]]})
        for p, values in self._state.items():
            if id(p) in order and values and (self._initial or "step" not in values or _core.steps_of(values) > 0):
                kept = {k: v for k, v in values.items() if k not in self._hidden}
                if "step" in kept:
                    kept["step"] = _core.full((), _core.steps_of(values), float32)
                packed[order[id(p)]] = kept
        return {"state": dict(sorted(packed.items())), "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Take options and state from `state_dict`, PyTorch's too (tensors, arrays or numbers). State tensors keep their
        memory, so captured steps go on with the new values.

        Errors: ValueError for another number of groups or of parameters in one; RuntimeError for a tensor of another shape.
        """
        _core.host_reads("load_state_dict() of an optimizer")
        saved, ours = state_dict["param_groups"], self.param_groups
        if len(saved) != len(ours):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(s["params"]) != len(g["params"]) for s, g in zip(saved, ours)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's group")
        for s, g in zip(saved, ours):
            for i, p in zip(s["params"], g["params"]):
                self._load(p, state_dict["state"].get(i, {}), s)
        kept = [{k: g[k] for k in ("params", "param_names") if k in g} for g in ours]
        self.param_groups = [{**self._options_of(s), **k} for s, k in zip(saved, kept)]
        self._sync()

    def _options_of(self, saved):
        return {**self.defaults, **copy.deepcopy({k: v for k, v in saved.items() if k != "params"})}

    def _load(self, p, values, options):
        """Give parameter p the saved state `values`; what they do not name starts anew."""
        ours = self._state[p] if values or p in self._state else {}
        counts = self._kernel is not None
        for name in [n for n in ours if n != "step" and values.get(n) is None]:
            if isinstance(ours[name], _core.TensorBase):
                _core.fill_into(ours[name], options.get(self._initial.get(name), 0))
            else:
                del ours[name]
        if counts and (values or "step" in ours):
            _core.set_steps(ours, float(values.get("step", values.get("momentum_buffer") is not None)))
        for name, value in values.items():
            if value is None or (counts and name == "step"):
                continue
            value, old = _own(value, p.dtype), ours.get(name)
            if not isinstance(value, _core.TensorBase):
                ours[name] = value
                continue
            if counts and value.shape != p.shape:
                raise RuntimeError(f"loaded state '{name}' has shape {tuple(value.shape)}, but its parameter has "
                                   f"{tuple(p.shape)}")
            if isinstance(old, _core.TensorBase) and old.shape == value.shape and old.dtype == value.dtype:
                _core.copy_into(old, value)
            else:
                ours[name] = value
                self._changed()

    def __getstate__(self):
        return {**{k: v for k, v in self.__dict__.items() if k not in ("_steppers", "_state")}, "state": dict(self._state)}

    def __setstate__(self, state):
        self._steppers = []
        for name, value in state.items():
            setattr(self, name, value)
        self._sync()
        for stepper, group in zip(self._steppers, self.param_groups):
            stepper.prepare(group["params"], self._state)

    def __repr__(self):
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            lines += ["", f"Parameter Group {i}"][i == 0:]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines + [")"])


def _own(value, dtype):
    """A copy of a saved value, with Tensors for arrays and other frameworks' CPU tensors, floating ones of `dtype`; in
    lists too."""
    if isinstance(value, (list, tuple)):
        return [_own(v, dtype) for v in value]
    if isinstance(value, _core.TensorBase):
        value = _core.clone(value.detach())
    elif hasattr(value, "__array__"):
        value = from_numpy(np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value, order="C"))
    else:
        return copy.deepcopy(value)
    return _core.cast(value, dtype) if value.dtype.is_floating_point and value.dtype != dtype else value


# ---- what the optimizers check ---------------------------------------------------------------------------------------

def _check(name, value, fine):
    if not fine:
        raise ValueError(f"Invalid {name}: {value}")


def _check_flags(foreach, fused, differentiable):
    if differentiable:
        raise NotImplementedError("differentiable=True: not supported")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def _check_lr(lr):
    if isinstance(lr, _core.TensorBase) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    _check("learning rate", lr, lr >= 0)


def _check_numbers(lr, **numbers):
    """None of them may be negative."""
    _check_lr(lr)
    for name, value in numbers.items():
        _check(f"{'epsilon' if name == 'eps' else name} value", value, value >= 0)
