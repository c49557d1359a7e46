"""Layers made of layers, not in PyTorch: Perceptron, Maxout, Residual, DenseBlock."""
from .. import _core
from ..autograd import no_grad
from ..ops.shape import cat
from . import functional as F
from .activation import ReLU
from .container import Sequential
from .conv import Conv2d
from .linear import Linear
from .module import Module


class Perceptron(Linear):
    """y = 1 where x W' + b >= 0, else 0. Arguments and shapes as `Linear`. Its gradient is 0; `learn` is its rule.

    Source: Rosenblatt, The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain, 1958.

    Example:
        >>> import fastnn
        >>> x = fastnn.tensor([[0., 0.], [0., 1.], [1., 0.], [1., 1.]])
        >>> both = fastnn.tensor([[0.], [0.], [0.], [1.]])
        >>> p = fastnn.nn.Perceptron(2, 1)
        >>> for _ in range(30):
        ...     p.learn(x, both)
        >>> p(x).tolist()
        [[0.0], [0.0], [0.0], [1.0]]
    """

    def forward(self, input):
        z = F.linear(input, self.weight, self.bias)
        return _core.cast(_core.ge(z, 0), z.dtype)

    def learn(self, input, target, lr=1.0):
        """W += lr (t - y)' x and b += lr (t - y), item by item: after finitely many turns every item is right if a hyperplane parts them.

        Args:
            input: (N, in_features) or (in_features). target: zeros and ones, (N, out_features) or (out_features).
        """
        with no_grad():
            for x, t in zip(input.reshape(-1, self.in_features), target.reshape(-1, self.out_features)):
                wrong = t - self(x)
                self.weight += lr * wrong.unsqueeze(1) * x
                if self.bias is not None:
                    self.bias += lr * wrong


class Maxout(Linear):
    """y[o] = max over j of x w[o,j] + b[o,j], of `pieces` affine maps for each output.

    Args:
        in_features, out_features, bias, device, dtype: as `Linear`.
        pieces: maps of an output, 2 or more.

    Shape:
        input (..., in_features), output (..., out_features), weight (out_features pieces, in_features), bias (out_features pieces), those of
        one output side by side. Of equal maps each takes an even part of the gradient.

    Errors: ValueError for pieces below 1.

    Source: Goodfellow et al., Maxout Networks, 2013.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Maxout(20, 30, pieces=3)(fastnn.zeros(128, 20)).shape
        fastnn.Size([128, 30])
    """

    def __init__(self, in_features, out_features, pieces=2, bias=True, device=None, dtype=None):
        if pieces < 1:
            raise ValueError(f"Maxout: pieces must be 1 or more, got {pieces}")
        super().__init__(in_features, out_features * pieces, bias, device, dtype)
        self.out_features, self.pieces = out_features, pieces

    def forward(self, input):
        z = F.linear(input, self.weight, self.bias)
        return z.view(*z.shape[:-1], self.out_features, self.pieces).amax(-1)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, pieces={self.pieces}, bias={self.bias is not None}"


class Residual(Module):
    """y = body(x) + x, or body(x) + shortcut(x).

    Args:
        *body: a module, or several called one after another.
        shortcut: a module that fits x to the body's result where shapes differ; None for x itself.

    Errors: RuntimeError if body(x) and shortcut(x) differ in shape.

    Source: He et al., Deep Residual Learning for Image Recognition, 2016.

    Example:
        >>> import fastnn
        >>> from fastnn import nn
        >>> block = nn.Residual(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        >>> block(fastnn.zeros(2, 8, 14, 14)).shape
        fastnn.Size([2, 8, 14, 14])
    """

    def __init__(self, *body, shortcut=None):
        super().__init__()
        self.body = body[0] if len(body) == 1 else Sequential(*body)
        self.shortcut = shortcut

    def forward(self, input):
        y, x = self.body(input), input if self.shortcut is None else self.shortcut(input)
        if y.shape != x.shape:
            raise RuntimeError(f"Residual: the body makes {tuple(y.shape)} of input {tuple(input.shape)}, but the shortcut {tuple(x.shape)}")
        return y + x


class DenseBlock(Module):
    """x_i = relu(conv(x_0, x_1, ..., x_(i-1))): each of `layers` convolutions sees the channels of all before it and adds growth of its own.

    Args:
        in_channels: of the input, C.
        growth: channels that each convolution makes.
        layers: how many.
        kernel_size: odd, so that sizes stay.

    Shape:
        input (N,C,H,W), output (N, C + layers growth, H,W): the input's channels, then those of each convolution.

    Errors: ValueError for layers below 1 or an even kernel_size.

    Source: Huang et al., Densely Connected Convolutional Networks, 2017.

    Example:
        >>> import fastnn
        >>> fastnn.nn.DenseBlock(8, growth=4, layers=3)(fastnn.zeros(2, 8, 14, 14)).shape
        fastnn.Size([2, 20, 14, 14])
    """

    def __init__(self, in_channels, growth, layers, kernel_size=3):
        super().__init__()
        if layers < 1 or kernel_size % 2 == 0:
            raise ValueError(f"DenseBlock: layers must be 1 or more and kernel_size odd, got layers={layers}, kernel_size={kernel_size}")
        self.in_channels, self.out_channels = in_channels, in_channels + layers * growth
        self.layers = Sequential(*(Sequential(Conv2d(in_channels + i * growth, growth, kernel_size, padding=kernel_size // 2), ReLU())
                                   for i in range(layers)))

    def forward(self, input):
        for layer in self.layers:
            input = cat((input, layer(input)), 1)
        return input
