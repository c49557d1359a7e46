"""Dropout as layers."""
from . import functional as F
from .module import Module


class Dropout(Module):
    """In training, zeroes each element with probability p and divides the others by 1 - p; in evaluation the identity.

    Source: Srivastava et al. 2014.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Dropout(0.5).eval()(fastnn.ones(3))
        tensor([1., 1., 1.])
    """

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input):
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """In training, zeroes each channel of images (N,C,H,W) with probability p and divides the others by 1 - p; in evaluation the identity.

    Source: Tompson et al. 2015.

    Example:
        >>> import fastnn
        >>> y = fastnn.nn.Dropout2d(0.5)(fastnn.ones(1, 8, 2, 2))
        >>> [len(set(channel.flatten().tolist())) for channel in y[0]]
        [1, 1, 1, 1, 1, 1, 1, 1]
    """

    def forward(self, input):
        return F.dropout2d(input, self.p, self.training, self.inplace)
