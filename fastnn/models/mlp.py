"""Multi-layer perceptron."""
from .. import nn


class MLP(nn.Sequential):
    """Flatten, then Linear layers with an activation and dropout between them.

    Args:
        sizes: features of the input, of each hidden layer, of the output.
        activation: makes an activation, such as nn.ReLU.
        dropout: probability behind each activation; 0 leaves the layers out.

    Raises:
        ValueError: fewer than two sizes.

    Example:
        >>> import fastnn
        >>> from fastnn.models import MLP
        >>> MLP([64, 32, 10])(fastnn.zeros(5, 1, 8, 8)).shape
        fastnn.Size([5, 10])
    """

    def __init__(self, sizes, activation=nn.ReLU, dropout=0.0):
        sizes = list(sizes)
        if len(sizes) < 2:
            raise ValueError(f"MLP: sizes should hold an input and an output size at least, got {sizes}")
        layers = [nn.Flatten()]
        for n, m in zip(sizes, sizes[1:-1]):
            layers += [nn.Linear(n, m), activation()] + ([nn.Dropout(dropout)] if dropout else [])
        super().__init__(*layers, nn.Linear(*sizes[-2:]))
