"""Normalisation."""
import numpy as np

from .. import _core
from .arrays import _ACTIVATIONS, _LAYOUTS, _channels_in, _channels_out, _in, _option, _out


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
    y, *saved = _core.batch_norm(_channels_in(x, "x", layout), *running, w, b, bool(training), momentum, eps, None, act)
    for a, t in zip((running_mean, running_var), running):
        if training and a is not None and not np.shares_memory(a, t.numpy()):
            a[...] = t.numpy()                               # of strides that a tensor cannot have
    return _channels_out(y, layout, out), (*saved, w, b, bool(training), act, layout)


def batch_norm_backward(dy, saved):
    """(dx, dw, db) for the forward that gave `saved`; dy and dx in its layout, dw and db (C)."""
    x, stats, w, b, training, act, layout = saved
    dx, dw, db = _core.batch_norm_backward(_channels_in(dy, "dy", layout), x, stats, w, training, True, True, True, act, b)
    return _channels_out(dx, layout), _out(dw), _out(db)


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
    y, *saved = _core.group_norm(_channels_in(x, "x", layout), num_groups, w, b, eps)
    return _channels_out(y, layout, out), (*saved, w, layout)


def group_norm_backward(dy, saved):
    """(dx, dw, db) for the forward that gave `saved`; dy and dx in its layout, dw and db (C)."""
    *saved, layout = saved
    dx, dw, db = _core.group_norm_backward(_channels_in(dy, "dy", layout), *saved)
    return _channels_out(dx, layout), _out(dw), _out(db)


def instance_norm_forward(x, w=None, b=None, *, eps=1e-5, layout="NCHW", out=None):
    """y = (x - mean) / sqrt(var + eps) w + b, mean and var of each sample and channel. Else as group_norm_forward."""
    _option(layout, _LAYOUTS, "layout")
    return group_norm_forward(x, w, b, num_groups=max(np.shape(x)[-1 if layout == "NHWC" else 1], 1), eps=eps, layout=layout, out=out)


def instance_norm_backward(dy, saved):
    """(dx, dw, db) for the forward that gave `saved`: group_norm_backward."""
    return group_norm_backward(dy, saved)
