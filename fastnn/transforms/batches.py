"""Transforms of whole batches: what the loader's gather does in place of a call for each sample."""
import numpy as np

from .._core import uniform_each
from ..ops.create import from_numpy
from .compose import Compose
from .convert import Normalize, ToTensor, normalizer, to_tensors
from .geometry import CenterCrop, Grayscale, Pad, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip

_MOVES = (CenterCrop, Grayscale, Pad, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip)


def on_batches(transform):
    """The transform as a function from images, a uint8 tensor (N, H, W) or (N, H, W, C), to the batch (N, C, H, W) that
    its results for each image would stack to, bit for bit. None unless it is ToTensor, or Compose of crops, flips, frames and grey, then
    ToTensor, then Normalize.

    Random numbers are those that the images would draw one after another; the function's attribute `random` says whether there are any.

    Example:
        >>> import fastnn
        >>> from fastnn.transforms import ToTensor
        >>> from fastnn.transforms.batches import on_batches
        >>> on_batches(ToTensor())(fastnn.zeros(5, 28, 28, dtype=fastnn.uint8)).shape
        fastnn.Size([5, 1, 28, 28])
    """
    steps = list(transform.transforms) if type(transform) is Compose else [transform]
    count = next((i for i, step in enumerate(steps) if type(step) not in _MOVES), len(steps))
    if count == len(steps) or type(steps[count]) is not ToTensor or any(type(step) is not Normalize for step in steps[count + 1:]):
        return None
    return _OnBatches(steps[:count], [normalizer(step) for step in steps[count + 1:]])


class _OnBatches:
    def __init__(self, moves, scales):
        self.moves, self.scales = moves, scales
        self.draws = sum(move._draws for move in moves)
        self.random = self.draws > 0

    def __call__(self, images):
        if self.moves:
            images = self._moved(images.numpy())
        batch = to_tensors(images)
        for scale in self.scales:
            batch = scale(batch)
        return batch

    def _moved(self, images):
        draws = uniform_each(len(images) * self.draws).numpy().reshape(len(images), self.draws)
        at = 0
        for move in self.moves:
            images = move._batch(images, draws[:, at:at + move._draws])
            at += move._draws
        return from_numpy(np.ascontiguousarray(images))
