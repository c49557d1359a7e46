"""The Transformer's layers and stacks, and the sinusoidal encoding of positions."""
import copy
import math

from .. import ops
from . import functional as F
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


class _Layer(Module):
    """What the encoder's and the decoder's layer share: one or two attentions, then a network of two layers at each position."""

    def _make(self, attentions, d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype):
        made = {"bias": bias, "device": device, "dtype": dtype}
        if isinstance(activation, str) and activation not in _ACTIVATIONS:
            raise RuntimeError(f"activation should be relu/gelu, not {activation}")
        for name in attentions:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **made))
        self.linear1 = Linear(d_model, dim_feedforward, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **made)
        self.norm_first = norm_first
        for i in range(1, len(attentions) + 2):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, **made))
        for i in range(1, len(attentions) + 2):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _ACTIVATIONS[activation] if isinstance(activation, str) else activation

    def _attend(self, attention, x, memory, mask, padding, causal):
        return attention(x, memory, memory, attn_mask=mask, key_padding_mask=padding, is_causal=causal, need_weights=False)[0]

    def _feed(self, x):
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _steps(self, x, *blocks):
        """x + dropout(block(norm(x))) for each block, or norm(x + dropout(block(x)))."""
        for i, block in enumerate(blocks, 1):
            norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
            x = x + dropout(block(norm(x))) if self.norm_first else norm(x + dropout(block(x)))
        return x


class TransformerEncoderLayer(_Layer):
    """x = norm1(x + attention(x)), y = norm2(x + linear2(activation(linear1(x)))); norm_first: x + attention(norm1(x)) and so on.

    Args:
        d_model: E, features of input and output. nhead: heads, divides E. dim_feedforward: features between linear1 and linear2.
        dropout: probability, in the attention's weights, after the activation and after each block.
        activation: 'relu', 'gelu' or a function.
        layer_norm_eps, batch_first, norm_first, bias, device, dtype: see `LayerNorm`, `MultiheadAttention` and `Linear`.

    Call: m(src, src_mask=None, src_key_padding_mask=None, is_causal=False).

    Shape: src and result (L, N, E), with batch_first (N, L, E), or (L, E); masks as in `MultiheadAttention`.

    Errors: as `MultiheadAttention`.

    Source: Vaswani et al., Attention is all you need, 2017; norm_first: Xiong et al., 2020.

    Example:
        >>> import fastnn
        >>> m = fastnn.nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, batch_first=True)
        >>> m(fastnn.randn(2, 5, 16)).shape
        fastnn.Size([2, 5, 16])
    """

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5, batch_first=False, norm_first=False,
                 bias=True, device=None, dtype=None):
        super().__init__()
        self._make(("self_attn",), d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        return self._steps(src, lambda x: self._attend(self.self_attn, x, x, src_mask, src_key_padding_mask, is_causal), self._feed)


class TransformerDecoderLayer(_Layer):
    """x = norm1(x + self-attention(x)), x = norm2(x + attention(x, memory)), y = norm3(x + linear2(activation(linear1(x)))); norm_first: x + block(norm(x)).

    Args: as `TransformerEncoderLayer`.

    Call: m(tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, tgt_is_causal=False,
    memory_is_causal=False).

    Shape: tgt and result (L, N, E), memory (S, N, E), with batch_first (N, L, E) and (N, S, E), or both without N.

    Errors: as `MultiheadAttention`.

    Source: Vaswani et al., Attention is all you need, 2017.

    Example:
        >>> import fastnn
        >>> m = fastnn.nn.TransformerDecoderLayer(16, 4, dim_feedforward=32)
        >>> m(fastnn.randn(5, 2, 16), fastnn.randn(7, 2, 16)).shape
        fastnn.Size([5, 2, 16])
    """

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5, batch_first=False, norm_first=False,
                 bias=True, device=None, dtype=None):
        super().__init__()
        self._make(("self_attn", "multihead_attn"), d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias,
                   device, dtype)

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, tgt_is_causal=False,
                memory_is_causal=False):
        return self._steps(tgt, lambda x: self._attend(self.self_attn, x, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal),
                           lambda x: self._attend(self.multihead_attn, x, memory, memory_mask, memory_key_padding_mask, memory_is_causal), self._feed)


class _Stack(Module):
    def _make(self, layer, num_layers, norm):
        self.layers, self.num_layers, self.norm = ModuleList(copy.deepcopy(layer) for _ in range(num_layers)), num_layers, norm

    def _through(self, x, *rest):
        for layer in self.layers:
            x = layer(x, *rest)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """num_layers copies of encoder_layer one after the other, then norm, if there is one. The copies begin with the same parameters.

    enable_nested_tensor and mask_check are taken and change nothing, and so is a mask's being causal: say is_causal=True to spare its reading.

    Call: m(src, mask=None, src_key_padding_mask=None, is_causal=None).

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.TransformerEncoderLayer(16, 4, dim_feedforward=32)
        >>> fastnn.nn.TransformerEncoder(layer, 3)(fastnn.randn(5, 2, 16)).shape
        fastnn.Size([5, 2, 16])
    """

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__()
        self._make(encoder_layer, num_layers, norm)

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        return self._through(src, mask, src_key_padding_mask, bool(is_causal))


class TransformerDecoder(_Stack):
    """num_layers copies of decoder_layer one after the other, all with the same memory, then norm, if there is one.

    Call: m(tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, tgt_is_causal=None,
    memory_is_causal=False).

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.TransformerDecoderLayer(16, 4, dim_feedforward=32)
        >>> fastnn.nn.TransformerDecoder(layer, 2)(fastnn.randn(5, 2, 16), fastnn.randn(7, 2, 16)).shape
        fastnn.Size([5, 2, 16])
    """

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__()
        self._make(decoder_layer, num_layers, norm)

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, tgt_is_causal=None,
                memory_is_causal=False):
        return self._through(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, bool(tgt_is_causal), memory_is_causal)


class PositionalEncoding(Module):
    """y = dropout(x + pe), pe[i, 2 c] = sin(i / 10000^(2 c / E)), pe[i, 2 c + 1] = cos(i / 10000^(2 c / E)) for position i.

    Args:
        d_model: E. dropout: probability. max_len: positions there are. batch_first: bool, True for (N, L, E) in place of (L, N, E).

    Shape: x and y (L, N, E) or (N, L, E), or (L, E); L at most max_len. The buffer pe is (max_len, E).

    Errors: RuntimeError for more than max_len positions, or other than E features.

    Source: Vaswani et al., Attention is all you need, 2017.

    Example:
        >>> import fastnn
        >>> fastnn.nn.PositionalEncoding(4, dropout=0.0)(fastnn.zeros(2, 4))
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])
    """

    def __init__(self, d_model, dropout=0.1, max_len=5000, batch_first=False, device=None, dtype=None):
        super().__init__()
        self.d_model, self.max_len, self.batch_first, self.dropout = d_model, max_len, batch_first, Dropout(dropout)
        rate = (ops.create.arange(0, d_model, 2, dtype=ops.create.float64) * (-math.log(10000.0) / d_model)).exp()
        angle = ops.create.arange(max_len, dtype=ops.create.float64).unsqueeze(1) * rate
        pe = ops.create.zeros(max_len, d_model, dtype=ops.create.float64)
        pe[:, 0::2], pe[:, 1::2] = angle.sin(), angle[:, :d_model // 2].cos()
        self.register_buffer("pe", pe.to(dtype or ops.create.get_default_dtype()))

    def forward(self, x):
        L = x.shape[1 if self.batch_first and x.dim() == 3 else 0]
        if x.dim() not in (2, 3) or x.shape[-1] != self.d_model or L > self.max_len:
            raise RuntimeError(f"PositionalEncoding: expected ({'N, L' if self.batch_first else 'L, N'}, E) or (L, E) with E={self.d_model} and L up to "
                               f"{self.max_len}, got {tuple(x.shape)}")
        pe = self.pe[:L]
        return self.dropout(x + (pe.unsqueeze(1) if x.dim() == 3 and not self.batch_first else pe))
