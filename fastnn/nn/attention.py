"""MultiheadAttention: scaled dot product attention between projections."""
import math

from ..ops.attention import apart, packed_attention, scaled_dot_product_attention
from ..ops.create import bool as bool_
from ..ops.create import empty, full
from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter

_NAME = "MultiheadAttention"


def _added(mask, like):
    """A mask as it is added to scores: of bools, -inf where True."""
    return full(tuple(mask.shape), 0.0, dtype=like.dtype).masked_fill(mask, -math.inf) if mask.dtype is bool_ else mask


class MultiheadAttention(Module):
    """y = out_proj(concat(head_1, ..., head_H)), head_h = softmax(q_h k_h' / sqrt(D)) v_h, D = embed_dim / num_heads, with q_h, k_h, v_h the h-th D
    columns of the projected query, key and value.

    Args:
        embed_dim: E, of query and output. num_heads: H, divides E.
        dropout: probability with which a softmax weight is dropped in training.
        bias: bool, False leaves the biases of all projections out.
        kdim, vdim: features of key and value; None for E.
        batch_first: bool, True for batches (N, L, E) in place of (L, N, E).
        device, dtype: where and as what the parameters are made.

    Call: m(query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True, is_causal=False) gives
    (y, weights).

    Shape:
        query (L, N, E), key (S, N, kdim), value (S, N, vdim), N first with batch_first, or (L, E), (S, kdim), (S, vdim) without a batch; y like query.
        key_padding_mask (N, S) or (S), True where a key is ignored; attn_mask (L, S) or (N H, L, S), True where a query may not attend; both may be
        of query's type instead, and are then added to the scores. is_causal: attn_mask is the causal one, which need not be read then.
        weights (N, L, S), the heads' average, or (N, H, L, S), without a batch the same without N; None unless need_weights, which is slower.
        in_proj_weight (3 E, E), or q_proj_weight (E, E), k_proj_weight (E, kdim), v_proj_weight (E, vdim); in_proj_bias (3 E); out_proj a Linear(E, E).

    Errors: ValueError for sizes that do not divide; RuntimeError for shapes or types that do not fit; NotImplementedError for add_bias_kv and
        add_zero_attn.

    Source: Vaswani et al., Attention is all you need, 2017.

    Example:
        >>> import fastnn
        >>> m, x = fastnn.nn.MultiheadAttention(16, 4, batch_first=True), fastnn.randn(2, 5, 16)
        >>> y, weights = m(x, x, x)
        >>> y.shape, weights.shape
        (fastnn.Size([2, 5, 16]), fastnn.Size([2, 5, 5]))
    """

    bias_k = bias_v = None

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None, vdim=None, batch_first=False,
                 device=None, dtype=None):
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} instead")
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be divisible by num_heads: {_NAME}: embed_dim={embed_dim}, num_heads={num_heads}")
        for option, value in (("add_bias_kv", add_bias_kv), ("add_zero_attn", add_zero_attn)):
            if value:
                raise NotImplementedError(f"{_NAME}: {option}: not supported")
        E = self.embed_dim = embed_dim
        self.num_heads, self.head_dim, self.dropout, self.batch_first = num_heads, E // num_heads, dropout, batch_first
        self.kdim, self.vdim = E if kdim is None else kdim, E if vdim is None else vdim
        self.add_zero_attn, self._qkv_same_embed_dim = False, self.kdim == E and self.vdim == E
        one, made = self._qkv_same_embed_dim, {"device": device, "dtype": dtype}
        self.register_parameter("in_proj_weight", Parameter(empty(3 * E, E, **made)) if one else None)
        for name, width in (("q", E), ("k", self.kdim), ("v", self.vdim)):
            self.register_parameter(f"{name}_proj_weight", None if one else Parameter(empty(E, width, **made)))
        self.register_parameter("in_proj_bias", Parameter(empty(3 * E, **made)) if bias else None)
        self.out_proj = Linear(E, E, bias=bias, **made)
        self._reset_parameters()

    def _reset_parameters(self):
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    # ---- what was passed

    def _check(self, query, key, value, key_padding_mask, attn_mask):
        """(N, L, S)"""
        said = f"{_NAME}: query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}: "
        if query.dim() not in (2, 3):
            raise RuntimeError(f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query tensor: {said}")
        if key.dim() != query.dim() or value.dim() != query.dim():
            raise RuntimeError(f"{said}expected key and value to be {query.dim()}-D, as query is")
        for name, x, width in (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim)):
            if x.shape[-1] != width:
                raise RuntimeError(f"{said}{name} has {x.shape[-1]} features, the layer was made for {width}")
        at = (0, 1) if self.batch_first else (1, 0)
        (N, L), (M, S), (O, R) = ((x.shape[at[0]], x.shape[at[1]]) if x.dim() == 3 else (1, x.shape[0]) for x in (query, key, value))
        if not N == M == O or S != R:
            raise RuntimeError(f"{said}batches ({N}, {M}, {O}) must be equal, and so must be the lengths of key and value ({S}, {R})")
        padding = (N, S) if query.dim() == 3 else (S,)
        if key_padding_mask is not None and tuple(key_padding_mask.shape) != padding:
            raise RuntimeError(f"{said}key_padding_mask {tuple(key_padding_mask.shape)} must be {padding}")
        if attn_mask is not None and tuple(attn_mask.shape) not in ((L, S), (N * self.num_heads, L, S)):
            raise RuntimeError(f"{said}attn_mask {tuple(attn_mask.shape)} must be (L, S)={(L, S)} or (N num_heads, L, S)={(N * self.num_heads, L, S)}")
        for name, mask in (("key_padding_mask", key_padding_mask), ("attn_mask", attn_mask)):
            if mask is not None and mask.dtype is not bool_ and mask.dtype is not query.dtype:
                raise RuntimeError(f"only bool and floating types of {name} are supported: {_NAME}: got {mask.dtype.name} for a query of {query.dtype.name}")
        return N, L, S

    def _mask(self, N, L, S, key_padding_mask, attn_mask, like):
        """One mask for both, which broadcasts to (N, H, L, S): of bools, True where attended to; or to be added; or None."""
        masks = []
        if attn_mask is not None:
            masks.append(attn_mask if attn_mask.dim() == 2 else attn_mask.view(N, self.num_heads, L, S))
        if key_padding_mask is not None:
            masks.append(key_padding_mask.view(N, 1, 1, S))
        if not masks:
            return None
        if all(m.dtype is bool_ for m in masks):
            return (masks[0] if len(masks) == 1 else masks[0].logical_or(masks[1])).logical_not()
        masks = [_added(m, like) for m in masks]
        return masks[0] if len(masks) == 1 else masks[0] + masks[1]

    # ---- the steps

    def _projected(self, query, key, value):
        """One product for what has one input; the gradients of the parts come back as one."""
        E, one, bias = self.embed_dim, self._qkv_same_embed_dim, self.in_proj_bias
        if one and query is key and key is value:
            return apart(F.linear(query, self.in_proj_weight, bias), (E, E, E), -1)
        sizes = (E, 2 * E) if one and key is value else (E, E, E)
        weights = apart(self.in_proj_weight, sizes, 0) if one else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases = (None,) * len(sizes) if bias is None else apart(bias, sizes, 0)
        q, k, *v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))
        return (q, k, *v) if v else (q, *apart(k, (E, E), -1))

    def _split(self, x):
        """(N, H, L, D)"""
        x = x.unflatten(-1, (self.num_heads, self.head_dim))
        return x.transpose(1, 2) if self.batch_first else x.permute(1, 2, 0, 3)

    def _joined(self, y):
        y = y.transpose(1, 2) if self.batch_first else y.permute(2, 0, 1, 3)
        return y.reshape(*y.shape[:2], self.embed_dim)

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True, is_causal=False):
        N, L, S = self._check(query, key, value, key_padding_mask, attn_mask)
        if is_causal and attn_mask is None:
            raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
        hint = is_causal and key_padding_mask is None and not need_weights
        mask = None if hint else self._mask(N, L, S, key_padding_mask, attn_mask, query)
        alone, drop = query.dim() == 2, self.dropout if self.training else 0.0
        if alone:
            views = {id(x): x.unsqueeze(0 if self.batch_first else 1) for x in (query, key, value)}
            query, key, value = (views[id(x)] for x in (query, key, value))
        packed = query is key and key is value and self._qkv_same_embed_dim and not need_weights
        weights = None
        if packed and not (mask is not None and mask.requires_grad):
            qkv = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            y = packed_attention(qkv, self.num_heads, self.batch_first, mask, drop, hint)
        else:
            q, k, v = map(self._split, self._projected(query, key, value))
            if need_weights:
                s = (q * (1 / math.sqrt(self.head_dim))) @ k.transpose(-2, -1)
                s = s if mask is None else s.masked_fill(mask.logical_not(), -math.inf) if mask.dtype is bool_ else s + mask
                weights = F.dropout(s.softmax(-1), drop, drop > 0)
                y = self._joined(weights @ v)
            else:
                y = self._joined(scaled_dot_product_attention(q, k, v, mask, drop, hint))
        y = self.out_proj(y)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if alone:
            y, weights = y.squeeze(0 if self.batch_first else 1), None if weights is None else weights.squeeze(0)
        return y, weights
