"""The optical digits of UCI, 8x8, shipped with the package (see digits/README.md)."""
from pathlib import Path

import numpy as np

from .._core import take
from ..ops.create import from_numpy
from ..ops.elementwise import div
from ..transforms.batches import on_batches
from ..utils.data import Dataset

_FILE = Path(__file__).parent / "digits" / "digits.npz"


def _mixed(n):
    """n fixed well-mixed 64-bit keys: the finalizer of splitmix64 on 1, 2, ..."""
    x = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def held_out(targets, part=5):
    """A fixed choice of one sample in `part`, shuffled and stratified: (kept, held out) indices.

    Within each class the samples are put in a fixed random order, and the first len/part of them are held out; the
    choice depends on nothing but the targets.
    """
    targets = np.asarray(targets)
    order = np.argsort(_mixed(len(targets)), kind="stable")
    out = np.zeros(len(targets), dtype=bool)
    for c in np.unique(targets):
        own = order[targets[order] == c]
        out[own[:(2 * len(own) + part) // (2 * part)]] = True
    return order[~out[order]], order[out[order]]


def _bytes(images):
    """Levels of 0..16 as an array of 0..255."""
    return (images.numpy().astype(np.uint16) * 255 // 16).astype(np.uint8)


class Digits(Dataset):
    """1,797 handwritten digits, 8x8 grey levels from 0 to 16, in ten classes.

    Args:
        train: None for all in the source's order, True for four fifths, False for the held-out fifth (a fixed,
            shuffled, stratified choice).
        transform: called with the image as a uint8 array (8, 8) of 0..255. Without one an image is a float32 tensor
            (1, 8, 8) in 0..1.
        target_transform: called with the class, an int.

    Attributes:
        data: uint8 tensor (N, 8, 8), as published. targets: int64 tensor (N). classes: names.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
    (the test part), as scikit-learn distributes it; CC BY 4.0.

    Example:
        >>> from fastnn.datasets import Digits
        >>> digits = Digits(train=False)
        >>> len(digits), digits[0][0].shape
        (359, fastnn.Size([1, 8, 8]))
    """

    classes = [f"{i} - {name}" for i, name in enumerate("zero one two three four five six seven eight nine".split())]

    def __init__(self, train=None, transform=None, target_transform=None):
        if not (train is None or isinstance(train, bool)):
            raise TypeError(f"Digits: train should be True, False or None, got {train!r}")
        with np.load(_FILE, allow_pickle=False) as file:
            images, targets = file["images"], file["targets"].astype(np.int64)
        if train is not None:
            chosen = held_out(targets)[0 if train else 1]
            images, targets = images[chosen], targets[chosen]
        self.data, self.targets = from_numpy(images), from_numpy(targets)
        self.transform, self.target_transform = transform, target_transform
        self._images = div(self.data.float(), 16).unsqueeze(1)

    def __len__(self):
        return self.data.shape[0]

    def __getitem__(self, index):
        target = int(self.targets[index])
        if self.transform is None:
            image = self._images[index]
        else:
            image = self.transform(_bytes(self.data[index]))
        return image, target if self.target_transform is None else self.target_transform(target)

    def _gatherer(self):
        if self.target_transform is not None:
            return None
        images, targets, apply = self._images, self.targets, None
        if self.transform is not None:
            images, apply = from_numpy(_bytes(self.data)), on_batches(self.transform)
            if apply is None:
                return None

        def gather(index):
            batch = take(images, (index,))
            return [apply(batch) if apply else batch, take(targets, (index,))]
        gather.random = apply is not None and apply.random
        return gather
