"""Matrix products."""
import numpy as np

from .activations import relu_fwd, sigmoid_fwd, tanh_fwd

ACT = {"none": lambda x: x, "relu": lambda x: relu_fwd(x), "sigmoid": lambda x: sigmoid_fwd(x),
       "tanh": lambda x: tanh_fwd(x)}


def gemm(a, b, c=None, bias=None, act="none"):
    """act(c + a b + bias): a (..., M, K), b (..., K, N), bias (N)."""
    y = np.zeros(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) + (a.shape[-2], b.shape[-1]))
    for k in range(a.shape[-1]):
        y += a[..., :, k, None] * b[..., None, k, :]
    y = y if c is None else y + c
    return ACT[act](y if bias is None else y + bias)


def gemm_pack(b):
    """Another order in memory; the values are the same."""
    return b


def dense_fwd(x, w, b=None, act="none"):
    """act(x w' + b): x (M, K), w (N, K), b (N)."""
    return gemm(x, w.T, bias=b, act=act)


def dense_bwd_x(dy, w):
    return gemm(dy, w)


def dense_bwd_w(dy, x):
    """dw (N, K), db (N)."""
    return gemm(dy.T, x), dy.sum(0)


def dense_step(step, w, b, dy, x):
    """(w, b) after step(parameter, gradient) of each."""
    dw, db = dense_bwd_w(dy, x)
    return step(w, dw), step(b, db)
