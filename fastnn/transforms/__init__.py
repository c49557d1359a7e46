"""What is done to a sample's image before it becomes part of a batch."""
from .compose import Compose, Lambda
from .convert import Normalize, ToTensor

__all__ = ["Compose", "Lambda", "Normalize", "ToTensor"]
