"""Adam."""
from .optimizer import Optimizer, _check, _check_flags, _check_numbers


class Adam(Optimizer):
    """m += (1 - beta1)(g - m);  v = beta2 v + (1 - beta2) g^2;
    p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps) in step t.

    Args:
        params: iterable of Tensors, pairs or dicts, see `Optimizer`.
        lr: learning rate, a number or a Tensor of one element.
        betas: decay of the averages of the gradient and of its square, in [0, 1).
        eps: added to the denominator.
        weight_decay: weight_decay p is added to g; with decoupled_weight_decay p shrinks by lr weight_decay p instead.
        amsgrad: divide by the largest v so far.
        maximize: go up the gradient.
        foreach, fused, capturable: accepted; the result is the same.

    Errors: ValueError for numbers out of range; NotImplementedError for differentiable=True.
    Source: Kingma and Ba, Adam: a method for stochastic optimization, 2015; Reddi et al., On the convergence of Adam and
    beyond, 2018.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([4.0], requires_grad=True)
        >>> optimizer = fastnn.optim.Adam([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([3.5000])
    """
    _kernel = "adam"
    _tensors = {"exp_avg": None, "exp_avg_sq": None, "max_exp_avg_sq": "amsgrad"}

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, foreach=None,
                 maximize=False, capturable=False, differentiable=False, fused=None, decoupled_weight_decay=False):
        _check_numbers(lr, eps=eps, weight_decay=weight_decay)
        betas = tuple(float(b) for b in betas)
        for i in range(2):
            _check(f"beta parameter at index {i}", betas[i], 0 <= betas[i] < 1)
        _check_flags(foreach, fused, differentiable)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
                                      maximize=maximize, foreach=foreach, capturable=capturable,
                                      differentiable=differentiable, fused=fused,
                                      decoupled_weight_decay=decoupled_weight_decay))
