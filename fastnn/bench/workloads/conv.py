"""Convolution: forward and backward together, and for one shape each pass by itself."""
from .workload import Layer, Workload, fingerprint


class Conv(Layer):
    """A k x k convolution with bias from C to K channels over (N, C, H, W), padding k // 2 unless said."""

    def __init__(self, N, C, H, K, k, stride=1, padding=None, first=False):
        self.N, self.C, self.H, self.K, self.k, self.stride, self.first = N, C, H, K, k, stride, first
        self.padding = k // 2 if padding is None else padding
        self.P = (H + 2 * self.padding - k) // stride + 1
        self.pass_flops = 2 * N * self.P ** 2 * K * C * k ** 2
        self.x_bytes, self.w_bytes, self.y_bytes = 4 * N * C * H ** 2, 4 * K * C * k ** 2, 4 * N * K * self.P ** 2
        self.pass_bytes = self.x_bytes + self.w_bytes + self.y_bytes
        self.flops, self.bytes = (3 - first) * self.pass_flops, (3 - first) * self.pass_bytes

    def small(self):
        return Conv(2, min(self.C, 5), min(self.H, 9), min(self.K, 6), self.k, self.stride, self.padding, self.first)

    def arrays(self):
        rng, (N, C, H, K, k) = self.rng(), (self.N, self.C, self.H, self.K, self.k)
        x, w = self.normal(rng, N, C, H, H), self.normal(rng, K, C, k, k, scale=(C * k * k) ** -0.5)
        return x, [w, self.normal(rng, K)], self.normal(rng, N, K, self.P, self.P)

    def layer(self, F, x, w, b):
        return F.conv2d(x, w, b, self.stride, self.padding)

    def jax_layer(self, x, w, b):
        from jax import lax
        y = lax.conv_general_dilated(x, w, (self.stride,) * 2, [(self.padding,) * 2] * 2,
                                     dimension_numbers=("NCHW", "OIHW", "NCHW"))
        return y + b[:, None, None]


class ConvPass(Workload):
    """One pass of a convolution: 'forward', or 'data' or 'weights', backward to one of them over a kept graph."""

    def __init__(self, conv, which):
        self.conv, self.which = conv, which
        self.flops, self.bytes = conv.pass_flops, conv.pass_bytes

    def small(self):
        return ConvPass(self.conv.small(), self.which)

    def _make(self, lib, F, channels_last=False):
        self.conv.seed = self.seed
        x, (w, _), dy = (a if isinstance(a, list) else lib.from_numpy(a) for a in self.conv.arrays())
        w = lib.from_numpy(w)
        if channels_last:
            w = w.to(memory_format=lib.channels_last)

        def forward():
            return self.conv.layer(F, x.to(memory_format=lib.channels_last) if channels_last else x, w, None)
        if self.which == "forward":
            return forward, lambda: [fingerprint(forward().numpy())]
        leaf = (x if self.which == "data" else w).requires_grad_()
        y = forward()

        def backward():
            leaf.grad = None
            y.backward(dy, retain_graph=True)
            return leaf.grad
        return backward, lambda: [fingerprint(backward().numpy())]

    def fastnn(self):
        import fastnn
        return self._make(fastnn, fastnn.nn.functional)

    def torch(self):
        import torch
        return self._make(torch, torch.nn.functional)

    def torch_cl(self):
        import torch
        return self._make(torch, torch.nn.functional, channels_last=True)


WORKLOADS = {
    "conv 3x3 64->64 56x56 n16": Conv(16, 64, 56, 64, 3),
    "conv 3x3 128->128 28x28 n16": Conv(16, 128, 28, 128, 3),
    "conv 3x3 256->256 14x14 n16": Conv(16, 256, 14, 256, 3),
    "conv 3x3 512->512 7x7 n16": Conv(16, 512, 7, 512, 3),
    "conv 1x1 256->64 56x56 n8": Conv(8, 256, 56, 64, 1),
    "conv 7x7/2 3->64 224x224 n4": Conv(4, 3, 224, 64, 7, stride=2, first=True),
    "conv 5x5 1->6 28x28 n64": Conv(64, 1, 28, 6, 5, first=True),
    "conv 3x3 3->32 32x32 n128": Conv(128, 3, 32, 32, 3, first=True),
    "conv 3x3 64->64 56x56 n16 forward": ConvPass(Conv(16, 64, 56, 64, 3), "forward"),
    "conv 3x3 64->64 56x56 n16 backward-data": ConvPass(Conv(16, 64, 56, 64, 3), "data"),
    "conv 3x3 64->64 56x56 n16 backward-weights": ConvPass(Conv(16, 64, 56, 64, 3), "weights"),
}
