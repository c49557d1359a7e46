"""Adagrad."""
from .optimizer import Optimizer, _check_flags, _check_numbers


class Adagrad(Optimizer):
    """v += g^2;  p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps) in step t.

    Args:
        params: iterable of Tensors, pairs or dicts, see `Optimizer`.
        lr: learning rate, a number or a Tensor of one element.
        lr_decay: how fast the learning rate falls by itself.
        weight_decay: weight_decay p is added to g.
        initial_accumulator_value: what v begins with.
        eps: added to the denominator.
        maximize: go up the gradient.
        foreach, fused: accepted; the result is the same.

    Errors: ValueError for negative numbers; NotImplementedError for differentiable=True.
    Source: Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic optimization, 2011.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([4.0], requires_grad=True)
        >>> optimizer = fastnn.optim.Adagrad([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([3.5000])
    """
    _kernel = "adagrad"
    _tensors = {"sum": None}
    _initial = {"sum": "initial_accumulator_value"}

    def __init__(self, params, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10, foreach=None, *,
                 maximize=False, differentiable=False, fused=None):
        _check_numbers(lr, lr_decay=lr_decay, weight_decay=weight_decay,
                       initial_accumulator_value=initial_accumulator_value, eps=eps)
        _check_flags(foreach, fused, differentiable)
        super().__init__(params, dict(lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay,
                                      initial_accumulator_value=initial_accumulator_value, foreach=foreach,
                                      maximize=maximize, differentiable=differentiable, fused=fused))
