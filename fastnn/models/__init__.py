"""Models by name."""
from .mlp import MLP

__all__ = ["MLP"]
