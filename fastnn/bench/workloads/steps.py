"""Whole training steps: forward, cross-entropy, backward, optimizer, on one batch that stays.

The result is the losses of five steps at the learning rate. Then it is set to 0: the same work, but the weights stay
where gradients are ordinary numbers, however many steps a library makes in its time.

A network is a list of layers: ("conv", in, out, k, padding), ("bn", channels), ("relu",), ("max", k), ("flatten",),
("linear", in, out). `modules` makes PyTorch's or our modules of it; jax_step.py and numpy_step.py read the same list.
"""
from .workload import Workload

MOMENTUM = 0.9


def mlp(*sizes):
    layers = [[("linear", i, o), ("relu",)] for i, o in zip(sizes, sizes[1:])]
    return sum(layers, [])[:-1]


def lenet(c=(6, 16), h=(120, 84), image=28, classes=10):
    side = (image // 2 - 4) // 2
    return [("conv", 1, c[0], 5, 2), ("relu",), ("max", 2), ("conv", c[0], c[1], 5, 0), ("relu",), ("max", 2),
            ("flatten",), *mlp(c[1] * side ** 2, *h, classes)]


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


class Step(Workload):
    """One training step of a network on (batch, *image).

    Args:
        layers: the network. image: shape of an input. optimizer: 'sgd', 'sgd-m' (momentum 0.9) or 'adam'.
        shrunk: arguments of the small twin.
    """
    check = 1e-3

    def __init__(self, layers, image, batch, optimizer, lr, shrunk=None):
        self.layers, self.image, self.batch, self.classes = layers, image, batch, layers[-1][2]
        self.optimizer, self.lr, self.shrunk = optimizer, lr, shrunk
        self._count()

    def _count(self):
        """flops and bytes: each layer reads its input and writes its output on both ways, and reads its input once more
        if it has weights; these are read on both ways, their gradients written, and the optimizer adds its own."""
        shape, first, moved, parameters = self.image, True, 0, 0
        for kind, *sizes in self.layers:
            before = shape
            match kind:
                case "conv":
                    c, k, size, pad = sizes
                    shape = k, shape[1] + 2 * pad - size + 1, shape[2] + 2 * pad - size + 1
                    weights, macs = k * c * size ** 2, shape[1] * shape[2] * k * c * size ** 2
                case "linear":
                    shape = (sizes[1],)
                    weights = macs = sizes[0] * sizes[1]
                case "max":
                    shape, weights, macs = (shape[0], shape[1] // sizes[0], shape[2] // sizes[0]), 0, 0
                case "bn":
                    weights, macs = sizes[0], 0
                case _:                          # ReLU rides with the layer before, flatten moves nothing
                    shape, weights, macs = (_size(shape),) if kind == "flatten" else shape, 0, 0
                    continue
            self.flops += 2 * self.batch * macs * (2 if first else 3)
            moved += self.batch * (2 * _size(before) + 2 * _size(shape) + (_size(before) if weights else 0))
            parameters += weights + (shape[0] if weights else 0)
            first = False
        own = {"sgd": 0, "sgd-m": 2, "adam": 4}[self.optimizer]
        self.bytes = 4 * (moved + parameters * (6 + own))

    def small(self):
        return Step(*self.shrunk) if self.shrunk else self

    def arrays(self):
        """x, y and for each layer with weights its He-scaled (w, b), or (1, 0) for batch norm."""
        import numpy as np
        rng, weights = self.rng(), []
        for kind, *sizes in self.layers:
            if kind == "conv":
                i, o, k, _ = sizes
                weights.append((self.normal(rng, o, i, k, k, scale=(2 / (i * k * k)) ** 0.5), np.zeros(o, np.float32)))
            elif kind == "linear":
                i, o = sizes
                weights.append((self.normal(rng, o, i, scale=(2 / i) ** 0.5), np.zeros(o, np.float32)))
            elif kind == "bn":
                weights.append((np.ones(sizes[0], np.float32), np.zeros(sizes[0], np.float32)))
        return self.normal(rng, self.batch, *self.image), rng.integers(0, self.classes, self.batch), weights

    def form(self, library):
        """Layouts are for images; NumPy's step is for fully connected networks."""
        return None if library == ("numpy" if len(self.image) == 3 else "torch_cl") else super().form(library)

    def _make(self, lib, wrap=lambda f: f, compile=lambda net: net, channels_last=False):
        nn, optim = lib.nn, lib.optim
        x, y, weights = self.arrays()
        x, y, net = lib.from_numpy(x), lib.from_numpy(y), modules(lib, self.layers, weights)
        if channels_last:
            net = net.to(memory_format=lib.channels_last)
        net, parameters = compile(net), list(net.parameters())
        if self.optimizer == "adam":
            optimizer = optim.Adam(parameters, self.lr, fused=True)
        else:
            optimizer = optim.SGD(parameters, self.lr, MOMENTUM if self.optimizer == "sgd-m" else 0, fused=True)
        criterion = nn.CrossEntropyLoss()

        def step(x, y):
            if channels_last:
                x = x.to(memory_format=lib.channels_last)
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            return loss
        step = wrap(step)

        def result():
            losses = [float(step(x, y).detach()) for _ in range(5)]
            optimizer.param_groups[0]["lr"] = 0.0
            return [losses]
        return lambda: step(x, y), result

    def fastnn(self):
        import fastnn
        return self._make(fastnn)

    def fastnn_captured(self):
        import fastnn
        return self._make(fastnn, wrap=fastnn.capture)

    def torch(self):
        import torch
        return self._make(torch)

    def torch_compile(self):
        import torch
        return self._make(torch, compile=torch.compile)

    def torch_cl(self):
        import torch
        return self._make(torch, channels_last=True)

    def jax(self):
        from .jax_step import make
        return make(self, MOMENTUM)

    def numpy(self):
        from .numpy_step import make
        return make(self)


def _size(shape):
    size = 1
    for n in shape:
        size *= n
    return size


def modules(lib, layers, weights):
    """The network of a library with PyTorch's names."""
    nn, weights = lib.nn, iter(weights)
    kinds = {"conv": lambda i, o, k, padding: nn.Conv2d(i, o, k, padding=padding), "bn": lambda c: nn.BatchNorm2d(c),
             "relu": nn.ReLU, "max": lambda k: nn.MaxPool2d(k), "flatten": nn.Flatten, "linear": nn.Linear}
    made = [kinds[kind](*sizes) for kind, *sizes in layers]
    with lib.no_grad():
        for (kind, *_), module in zip(layers, made):
            if kind in ("conv", "linear", "bn"):
                for parameter, value in zip((module.weight, module.bias), next(weights)):
                    parameter.copy_(lib.from_numpy(value))
    return nn.Sequential(*made)


SMALL_MLP = mlp(6, 5, 5, 3), (6,)
LENET, SMALL_LENET = (lenet(), (1, 28, 28)), (lenet((2, 3), (7, 5), 16, 4), (1, 16, 16))
VGG11 = vgg(64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"), (3, 32, 32)
SMALL_VGG = vgg(4, "M", 6, 5, "M", classes=3), (3, 4, 4)

MLPS = {
    "mlp-tiny 16-32-32-4 b32 adam": Step(mlp(16, 32, 32, 4), (16,), 32, "adam", 1e-3, (*SMALL_MLP, 4, "adam", 1e-3)),
    "mlp 784-512-512-10 b64 sgd": Step(mlp(784, 512, 512, 10), (784,), 64, "sgd", 1e-2, (*SMALL_MLP, 4, "sgd", 1e-2)),
    "mlp 784-512-512-10 b1 sgd": Step(mlp(784, 512, 512, 10), (784,), 1, "sgd", 1e-4, (*SMALL_MLP, 1, "sgd", 1e-2)),
}
IMAGES = {f"lenet 28x28 b{n} sgd-m": Step(*LENET, n, "sgd-m", lr, (*SMALL_LENET, min(n, 5), "sgd-m", 1e-2))
          for n, lr in ((1, 1e-4), (64, 1e-3), (256, 1e-3))}
IMAGES["vgg11-bn 32x32 b32 sgd-m"] = Step(*VGG11, 32, "sgd-m", 1e-4, (*SMALL_VGG, 8, "sgd-m", 1e-2))
