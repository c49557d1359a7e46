"""A network trained with NumPy arrays alone, through the kernels: forward, backward and update by hand, no autograd."""
import numpy as np

from fastnn import kernels as k


def main():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 2)).astype(np.float32)
    y = (np.hypot(x[:, 0], x[:, 1]) > 1).astype(np.int64)
    w1, b1 = rng.standard_normal((32, 2)).astype(np.float32), np.zeros(32, np.float32)
    w2, b2 = (rng.standard_normal((2, 32)) * 0.2).astype(np.float32), np.zeros(2, np.float32)
    for step in range(300):
        h = k.linear_forward(x, w1, b1)
        a = k.relu_forward(h)
        logits = k.linear_forward(a, w2, b2)
        loss, saved = k.softmax_cross_entropy_forward(logits, y)
        dlogits = k.softmax_cross_entropy_backward(np.float32(1), saved)
        da, dw2, db2 = k.linear_backward(dlogits, a, w2)
        dh = k.relu_backward(da, a)
        _, dw1, db1 = k.linear_backward(dh, x, w1)
        for p, g in ((w1, dw1), (b1, db1), (w2, dw2), (b2, db2)):
            p -= 0.5 * g
    accuracy = float((logits.argmax(1) == y).mean())
    print(f"loss {float(loss):.4f}, training accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
