"""Convolution: forward and backward together, and for some shapes each pass by itself. Layers of ResNet, VGG, MobileNet
and of DeepBench."""
import numpy as np

from .workload import PLAIN, Layer, Workload, fingerprint


def pair(n):
    return n if isinstance(n, tuple) else (n, n)


class Conv(Layer):
    """A k x k convolution with bias from C to K channels over (N, C, H, W).

    Args:
        H, k: a number, or (height, width).
        padding: (k - 1) // 2 * dilation unless said.
    """
    twins = PLAIN

    def __init__(self, N, C, H, K, k, stride=1, padding=None, dilation=1, groups=1, first=False):
        self.N, self.C, self.H, self.K, self.k, self.first = N, C, pair(H), K, pair(k), first
        self.stride, self.dilation, self.groups = stride, dilation, groups
        self.padding = (self.k[0] - 1) // 2 * dilation if padding is None else padding
        self.P = tuple((h + 2 * self.padding - dilation * (r - 1) - 1) // stride + 1 for h, r in zip(self.H, self.k))
        x, w, y = N * C * self.H[0] * self.H[1], K * C // groups * self.k[0] * self.k[1], N * K * self.P[0] * self.P[1]
        self.pass_flops, self.pass_bytes = 2 * w * y // K, 4 * (x + w + y)
        self.flops, self.bytes = (3 - first) * self.pass_flops, (3 - first) * self.pass_bytes

    def small_size(self):
        C, K = (min(self.C, 8), 8) if self.groups > 1 else (min(self.C, 5), min(self.K, 6))
        groups = 1 if self.groups == 1 else C if self.groups == self.C else 2
        H = tuple(min(h, r * self.dilation + 6) for h, r in zip(self.H, self.k))
        return 2, C, H, K, self.k, self.stride, self.padding, self.dilation, groups, self.first

    def arrays(self):
        rng, fan = self.rng(), self.C // self.groups * self.k[0] * self.k[1]
        x, w = self.normal(rng, self.N, self.C, *self.H), self.normal(rng, self.K, self.C // self.groups, *self.k, scale=fan ** -0.5)
        return x, [w, self.normal(rng, self.K)], self.normal(rng, self.N, self.K, *self.P)

    def layer(self, F, x, w, b):
        return F.conv2d(x, w, b, self.stride, self.padding, self.dilation, self.groups)

    def jax_layer(self, x, w, b):
        from jax import lax
        y = lax.conv_general_dilated(x, w, pair(self.stride), [pair(self.padding)] * 2, rhs_dilation=pair(self.dilation),
                                     feature_group_count=self.groups, dimension_numbers=("NCHW", "OIHW", "NCHW"))
        return y + b[:, None, None]

    def form(self, library):
        return None if library == "numpy" and self.groups > 1 else super().form(library)

    def numpy_layer(self, x, w, b, dy):
        """A product of matrices for each tap."""
        p, (P, Q), s, d = self.padding, self.P, self.stride, self.dilation
        x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        y, flat = b[:, None] + np.zeros((self.N, self.K, P * Q), np.float32), dy.reshape(self.N, self.K, -1)
        dx, dw = np.zeros_like(x), np.empty_like(w)
        for r, c in np.ndindex(*self.k):
            at = ..., slice(r * d, r * d + (P - 1) * s + 1, s), slice(c * d, c * d + (Q - 1) * s + 1, s)
            seen = x[at].reshape(self.N, self.C, -1)
            y += w[:, :, r, c] @ seen
            dw[:, :, r, c] = (flat @ seen.transpose(0, 2, 1)).sum(0)
            if not self.first:
                dx[at] += (w[:, :, r, c].T @ flat).reshape(self.N, self.C, P, Q)
        H, W = self.H
        return [y, *([] if self.first else [dx[..., p:p + H, p:p + W]]), dw, dy.sum((0, 2, 3))]


class ConvTranspose(Layer):
    """A transposed k x k convolution with bias from C to K channels over (N, C, H, H), as generators have them."""
    twins = PLAIN

    def __init__(self, N, C, H, K, k, stride, padding):
        self.N, self.C, self.H, self.K, self.k, self.stride, self.padding = N, C, H, K, k, stride, padding
        self.P = (H - 1) * stride - 2 * padding + k
        self.flops = 3 * 2 * N * H ** 2 * C * K * k ** 2
        self.bytes = 3 * 4 * (N * C * H ** 2 + C * K * k ** 2 + N * K * self.P ** 2)

    def small_size(self):
        return 2, 5, 4, 3, self.k, self.stride, self.padding

    def arrays(self):
        rng, (N, C, H, K, k, P) = self.rng(), (self.N, self.C, self.H, self.K, self.k, self.P)
        x, w = self.normal(rng, N, C, H, H), self.normal(rng, C, K, k, k, scale=(C * k * k) ** -0.5)
        return x, [w, self.normal(rng, K)], self.normal(rng, N, K, P, P)

    def layer(self, F, x, w, b):
        return F.conv_transpose2d(x, w, b, self.stride, self.padding)

    def jax_layer(self, x, w, b):
        from jax import lax
        y = lax.conv_general_dilated(x, w[:, :, ::-1, ::-1], (1, 1), [(self.k - 1 - self.padding,) * 2] * 2,
                                     lhs_dilation=pair(self.stride), dimension_numbers=("NCHW", "IOHW", "NCHW"))
        return y + b[:, None, None]


class ConvPass(Workload):
    """One pass of a convolution: 'forward', or 'data' or 'weights', backward to one of them over a kept graph."""
    twins = "fastnn", "torch", "torch_cl"

    def __init__(self, conv, which):
        self.conv, self.which = conv, which
        self.flops, self.bytes = conv.pass_flops, conv.pass_bytes

    def small_size(self):
        return self.conv.small(), self.which

    def make(self, twin):
        self.conv.seed = self.seed
        x, (w, _), dy = self.conv.arrays()
        x, w, dy = twin.tensor(x), twin.image(twin.tensor(w)), twin.tensor(dy)
        forward = lambda: self.conv.layer(twin.F, twin.image(x), w, None)
        if self.which == "forward":
            return forward, lambda: [fingerprint(forward().numpy())]
        leaf = (x if self.which == "data" else w).requires_grad_()
        y = forward()

        def backward():
            leaf.grad = None
            y.backward(dy, retain_graph=True)
            return leaf.grad
        return backward, lambda: [fingerprint(backward().numpy())]


WORKLOADS = {
    "conv 3x3 64->64 56x56 n16": Conv(16, 64, 56, 64, 3),
    "conv 3x3 64->64 56x56 n16 nhwc": Conv(16, 64, 56, 64, 3).nhwc(),
    "conv 3x3 128->128 28x28 n16": Conv(16, 128, 28, 128, 3),
    "conv 3x3 256->256 14x14 n16": Conv(16, 256, 14, 256, 3),
    "conv 3x3 512->512 7x7 n16": Conv(16, 512, 7, 512, 3),
    "conv 3x3 64->128 112x112 n2": Conv(2, 64, 112, 128, 3),
    "conv 3x3 16->16 32x32 n128": Conv(128, 16, 32, 16, 3),
    "conv 3x3/2 128->128 56x56 n8": Conv(8, 128, 56, 128, 3, stride=2),
    "conv 3x3 d2 128->128 28x28 n8": Conv(8, 128, 28, 128, 3, dilation=2),
    "conv 3x3 g32 128->128 28x28 n16": Conv(16, 128, 28, 128, 3, groups=32),
    "conv 3x3 depthwise 512 14x14 n32": Conv(32, 512, 14, 512, 3, groups=512),
    "conv 3x3 depthwise 512 7x7 n32": Conv(32, 512, 7, 512, 3, groups=512),
    "conv 5x5 depthwise 480 14x14 n16 nhwc": Conv(16, 480, 14, 480, 5, groups=480).nhwc(),
    "conv 7x7 depthwise 192 28x28 n16 nhwc": Conv(16, 192, 28, 192, 7, groups=192).nhwc(),
    "conv 1x1 64->256 56x56 n8": Conv(8, 64, 56, 256, 1),
    "conv 1x1 256->64 56x56 n8": Conv(8, 256, 56, 64, 1),
    "conv 1x1/2 512->1024 28x28 n8": Conv(8, 512, 28, 1024, 1, stride=2),
    "conv 5x5 192->32 28x28 n16": Conv(16, 192, 28, 32, 5),
    "conv 5x5 1->6 28x28 n64": Conv(64, 1, 28, 6, 5, first=True),
    "conv 7x7/2 3->64 224x224 n4": Conv(4, 3, 224, 64, 7, stride=2, first=True),
    "conv 3x3 3->32 32x32 n128": Conv(128, 3, 32, 32, 3, first=True),
    "conv 20x5/2 1->32 161x700 n4": Conv(4, 1, (161, 700), 32, (20, 5), stride=2, padding=0, first=True),
    "conv 10x5/2 32->32 79x341 n2": Conv(2, 32, (79, 341), 32, (10, 5), stride=2, padding=0),
    "conv-transpose 4x4/2 128->64 16x16 n32": ConvTranspose(32, 128, 16, 64, 4, 2, 1),
}
for _name in ("conv 3x3 64->64 56x56 n16", "conv 1x1 256->64 56x56 n8"):
    for _pass, _title in (("forward", "forward"), ("data", "backward-data"), ("weights", "backward-weights")):
        WORKLOADS[f"{_name} {_title}"] = ConvPass(WORKLOADS[_name], _pass)
