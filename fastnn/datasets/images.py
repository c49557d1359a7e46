"""Labelled images that lie in memory: what image datasets have in common."""
import functools

import numpy as np

from .._core import take
from ..ops.create import from_numpy
from ..tensor import Tensor
from ..transforms.batches import on_batches
from ..utils.data import Dataset


@functools.cache
def _picture():
    """Pillow's function from an array to an image; None where it is not installed."""
    try:
        from PIL.Image import fromarray
    except ImportError:
        return None
    return fromarray


class Images(Dataset):
    """Base of datasets of images and their classes.

    Attributes:
        data: uint8 tensor or array (N, H, W) or (N, H, W, C). targets: int64 tensor (N) or a list of ints.
        transform: called with an image: of Pillow's where that is installed, else a uint8 array (H, W) or (H, W, C).
        target_transform: called with the class, an int.

    A DataLoader takes whole batches where the transform is ToTensor, or Compose of crops, flips, frames and grey, then ToTensor, then
    Normalize: the same bits.
    """

    def __init__(self, data, targets, transform=None, target_transform=None):
        self.data, self.targets = data, targets
        self.transform, self.target_transform = transform, target_transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, target = np.array(self.data[index]), int(self.targets[index])
        image = image if _picture() is None else _picture()(image)
        return (image if self.transform is None else self.transform(image),
                target if self.target_transform is None else self.target_transform(target))

    def _gatherer(self):
        apply = on_batches(self.transform)
        if apply is None or self.target_transform is not None:
            return None
        data, targets = (t.numpy() if isinstance(t, Tensor) else t for t in (self.data, self.targets))
        if isinstance(targets, list) and all(type(target) is int for target in targets):
            targets = np.array(targets, np.int64)
        if not all(isinstance(a, np.ndarray) for a in (data, targets)) or data.dtype != np.uint8 or targets.dtype != np.int64:
            return None
        data, targets = from_numpy(data), from_numpy(targets)

        def gather(index):
            return [apply(take(data, (index,))), take(targets, (index,))]
        gather.random = apply.random
        return gather

    def _details(self):
        """Lines of the repr between the count and the transforms."""
        return []

    def __repr__(self):
        lines = [f"Number of datapoints: {len(self)}", *self._details()]
        for name, value in (("Transform", self.transform), ("Target transform", self.target_transform)):
            if value is not None:
                lines.append(f"{name}: " + repr(value).replace("\n", "\n    "))
        return "\n    ".join([f"Dataset {type(self).__name__}", *lines])
