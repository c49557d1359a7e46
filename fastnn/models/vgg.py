"""VGG: 3x3 convolutions in blocks with max-pooling between them."""
from .. import nn

CONFIGURATIONS = {
    "vgg11": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg13": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg16": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "vgg19": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}


class VGG(nn.Module):
    """Convolutions 3x3 with padding 1, batch norm, ReLU; 2x2 max-pooling; a linear layer on what is left of the image.

    Args:
        cfg: a name of CONFIGURATIONS, or a list: a number is a convolution with so many filters, "M" a pooling.
        batch_norm: False leaves the batch norms out and gives the convolutions biases.
        in_channels: of the images.
        num_classes: size of the output.
        image_size: height and width, or one number for both.
        dropout: probability before the linear layer.

    Raises:
        ValueError: an unknown name, an entry that is neither a number nor "M", more poolings than the image has halves.

    Source: K. Simonyan and A. Zisserman, Very deep convolutional networks for large-scale image recognition, 2015 (the
    convolutions); S. Ioffe and C. Szegedy, 2015 (batch norm); K. He et al., 2015 (start values).

    Example:
        >>> import fastnn
        >>> from fastnn.models import VGG
        >>> VGG([8, "M", 16, 16, "M"])(fastnn.zeros(2, 3, 32, 32)).shape
        fastnn.Size([2, 10])
    """

    def __init__(self, cfg="vgg11", batch_norm=True, in_channels=3, num_classes=10, image_size=32, dropout=0.0):
        super().__init__()
        if isinstance(cfg, str):
            if cfg not in CONFIGURATIONS:
                raise ValueError(f"VGG: cfg should be a list or one of {', '.join(CONFIGURATIONS)}, got {cfg!r}")
            cfg = CONFIGURATIONS[cfg]
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        layers, channels, (height, width) = [], in_channels, size
        for entry in cfg:
            if entry == "M":
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            elif isinstance(entry, int) and entry > 0:
                layers.append(nn.Conv2d(channels, entry, 3, padding=1, bias=not batch_norm))
                layers += [nn.BatchNorm2d(entry), nn.ReLU()] if batch_norm else [nn.ReLU()]
                channels = entry
            else:
                raise ValueError(f'VGG: cfg should hold numbers of filters and "M", got {entry!r}')
        if not (height and width):
            raise ValueError(f"VGG: {list(cfg).count('M')} poolings leave nothing of an image of {size[0]}x{size[1]}")
        self.features = nn.Sequential(*layers)
        head = [nn.Flatten()] + ([nn.Dropout(dropout)] if dropout else [])
        self.classifier = nn.Sequential(*head, nn.Linear(channels * height * width, num_classes))
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x):
        return self.classifier(self.features(x))
