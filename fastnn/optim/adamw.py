"""AdamW: Adam with decoupled weight decay."""
from .adam import Adam


class AdamW(Adam):
    """p *= 1 - lr weight_decay, then Adam's step without decay in the gradient. Arguments and errors as in `Adam`.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019.

    Example:
        >>> import fastnn
        >>> w = fastnn.tensor([4.0], requires_grad=True)
        >>> optimizer = fastnn.optim.AdamW([w], lr=0.5, weight_decay=0.5)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([2.5000])
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False,
                 foreach=None, capturable=False, differentiable=False, fused=None):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
                         capturable=capturable, differentiable=differentiable, fused=fused, decoupled_weight_decay=True)

    def _options_of(self, saved):
        return {**super()._options_of(saved), "decoupled_weight_decay": True}
