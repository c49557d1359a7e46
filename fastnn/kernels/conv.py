"""Convolution and its transpose."""
from .. import _core
from .arrays import _LAYOUTS, _images_in, _images_out, _in, _option, _out


def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW", winograd=True, out=None):
    """y[n,k,p,q] = b[k] + sum over c,r,s of w[k,c,r,s] x[n, c, p stride + r dilation - padding, q stride + s dilation - padding].

    Args:
        x: (N,C,H,W), or (N,H,W,C) with layout 'NHWC'. w: (K,C/groups,R,S) in either. b: (K) or None.
        stride, dilation: a number, or one for rows and one for columns. padding: the same, or 'same' or 'valid'.
        winograd: may a 2x2 to 5x5, 5x3 or 1x3 to 1x5 filter, with stride 2 a 3x3 to 8x8 or 10x5 one, with longer strides one over few channels,
            take the form with fewer multiplications and mostly two to four times the rounding error? (docs/convolution.md)

    Returns: y (N,K,P,Q), or (N,P,Q,K).
    """
    _option(layout, _LAYOUTS, "layout")
    y = _core.conv2d_fwd(_images_in(x, "x", layout), _in(w, "w"), None if b is None else _in(b, "b"), stride, padding, dilation, groups,
                         winograd=winograd)
    return _images_out(y, layout, out)


def conv2d_backward(dy, x, w, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW", winograd=True):
    """The gradients (dx, dw, db) of y = conv2d_forward(x, w, b); dx like x, dw like w, db (K)."""
    _option(layout, _LAYOUTS, "layout")
    dy, x, w, options = _images_in(dy, "dy", layout), _images_in(x, "x", layout), _in(w, "w"), (stride, padding, dilation, groups)
    dw, db = _core.conv2d_bwd_w(dy, x, w.shape, *options, winograd=winograd)
    return _images_out(_core.conv2d_bwd_x(dy, w, x.shape, *options, winograd=winograd), layout), _out(dw), _out(db)


def conv_transpose2d_forward(x, w, b=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1, layout="NCHW", winograd=True, out=None):
    """y[n,c,h,w] = b[c] + sum over k,p,q,r,s of w[k,c,r,s] x[n,k,p,q] where p stride - padding + r dilation = h, q and s likewise.

    Args:
        x: (N,C_in,P,Q), or (N,P,Q,C_in) with layout 'NHWC'. w: (C_in,C_out/groups,R,S) in either. b: (C_out) or None.
        output_padding: rows and columns added at the end. Others as conv2d_forward.

    Returns: y (N,C_out,H,W), or (N,H,W,C_out), H = (P - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1, W likewise.
    """
    _option(layout, _LAYOUTS, "layout")
    y = _core.conv_transpose2d(_images_in(x, "x", layout), _in(w, "w"), None if b is None else _in(b, "b"), stride, padding, output_padding, groups,
                               dilation, winograd=winograd)
    return _images_out(y, layout, out)


def conv_transpose2d_backward(dy, x, w, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1, layout="NCHW", winograd=True):
    """The gradients (dx, dw, db) of y = conv_transpose2d_forward(x, w, b); dx like x, dw like w, db (C_out)."""
    _option(layout, _LAYOUTS, "layout")
    dy, x, w = _images_in(dy, "dy", layout), _images_in(x, "x", layout), _in(w, "w")
    options = stride, padding, output_padding, groups, dilation
    dx, dw = (f(dy, *given, *options, winograd=winograd) for f, given in ((_core.conv_transpose2d_bwd_x, (w, x)), (_core.conv_transpose2d_bwd_w, (x, w))))
    return _images_out(dx, layout), _out(dw), _out(_core.sum_(dy, (0, 2, 3)))
