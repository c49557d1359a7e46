"""Images to tensors, and their scale."""
import sys

import numpy as np

from ..ops.create import as_tensor, from_numpy, get_default_dtype, uint8
from ..tensor import Tensor


def _shape(t):
    return tuple(t.shape)


def _pixels(pic):
    """An image of Pillow's as an array (H, W) or (H, W, bands)."""
    if pic.mode == "1":
        return np.array(pic, np.uint8) * 255
    return np.array(pic, {"I": np.int32, "F": np.float32}.get(pic.mode, np.uint8))


class ToTensor:
    """An image as a tensor (C, H, W); bytes become real numbers x / 255, of 0..1.

    Takes an image of Pillow's or an array (H, W) or (H, W, C). Elements of another type than uint8 stay as they are.

    Raises:
        TypeError: neither of them.
        ValueError: an array of another number of dimensions.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.ToTensor()(np.array([[0, 51], [102, 255]], dtype=np.uint8))
        tensor([[[0.0000, 0.2000],
                 [0.4000, 1.0000]]])
    """

    def __call__(self, pic):
        image = sys.modules.get("PIL.Image")
        if image is not None and isinstance(pic, image.Image):
            pic = _pixels(pic)
        elif not isinstance(pic, np.ndarray):
            raise TypeError(f"ToTensor: pic should be a PIL image or an array, got {type(pic).__name__}")
        if pic.ndim not in (2, 3):
            raise ValueError(f"ToTensor: pic should be (H, W) or (H, W, C), got {pic.ndim} dimensions: {pic.shape}")
        pic = pic[:, :, None] if pic.ndim == 2 else pic
        t = from_numpy(np.array(pic.transpose(2, 0, 1), order="C"))
        return _scaled(t) if t.dtype == uint8 else t

    def __repr__(self):
        return "ToTensor()"


def _scaled(t):
    return t.to(get_default_dtype()).div_(255)


def to_tensors(images):
    """ToTensor of every image of a batch: uint8 (N, H, W) or (N, H, W, C) to (N, C, H, W)."""
    return _scaled(images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous())


class Normalize:
    """(x - mean) / std for each channel of a real tensor (..., C, H, W).

    Args:
        mean, std: a number for each channel, or one for all.
        inplace: write into the given tensor.

    Raises:
        TypeError: no tensor, or one of integers.
        ValueError: fewer than three dimensions, or a std of zero.
        RuntimeError: as many channels as mean or std have numbers are not there.

    Example:
        >>> import fastnn
        >>> from fastnn import transforms
        >>> transforms.Normalize((0.5, 1.0), (0.5, 2.0))(fastnn.ones(2, 1, 1)).flatten()
        tensor([1., 0.])
    """

    def __init__(self, mean, std, inplace=False):
        self.mean, self.std, self.inplace = mean, std, inplace

    def __call__(self, tensor):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"Normalize: img should be a tensor, got {type(tensor).__name__}")
        if not tensor.is_floating_point():
            raise TypeError(f"Normalize: img should be of a real type, got {tensor.dtype} {_shape(tensor)}")
        if tensor.dim() < 3:
            raise ValueError(f"Normalize: img should be (..., C, H, W), got {_shape(tensor)}")
        mean, std = self._constants(tensor)
        return (tensor if self.inplace else tensor.clone()).sub_(mean).div_(std)

    forward = __call__

    def _constants(self, tensor):
        """(mean, std) as tensors that are broadcast over (..., C, H, W)."""
        mean, std = (self._channels(name, tensor) for name in ("mean", "std"))
        if not std.all():
            raise ValueError(f"Normalize: std should not be zero as {tensor.dtype}, got {self.std}")
        return mean, std

    def _channels(self, name, tensor):
        """One of them."""
        values = as_tensor(getattr(self, name), dtype=tensor.dtype)
        if values.dim() > 1 or (values.dim() == 1 and values.shape[0] not in (1, tensor.shape[-3])):
            raise RuntimeError(f"Normalize: img (..., C, H, W)={_shape(tensor)} has C={tensor.shape[-3]}, "
                               f"but {name} has shape {_shape(values)}: it should hold one number or C")
        return values.view(-1, 1, 1)

    def __repr__(self):
        return f"Normalize(mean={self.mean}, std={self.std})"


def normalizer(step):
    """Normalize `step` for batches that nobody else holds: in place, its constants made once."""
    made = {}

    def apply(batch):
        key = batch.dtype, batch.shape[1]
        if key not in made:
            made[key] = step._constants(batch)
        mean, std = made[key]
        return batch.sub_(mean).div_(std)
    return apply
