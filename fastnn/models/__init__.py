"""Models by name."""
from .lenet import LeNet
from .mlp import MLP
from .vgg import VGG

__all__ = ["LeNet", "MLP", "VGG"]
