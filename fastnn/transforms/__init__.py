"""What is done to a sample's image before it becomes part of a batch."""
from .compose import Compose, Lambda
from .convert import Normalize, ToTensor
from .geometry import CenterCrop, Grayscale, Pad, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip

__all__ = ["CenterCrop", "Compose", "Grayscale", "Lambda", "Normalize", "Pad", "RandomCrop", "RandomHorizontalFlip", "RandomVerticalFlip",
           "ToTensor"]
