"""Optimizers: the new parameter and state."""
import math

import numpy as np

from .elementwise import clamp


def sgd(p, g, b=None, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    """(p, b); b is None before the first step."""
    g = (-g if maximize else g) + weight_decay * p
    if momentum:
        b = g if b is None else momentum * b + (1 - dampening) * g
        g = g + momentum * b if nesterov else b
    return p - lr * g, b


def optim_tick(step, lr, beta1, beta2, weight_decay):
    """(step + 1, -lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step), 1 - lr weight_decay)."""
    step += 1
    return step, -lr / (1 - beta1 ** step), 1 / math.sqrt(1 - beta2 ** step), 1 - lr * weight_decay


def adam(p, g, m, v, step, vmax=None, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled=False,
         maximize=False):
    """(p, m, v, vmax) after step number `step`; vmax is None without amsgrad. decoupled: AdamW."""
    beta1, beta2 = betas
    g = -g if maximize else g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    vmax = None if vmax is None else np.maximum(vmax, v)
    m_hat, v_hat = m / (1 - beta1 ** step), (v if vmax is None else vmax) / (1 - beta2 ** step)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v, vmax


def rmsprop(p, g, v, b=0, c=0, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False,
            maximize=False):
    """(p, v, b, c); all three begin with 0."""
    g = (-g if maximize else g) + weight_decay * p
    v, c = alpha * v + (1 - alpha) * g * g, alpha * c + (1 - alpha) * g
    b = momentum * b + g / (np.sqrt(v - c * c if centered else v) + eps)
    return p - lr * b, v, b, c


def adagrad(p, g, v, step, lr=1e-2, lr_decay=0, weight_decay=0, eps=1e-10, maximize=False):
    """(p, v) after step number `step`."""
    g = (-g if maximize else g) + weight_decay * p
    v = v + g * g
    return p - lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(v) + eps), v


def grad_norm(*grads, power=2):
    """(sum |g|^power)^(1/power) over all of them; the largest |g| for an infinite power."""
    sizes = np.concatenate([np.abs(g).ravel() for g in grads])
    return sizes.max(initial=0) if power == math.inf else np.sum(sizes ** power) ** (1 / power)


def grad_scale(g, norm, max_norm):
    return g * min(1, max_norm / (norm + 1e-6))


def grad_clamp(g, bound):
    return clamp(g, -bound, bound)
