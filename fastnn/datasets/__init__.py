"""Datasets by name."""
from .cifar import CIFAR10, CIFAR100
from .digits import Digits
from .mnist import MNIST, FashionMNIST

__all__ = ["CIFAR10", "CIFAR100", "Digits", "FashionMNIST", "MNIST"]
