"""Training steps of fully connected networks in NumPy, as one writes them by hand."""
import numpy as np


def make(work):
    x, y, weights = work.arrays()
    parameters = [p for pair in weights for p in pair]
    m, v = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    t, rows, lr = 0, np.arange(len(x)), np.float32(work.lr)

    def call():
        nonlocal t
        hs = [x]
        for i, (w, b) in enumerate(weights):
            h = hs[-1] @ w.T + b
            hs.append(np.maximum(h, 0) if i < len(weights) - 1 else h)
        z = hs.pop()
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        total = p.sum(1, keepdims=True)
        loss = (np.log(total[:, 0]) - z[rows, y]).mean()
        d = p / total
        d[rows, y] -= 1
        d /= np.float32(len(x))
        gradients = []
        for (w, _), h in zip(weights[::-1], hs[::-1]):
            gradients += [d.sum(0), d.T @ h]
            if h is not x:
                d = (d @ w) * (h > 0)
        t += 1
        for p, g, m_, v_ in zip(parameters, gradients[::-1], m, v):
            if work.optimizer == "adam":
                m_ += np.float32(0.1) * (g - m_)
                v_ += np.float32(0.001) * (g * g - v_)
                p -= lr / np.float32(1 - 0.9 ** t) * m_ / (np.sqrt(v_ / np.float32(1 - 0.999 ** t)) + np.float32(1e-8))
            else:
                p -= lr * g
        return float(loss)

    def result():
        nonlocal lr
        losses = [call() for _ in range(5)]
        lr = np.float32(0)
        return [losses]
    return call, result
