"""What moves pixels: crops, flips, frames; and grey.

Each takes an image of Pillow's, an array (H, W) or (H, W, C), or a tensor (..., H, W), and gives the same kind. Random ones take their numbers from
fastnn's generator, one count each. Those that can be done to many images at once have `_batch(images, draws)`: images (N, H, W) or
(N, H, W, C) of bytes, and for each image as many numbers of [0, 1) as `_draws` says.
"""
import sys

import numpy as np

from .._core import uniform_each
from ..ops.create import from_numpy
from ..tensor import Tensor

MODES = ("constant", "edge", "reflect", "symmetric")


def _picture(img):
    """Is it an image of Pillow's?"""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(img, module.Image)


def _side(name, img):
    """(height, width)"""
    if _picture(img):
        return img.height, img.width
    if isinstance(img, np.ndarray):
        if img.ndim not in (2, 3):
            raise ValueError(f"{name}: img should be (H, W) or (H, W, C), got {img.ndim} dimensions: {img.shape}")
        return img.shape[:2]
    if not isinstance(img, Tensor):
        raise TypeError(f"{name}: img should be a PIL image, an array or a tensor, got {type(img).__name__}")
    if img.dim() < 2:
        raise ValueError(f"{name}: img should be (..., H, W), got {tuple(img.shape)}")
    return tuple(img.shape[-2:])


def _pair(name, argument, size):
    """(height, width) from one number or two."""
    size = (size,) if isinstance(size, int) else tuple(size)
    size = size * 2 if len(size) == 1 else size
    if len(size) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in size):
        raise ValueError(f"{name}: {argument} should be one or two positive integers, got {size}")
    return size


def _frame(name, padding):
    """(left, top, right, bottom) from one number, (left and right, top and bottom), or all four."""
    given = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(given) not in (1, 2, 4) or any(not isinstance(n, int) for n in given):
        raise ValueError(f"{name}: padding should be an integer, 2 or 4 of them, got {padding!r}")
    left, top, right, bottom = given * (4 // len(given))
    if min(given) < 0:
        raise NotImplementedError(f"{name}: negative padding {padding!r}: not supported")
    return left, top, right, bottom


def _cropped(img, top, left, height, width):
    if _picture(img):
        return img.crop((left, top, left + width, top + height))
    if isinstance(img, np.ndarray):
        return img[top:top + height, left:left + width].copy()
    return img[..., top:top + height, left:left + width].contiguous()


def _padded_array(array, frame, fill, mode, first):
    """An array with a frame around its dimensions `first` and `first + 1`."""
    left, top, right, bottom = frame
    widths = [(0, 0)] * first + [(top, bottom), (left, right)] + [(0, 0)] * (array.ndim - first - 2)
    if mode != "constant":
        return np.pad(array, widths, mode)
    shape = [n + a + b for n, (a, b) in zip(array.shape, widths)]
    out = np.empty(shape, array.dtype)
    out[...] = fill
    out[(slice(None),) * first + (slice(top, shape[first] - bottom), slice(left, shape[first + 1] - right))] = array
    return out


def _padded(img, frame, fill, mode):
    if _picture(img):
        if mode == "constant":
            from PIL import ImageOps
            bands = len(img.getbands())
            return ImageOps.expand(img, frame, tuple(fill) if isinstance(fill, (list, tuple)) else (fill,) * bands if bands > 1 else fill)
        out = sys.modules["PIL.Image"].fromarray(_padded_array(np.asarray(img), frame, fill, mode, 0))
        if img.mode == "P":
            out.putpalette(img.getpalette())
        return out
    if isinstance(img, np.ndarray):
        return _padded_array(img, frame, fill, mode, 0)
    if isinstance(fill, (list, tuple)):
        fill = np.reshape(fill, (-1, 1, 1))
    return from_numpy(_padded_array(img.numpy(), frame, fill, mode, img.dim() - 2))


class Pad:
    """A frame around an image.

    Args:
        padding: its width: of all sides, or (left and right, top and bottom), or (left, top, right, bottom).
        fill: of the frame, a number or one for each channel.
        padding_mode: "constant", or "edge", "reflect", "symmetric" as numpy.pad has them.

    Raises:
        ValueError: another padding or mode.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.Pad(1)(np.full((1, 1), 7))
        array([[0, 0, 0],
               [0, 7, 0],
               [0, 0, 0]])
    """

    _draws = 0

    def __init__(self, padding, fill=0, padding_mode="constant"):
        self._frame = _frame("Pad", padding)
        if padding_mode not in MODES:
            raise ValueError(f"Pad: padding_mode should be one of {', '.join(MODES)}, got {padding_mode!r}")
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def __call__(self, img):
        _side("Pad", img)
        return _padded(img, self._frame, self.fill, self.padding_mode)

    def _batch(self, images, draws):
        return _padded_array(images, self._frame, self.fill, self.padding_mode, 1)

    def __repr__(self):
        return f"Pad(padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode})"


class RandomCrop:
    """A piece of the given size from a random place.

    Args:
        size: height and width, or one number for both.
        padding, fill, padding_mode: as of `Pad`, before the piece is taken; None for no frame.
        pad_if_needed: an image that is too small then gets as much on either side as is missing.

    Raises:
        ValueError: an image that is smaller than size.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.RandomCrop(32, padding=4)(np.zeros((32, 32, 3), np.uint8)).shape
        (32, 32, 3)
    """

    _draws = 2

    def __init__(self, size, padding=None, pad_if_needed=False, fill=0, padding_mode="constant"):
        self.size = _pair("RandomCrop", "size", size)
        self._frame = None if padding is None else _frame("RandomCrop", padding)
        if padding_mode not in MODES:
            raise ValueError(f"RandomCrop: padding_mode should be one of {', '.join(MODES)}, got {padding_mode!r}")
        self.padding, self.pad_if_needed, self.fill, self.padding_mode = padding, pad_if_needed, fill, padding_mode

    def _frames(self, height, width):
        """The frames that go around an image, and the size that this gives."""
        frames = []
        if self._frame is not None:
            left, top, right, bottom = self._frame
            frames.append(self._frame)
            height, width = height + top + bottom, width + left + right
        for missing, frame in ((self.size[1] - width, (1, 0, 1, 0)), (self.size[0] - height, (0, 1, 0, 1))):
            if self.pad_if_needed and missing > 0:
                frames.append(tuple(missing * n for n in frame))
                height, width = height + 2 * missing * frame[1], width + 2 * missing * frame[0]
        if height < self.size[0] or width < self.size[1]:
            raise ValueError(f"RandomCrop: Required crop size {self.size} is larger than input image size {(height, width)}")
        return frames, height, width

    def __call__(self, img):
        frames, height, width = self._frames(*_side("RandomCrop", img))
        for frame in frames:
            img = _padded(img, frame, self.fill, self.padding_mode)
        u, v = uniform_each(2).numpy()
        return _cropped(img, int(u * (height - self.size[0] + 1)), int(v * (width - self.size[1] + 1)), *self.size)

    def _batch(self, images, draws):
        (h, w), (frames, height, width) = self.size, self._frames(*images.shape[1:3])
        for frame in frames:
            images = _padded_array(images, frame, self.fill, self.padding_mode, 1)
        tops, lefts = (draws * (height - h + 1, width - w + 1)).astype(np.int64).T.tolist()
        out = np.empty((len(images), h, w, *images.shape[3:]), images.dtype)
        for to, image, i, j in zip(out, images, tops, lefts):
            to[...] = image[i:i + h, j:j + w]
        return out

    def __repr__(self):
        return f"RandomCrop(size={self.size}, padding={self.padding})"


class CenterCrop:
    """The middle of an image; an image that is smaller than size first gets zeros around it.

    Args:
        size: height and width, or one number for both.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.CenterCrop(1)(np.arange(9).reshape(3, 3))
        array([[4]])
    """

    _draws = 0

    def __init__(self, size):
        self.size = _pair("CenterCrop", "size", size)

    def _places(self, height, width):
        """(the frame or None, top, left)"""
        h, w = self.size
        frame = None
        if h > height or w > width:
            frame = max(w - width, 0) // 2, max(h - height, 0) // 2, (max(w - width, 0) + 1) // 2, (max(h - height, 0) + 1) // 2
            height, width = max(h, height), max(w, width)
        return frame, int(round((height - h) / 2.0)), int(round((width - w) / 2.0))

    def __call__(self, img):
        frame, top, left = self._places(*_side("CenterCrop", img))
        img = img if frame is None else _padded(img, frame, 0, "constant")
        return _cropped(img, top, left, *self.size)

    def _batch(self, images, draws):
        frame, top, left = self._places(*images.shape[1:3])
        images = images if frame is None else _padded_array(images, frame, 0, "constant", 1)
        return images[:, top:top + self.size[0], left:left + self.size[1]]

    def __repr__(self):
        return f"CenterCrop(size={self.size})"


class _RandomFlip:
    """Base of the flips: `_axis` of an array, `_method` of Pillow's transpose."""

    _draws = 1

    def __init__(self, p=0.5):
        if not isinstance(p, (int, float)) or not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p should be a number of 0..1, got {p!r}")
        self.p = p

    def __call__(self, img):
        _side(type(self).__name__, img)
        if not uniform_each(1).numpy()[0] < self.p:
            return img
        if _picture(img):
            return img.transpose(self._method)
        if isinstance(img, np.ndarray):
            return np.ascontiguousarray(np.flip(img, self._axis))
        return img.flip(self._axis - 2)

    def _batch(self, images, draws):
        turned = np.flatnonzero(draws[:, 0] < self.p)
        images, flipped = images.copy(), np.flip(images[turned], self._axis + 1)
        if images.ndim == 3:
            images[turned] = flipped
        for c in range(images.shape[3] if images.ndim == 4 else 0):          # by channels: thrice as fast as pixels of a few bytes
            images[turned, ..., c] = flipped[..., c]
        return images

    def __repr__(self):
        return f"{type(self).__name__}(p={self.p})"


class RandomHorizontalFlip(_RandomFlip):
    """Left and right exchanged, with probability p.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.RandomHorizontalFlip(p=1)(np.array([[1, 2, 3]]))
        array([[3, 2, 1]])
    """

    _axis, _method = 1, 0


class RandomVerticalFlip(_RandomFlip):
    """Top and bottom exchanged, with probability p.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.RandomVerticalFlip(p=1)(np.array([[1], [2]]))
        array([[2],
               [1]])
    """

    _axis, _method = 0, 1


class Grayscale:
    """One channel, or three that are the same: the brightness 0.299 red + 0.587 green + 0.114 blue.

    Takes an image of Pillow's, an array (H, W) or (H, W, 3) of bytes, or a tensor (..., 3, H, W); gives (H, W) or (H, W, 3), (..., 1 or 3, H, W).

    Raises:
        ValueError: another number of channels.

    Example:
        >>> import numpy as np
        >>> from fastnn import transforms
        >>> transforms.Grayscale()(np.array([[[255, 255, 255], [255, 0, 0]]], np.uint8))
        array([[255,  76]], dtype=uint8)
    """

    _draws = 0

    def __init__(self, num_output_channels=1):
        if num_output_channels not in (1, 3):
            raise ValueError(f"Grayscale: num_output_channels should be 1 or 3, got {num_output_channels!r}")
        self.num_output_channels = num_output_channels

    def __call__(self, img):
        _side("Grayscale", img)
        if _picture(img):
            grey = img.convert("L")
            return grey if self.num_output_channels == 1 else sys.modules["PIL.Image"].merge("RGB", [grey] * 3)
        if isinstance(img, np.ndarray):
            return self._batch(img, None)
        if img.dim() < 3 or img.shape[-3] != 3:
            raise ValueError(f"Grayscale: img should be (..., 3, H, W), got {tuple(img.shape)}")
        red, green, blue = img.unbind(-3)
        grey = (0.2989 * red + 0.587 * green + 0.114 * blue).to(img.dtype).unsqueeze(-3)
        return grey if self.num_output_channels == 1 else grey.expand(*img.shape)

    def _batch(self, images, draws):
        shape = images.shape[0 if draws is None else 1:]
        if images.dtype != np.uint8 or shape[2:] not in ((), (3,)):
            raise ValueError(f"Grayscale: img should be (H, W) or (H, W, 3) of uint8, got {shape} of {images.dtype}")
        grey = images
        if shape[2:]:                                        # as Pillow rounds
            grey = ((images.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32) + 0x8000) >> 16).astype(np.uint8)
        return grey if self.num_output_channels == 1 else np.repeat(grey[..., None], 3, -1)

    def __repr__(self):
        return f"Grayscale(num_output_channels={self.num_output_channels})"
