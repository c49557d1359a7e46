"""Whole training steps: forward, cross-entropy, backward, optimizer, on one batch that stays.

The result is the losses of five steps at the learning rate. Then it is set to 0: the same work, but the weights stay
where gradients are ordinary numbers, however many steps a library makes in its time.

A network is a list of layers:
    ("conv", in, out, k, padding, stride = 1, bias = True), ("bn", channels), ("relu",), ("tanh",), ("max", k),
    ("mean",) over the image, ("flatten",), ("linear", in, out),
    ("residual", layers, new channels, stride): relu(layers(x) + x), of which every stride-th pixel, zeros for new channels
`modules` makes PyTorch's or our modules of it; jax_step.py and the others of that name read the same list.
"""
import math

import numpy as np

from .optim import TRAFFIC, optimizer
from .workload import DENSE, IMAGES, Workload


def mlp(*sizes, activation="relu"):
    layers = [[("linear", i, o), (activation,)] for i, o in zip(sizes, sizes[1:])]
    return sum(layers, [])[:-1]


def lenet(c=(6, 16), h=(120, 84), image=28, classes=10):
    side = (image // 2 - 4) // 2
    return [("conv", 1, c[0], 5, 2), ("relu",), ("max", 2), ("conv", c[0], c[1], 5, 0), ("relu",), ("max", 2),
            ("flatten",), *mlp(c[1] * side ** 2, *h, classes)]


def cnn(width, image, hidden, classes):
    """Two 3x3 convolutions, a maximum, two linear layers."""
    return [("conv", 1, width, 3, 1), ("relu",), ("conv", width, width, 3, 1), ("relu",), ("max", 2), ("flatten",),
            *mlp(width * (image // 2) ** 2, hidden, classes)]


def vgg(*widths, classes=10):
    """3x3 convolutions with batch norm and ReLU, halved by a maximum at each "M"."""
    layers, channels = [], 3
    for w in widths:
        if w == "M":
            layers.append(("max", 2))
        else:
            layers += [("conv", channels, w, 3, 1), ("bn", w), ("relu",)]
            channels = w
    return [*layers, ("flatten",), ("linear", channels, classes)]


def resnet(depth, width=16, classes=10):
    """6 n + 2 layers for small images, shortcuts without parameters."""
    normed = lambda i, o, stride=1: [("conv", i, o, 3, 1, stride, False), ("bn", o)]
    layers, c = [*normed(3, width), ("relu",)], width
    for stage in range(3):
        for i in range(depth // 6):
            stride, new = (2, c) if stage and i == 0 else (1, 0)
            layers.append(("residual", [*normed(c, c + new, stride), ("relu",), *normed(c + new, c + new)], new, stride))
            c += new
    return [*layers, ("mean",), ("flatten",), ("linear", c, classes)]


def count(layers, shape, first=True):
    """(shape after, multiplications forward and backward, numbers moved, weights) of one sample.

    Each layer reads its input and writes its output on both ways, and reads its input once more if it has weights. ReLU
    rides with the layer before, flatten moves nothing, a sum reads one array more on both ways."""
    macs = moved = parameters = 0
    for kind, *sizes in layers:
        before, own, work = math.prod(shape), 0, 0
        match kind:
            case "conv":
                c, k, size, pad, stride, bias = *sizes, *(1, True)[len(sizes) - 4:]
                shape = k, *((n + 2 * pad - size) // stride + 1 for n in shape[1:])
                own, work = k * c * size ** 2 + k * bias, math.prod(shape[1:]) * k * c * size ** 2
            case "linear":
                own, work, shape = sizes[0] * sizes[1] + sizes[1], sizes[0] * sizes[1], (sizes[1],)
            case "bn":
                own = 2 * sizes[0]
            case "max":
                shape = (shape[0], shape[1] // sizes[0], shape[2] // sizes[0])
            case "mean":
                shape = (shape[0], 1, 1)
            case "residual":
                shape, *inside = count(sizes[0], shape, False)
                macs, moved, parameters = (a + b for a, b in zip((macs, moved, parameters), inside))
                moved += 2 * math.prod(shape)
                continue
            case _:
                shape = (before,) if kind == "flatten" else shape
                continue
        macs += work * (2 if first else 3)
        moved += 2 * before + 2 * math.prod(shape) + (before if own else 0)
        parameters, first = parameters + own, False
    return shape, macs, moved, parameters


class Step(Workload):
    """One training step of a network on (batch, *image).

    Args:
        layers: the network. image: shape of an input. optimizer: 'sgd', 'sgd-m' (momentum 0.9) or 'adam'.
        shrunk: arguments of the small twin.
        model: makes our network, where `fastnn.models` has it; it takes the parameters in the list's order.
    """
    check = 1e-3

    def __init__(self, layers, image, batch, optimizer, lr, shrunk=None, model=None):
        self.layers, self.image, self.batch, self.classes = layers, image, batch, layers[-1][2]
        self.optimizer, self.lr, self.shrunk, self.model = optimizer, lr, shrunk, model
        self.dense, self.activations = len(image) == 1, {layer[0] for layer in layers if len(layer) == 1}
        self.twins = DENSE if self.dense else IMAGES
        _, macs, moved, parameters = count(layers, image)
        # weights are read on both ways, their gradients written; the optimizer's own traffic reads these
        self.flops, self.bytes = 2 * batch * macs, 4 * (batch * moved + parameters * (3 + TRAFFIC[optimizer]))

    def small(self):
        return Step(*self.shrunk)

    def arrays(self):
        """x, y and for each layer with weights its He-scaled [w, b], or [1, 0] for batch norm."""
        rng = self.rng()

        def start(layers):
            for kind, *sizes in layers:
                match kind:
                    case "conv":
                        i, o, k = sizes[:3]
                        bias = [np.zeros(o, np.float32)] * (len(sizes) < 6)
                        yield [self.normal(rng, o, i, k, k, scale=(2 / (i * k * k)) ** 0.5), *bias]
                    case "linear":
                        i, o = sizes
                        yield [self.normal(rng, o, i, scale=(2 / i) ** 0.5), np.zeros(o, np.float32)]
                    case "bn":
                        yield [np.ones(sizes[0], np.float32), np.zeros(sizes[0], np.float32)]
                    case "residual":
                        yield from start(sizes[0])
        weights = [*start(self.layers)]
        return self.normal(rng, self.batch, *self.image), rng.integers(0, self.classes, self.batch), weights

    def network(self, twin):
        lib, (x, y, weights) = twin.lib, self.arrays()
        net = self.model() if self.model and twin.ours else modules(lib, self.layers)
        with lib.no_grad():
            for parameter, value in zip(net.parameters(), sum(weights, []), strict=True):
                parameter.copy_(lib.from_numpy(value))
        return lib.from_numpy(x), lib.from_numpy(y), net

    def make(self, twin):
        x, y, net = self.network(twin)
        if twin.channels_last:
            net = net.to(memory_format=twin.lib.channels_last)
        made = optimizer(twin.lib, self.optimizer, [*net.parameters()], self.lr, **twin.optimizer)
        criterion = twin.lib.nn.CrossEntropyLoss()
        loss_of = twin.compile(lambda x, y: criterion(net(x), y))

        def step(x, y):
            loss = loss_of(twin.image(x), y)
            loss.backward()
            made.step()
            made.zero_grad()
            return loss
        step = twin.capture(step)

        def result():
            losses = [float(step(x, y).detach()) for _ in range(5)]
            made.param_groups[0]["lr"] = 0.0
            return [losses]
        return lambda: step(x, y), result

    def form(self, library):
        """The others' steps are for fully connected networks; thinc has ReLU, and no momentum."""
        others = {"numpy": self.dense, "sklearn": self.dense,
                  "thinc": self.dense and self.activations == {"relu"} and self.optimizer != "sgd-m"}
        return super().form(library) if others.get(library, True) else None

    def jax(self):
        from .jax_step import make
        return make(self)

    def numpy(self):
        from .numpy_step import make
        return make(self)

    def sklearn(self):
        from .sklearn_step import make
        return make(self)

    def thinc(self):
        from .thinc_step import make
        return make(self)


def modules(lib, layers):
    """The network of a library with PyTorch's names."""
    nn = lib.nn

    class Residual(nn.Module):
        def __init__(self, layers, new, stride):
            super().__init__()
            self.body, self.new, self.stride = modules(lib, layers), new, stride

        def forward(self, x):
            y = self.body(x)
            if self.new:
                x = x[:, :, ::self.stride, ::self.stride]
                x = lib.cat([x, x.new_zeros(len(x), self.new, *x.shape[2:])], 1)
            return nn.functional.relu(y + x)
    kinds = {"conv": lambda i, o, k, padding, stride=1, bias=True: nn.Conv2d(i, o, k, stride, padding, bias=bias),
             "bn": lambda c: nn.BatchNorm2d(c), "relu": nn.ReLU, "tanh": nn.Tanh, "max": lambda k: nn.MaxPool2d(k),
             "mean": lambda: nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten, "linear": nn.Linear, "residual": Residual}
    return nn.Sequential(*(kinds[kind](*sizes) for kind, *sizes in layers))


def resnet20():
    from fastnn.models import resnet20
    return resnet20()


def dense(*sizes, batch, optimizer, lr, activation="relu"):
    small = mlp(6, 5, 5, 3, activation=activation), (6,), min(batch, 4), optimizer, lr if optimizer == "adam" else 1e-2
    return Step(mlp(*sizes, activation=activation), sizes[:1], batch, optimizer, lr, small)


LENET, SMALL_LENET = (lenet(), (1, 28, 28)), (lenet((2, 3), (7, 5), 16, 4), (1, 16, 16))
VGG11 = vgg(64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"), (3, 32, 32)
SMALL_VGG = vgg(4, "M", 6, 5, "M", classes=3), (3, 4, 4)
SMALL_RESNET = resnet(8, 4, 3), (3, 8, 8)

MLPS = {
    "mlp-tiny 16-32-32-4 b32 adam": dense(16, 32, 32, 4, batch=32, optimizer="adam", lr=1e-3),
    "mlp-tanh 4-32-16-4 b10000 adam": dense(4, 32, 16, 4, batch=10000, optimizer="adam", lr=1e-3, activation="tanh"),
    "mlp-s 64-128-128-10 b32 adam": dense(64, 128, 128, 10, batch=32, optimizer="adam", lr=1e-3),
    "mlp 784-128-10 b64 adam": dense(784, 128, 10, batch=64, optimizer="adam", lr=1e-4),
    "mlp 784-512-512-10 b1 sgd": dense(784, 512, 512, 10, batch=1, optimizer="sgd", lr=1e-4),
    "mlp 784-512-512-10 b64 sgd": dense(784, 512, 512, 10, batch=64, optimizer="sgd", lr=1e-2),
    "mlp-l 784-512-512-10 b128 sgd-m": dense(784, 512, 512, 10, batch=128, optimizer="sgd-m", lr=1e-2),
    "mlp-skinny 1024-1024-1024-10 b8 adam": dense(1024, 1024, 1024, 10, batch=8, optimizer="adam", lr=1e-5),
    "mlp-xl 1024-4096-4096-1024 b32 adam": dense(1024, 4096, 4096, 1024, batch=32, optimizer="adam", lr=1e-5),
}
IMAGE_NETS = {
    **{f"lenet 28x28 b{n} sgd-m": Step(*LENET, n, "sgd-m", lr, (*SMALL_LENET, min(n, 5), "sgd-m", 1e-2))
       for n, lr in ((1, 1e-4), (64, 1e-3), (256, 1e-3))},
    "cnn 3x3x32 28x28 b64 sgd-m": Step(cnn(32, 28, 128, 10), (1, 28, 28), 64, "sgd-m", 1e-3,
                                       (cnn(3, 8, 5, 4), (1, 8, 8), 5, "sgd-m", 1e-2)),
    "vgg11-bn 32x32 b32 sgd-m": Step(*VGG11, 32, "sgd-m", 1e-4, (*SMALL_VGG, 8, "sgd-m", 1e-2)),
    **{f"resnet20 32x32 b{n} sgd-m": Step(resnet(20), (3, 32, 32), n, "sgd-m", 1e-3,
                                          (*SMALL_RESNET, 6, "sgd-m", 1e-2), resnet20) for n in (1, 128)},
}
