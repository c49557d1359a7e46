"""Losses as layers; see nn.functional for their formulas. `reduction` is 'mean', 'sum' or 'none'."""
from . import functional as F
from .module import Module


class _Loss(Module):
    def __init__(self, size_average=None, reduce=None, reduction="mean"):
        super().__init__()
        if size_average is not None or reduce is not None:
            raise NotImplementedError(f"{type(self).__name__}: size_average and reduce: not supported, use reduction")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"{reduction} is not a valid value for reduction")
        self.reduction = reduction


class _ClassLoss(_Loss):
    def __init__(self, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index


class L1Loss(_Loss):
    """|input - target|.

    Shape:
        input and target of any one shape; output (), or theirs with reduction='none'. So in all losses but those of classes.

    Errors: ValueError for another reduction; RuntimeError for shapes that cannot be broadcast; NotImplementedError for integers.

    Example:
        >>> import fastnn
        >>> fastnn.nn.L1Loss()(fastnn.tensor([1., 3.]), fastnn.zeros(2))
        tensor(2.)
    """

    def forward(self, input, target):
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """(input - target)^2 / (2 beta) where |input - target| < beta, else |input - target| - beta / 2.

    Errors: RuntimeError for beta below 0; others as `L1Loss`.

    Source: Girshick, Fast R-CNN, 2015.

    Example:
        >>> import fastnn
        >>> fastnn.nn.SmoothL1Loss()(fastnn.tensor([0.5, 3.]), fastnn.zeros(2))
        tensor(1.3125)
    """

    def __init__(self, size_average=None, reduce=None, reduction="mean", beta=1.0):
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input, target):
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """(input - target)^2 / 2 where |input - target| < delta, else delta (|input - target| - delta / 2).

    Errors: RuntimeError for delta not above 0; others as `L1Loss`.

    Source: Huber, Robust estimation of a location parameter, 1964.

    Example:
        >>> import fastnn
        >>> fastnn.nn.HuberLoss(delta=2.0)(fastnn.tensor([1., 3.]), fastnn.zeros(2))
        tensor(2.2500)
    """

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input, target):
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class MSELoss(_Loss):
    """(input - target)^2

    Example:
        >>> import fastnn
        >>> fastnn.nn.MSELoss()(fastnn.tensor([1., 3.]), fastnn.tensor([0., 0.]))
        tensor(5.)
    """

    def forward(self, input, target):
        return F.mse_loss(input, target, reduction=self.reduction)


class BCELoss(_Loss):
    """-weight (t log p + (1 - t) log(1 - p)) for probabilities p and targets t in [0, 1].

    Args:
        weight: a factor that broadcasts to input.

    Errors: ValueError for another shape; RuntimeError for an input or target outside [0, 1].

    Example:
        >>> import fastnn
        >>> fastnn.nn.BCELoss()(fastnn.tensor([0.5, 0.8]), fastnn.tensor([1., 0.]))
        tensor(1.1513)
    """

    def __init__(self, weight=None, size_average=None, reduce=None, reduction="mean"):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)

    def forward(self, input, target):
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """BCELoss of sigmoid(input), in one stable step; pos_weight is a factor for the part of t.

    Args:
        weight, pos_weight: factors that broadcast to input.

    Errors: ValueError for another shape.

    Example:
        >>> import fastnn
        >>> fastnn.nn.BCEWithLogitsLoss()(fastnn.tensor([0., 2.]), fastnn.tensor([1., 0.]))
        tensor(1.4100)
    """

    def __init__(self, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input, target):
        return F.binary_cross_entropy_with_logits(input, target, weight=self.weight, reduction=self.reduction,
                                                  pos_weight=self.pos_weight)


class GaussianNLLLoss(_Loss):
    """(log v + (input - target)^2 / v) / 2, v = max(var, eps), and log(2 pi) / 2 more if full.

    Shape:
        input, target and var (the variances) of one shape, or as `nn.functional.gaussian_nll_loss` has it.

    Errors: ValueError for a var of another shape or below 0.

    Source: Nix and Weigend, Estimating the mean and variance of the target probability distribution, 1994.

    Example:
        >>> import fastnn
        >>> fastnn.nn.GaussianNLLLoss()(fastnn.tensor([1., 2.]), fastnn.tensor([1., 4.]), fastnn.tensor([1., 4.]))
        tensor(0.5966)
    """

    def __init__(self, *, full=False, eps=1e-6, reduction="mean"):
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def forward(self, input, target, var):
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class KLDivLoss(_Loss):
    """target (log target - input), input given as logarithms; with log_target the target too.

    Args:
        reduction: also 'batchmean', the sum over the number of items, as the divergence is defined.

    Errors: as `L1Loss`.

    Example:
        >>> import fastnn
        >>> even = fastnn.tensor([[0.5, 0.5]])
        >>> fastnn.nn.KLDivLoss(reduction="batchmean")(fastnn.tensor([[0.9, 0.1]]).log(), even)
        tensor(0.5108)
    """

    def __init__(self, size_average=None, reduce=None, reduction="mean", log_target=False):
        super().__init__(size_average, reduce, "sum" if reduction == "batchmean" else reduction)
        self.reduction, self.log_target = reduction, log_target

    def forward(self, input, target):
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class NLLLoss(_ClassLoss):
    """-weight[c] input[c] for log-probabilities and classes c; the mean is over the weights.

    Args:
        weight: of each class, (C). ignore_index: a class that counts for nothing.

    Shape:
        input (C), (N, C) or (N, C, d1, ...); target (), (N) or (N, d1, ...).

    Errors: IndexError for a class that is not there; ValueError for another batch size; RuntimeError for other shapes.

    Example:
        >>> import fastnn
        >>> fastnn.nn.NLLLoss()(fastnn.tensor([[-1., -2.], [-3., -4.]]), fastnn.tensor([0, 1]))
        tensor(2.5000)
    """

    def forward(self, input, target):
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(_ClassLoss):
    """NLLLoss of the log-softmax of the input; targets are classes or probabilities.

    Args:
        weight: of each class, (C). ignore_index: a class that counts for nothing.
        label_smoothing: in [0, 1], the part of the target spread evenly over all classes.

    Shape:
        input (C), (N, C) or (N, C, d1, ...); target () , (N) or (N, d1, ...) for classes, else as input.

    Example:
        >>> import fastnn
        >>> fastnn.nn.CrossEntropyLoss()(fastnn.zeros(2, 4), fastnn.tensor([0, 3]))
        tensor(1.3863)
    """

    def __init__(self, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean",
                 label_smoothing=0.0):
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
        self.label_smoothing = label_smoothing

    def forward(self, input, target):
        return F.cross_entropy(input, target, weight=self.weight, ignore_index=self.ignore_index,
                               reduction=self.reduction, label_smoothing=self.label_smoothing)
