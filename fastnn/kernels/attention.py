"""Scaled dot product attention."""
from .. import _core
from .._core import Generator
from .arrays import _in, _out


def scaled_dot_product_attention_forward(q, k, v, mask=None, *, causal=False, scale=None, dropout=0.0, seed=0, count=0, out=None):
    """y = dropout(softmax(scale q k' + mask)) v.

    Args:
        q: (..., L, E). k: (..., S, E). v: (..., S, Ev). Equal leading dimensions.
        mask: bool, True where a row of q may attend to one of k, or of q's type, added; broadcast to (..., L, S). Or None.
        causal: row i of q attends to rows 0..i of k alone. scale: a number, None for 1 / sqrt(E).
        dropout: the probability of a dropped weight, drawn by Philox from (seed, count).

    Returns: (y, saved), y (..., L, Ev).
    """
    q, k, v, mask = _in(q, "q"), _in(k, "k"), _in(v, "v"), None if mask is None else _in(mask, "mask")
    options = bool(causal), max(q.shape[-1], 1) ** -0.5 if scale is None else scale, dropout
    y, saved = _core.attention(q, k, v, mask, *options, Generator().set_state((seed, count)))
    return _out(y, out), (saved, options)


def scaled_dot_product_attention_backward(dy, saved):
    """(dq, dk, dv) for the forward that gave `saved`."""
    kept, options = saved
    return tuple(_out(g) for g in _core.attention_backward(_in(dy, "dy"), kept, *options))
