"""Datasets by name."""
from .digits import Digits
from .mnist import MNIST, FashionMNIST

__all__ = ["Digits", "FashionMNIST", "MNIST"]
