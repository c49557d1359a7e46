"""Labelled images that lie in memory: what image datasets have in common."""
import functools

from .._core import take
from ..ops.create import uint8
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
        data: uint8 tensor (N, H, W) or (N, H, W, C). targets: int64 tensor (N).
        transform: called with an image: of Pillow's where that is installed, else a uint8 array (H, W) or (H, W, C).
        target_transform: called with the class, an int.

    A DataLoader takes whole batches with ToTensor, or with ToTensor and Normalize, as the transform: the same bits.
    """

    def __init__(self, data, targets, transform=None, target_transform=None):
        self.data, self.targets = data, targets
        self.transform, self.target_transform = transform, target_transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, target = self.data[index].numpy().copy(), int(self.targets[index])
        image = image if _picture() is None else _picture()(image)
        return (image if self.transform is None else self.transform(image),
                target if self.target_transform is None else self.target_transform(target))

    def _gatherer(self):
        apply = on_batches(self.transform)
        if apply is None or self.target_transform is not None:
            return None
        if not all(isinstance(t, Tensor) for t in (self.data, self.targets)) or self.data.dtype != uint8:
            return None
        data, targets = self.data, self.targets
        return lambda index: [apply(take(data, (index,))), take(targets, (index,))]

    def _details(self):
        """Lines of the repr between the count and the transforms."""
        return []

    def __repr__(self):
        lines = [f"Number of datapoints: {len(self)}", *self._details()]
        for name, value in (("Transform", self.transform), ("Target transform", self.target_transform)):
            if value is not None:
                lines.append(f"{name}: " + repr(value).replace("\n", "\n    "))
        return "\n    ".join([f"Dataset {type(self).__name__}", *lines])
