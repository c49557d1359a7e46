"""Scaled dot product attention, forward and backward."""
import numpy as np

from .workload import DENSE, Layer


class Attention(Layer):
    """softmax(q k' / sqrt(E)) v for N batches of H heads, `causal`: query i sees keys 0..i; the gradients of q, k and v."""
    twins = DENSE

    def __init__(self, N, H, L, E, causal=False):
        self.N, self.H, self.L, self.E, self.causal = N, H, L, E, causal
        pairs = L * (L + 1) // 2 if causal else L * L
        self.flops = 12 * N * H * pairs * E          # q k', p v; dy v', p' dy, ds k, ds' q
        self.bytes = 12 * 4 * N * H * L * E          # q, k, v, y; the same and dy; dq, dk, dv

    def small_size(self):
        return 2, 2, 9, 8, self.causal

    def arrays(self):
        rng, shape = self.rng(), (self.N, self.H, self.L, self.E)
        q, k, v, dy = (self.normal(rng, *shape) for _ in range(4))
        return q, [k, v], dy

    def layer(self, F, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)

    def weights(self, q, k, exp):
        s = q @ k.swapaxes(-1, -2) * self.E ** -0.5
        if self.causal:
            s = s + np.triu(np.full((self.L, self.L), -np.inf, np.float32), 1)
        e = exp(s - s.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def jax_layer(self, q, k, v):
        import jax.numpy as jnp
        return self.weights(q, k, jnp.exp) @ v

    def numpy_layer(self, q, k, v, dy):
        p, dp = self.weights(q, k, np.exp), dy @ v.swapaxes(-1, -2)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * np.float32(self.E ** -0.5)
        return [p @ v, ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dy]


WORKLOADS = {
    "attention causal b8 h8 L128 E64": Attention(8, 8, 128, 64, causal=True),
    "attention b4 h12 L512 E64": Attention(4, 12, 512, 64),
    "attention b1 h4 L1024 E32": Attention(1, 4, 1024, 32),
}
