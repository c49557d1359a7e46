"""Scaled dot product attention, with its gradients."""
import math

from .. import _core
from .._core import attach, needs_grad
from . import activation, create, random, shape
from .promote import tensor_only

_NAME = "scaled_dot_product_attention"


def _same_lead(*tensors):
    """The tensors with leading dimensions broadcast."""
    if _core.attention_leads_agree(*tensors) or any(x.dim() < 2 for x in tensors):
        return tensors
    try:
        lead = shape.broadcast_shapes(*(tuple(x.shape)[:-2] for x in tensors))
    except RuntimeError:
        sizes = ", ".join(f"{name} {rows}={tuple(x.shape)}" for name, rows, x in zip(("query", "key", "value"), ("(..., L, E)", "(..., S, E)", "(..., S, Ev)"),
                                                                                      tensors))
        raise RuntimeError(f"{_NAME}: {sizes}: leading dimensions do not broadcast") from None
    return tuple(shape.expand(x, *lead, *x.shape[-2:]) for x in tensors)


def _attention_backward(node, dy):
    needs = node.needs[:3]
    return *_core.attention_backward(dy, node.saved, *node.meta, *needs), None


def _composed(q, k, v, mask, p, causal, scale):
    """The same by softmax and products: what a mask with a gradient takes. A row that attends to nothing counts as zero."""
    s = (q * scale) @ shape.transpose(k, -2, -1) + mask
    if causal:
        s = s.masked_fill(shape.unsqueeze(create.arange(s.shape[-2]), -1) < create.arange(s.shape[-1]), -math.inf)
    dead = s.detach().amax(-1, keepdim=True) == -math.inf
    w = activation.softmax(s.masked_fill(dead, 0.0), -1).masked_fill(dead, 0.0)
    return random.dropout(w, p) @ v if p else w @ v


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """y = dropout(softmax(scale query key' + attn_mask)) value, over the last two dimensions; a query that may attend to no key gives zeros.

    The scores are never in memory as a whole: forward goes block by block and saves one number a query, backward computes them anew.

    Args:
        query: (..., L, E). key: (..., S, E). value: (..., S, Ev). Leading dimensions broadcast; float32 or float64; any strides, none of
            which is copied if rows lie in one piece.
        attn_mask: broadcast to (..., L, S): bool, True where the query may attend to the key; or of query's type, added to the scores. Or None.
        dropout_p: probability with which a weight is dropped. There is no training flag: pass 0 in evaluation.
        is_causal: bool, query i attends to keys 0..i alone (of those that attn_mask leaves).
        scale: a number; None for 1 / sqrt(E).

    Returns: (..., L, Ev), in memory in query's order of dimensions.

    Errors: RuntimeError for shapes or types that do not fit or a probability outside [0, 1]; NotImplementedError for enable_gqa.

    Source: Vaswani et al., Attention is all you need, 2017; Dao et al., FlashAttention, 2022.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> q, k, v = fastnn.zeros(1, 2), fastnn.ones(2, 2), fastnn.tensor([[1., 2.], [3., 6.]])
        >>> F.scaled_dot_product_attention(q, k, v)
        tensor([[2., 4.]])
        >>> F.scaled_dot_product_attention(q, k, v, is_causal=True)
        tensor([[1., 2.]])
    """
    for argument, x in (("query", query), ("key", key), ("value", value)):
        tensor_only(x, _NAME, argument)
    if enable_gqa:
        raise NotImplementedError(f"{_NAME}: enable_gqa: not supported")
    if attn_mask is not None:
        tensor_only(attn_mask, _NAME, "attn_mask")
    for argument, x in (("dropout_p", dropout_p), ("scale", scale)):
        if x is not None and not isinstance(x, (int, float)):
            raise TypeError(f"{_NAME}: argument '{argument}' must be a number, got {type(x).__name__}")
    query, key, value = _same_lead(query, key, value)
    scale = float(scale) if scale is not None else 1 / math.sqrt(max(query.shape[-1], 1)) if query.dim() else 1.0
    if needs_grad(attn_mask):
        _core.attention_rules(query, key, value, attn_mask, dropout_p)
        return _composed(query, key, value, attn_mask, dropout_p, is_causal, scale)
    y, saved = _core.attention(query, key, value, attn_mask, bool(is_causal), scale, dropout_p)
    return attach(y, _attention_backward, (query, key, value, attn_mask), saved, (bool(is_causal), scale, dropout_p))


def apart(x, sizes, dim):
    """`split` into views whose gradients come back as one, each copied to its place once."""
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    views = tuple(_core.slice_dim(_core.detach(x), dim, a, a + n, 1) for a, n in zip(starts, sizes))
    return attach(views, _apart_backward, (x,), (), (tuple(x.shape), x.dtype, starts, sizes, dim))


def _apart_backward(node, *dys):
    size, dtype, starts, sizes, dim = node.meta
    dx = _core.full(size, None, dtype)
    for dy, a, n in zip(dys, starts, sizes):
        part = _core.slice_dim(dx, dim, a, a + n, 1)
        if dy is None:
            _core.fill_into(part, 0)
        else:
            _core.copy_into(part, dy)
    return (dx,)


def _heads(x, parts, heads, batch_first):
    """(N, H, L, D) each, views of x (L, N, parts H D), or (N, L, parts H D)."""
    a, b, width = x.shape
    x = _core.view(_core.detach(x), (a, b, parts, heads, width // (parts * heads)))
    x = _core.permute(x, (2, 0, 3, 1, 4) if batch_first else (2, 1, 3, 0, 4))
    return [_core.select(x, 0, i) for i in range(parts)]


def packed_attention(qkv, num_heads, batch_first, attn_mask=None, dropout_p=0.0, is_causal=False):
    """`scaled_dot_product_attention` of queries, keys and values that lie side by side, with one gradient for the three: qkv (L, N, 3 E), or with
    batch_first (N, L, 3 E), gives (L, N, E) or (N, L, E). attn_mask, of no gradient, broadcasts to (N, num_heads, L, L)."""
    qkv_rows = shape.contiguous(qkv)
    q, k, v = _heads(qkv_rows, 3, num_heads, batch_first)
    scale = 1 / math.sqrt(q.shape[-1])
    y, saved = _core.attention(q, k, v, attn_mask, is_causal, scale, dropout_p)
    y = _core.view(_core.permute(y, (0, 2, 1, 3) if batch_first else (2, 0, 1, 3)), (*qkv.shape[:2], qkv.shape[2] // 3))
    return attach(y, _packed_backward, (qkv_rows,), saved, (is_causal, scale, dropout_p, num_heads, batch_first))


def _packed_backward(node, dy):
    *options, heads, batch_first = node.meta
    a, b, width = dy.shape
    dqkv = _core.full((a, b, 3 * width), None, dy.dtype)
    _core.attention_backward(_heads(shape.contiguous(dy), 1, heads, batch_first)[0], node.saved, *options, True, True, True,
                             *_heads(dqkv, 3, heads, batch_first))
    return (dqkv,)


METHODS = ()
FUNCTIONS = ()
INPLACE = ()
