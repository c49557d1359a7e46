"""Training steps in JAX: the layers of steps.py as one jitted function of weights and state, donated."""


def walk(layers, h, weights, averages, new):
    """h after the layers; takes weights and running averages as it meets their layers, leaves new averages in `new`."""
    import jax
    import jax.numpy as jnp
    from jax import lax
    for kind, *sizes in layers:
        match kind:
            case "linear":
                w, b = next(weights)
                h = h @ w + b
            case "conv":
                (w, *b), stride = next(weights), sizes[4] if len(sizes) > 4 else 1
                h = lax.conv_general_dilated(h, w, (stride, stride), [(sizes[3],) * 2] * 2,
                                             dimension_numbers=("NCHW", "OIHW", "NCHW"))
                if b:
                    h = h + b[0][:, None, None]
            case "bn":
                (w, b), (m, v), n = next(weights), next(averages), h.size // h.shape[1]
                mean, var = h.mean((0, 2, 3)), h.var((0, 2, 3))
                h = (h - mean[:, None, None]) * (w / jnp.sqrt(var + 1e-5))[:, None, None] + b[:, None, None]
                new.append(lax.stop_gradient((m * 0.9 + mean * 0.1, v * 0.9 + var * (0.1 * n / (n - 1)))))
            case "max":
                window = (1, 1, sizes[0], sizes[0])
                h = lax.reduce_window(h, -jnp.inf, lax.max, window, window, "VALID")
            case "residual":
                inside, channels, stride = sizes
                straight = jnp.pad(h[:, :, ::stride, ::stride], ((0, 0), (0, channels), (0, 0), (0, 0)))
                h = jax.nn.relu(walk(inside, h, weights, averages, new) + straight)
            case "mean":
                h = h.mean((2, 3), keepdims=True)
            case "flatten":
                h = h.reshape(len(h), -1)
            case _:
                h = getattr(jax.nn, kind)(h)
    return h


def batch_norms(layers):
    for kind, *sizes in layers:
        if kind == "bn":
            yield sizes[0]
        elif kind == "residual":
            yield from batch_norms(sizes[0])


def make(work):
    import jax
    import jax.numpy as jnp

    from .optim import jax_state, jax_update
    x, y, weights = work.arrays()
    weights = [tuple(jnp.array(a.T if a.ndim == 2 else a) for a in pair) for pair in weights]
    x, y = jnp.array(x), jnp.array(y)

    def loss_of(weights, averages):
        new = []
        h = walk(work.layers, x, iter(weights), iter(averages), new)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], 1)), new

    def step(state):
        weights, averages, m, v, t, lr = state
        (loss, averages), g = jax.value_and_grad(loss_of, has_aux=True)(weights, averages)
        weights, m, v = jax_update(work.optimizer, lr, t, weights, g, m, v)
        return (weights, averages, m, v, t + 1, lr), loss
    step = jax.jit(step, donate_argnums=0)
    averages = [(jnp.zeros(c), jnp.ones(c)) for c in batch_norms(work.layers)]
    box = [(weights, averages, *jax_state(work.optimizer, weights), jnp.array(1.0), jnp.array(work.lr))]

    def call():
        box[0], loss = step(box[0])
        return jax.block_until_ready((box[0], loss))[1]

    def result():
        losses = [float(call()) for _ in range(5)]
        box[0] = (*box[0][:-1], jnp.zeros_like(box[0][-1]))
        return [losses]
    return call, result
