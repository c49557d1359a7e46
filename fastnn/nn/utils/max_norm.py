"""Weights of bounded norm."""
from ... import _core
from ...autograd import no_grad
from ...ops.elementwise import maximum
from ...ops.reduce import norm


@no_grad()
def max_norm_(parameters, max_norm, norm_type=2.0):
    """Scale each row of a matrix, and each filter of a convolution, whose norm is above max_norm down to it, in place: the
    weights of one unit, w min(1, max_norm / |w|). Call it after `optimizer.step()`.

    Args:
        parameters: a Tensor or an iterable of them; those of fewer than two dimensions, such as biases, are passed over.
        max_norm: a positive number; 3 to 4 are usual.
        norm_type: order of the norm, may be infinite.

    Errors: ValueError for a max_norm that is not above 0.
    Source: Srebro and Shraibman, Rank, trace-norm and max-norm, 2005; Srivastava et al., Dropout, 2014.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([[3.0, 4.0], [0.3, 0.4]], requires_grad=True)
        >>> fastnn.nn.utils.max_norm_([w], 1.0)
        >>> w.detach()
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm_: max_norm must be above 0, got {max_norm}")
    for p in [parameters] if isinstance(parameters, _core.TensorBase) else parameters:
        if p.dim() > 1 and p.numel():
            size = norm(p, norm_type, tuple(range(1, p.dim())), keepdim=True)
            p.mul_(max_norm / maximum(size, size.new_full((), max_norm)))
