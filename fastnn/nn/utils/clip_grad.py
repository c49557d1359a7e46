"""Gradient clipping, and parameters as one vector."""
import math
import types
import warnings

from ... import _core
from ...ops.create import float32, float64
from ...ops.shape import cat, reshape


def _listed(tensors):
    if isinstance(tensors, _core.TensorBase):
        return [tensors]
    listed = list(tensors)
    for i, x in enumerate(listed):
        if not isinstance(x, _core.TensorBase):
            raise TypeError(f"expected a Tensor or an iterable of them, but element {i} is {type(x).__name__}")
    if isinstance(tensors, types.GeneratorType) and not listed:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    return listed


def _norm(grads, norm_type, error_if_nonfinite):
    """The norm over all elements as a float64 scalar, and the type that PyTorch would give it."""
    norm_type = float(norm_type)
    norm = _core.total_norm(grads, norm_type)
    if error_if_nonfinite and not math.isfinite(_core.item(norm)):
        raise RuntimeError(f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
                           "clipped. To scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`")
    return norm, float64 if any(g.dtype == float64 for g in grads) else float32


def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """(sum |x|^norm_type)^(1/norm_type) over all elements of `tensors`, added up in float64. norm_type may be infinite.

    Errors: RuntimeError if error_if_nonfinite and the norm is not finite; NotImplementedError for norm_type 0.

    Example:
        >>> import fastnn
        >>> fastnn.nn.utils.get_total_norm([fastnn.tensor([3.0]), fastnn.tensor([4.0])])
        tensor(5.)
    """
    norm, kind = _norm([t.detach() for t in _listed(tensors)], norm_type, error_if_nonfinite)
    return norm if kind == float64 else _core.cast(norm, kind)


def clip_grads_with_norm_(parameters, max_norm, total_norm, foreach=None):
    """Scale each gradient by min(1, max_norm / (total_norm + 1e-6)), in place.

    Args:
        parameters: a Tensor or an iterable of them. total_norm: a scalar Tensor, as `get_total_norm` gives it.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([3.0, 4.0], requires_grad=True)
        >>> (w * w).sum().backward()
        >>> fastnn.nn.utils.clip_grads_with_norm_([w], 1.0, fastnn.nn.utils.get_total_norm([w.grad]))
        >>> w.grad
        tensor([0.6000, 0.8000])
    """
    norm = total_norm.detach()
    norm = norm if norm.dtype == float64 else _core.cast(norm, float64)
    _core.scale_grads(_core.grads_of(_listed(parameters)), float(max_norm), norm)


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)), in place; returns their norm before that, a scalar.

    Args:
        parameters: a Tensor or an iterable of them; those without a gradient are passed over.
        max_norm, norm_type: see above and `get_total_norm`.

    Errors: as `get_total_norm`.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([3.0, 4.0], requires_grad=True)
        >>> (w * w).sum().backward()
        >>> fastnn.nn.utils.clip_grad_norm_([w], 1.0)
        tensor(10.)
        >>> w.grad
        tensor([0.6000, 0.8000])
    """
    grads = _core.grads_of(_listed(parameters))
    norm, kind = _norm(grads, norm_type, error_if_nonfinite)
    _core.scale_grads(grads, float(max_norm), norm)
    return norm if kind == float64 else _core.cast(norm, kind)


def clip_grad_value_(parameters, clip_value, foreach=None):
    """Clamp all gradients to [-clip_value, clip_value], in place.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([3.0, 0.1], requires_grad=True)
        >>> (w * w).sum().backward()
        >>> fastnn.nn.utils.clip_grad_value_([w], 0.5)
        >>> w.grad
        tensor([0.5000, 0.2000])
    """
    _core.clamp_grads(_core.grads_of(_listed(parameters)), float(clip_value))


def parameters_to_vector(parameters):
    """All elements of the parameters in one vector, with a gradient.

    Example:
        >>> import fastnn
        >>> fastnn.nn.utils.parameters_to_vector([fastnn.ones(2, 2), fastnn.zeros(1)])
        tensor([1., 1., 1., 1., 0.])
    """
    return cat([reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vec, parameters):
    """Copy a vector's elements into the parameters, in order; each keeps its memory.

    Errors: TypeError if vec is no Tensor; RuntimeError if it has fewer elements than the parameters.

    Example:
        >>> import fastnn
        >>> w = fastnn.zeros(2, 2)
        >>> fastnn.nn.utils.vector_to_parameters(fastnn.tensor([1., 2., 3., 4.]), [w])
        >>> w
        tensor([[1., 2.],
                [3., 4.]])
    """
    if not isinstance(vec, _core.TensorBase):
        raise TypeError(f"expected a Tensor, but got: {type(vec).__name__}")
    vec, at = vec.detach(), 0
    for p in parameters:
        if at + p.numel() > vec.numel():
            raise RuntimeError(f"vector_to_parameters: a vector of {vec.numel()} elements is too short for a parameter of shape "
                               f"{tuple(p.shape)} that begins at element {at}")
        _core.copy_into(p, reshape(_core.slice_dim(vec, 0, at, at + p.numel(), 1), tuple(p.shape)))
        at += p.numel()
