"""Attention: q (..., L, E), k (..., S, E), v (..., S, Ev)."""
import numpy as np

from .products import gemm


def _attends(q, k, mask, causal, scale):
    """softmax(scale q k' + mask) (..., L, S), zeros where a row attends to nothing; of bools, True may be attended to."""
    s = (q.shape[-1] ** -0.5 if scale is None else scale) * gemm(q, k.swapaxes(-1, -2))
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    if causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    top = s.max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(top == -np.inf, 0, top))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def attention_fwd(q, k, v, mask=None, causal=False, scale=None, factor=1):
    """(factor * softmax(scale q k' + mask)) v; factor: of dropout."""
    return gemm(factor * _attends(q, k, mask, causal, scale), v)


def attention_bwd(dy, q, k, v, mask=None, causal=False, scale=None, factor=1):
    """(dq, dk, dv)"""
    p = _attends(q, k, mask, causal, scale)
    dp = factor * gemm(dy, v.swapaxes(-1, -2))
    ds = (q.shape[-1] ** -0.5 if scale is None else scale) * p * (dp - (dp * p).sum(-1, keepdims=True))
    return gemm(ds, k), gemm(ds.swapaxes(-1, -2), q), gemm((factor * p).swapaxes(-1, -2), dy)
