"""What a workload is, and the common form of those that run one layer forward and backward."""
import functools
import importlib

import numpy as np

CALLS = 4              # until a captured step has been replayed once, see replayed
_PERIOD = 65521        # random numbers of a fingerprint, a prime: no shape repeats with it


def fingerprint(a):
    """Two numbers that tell arrays apart: the norm, and the product with numbers that no symmetry respects."""
    a = np.asarray(a).ravel()
    rng = np.random.default_rng(a.size)
    factor, weight, square, product = rng.standard_normal(min(a.size, _PERIOD)), 1.0, 0.0, 0.0
    for start in range(0, a.size, _PERIOD):
        part = a[start:start + _PERIOD].astype(np.float64)
        square += (part * part).sum()            # no BLAS: its threads would wait for those of other libraries
        product += weight * (part * factor[:part.size]).sum()
        weight = rng.standard_normal()           # no two stretches count alike
    return [float(np.sqrt(square)), float(product)]


class Twin:
    """We or PyTorch: one text runs in both, as the names are the same. What differs between their variants is here."""

    def __init__(self, library):
        self.ours = library.startswith("fastnn")
        self.lib = importlib.import_module("fastnn" if self.ours else "torch")
        self.F = self.lib.nn.functional
        self.capture = self.lib.capture if library == "fastnn_captured" else lambda step: step
        self.compile = lambda function: function
        if library == "torch_compile":
            self.lib.compiler.reset()            # a code object is compiled 8 times at most, then runs eagerly
            self.compile = functools.partial(self.lib.compile, dynamic=False)
        self.channels_last = library == "torch_cl"
        self.optimizer = {"foreach": True} if library == "torch_foreach" else {"fused": True}

    def tensor(self, a):
        return self.lib.from_numpy(a)

    def image(self, x):
        """x, channels-last where that is this variant's order."""
        return x.to(memory_format=self.lib.channels_last) if self.channels_last and x.ndim == 4 else x


OURS = "fastnn", "fastnn_captured"
DENSE = *OURS, "torch", "torch_compile"
IMAGES = *DENSE, "torch_cl"
PLAIN = *OURS, "torch", "torch_cl"               # a compiled convolution or product calls the same kernel


def replayed(call, kept):
    """CALLS calls, of which the last finds the results that are kept overwritten. A captured step is recorded without gradients, then
    twice with them; then it is replayed."""
    for _ in range(CALLS - 1):
        call()
    for y in kept:
        y.detach().zero_()
    call()


class Workload:
    """One piece of work with the same meaning in every library.

    `form(library)` prepares it there and returns (call, result): `call()` is what is timed, `result()` is asked for
    once, before, and gives groups of numbers that all libraries must agree on. The forms of us and PyTorch are one
    method, `make(twin)`; the others (jax, numpy, sklearn, thinc) are methods of that name. A library without either does
    not take part.

    Attributes:
        twins: the variants of us and of PyTorch that take part.
        flops: floating-point operations of a call, by the direct method; 0: none that count.
        bytes: least memory traffic of a call if no cache holds its arrays.
        check: numbers of a group may differ by this times the largest of them.
        seed: of its data.
    """
    twins = DENSE
    flops = bytes = seed = 0
    check = 1e-4

    def form(self, library):
        """What prepares this workload in a library, or None."""
        if library.startswith(("fastnn", "torch")):
            return (lambda: self.make(Twin(library))) if library in self.twins else None
        return getattr(self, library, None)

    def make(self, twin):
        raise NotImplementedError

    def rng(self):
        return np.random.default_rng(self.seed)

    def normal(self, rng, *shape, scale=1.0):
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

    def small_size(self):
        """Arguments of the small twin."""
        raise NotImplementedError

    def small(self):
        """The same at a size that takes no time, for tests."""
        return type(self)(*self.small_size())


class Layer(Workload):
    """y of a layer, then from dy the gradients of x and of its weights.

    A subclass gives `arrays()`: x, [weights], dy; `constants()`: arrays without gradient, of which some may be kept up to
    date; `layer(F, x, *weights, *constants)` by a functional module with PyTorch's names; `jax_layer` of the same
    arguments; and where a lecture's formula is at hand `numpy_layer(x, *weights, *constants, dy)`: [y, dx, gradients].
    `first`: the layer sees images or indices, whose gradient nobody wants.

    x and dy come row-major (N, C, H, W), as users bring them, and what a library converts, it converts within the time;
    after `nhwc()` they come channels-last, as in the middle of a network.
    """
    twins = IMAGES
    first = channels_last = False

    def nhwc(self):
        self.channels_last, self.twins = True, tuple(t for t in self.twins if t != "torch")
        return self

    def small(self):
        work = super().small()
        return work.nhwc() if self.channels_last else work

    def constants(self):
        return []

    def form(self, library):
        return super().form(library) if hasattr(self, f"{library}_layer") or library not in ("jax", "numpy") else None

    def _bring(self, lib, a):
        if self.channels_last and a.ndim == 4:
            return lib.from_numpy(np.ascontiguousarray(np.moveaxis(a, 1, -1))).permute(0, 3, 1, 2)
        return lib.from_numpy(a)

    def make(self, twin):
        lib, (x, weights, dy) = twin.lib, self.arrays()
        x, dy = self._bring(lib, x), self._bring(lib, dy)
        weights, constants = [twin.image(lib.from_numpy(w)) for w in weights], [*map(lib.from_numpy, self.constants())]
        leaves = ([] if self.first else [x]) + weights
        for leaf in leaves:
            leaf.requires_grad_()
        layer = twin.compile(lambda x, *rest: self.layer(twin.F, x, *rest))

        kept = []                                # what nobody holds, a captured step does not make; what it returns, it copies

        def step():
            for leaf in leaves:
                leaf.grad = None
            kept.clear()
            kept.append(layer(twin.image(x), *weights, *constants))
            kept[0].backward(dy)
        call = twin.capture(step)

        def result():
            replayed(call, kept)
            return [fingerprint(t.detach().numpy()) for t in [*kept, *(leaf.grad for leaf in leaves), *constants]]
        return call, result

    def jax(self):
        import jax
        import jax.numpy as jnp
        x, weights, dy = self.arrays()
        constants = self.constants()
        x, dy, weights = jnp.array(x), jnp.array(dy), [jnp.array(w) for w in weights]

        @jax.jit
        def step(x, weights, constants, dy):
            layer = lambda x, *weights: self.jax_layer(x, *weights, *constants)
            leaves = (() if self.first else (x,)) + tuple(weights)
            y, pull = jax.vjp((lambda *weights: layer(x, *weights)) if self.first else layer, *leaves)
            return [y, *pull(dy)]
        given = [jnp.array(c) for c in constants]
        call = lambda: jax.block_until_ready(step(x, weights, given, dy))
        return call, lambda: [fingerprint(a) for a in [*call(), *constants]]

    def numpy(self):
        x, weights, dy = self.arrays()
        constants = self.constants()
        call = lambda: self.numpy_layer(x, *weights, *constants, dy=dy)
        return call, lambda: [fingerprint(a) for a in [call() for _ in range(CALLS if constants else 1)][-1] + constants]
