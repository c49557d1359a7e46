"""Models by name."""
from .lenet import LeNet
from .mlp import MLP
from .resnet import ResNet, resnet20
from .vgg import VGG

__all__ = ["LeNet", "MLP", "ResNet", "VGG", "resnet20"]
