"""LeNet-5, sized to its images."""
from .. import nn


class LeNet(nn.Sequential):
    """Two convolutions, each with ReLU and 2x2 max-pooling, then three linear layers of 120, 84 and num_classes.

    From 16x16 on the convolutions are the classic ones: 5x5 with 6 and 16 filters; the first pads by 2 where images are
    smaller than 32x32, as the original padded 28x28. Smaller images keep their detail: 3x3 with padding, 32 and 64
    filters.

    Args:
        in_channels: of the images, 1 for grey.
        num_classes: size of the output.
        image_size: height and width, or one number for both.

    Raises:
        ValueError: images smaller than 4x4.

    Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document recognition,
    1998, with ReLU and max-pooling in place of its sigmoids and averages.

    Example:
        >>> import fastnn
        >>> from fastnn.models import LeNet
        >>> LeNet(image_size=28)(fastnn.zeros(5, 1, 28, 28)).shape
        fastnn.Size([5, 10])
    """

    def __init__(self, in_channels=1, num_classes=10, image_size=28):
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        side = min(height, width)
        if side < 4:
            raise ValueError(f"LeNet: image_size should be 4x4 at least, got {height}x{width}")
        if side < 16:
            (first, second), kernel, pads = (32, 64), 3, (1, 1)
        else:
            (first, second), kernel, pads = (6, 16), 5, (2 if side < 32 else 0, 0)
        layers, channels = [], in_channels
        for filters, pad in zip((first, second), pads):
            layers += [nn.Conv2d(channels, filters, kernel, padding=pad), nn.ReLU(), nn.MaxPool2d(2)]
            height, width = ((n + 2 * pad - kernel + 1) // 2 for n in (height, width))
            channels = filters
        super().__init__(*layers, nn.Flatten(), nn.Linear(channels * height * width, 120), nn.ReLU(),
                         nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes))
