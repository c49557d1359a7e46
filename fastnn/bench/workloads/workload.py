"""What a workload is, and the common form of those that run one layer forward and backward."""
import numpy as np


def fingerprint(a):
    """Two numbers that tell arrays apart: the norm, and the product with numbers that no symmetry respects."""
    a = np.asarray(a, np.float64).ravel()
    return [float(np.linalg.norm(a)), float(a @ np.random.default_rng(a.size).standard_normal(a.size))]


class Workload:
    """One piece of work with the same meaning in every library.

    A method named like a library (fastnn, fastnn_captured, torch, torch_cl: channels-last memory, torch_compile: a
    compiled network, jax, numpy) prepares it there and returns (call, result): `call()` is what is timed, `result()` is
    asked for once, before, and gives groups of numbers that all libraries must agree on. A library without a method does
    not take part.

    Attributes:
        flops: floating-point operations of a call, by the direct method; 0: none that count.
        bytes: least memory traffic of a call if no cache holds its arrays.
        check: numbers of a group may differ by this times the largest of them.
        seed: of its data.
    """
    flops = bytes = seed = 0
    check = 1e-4

    def form(self, library):
        """What prepares this workload in a library, or None."""
        return getattr(self, library, None)

    def rng(self):
        return np.random.default_rng(self.seed)

    def normal(self, rng, *shape, scale=1.0):
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

    def small(self):
        """The same at a size that takes no time, for tests."""
        raise NotImplementedError


class Layer(Workload):
    """y of a layer, then from dy the gradients of x and of its weights.

    x and dy come row-major (N, C, H, W), as users bring them: what a library converts, it converts within the time.
    A subclass gives `arrays()`: x, [weights], dy; `layer(F, x, *weights, *state)` by a functional module with PyTorch's
    names, where `state(lib)` are tensors that it keeps up to date; and `jax_layer(x, *weights)`. `first`: the layer
    sees images, whose gradient nobody wants.
    """
    first = False

    def state(self, lib):
        return []

    def _make(self, lib, F, wrap=lambda f: f, channels_last=False):
        x, weights, dy = self.arrays()
        x, dy, weights = lib.from_numpy(x), lib.from_numpy(dy), [lib.from_numpy(w) for w in weights]
        if channels_last:
            weights = [w.to(memory_format=lib.channels_last) if w.ndim == 4 else w for w in weights]
        leaves, state = ([] if self.first else [x]) + weights, self.state(lib)
        for leaf in leaves:
            leaf.requires_grad_()

        def step():
            for leaf in leaves:
                leaf.grad = None
            y = self.layer(F, x.to(memory_format=lib.channels_last) if channels_last else x, *weights, *state)
            y.backward(dy)
            return y

        def result():
            shown = wrap(step)
            for _ in range(3):                   # a captured step is recorded twice, then replayed
                y = shown()
            return [fingerprint(t.detach().numpy()) for t in [y, *(leaf.grad for leaf in leaves), *state]]

        def quiet():                             # a captured step would copy y for its caller
            step()
        return wrap(quiet), result

    def fastnn(self):
        import fastnn
        return self._make(fastnn, fastnn.nn.functional)

    def fastnn_captured(self):
        import fastnn
        return self._make(fastnn, fastnn.nn.functional, fastnn.capture)

    def torch(self):
        import torch
        return self._make(torch, torch.nn.functional)

    def torch_cl(self):
        import torch
        return self._make(torch, torch.nn.functional, channels_last=True)

    def jax(self):
        import jax
        import jax.numpy as jnp
        x, weights, dy = self.arrays()
        x, dy, weights = jnp.array(x), jnp.array(dy), [jnp.array(w) for w in weights]

        @jax.jit
        def step(x, weights, dy):
            if self.first:
                y, pull = jax.vjp(lambda *weights: self.jax_layer(x, *weights), *weights)
            else:
                y, pull = jax.vjp(self.jax_layer, x, *weights)
            return [y, *pull(dy)]
        call = lambda: jax.block_until_ready(step(x, weights, dy))
        return call, lambda: [fingerprint(a) for a in call()]
