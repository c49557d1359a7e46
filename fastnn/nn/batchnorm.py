"""Batch normalisation of vectors, lines and images."""
from ..ops.create import empty, int64, ones, zeros
from ..ops.norm import normalised
from . import init
from .module import Module
from .parameter import Parameter


class _BatchNorm(Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None, *, bias=True):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        kind = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty(num_features, **kind)) if affine else None)
        self.register_parameter("bias", Parameter(empty(num_features, **kind)) if affine and bias else None)
        self.register_buffer("running_mean", zeros(num_features, **kind) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, **kind) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=int64, device=device) if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self):
        """Running mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self):
        """Start values: weight 1, bias 0, and the running statistics."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input):
        return self._normalised(input, False)

    def forward_relu(self, input):
        """relu of forward's result, in the same pass: what Sequential calls where a ReLU follows."""
        return self._normalised(input, True)

    def _normalised(self, input, relu):
        self._check_input_dim(input)
        tracked = self.num_batches_tracked if self.training and self.track_running_stats else None
        running = (self.running_mean, self.running_var) if self.track_running_stats or not self.training else (None, None)
        training = self.training or running[0] is running[1] is None
        momentum = 0.0 if self.momentum is None and tracked is None else self.momentum
        return normalised(input, *running, self.weight, self.bias, training, momentum, self.eps, tracked, relu)

    def extra_repr(self):
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        key = prefix + "num_batches_tracked"
        if self.track_running_stats and key not in state_dict:      # a file from before batches were counted
            state_dict[key] = self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class BatchNorm1d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) weight + bias, a mean and a variance for each feature: see `functional.batch_norm`.

    Args:
        num_features: C.
        eps: a number above 0 beside the variance.
        momentum: weight of a batch in the running statistics; None: they are the mean over all batches.
        affine: bool, False leaves weight and bias out (bias=False: bias alone).
        track_running_stats: bool, False keeps no running statistics: evaluation too takes the batch's.

    Shape: input and output (N,C) or (N,C,L); weight, bias, running_mean, running_var (C); num_batches_tracked () of int64.

    Example:
        >>> import fastnn
        >>> m = fastnn.nn.BatchNorm1d(3)
        >>> m(fastnn.randn(20, 3)).mean(0).abs().max().item() < 1e-6, m.num_batches_tracked
        (True, tensor(1))
    """

    def _check_input_dim(self, input):
        if input.dim() not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.dim()}D input)")


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` over images: input and output (N,C,H,W), a mean and a variance for each channel.

    Example:
        >>> import fastnn
        >>> fastnn.nn.BatchNorm2d(8)(fastnn.randn(4, 8, 5, 5)).shape
        fastnn.Size([4, 8, 5, 5])
    """

    def _check_input_dim(self, input):
        if input.dim() != 4:
            raise ValueError(f"expected 4D input (got {input.dim()}D input)")
