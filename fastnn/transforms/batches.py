"""Transforms of whole batches: what the loader's gather does in place of a call for each sample."""
from .compose import Compose
from .convert import Normalize, ToTensor, to_tensors


def on_batches(transform):
    """The transform as a function from images, a uint8 tensor (N, H, W) or (N, H, W, C), to the batch (N, C, H, W) that
    its results for each image would stack to, bit for bit. None unless it is ToTensor, or Compose of ToTensor and then
    Normalize.

    Example:
        >>> import fastnn
        >>> from fastnn.transforms import ToTensor
        >>> from fastnn.transforms.batches import on_batches
        >>> on_batches(ToTensor())(fastnn.zeros(5, 28, 28, dtype=fastnn.uint8)).shape
        fastnn.Size([5, 1, 28, 28])
    """
    steps = list(transform.transforms) if type(transform) is Compose else [transform]
    if not steps or type(steps[0]) is not ToTensor or any(type(step) is not Normalize for step in steps[1:]):
        return None
    return Compose([to_tensors, *steps[1:]])
