"""Residual networks in the form for small images."""
from .. import nn
from ..nn import functional as F
from ..nn.fusion import run

SHORTCUTS = ("A", "B")


def _padded(x, channels, stride):
    """Every stride-th pixel of x (N,C,H,W), which is the mean of a window of one, with channels of zeros behind its own."""
    return F.pad(F.avg_pool2d(x, 1, stride), (0, 0, 0, 0, 0, channels - x.shape[1]))


class BasicBlock(nn.Module):
    """y = relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)), both convolutions 3x3 and the first with the stride.

    The shortcut is x itself where shapes agree, else
        "A": every stride-th pixel, with zeros for the channels that are new; no parameters
        "B": a convolution 1x1 with the stride, and batch norm (`downsample`)

    Example:
        >>> import fastnn
        >>> from fastnn.models.resnet import BasicBlock
        >>> BasicBlock(16, 32, stride=2)(fastnn.zeros(2, 16, 8, 8)).shape
        fastnn.Size([2, 32, 4, 4])
    """

    def __init__(self, in_channels, channels, stride=1, shortcut="A"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample, self.padded = None, None
        if stride != 1 or in_channels != channels:
            if shortcut == "B":
                self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
            else:
                self.padded = channels, stride

    def forward(self, x):
        side = x                                             # made first: batch norm, sum and relu then stand together, and capture joins them
        if self.downsample is not None:
            side = self.downsample(x)
        elif self.padded is not None:
            side = _padded(x, *self.padded)
        return self.relu(run((self.conv1, self.bn1, self.relu, self.conv2, self.bn2), x) + side)


class ResNet(nn.Module):
    """A convolution 3x3, three stages of n BasicBlocks each, the mean over the image, a linear layer: 6n + 2 layers with weights.

    The stages have width, 2 width and 4 width channels; the second and the third begin with stride 2. Layers have torchvision's names.

    Args:
        depth: 6n + 2, such as 20, 32, 44, 56, 110.
        shortcut: where a stage begins: "A", zeros for new channels, as in the source's networks for CIFAR-10; or "B", a convolution
            1x1 with batch norm.
        in_channels: of the images.
        num_classes: size of the output.
        width: channels of the first stage.

    Shape: input (N, in_channels, H, W) of any size, output (N, num_classes).

    Raises:
        ValueError: a depth or a shortcut of another kind.

    Source: K. He, X. Zhang, S. Ren and J. Sun, Deep residual learning for image recognition, 2015, section 4.2; start values of theirs of
    the same year.

    Example:
        >>> import fastnn
        >>> from fastnn.models import ResNet
        >>> net = ResNet(20)
        >>> net(fastnn.zeros(2, 3, 32, 32)).shape, sum(p.numel() for p in net.parameters())
        (fastnn.Size([2, 10]), 269722)
    """

    def __init__(self, depth=20, shortcut="A", in_channels=3, num_classes=10, width=16):
        super().__init__()
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
            raise ValueError(f"ResNet: depth should be 6n + 2 with n of 1 or more (8, 14, 20, ...), got {depth!r}")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"ResNet: shortcut should be one of {', '.join(SHORTCUTS)}, got {shortcut!r}")
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        channels = width
        for stage in range(3):
            blocks = []
            for i in range(depth // 6):
                stride = 2 if stage and i == 0 else 1
                blocks.append(BasicBlock(channels, width << stage, stride, shortcut))
                channels = width << stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = run((self.conv1, self.bn1, self.relu, self.layer1, self.layer2, self.layer3), x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet20(**options):
    """ResNet of 20 layers: 0.27 million parameters, 41 million multiplications for an image of 32x32.

    Example:
        >>> from fastnn.models import resnet20
        >>> len(resnet20(shortcut="B").layer2[0].downsample)
        2
    """
    return ResNet(20, **options)
