"""Stochastic gradient descent."""
from .optimizer import Optimizer, _check_flags, _check_numbers


class SGD(Optimizer):
    """g = gradient + weight_decay p;  b = g in the first step, else momentum b + (1 - dampening) g;
    p -= lr b, with nesterov lr (g + momentum b), without momentum lr g.

    Args:
        params: iterable of Tensors, pairs or dicts, see `Optimizer`.
        lr: learning rate, a number or a Tensor of one element.
        momentum, dampening, weight_decay: numbers.
        nesterov: look ahead; needs momentum and no dampening.
        maximize: go up the gradient.
        foreach, fused: accepted; the result is the same.

    Errors: ValueError for negative numbers and for nesterov without momentum; NotImplementedError for
    differentiable=True. Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013,
    in PyTorch's form.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([4.0], requires_grad=True)
        >>> optimizer = fastnn.optim.SGD([w], lr=0.25)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([2.])
    """
    _kernel = "sgd"
    _tensors = {"momentum_buffer": "momentum"}
    _hidden = ("step",)

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False,
                 foreach=None, differentiable=False, fused=None):
        _check_numbers(lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        _check_flags(foreach, fused, differentiable)
        super().__init__(params, dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                                      nesterov=nesterov, maximize=maximize, foreach=foreach,
                                      differentiable=differentiable, fused=fused))
