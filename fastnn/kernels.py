"""Forward and backward of every operation family on NumPy arrays, without autograd: for people who bring their own framework.

The form is `X_forward(inputs..., *, options, out=None)`, which gives y or (y, saved), and
`X_backward(dy, saved or forward's inputs..., *, options)`, which gives the gradients in argument order. Arrays are float32 or
float64 of any strides, all of one type in a call; results are fresh arrays unless `out` is given, which must have the result's
shape and type. Names and order are permanent.

Errors: TypeError for what is not an array of such a type, RuntimeError for shapes that do not fit, both naming what was received.

Example:
    >>> import numpy as np
    >>> from fastnn import kernels as k
    >>> x, w, b = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.zeros(4, np.float32)
    >>> y = k.linear_forward(x, w, b)
    >>> y.shape
    (2, 4)
    >>> [g.shape for g in k.linear_backward(np.ones_like(y), x, w)]
    [(2, 3), (4, 3), (4,)]
"""
import numpy as np

from . import _core
from ._core import Generator, from_numpy
from .ops.upsample import resampling

_REDUCTIONS = ("none", "mean", "sum")
_LAYOUTS = ("NCHW", "NHWC")
_ACTIVATIONS = (None, "relu", "sigmoid", "tanh")


def _in(a, name):
    """An array as a tensor over the same memory; strides that a tensor cannot have are copied away."""
    if not isinstance(a, (np.ndarray, np.generic)):
        raise TypeError(f"{name}: expected a NumPy array, got {type(a).__name__}")
    a = np.asarray(a)
    if a.dtype not in (np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_) or not a.dtype.isnative:
        raise TypeError(f"{name}: expected a float32 or float64 array, got {a.dtype}")
    if any(s < 0 or s % a.itemsize for s in a.strides):
        a = a.copy()
    return from_numpy(a)


def _out(t, out=None):
    """A result as an array, in `out` if given."""
    if out is None:
        return t.numpy()
    if not isinstance(out, np.ndarray) or out.shape != tuple(t.shape) or out.dtype.name != t.dtype.name:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise RuntimeError(f"out: the result is {t.dtype.name} {tuple(t.shape)}, got {got}")
    _core.copy_into(from_numpy(out), t)
    return out


def _option(value, allowed, name):
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is not one of {allowed}")
    return allowed.index(value)


def linear_forward(x, w, b=None, *, activation=None, out=None):
    """y = activation(x w' + b).

    Args:
        x: (..., in). w: (out, in). b: (out) or None.
        activation: None, 'relu', 'sigmoid' or 'tanh'.

    Returns: y (..., out).
    """
    act = _option(activation, _ACTIVATIONS, "activation")
    return _out(_core.linear_fwd(_in(x, "x"), _in(w, "w"), None if b is None else _in(b, "b"), act), out)


def linear_backward(dy, x, w, *, bias=True):
    """The gradients of y = x w' + b: dx = dy w, dw = dy' x, db = sum of dy over all but the last dimension; (dx, dw, db), db None if bias is False."""
    dy, x = _in(dy, "dy"), _in(x, "x")
    dw, db = _core.linear_bwd_w(dy, x, bool(bias))
    return _out(_core.linear_bwd_x(dy, _in(w, "w"))), _out(dw), _out(db) if bias else None


def matmul_forward(a, b, *, out=None):
    """c = a b for matrices (..., M, K) and (..., K, N), leading dimensions broadcast."""
    return _out(_core.gemm(_in(a, "a"), _in(b, "b")), out)


def matmul_backward(dc, a, b):
    """The gradients of c = a b for equal leading dimensions: da = dc b', db = a' dc."""
    dc, a, b = _in(dc, "dc"), _in(a, "a"), _in(b, "b")
    return _out(_core.gemm(dc, b.mT)), _out(_core.gemm(a.mT, dc))


def _conv_in(a, name, layout):
    """An array of images as a tensor (N,C,H,W)."""
    t = _in(a, name)
    if t.dim() != 4:
        raise RuntimeError(f"{name}: expected four dimensions ({','.join(layout)}), got {tuple(t.shape)}")
    return t if layout == "NCHW" else t.permute(0, 3, 1, 2)


def _conv_out(t, layout, out=None):
    """Images as an array in the caller's layout."""
    return _out(t.permute(0, 2, 3, 1), out) if layout == "NHWC" else np.ascontiguousarray(_out(t)) if out is None else _out(t, out)


def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW", winograd=True, out=None):
    """y[n,k,p,q] = b[k] + sum over c,r,s of w[k,c,r,s] x[n, c, p stride + r dilation - padding, q stride + s dilation - padding].

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'. w: (K,C/groups,R,S) in either. b: (K) or None.
        stride, dilation: a number, or one for rows and one for columns. padding: the same, or 'same' or 'valid'.
        winograd: may a 3x3 filter take the form with fewer multiplications and two to four times the rounding error? (docs/convolution.md)

    Returns: y (N,K,P,Q), or (N,P,Q,K).
    """
    _option(layout, _LAYOUTS, "layout")
    y = _core.conv2d_fwd(_conv_in(x, "x", layout), _in(w, "w"), None if b is None else _in(b, "b"), stride, padding, dilation, groups,
                         winograd=winograd)
    return _conv_out(y, layout, out)


def conv2d_backward(dy, x, w, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW", winograd=True):
    """The gradients (dx, dw, db) of y = conv2d_forward(x, w, b); dx like x, dw like w, db (K)."""
    _option(layout, _LAYOUTS, "layout")
    dy, x, w, options = _conv_in(dy, "dy", layout), _conv_in(x, "x", layout), _in(w, "w"), (stride, padding, dilation, groups)
    dw, db = _core.conv2d_bwd_w(dy, x, w.shape, *options, winograd=winograd)
    return _conv_out(_core.conv2d_bwd_x(dy, w, x.shape, *options, winograd=winograd), layout), _out(dw), _out(db)



def conv_transpose2d_forward(x, w, b=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1, layout="NCHW", winograd=True, out=None):
    """y[n,c,h,w] = b[c] + sum over k,p,q,r,s of w[k,c,r,s] x[n,k,p,q] where p stride - padding + r dilation = h, q and s likewise.

    Args:
        x: (N,C_in,P,Q), or (N,P,Q,C_in) with layout 'NHWC'. w: (C_in,C_out/groups,R,S) in either. b: (C_out) or None.
        output_padding: rows and columns added at the end. Others as conv2d_forward.

    Returns: y (N,C_out,H,W), or (N,H,W,C_out), H = (P - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1, W likewise.
    """
    _option(layout, _LAYOUTS, "layout")
    y = _core.conv_transpose2d(_conv_in(x, "x", layout), _in(w, "w"), None if b is None else _in(b, "b"), stride, padding, output_padding, groups,
                               dilation, winograd=winograd)
    return _conv_out(y, layout, out)


def conv_transpose2d_backward(dy, x, w, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1, layout="NCHW", winograd=True):
    """The gradients (dx, dw, db) of y = conv_transpose2d_forward(x, w, b); dx like x, dw like w, db (C_out)."""
    _option(layout, _LAYOUTS, "layout")
    dy, x, w = _conv_in(dy, "dy", layout), _conv_in(x, "x", layout), _in(w, "w")
    options = stride, padding, output_padding, groups, dilation
    dx, dw = (f(dy, *given, *options, winograd=winograd) for f, given in ((_core.conv_transpose2d_bwd_x, (w, x)), (_core.conv_transpose2d_bwd_w, (x, w))))
    return _conv_out(dx, layout), _out(dw), _out(_core.sum_(dy, (0, 2, 3)))


def interpolate_forward(x, *, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, layout="NCHW", out=None):
    """x resampled to other rows and columns.

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'.
        mode: 'nearest', 'nearest-exact' or 'bilinear'; the other options as nn.functional.interpolate.

    Returns: (y, saved), y (N,C,P,Q), or (N,P,Q,C).
    """
    _option(layout, _LAYOUTS, "layout")
    x, options = _conv_in(x, "x", layout), resampling(np.shape(x)[1:3] if layout == "NHWC" else np.shape(x)[2:], size, scale_factor, mode,
                                                      align_corners, recompute_scale_factor)
    return _conv_out(_core.upsample(x, *options), layout, out), (tuple(x.shape), options, layout)


def interpolate_backward(dy, saved):
    """dx: each dy goes back to the pixels that it was made of by their weights, for the forward that gave `saved`."""
    shape, options, layout = saved
    return _conv_out(_core.upsample_backward(_conv_in(dy, "dy", layout), shape, layout == "NHWC", *options), layout)


def max_pool2d_forward(x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, layout="NCHW", out=None):
    """y[n,c,p,q] = max over r,s of x[n, c, p stride + r dilation - padding, q stride + s dilation - padding] inside x; NaN wins.

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'.
        kernel_size, stride (None: kernel_size), padding, dilation: a number, or one for rows and one for columns.
        ceil_mode: whether a last window may reach over the end.

    Returns: (y, saved), y (N,C,P,Q), or (N,P,Q,C).
    """
    _option(layout, _LAYOUTS, "layout")
    x, options = _conv_in(x, "x", layout), (kernel_size, stride, padding, dilation, ceil_mode)
    y, tap, _ = _core.max_pool2d(x, *options)
    return _conv_out(y, layout, out), (tap, tuple(x.shape), options, layout)


def max_pool2d_backward(dy, saved):
    """dx: each dy goes to the element that was the largest, for the forward that gave `saved`."""
    tap, shape, options, layout = saved
    return _conv_out(_core.max_pool2d_backward(_conv_in(dy, "dy", layout), tap, shape, *options), layout)


def avg_pool2d_forward(x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, layout="NCHW", out=None):
    """y[n,c,p,q] = sum over r,s of x[n, c, p stride + r - padding, q stride + s - padding] over the number of taps, or divisor_override.

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'. kernel_size, stride, padding, ceil_mode: as max_pool2d_forward.
        count_include_pad: whether taps in the padding count.

    Returns: (y, saved), y (N,C,P,Q), or (N,P,Q,C).
    """
    _option(layout, _LAYOUTS, "layout")
    x, options = _conv_in(x, "x", layout), (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _conv_out(_core.avg_pool2d(x, *options), layout, out), (tuple(x.shape), options, layout)


def avg_pool2d_backward(dy, saved):
    """dx: of each dy its share over the window's elements, for the forward that gave `saved`."""
    shape, options, layout = saved
    return _conv_out(_core.avg_pool2d_backward(_conv_in(dy, "dy", layout), shape, layout == "NHWC", *options), layout)


def adaptive_avg_pool2d_forward(x, *, output_size, layout="NCHW", out=None):
    """y[n,c,p,q] = mean of x[n,c,h,w] over h from floor(p H / P) to ceil((p + 1) H / P) - 1, w likewise.

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'. output_size: (P, Q), or one number for both; None leaves H or W.

    Returns: (y, saved), y (N,C,P,Q), or (N,P,Q,C).
    """
    _option(layout, _LAYOUTS, "layout")
    x = _conv_in(x, "x", layout)
    return _conv_out(_core.adaptive_avg_pool2d(x, output_size), layout, out), (tuple(x.shape), output_size, layout)


def adaptive_avg_pool2d_backward(dy, saved):
    """dx: of each dy its share over the window's elements, for the forward that gave `saved`."""
    shape, output_size, layout = saved
    return _conv_out(_core.adaptive_avg_pool2d_backward(_conv_in(dy, "dy", layout), shape, layout == "NHWC", output_size), layout)


def relu_forward(x, *, out=None):
    """y = max(x, 0); NaN stays."""
    return _out(_core.relu(_in(x, "x")), out)


def relu_backward(dy, y):
    """dx = dy where y > 0, else 0."""
    return _out(_core.relu_backward(_in(dy, "dy"), _in(y, "y")))


def sigmoid_forward(x, *, out=None):
    """y = 1 / (1 + exp(-x))."""
    return _out(_core.sigmoid(_in(x, "x")), out)


def sigmoid_backward(dy, y):
    """dx = dy y (1 - y)."""
    return _out(_core.sigmoid_backward(_in(dy, "dy"), _in(y, "y")))


def tanh_forward(x, *, out=None):
    """y = tanh(x)."""
    return _out(_core.tanh(_in(x, "x")), out)


def tanh_backward(dy, y):
    """dx = dy (1 - y^2)."""
    return _out(_core.tanh_backward(_in(dy, "dy"), _in(y, "y")))


def leaky_relu_forward(x, *, negative_slope=0.01, out=None):
    """y = x where x > 0, else negative_slope x."""
    return _out(_core.leaky_relu(_in(x, "x"), negative_slope), out)


def leaky_relu_backward(dy, x, *, negative_slope=0.01):
    """dx = dy where x > 0, else negative_slope dy."""
    return _out(_core.leaky_relu_backward(_in(dy, "dy"), _in(x, "x"), negative_slope))


def prelu_forward(x, w, *, out=None):
    """y = x where x > 0, else w x; w one number () or (1), or one for each channel (C) of x (N,C,...)."""
    return _out(_core.prelu(_in(x, "x"), _in(w, "w")), out)


def prelu_backward(dy, x, w):
    """(dx, dw): dx = dy where x > 0, else w dy; dw = sum of dy x where x is not above 0."""
    return tuple(_out(g) for g in _core.prelu_backward(_in(dy, "dy"), _in(x, "x"), _in(w, "w"), True, True))


def elu_forward(x, *, alpha=1.0, scale=1.0, out=None):
    """y = scale (x where x > 0, else alpha (exp(x) - 1))."""
    return _out(_core.elu(_in(x, "x"), alpha, scale), out)


def elu_backward(dy, x, *, alpha=1.0, scale=1.0):
    """dx = scale dy where x > 0, else scale alpha exp(x) dy."""
    return _out(_core.elu_backward(_in(dy, "dy"), _in(x, "x"), alpha, scale))


def gelu_forward(x, *, approximate="none", out=None):
    """y = x (1 + erf(x / sqrt(2))) / 2; approximate='tanh': x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2."""
    return _out(_core.gelu(_in(x, "x"), _option(approximate, ("none", "tanh"), "approximate") == 1), out)


def gelu_backward(dy, x, *, approximate="none"):
    """dx = dy times the slope of gelu at x."""
    return _out(_core.gelu_backward(_in(dy, "dy"), _in(x, "x"), _option(approximate, ("none", "tanh"), "approximate") == 1))


def silu_forward(x, *, out=None):
    """y = x sigmoid(x)."""
    return _out(_core.silu(_in(x, "x")), out)


def silu_backward(dy, x):
    """dx = dy g (1 + x (1 - g)), g = sigmoid(x)."""
    return _out(_core.silu_backward(_in(dy, "dy"), _in(x, "x")))


def softplus_forward(x, *, beta=1.0, threshold=20.0, out=None):
    """y = log(1 + exp(beta x)) / beta, and x where beta x > threshold."""
    return _out(_core.softplus(_in(x, "x"), beta, threshold), out)


def softplus_backward(dy, x, *, beta=1.0, threshold=20.0):
    """dx = dy sigmoid(beta x), and dy where beta x > threshold."""
    return _out(_core.softplus_backward(_in(dy, "dy"), _in(x, "x"), beta, threshold))


def hardtanh_forward(x, *, min_val=-1.0, max_val=1.0, out=None):
    """y = min(max(x, min_val), max_val)."""
    return _out(_core.clamp(_in(x, "x"), min_val, max_val), out)


def hardtanh_backward(dy, x, *, min_val=-1.0, max_val=1.0):
    """dx = dy where min_val < x < max_val, else 0."""
    return _out(_core.hardtanh_backward(_in(dy, "dy"), _in(x, "x"), min_val, max_val))


def _channel_in(a, name, layout):
    """An array (N,C), (N,C,L) or (N,C,H,W), or with its channels last, as a tensor with them second."""
    t = _in(a, name)
    return t if layout == "NCHW" or t.dim() < 3 else t.permute(0, t.dim() - 1, *range(1, t.dim() - 1))


def _channel_out(t, layout, out=None):
    t = t if layout == "NCHW" or t.dim() < 3 else t.permute(0, *range(2, t.dim()), 1)
    return _out(t, out) if out is not None else np.ascontiguousarray(_out(t))


def batch_norm_forward(x, w=None, b=None, running_mean=None, running_var=None, *, training=True, momentum=0.1, eps=1e-5, activation=None,
                       layout="NCHW", out=None):
    """y = activation((x - mean) / sqrt(var + eps) w + b), mean and var of each channel those of the batch, or without training the running ones.

    Args:
        x: (N,C), (N,C,L) or (N,C,H,W); with layout 'NHWC' (N,L,C) or (N,H,W,C). w, b: (C) or None.
        running_mean, running_var: (C), in training moved towards the batch's by momentum, in place; or None both.
        activation: None or 'relu'.

    Returns: (y, saved), y like x.
    """
    _option(layout, _LAYOUTS, "layout")
    act = _option(activation, _ACTIVATIONS[:2], "activation")
    w, b = (None if a is None else _in(a, name) for a, name in ((w, "w"), (b, "b")))
    running = [None if a is None else _in(a, name) for a, name in ((running_mean, "running_mean"), (running_var, "running_var"))]
    y, *saved = _core.batch_norm(_channel_in(x, "x", layout), *running, w, b, bool(training), momentum, eps, None, act)
    for a, t in zip((running_mean, running_var), running):
        if training and a is not None and not np.shares_memory(a, t.numpy()):
            a[...] = t.numpy()                               # of strides that a tensor cannot have
    return _channel_out(y, layout, out), (*saved, w, b, bool(training), act, layout)


def batch_norm_backward(dy, saved):
    """(dx, dw, db) for the forward that gave `saved`; dy and dx in its layout, dw and db (C)."""
    x, stats, w, b, training, act, layout = saved
    dx, dw, db = _core.batch_norm_backward(_channel_in(dy, "dy", layout), x, stats, w, training, True, True, True, act, b)
    return _channel_out(dx, layout), _out(dw), _out(db)


def _row_norm_forward(x, w, b, normalized_shape, eps, rms, out):
    x, w, b = _in(x, "x"), *(None if a is None else _in(a, name) for a, name in ((w, "w"), (b, "b")))
    shape = tuple(normalized_shape) if normalized_shape is not None else tuple(x.shape[-1:] if w is None else w.shape)
    y, *saved = _core.layer_norm(x, shape, w, b, eps, rms)
    return _out(y, out), (*saved, w, shape, rms)


def layer_norm_forward(x, w=None, b=None, *, normalized_shape=None, eps=1e-5, out=None):
    """y = (x - mean) / sqrt(var + eps) w + b, mean and var over the last dimensions.

    Args:
        x: (..., *normalized_shape). w, b: of normalized_shape, or None. normalized_shape: w's shape if None, or the last dimension.

    Returns: (y, saved), y like x.
    """
    return _row_norm_forward(x, w, b, normalized_shape, eps, False, out)


def layer_norm_backward(dy, saved):
    """(dx, dw, db) for the forward that gave `saved`; dw and db of normalized_shape."""
    return tuple(_out(g) for g in _core.layer_norm_backward(_in(dy, "dy"), *saved))


def rms_norm_forward(x, w=None, *, normalized_shape=None, eps=None, out=None):
    """y = x / sqrt(mean of x^2 + eps) w over the last dimensions; eps None is the type's rounding. Else as layer_norm_forward."""
    eps = np.finfo(np.result_type(x, np.float32)).eps if eps is None else eps
    return _row_norm_forward(x, w, None, normalized_shape, eps, True, out)


def rms_norm_backward(dy, saved):
    """(dx, dw) for the forward that gave `saved`; dw of normalized_shape."""
    return tuple(_out(g) for g in _core.layer_norm_backward(_in(dy, "dy"), *saved, True, True, False)[:2])


def group_norm_forward(x, w=None, b=None, *, num_groups, eps=1e-5, layout="NCHW", out=None):
    """y = (x - mean) / sqrt(var + eps) w + b, mean and var of each sample and group of C / num_groups channels.

    Args:
        x: (N,C), (N,C,L) or (N,C,H,W); with layout 'NHWC' (N,L,C) or (N,H,W,C). w, b: (C) or None.

    Returns: (y, saved), y like x.
    """
    _option(layout, _LAYOUTS, "layout")
    w, b = (None if a is None else _in(a, name) for a, name in ((w, "w"), (b, "b")))
    y, *saved = _core.group_norm(_channel_in(x, "x", layout), num_groups, w, b, eps)
    return _channel_out(y, layout, out), (*saved, w, layout)


def group_norm_backward(dy, saved):
    """(dx, dw, db) for the forward that gave `saved`; dy and dx in its layout, dw and db (C)."""
    *saved, layout = saved
    dx, dw, db = _core.group_norm_backward(_channel_in(dy, "dy", layout), *saved)
    return _channel_out(dx, layout), _out(dw), _out(db)


def instance_norm_forward(x, w=None, b=None, *, eps=1e-5, layout="NCHW", out=None):
    """y = (x - mean) / sqrt(var + eps) w + b, mean and var of each sample and channel. Else as group_norm_forward."""
    _option(layout, _LAYOUTS, "layout")
    return group_norm_forward(x, w, b, num_groups=max(np.shape(x)[-1 if layout == "NHWC" else 1], 1), eps=eps, layout=layout, out=out)


def instance_norm_backward(dy, saved):
    """(dx, dw, db) for the forward that gave `saved`: group_norm_backward."""
    return group_norm_backward(dy, saved)


def embedding_forward(x, w, *, out=None):
    """y = w[x].

    Args:
        x: int64 of any shape, 0..num-1. w: (num, dim).

    Returns: y (*x.shape, dim).
    """
    return _out(_core.take(_in(w, "w"), (_in(x, "x"),), False), out)


def embedding_backward(dy, x, *, num_embeddings, padding_idx=None):
    """dw (num_embeddings, dim): the sum of dy over the places of each row in x, in order; the row padding_idx is 0."""
    dy = _in(dy, "dy")
    dw = from_numpy(np.zeros((num_embeddings, dy.shape[-1]), dy.dtype.name))
    _core.put(dw, (_in(x, "x"),), dy, True, False)
    if padding_idx is not None:
        _core.fill_into(_core.select(dw, 0, padding_idx), 0)
    return _out(dw)


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


def softmax_forward(x, *, axis=-1, out=None):
    """y = exp(x - max) / sum exp(x - max) along axis."""
    return _out(_core.softmax(_in(x, "x"), axis), out)


def softmax_backward(dy, y, *, axis=-1):
    """dx = y (dy - sum of dy y along axis)."""
    return _out(_core.softmax_backward(_in(dy, "dy"), _in(y, "y"), axis))


def log_softmax_forward(x, *, axis=-1, out=None):
    """y = x - max - log sum exp(x - max) along axis."""
    return _out(_core.log_softmax(_in(x, "x"), axis), out)


def log_softmax_backward(dy, y, *, axis=-1):
    """dx = dy - exp(y) sum of dy along axis."""
    return _out(_core.log_softmax_backward(_in(dy, "dy"), _in(y, "y"), axis))


def softmax_cross_entropy_forward(x, target, *, weight=None, reduction="mean", ignore_index=-100, label_smoothing=0.0):
    """loss = -log softmax(x)[target], reduced.

    Args:
        x: (N, C) or (N, C, ...). target: classes, int64 (N, ...).
        weight: (C) or None. reduction: 'none', 'mean' (weighted) or 'sum'.

    Returns: (loss, saved); loss has shape () or target's.
    """
    reduce = _option(reduction, _REDUCTIONS, "reduction")
    weight = None if weight is None else _in(weight, "weight")
    loss, *saved = _core.cross_entropy(_in(x, "x"), _in(target, "target"), weight, reduce, ignore_index, label_smoothing, True)
    return _out(loss), (*saved, reduce, ignore_index, label_smoothing)


def softmax_cross_entropy_backward(dy, saved):
    """dx = dy weight[target] (softmax(x) - onehot(target)) / total, for the forward that gave `saved`."""
    return _out(_core.cross_entropy_backward(_in(dy, "dy"), *saved))


def _pair_forward(name, x, target, weight, v, reduction, s=0.0, s2=0.0):
    """A loss of single elements: (loss, saved)."""
    reduce = _option(reduction, _REDUCTIONS, "reduction")
    weight, v = (None if a is None else _in(a, what) for a, what in ((weight, "weight"), (v, "pos_weight or var")))
    loss, *saved = _core.pair_loss(name, _in(x, "x"), _in(target, "target"), weight, v, reduce, s, s2)
    return _out(loss), (name, *saved, reduce, s, s2)


def _pair_backward(dy, saved, *wanted):
    """The gradients (dx, dtarget, dv) for the forward that gave `saved`."""
    name, *rest = saved
    return [None if g is None else _out(g) for g in _core.pair_loss_backward(name, _in(dy, "dy"), *rest, *wanted)]


def mse_forward(x, target, *, reduction="mean"):
    """loss = (x - target)^2, reduced; returns (loss, saved)."""
    return _pair_forward("mse", x, target, None, None, reduction)


def mse_backward(dy, saved):
    """dx = 2 dy (x - target) / total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _pair_backward(dy, saved)[0]


def l1_forward(x, target, *, reduction="mean"):
    """loss = |x - target|, reduced; returns (loss, saved)."""
    return _pair_forward("l1", x, target, None, None, reduction)


def l1_backward(dy, saved):
    """dx = dy sign(x - target) / total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _pair_backward(dy, saved)[0]


def smooth_l1_forward(x, target, *, beta=1.0, reduction="mean"):
    """loss = d^2 / (2 beta) where d = |x - target| < beta, else d - beta / 2, reduced; returns (loss, saved)."""
    if beta < 0:
        raise ValueError(f"beta: {beta} is below 0")
    return _pair_forward("huber" if beta else "l1", x, target, None, None, reduction, beta, beta)


def smooth_l1_backward(dy, saved):
    """dx = dy (x - target) / beta cut to [-dy, dy], over total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _pair_backward(dy, saved)[0]


def huber_forward(x, target, *, delta=1.0, reduction="mean"):
    """loss = d^2 / 2 where d = |x - target| < delta, else delta (d - delta / 2), reduced; returns (loss, saved)."""
    if not delta > 0:
        raise ValueError(f"delta: {delta} is not above 0")
    return _pair_forward("huber", x, target, None, None, reduction, delta, 1.0)


def huber_backward(dy, saved):
    """dx = dy (x - target cut to [-delta, delta]) / total, for the forward that gave `saved`; the target's gradient is -dx."""
    return _pair_backward(dy, saved)[0]


def binary_cross_entropy_forward(x, target, *, weight=None, reduction="mean"):
    """loss = -weight (target log x + (1 - target) log(1 - x)), each logarithm at least -100, reduced; returns (loss, saved).

    Args:
        x: probabilities, any shape; outside [0, 1] the loss is NaN. target: like x. weight: broadcast to x, or None.
    """
    return _pair_forward("bce", x, target, weight, None, reduction)


def binary_cross_entropy_backward(dy, saved):
    """dx = dy weight (x - target) / (x (1 - x)) / total, for the forward that gave `saved`."""
    return _pair_backward(dy, saved)[0]


def binary_cross_entropy_with_logits_forward(x, target, *, weight=None, pos_weight=None, reduction="mean"):
    """loss = -weight (pos_weight target log s + (1 - target) log(1 - s)), s = sigmoid(x), reduced; returns (loss, saved).

    Args:
        x: logits, any shape. target: like x. weight, pos_weight: broadcast to x, or None.
    """
    return _pair_forward("bce_logits", x, target, weight, pos_weight, reduction)


def binary_cross_entropy_with_logits_backward(dy, saved):
    """dx = dy weight ((1 - target + pos_weight target) s - pos_weight target) / total, for the forward that gave `saved`."""
    return _pair_backward(dy, saved)[0]


def gaussian_nll_forward(x, target, var, *, full=False, eps=1e-6, reduction="mean"):
    """loss = (log v + (x - target)^2 / v) / 2, v = max(var, eps), and log(2 pi) / 2 more if full, reduced; returns (loss, saved).

    Args:
        x: expectations, any shape. target: like x. var: variances, like x; below 0 the loss is NaN.
    """
    if np.shape(var) != np.shape(x):
        raise RuntimeError(f"gaussian_nll: x {np.shape(x)} needs a var of its shape, got {np.shape(var)}")
    return _pair_forward("gaussian_nll", x, target, None, var, reduction, eps, 0.5 * np.log(2 * np.pi) if full else 0.0)


def gaussian_nll_backward(dy, saved):
    """(dx, dvar) for the forward that gave `saved`; the target's gradient is -dx."""
    return tuple(_pair_backward(dy, saved, True, False, True)[::2])


def kl_div_forward(x, target, *, log_target=False, reduction="mean"):
    """loss = target (log target - x), or exp(target) (target - x) with log_target, reduced; returns (loss, saved).

    Args:
        x: logarithms of probabilities, any shape. target: like x. reduction: also 'batchmean', the sum over x.shape[0].
    """
    loss, saved = _pair_forward("kl_div_log" if log_target else "kl_div", x, target, None, None, "sum" if reduction == "batchmean" else reduction)
    over = max(np.shape(x)[0], 1) if reduction == "batchmean" and np.ndim(x) else 1
    return loss / loss.dtype.type(over), (over, saved)


def kl_div_backward(dy, saved):
    """dx = -dy target / total, exp(target) for target with log_target, for the forward that gave `saved`."""
    over, saved = saved
    dx = _pair_backward(dy, saved)[0]
    return dx if over == 1 else dx / dx.dtype.type(over)


def dropout_forward(x, *, p=0.5, seed=0, count=0):
    """y = x mask / (1 - p), the mask drawn by Philox from (seed, count); returns (y, saved)."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    y, mask = _core.dropout(_in(x, "x"), p, 1, Generator().set_state((seed, count)))
    return _out(y), (mask, p)


def dropout_backward(dy, saved):
    """dx = dy mask / (1 - p)."""
    mask, p = saved
    return _out(_core.dropout_backward(_in(dy, "dy"), mask, p))
