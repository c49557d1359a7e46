"""RMSprop."""
from .optimizer import Optimizer, _check_flags, _check_numbers


class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g^2;  p -= lr g / (sqrt(v) + eps). With momentum b = momentum b + g / (sqrt(v) + eps) and
    p -= lr b. If centered, max(v - a^2, 0) stands for v, where a is the same average of g.

    Args:
        params: iterable of Tensors, pairs or dicts, see `Optimizer`.
        lr: learning rate, a number or a Tensor of one element.
        alpha: decay of the averages.
        eps: added to the denominator.
        weight_decay: weight_decay p is added to g.
        momentum: decay of the sum of past steps.
        centered: divide by the deviation of g instead of its root mean square.
        maximize: go up the gradient.
        foreach, capturable: accepted; the result is the same.

    Errors: ValueError for negative numbers; NotImplementedError for differentiable=True.
    Source: Hinton, Neural networks for machine learning, lecture 6, 2012; centered: Graves, Generating sequences with
    recurrent neural networks, 2013; in PyTorch's form.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([4.0], requires_grad=True)
        >>> optimizer = fastnn.optim.RMSprop([w], lr=0.5, alpha=0.75)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([3.])
    """
    _kernel = "rmsprop"
    _tensors = {"square_avg": None, "momentum_buffer": "momentum", "grad_avg": "centered"}

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, capturable=False,
                 foreach=None, maximize=False, differentiable=False):
        _check_numbers(lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        _check_flags(foreach, None, differentiable)
        super().__init__(params, dict(lr=lr, momentum=momentum, alpha=alpha, eps=eps, centered=centered,
                                      weight_decay=weight_decay, capturable=capturable, foreach=foreach,
                                      maximize=maximize, differentiable=differentiable))
