"""Convolution of images and lines, with its gradients."""
from .. import _core
from .._core import attach
from . import shape
from .promote import tensor_only


def _checked(name, input, weight, bias, spatial, letters=None):
    """The operands are tensors of the right number of dimensions; is the input without a batch?"""
    for x, argument in ((input, "input"), (weight, "weight"), (bias, "bias")):
        if x is not None or argument != "bias":
            tensor_only(x, name, argument)
    if input.dim() not in (spatial + 1, spatial + 2):
        raise RuntimeError(f"Expected {spatial + 1}D (unbatched) or {spatial + 2}D (batched) input to {name}, but got input of size: {list(input.shape)}")
    if weight.dim() != spatial + 2:
        letters = letters or ("(K,C/groups,R,S)" if spatial == 2 else "(K,C/groups,S)")
        raise RuntimeError(f"{name}: weight {letters} needs {spatial + 2} dimensions, got {tuple(weight.shape)}")
    return input.dim() == spatial + 1


def _convolve(input, weight, bias, options, line, relu=False):
    """y = conv(input (N,C,H,W), weight) + bias, or relu of it"""
    form = _core.conv2d_form(input, weight, bias, options, line)
    if form == "matrix":
        return _multiply(_every(input, options[0]), weight, bias, relu)
    x = _core.nhwc(input) if form == "filtering" else input       # here and in _conv_backward, so that no pass turns it again
    y = _core.conv2d_fwd(x, weight, bias, *options, line=line, act=relu)
    return attach(y, _conv_backward, (input, weight, bias), (x, weight, y) if relu else (x, weight), (options, line, form))


def _every(x, stride):
    """Each stride-th row and column of x (N,C,H,W), a copy unless that is all of them."""
    down, right = (stride, stride) if isinstance(stride, int) else stride
    if down == right == 1:
        return x
    return shape.contiguous(shape.slice_dim(shape.slice_dim(x, 2, 0, x.shape[2], down), 3, 0, x.shape[3], right))


def _multiply(x, weight, bias, relu):
    """y[n] = x[n]' w' for a 1x1 filter w (K,C) and row-major images x[n] (C,HW), which no copy turns to channels-last."""
    (_, _, H, W), w = x.shape, _core.view(weight, weight.shape[:2])
    y = _core.as_images(_core.gemm(_core.permute(_core.as_lines(x), (0, 2, 1)), _core.permute(w, (1, 0)), bias, relu), H, W)
    return attach(y, _multiply_backward, (x, weight, bias), (x, weight, y) if relu else (x, weight))


def _multiply_backward(node, dy):
    """dx[n] = w' dy[n], row-major as x is; dw = sum over n of dy[n] x[n]'"""
    x, weight, *y = node.saved
    (N, C, H, W), K, (need_x, need_w, need_b) = x.shape, len(weight), node.needs
    dy = _core.relu_backward(dy, y[0]) if y else dy
    dy, x, dx, dw = _core.as_lines(dy), _core.as_lines(x), None, None
    if need_x:
        dx = _core.view(_core.gemm(_core.permute(_core.view(weight, (K, C)), (1, 0)), dy), (N, C, H, W))
    if need_w:
        dw = _core.view(_core.gemm(dy, _core.permute(x, (0, 2, 1)), summed=True), weight.shape)
    return dx, dw, _core.sum_(dy, (0, 2), False) if need_b else None


def _conv_backward(node, dy):
    """Each gradient only where it is needed; those of weight and bias share one pass over dy."""
    (x, w, *y), (options, line, form) = node.saved, node.meta
    dy = _core.relu_backward(dy, y[0]) if y else dy
    dy = _core.nhwc(dy) if form == "filtering" else _core.laid_as_depthwise(dy, x) if form == "depthwise" else dy
    need_x, need_w, need_b = node.needs
    dx = _core.conv2d_bwd_x(dy, w, x.shape, *options, line=line) if need_x else None
    dw, db = _core.conv2d_bwd_w(dy, x, w.shape, *options, need_b, need_w, line=line) if need_w or need_b else (None, None)
    return dx, dw, db


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """y[n,k,p,q] = bias[k] + sum over c,r,s of weight[k,c,r,s] input[n, c, p stride + r dilation - padding, q stride + s dilation - padding]

    with zeros outside of the input; of `groups` groups of channels each output channel sees its own.

    Args:
        input: (N,C,H,W), or (C,H,W) without a batch; any strides.
        weight: (K,C/groups,R,S).
        bias: (K) or None.
        stride, dilation: a number, or one for rows and one for columns, 1 or more.
        padding: the same, 0 or more, on both sides; 'valid' for none, 'same' for an output of the input's size (one more below and right
            where it is uneven; stride 1 only).
        groups: divides C and K.

    Returns: (N,K,P,Q), P = (H + 2 padding - dilation (R - 1) - 1) // stride + 1, Q likewise. In memory
        channels-last, or as the input lies where groups are of one channel, or of two, four or eight in and out.

    Errors: RuntimeError for shapes, sizes or options that do not fit; TypeError for what is not a tensor or a number.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.conv2d(fastnn.ones(1, 1, 3, 3), fastnn.ones(1, 1, 2, 2))
        tensor([[[[4., 4.],
                  [4., 4.]]]])
    """
    return _conv2d(input, weight, bias, (stride, padding, dilation, groups), False)


def conv2d_relu(input, weight, bias, options):
    """relu(conv2d(input, weight, bias, *options)), with the same bits, in one pass."""
    return _conv2d(input, weight, bias, options, True)


def _conv2d(input, weight, bias, options, relu):
    if _checked("conv2d", input, weight, bias, 2):
        return shape.squeeze(_convolve(shape.unsqueeze(input, 0), weight, bias, options, False, relu), 0)
    return _convolve(input, weight, bias, options, False, relu)


def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """y[n,k,q] = bias[k] + sum over c,s of weight[k,c,s] input[n, c, q stride + s dilation - padding]; `conv2d` over one row.

    Args:
        input: (N,C,L), or (C,L) without a batch. weight: (K,C/groups,S). Others as `conv2d`.

    Returns: (N,K,Q), row-major.

    Errors: as `conv2d`.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.conv1d(fastnn.tensor([[1., 2., 4.]]), fastnn.tensor([[[-1., 1.]]]))
        tensor([[1., 2.]])
    """
    alone = _checked("conv1d", input, weight, bias, 1)
    x = shape.unsqueeze(shape.unsqueeze(input, 0) if alone else input, 2)
    y = _convolve(x, shape.unsqueeze(weight, 2), bias, (stride, padding, dilation, groups), True)
    y = shape.contiguous(shape.squeeze(y, 2))
    return shape.squeeze(y, 0) if alone else y


# ---- transposed --------------------------------------------------------------------------------------------------------

def _transposed(input, weight, bias, options, line):
    """The passes of a convolution swapped: input's gradient is forward here, and the reverse."""
    y = _core.conv_transpose2d(input, weight, bias, *options, line=line)
    return attach(y, _transposed_backward, (input, weight, bias), (input, weight), (options, line))


def _transposed_backward(node, dy):
    (x, w), (options, line), (need_x, need_w, need_b) = node.saved, node.meta, node.needs
    dx = _core.conv_transpose2d_bwd_x(dy, w, x, *options, line=line) if need_x else None
    dw = _core.conv_transpose2d_bwd_w(dy, x, w, *options, line=line) if need_w else None
    return dx, dw, _core.sum_(dy, (0, 2, 3)) if need_b else None


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """y[n,c,h,w] = bias[c] + sum over k,p,q,r,s of weight[k,c,r,s] input[n,k,p,q], where p stride - padding + r dilation = h, q and s likewise:

    the gradient of `conv2d` with this weight with respect to its input.

    Args:
        input: (N,C_in,P,Q), or (C_in,P,Q) without a batch; any strides.
        weight: (C_in,C_out/groups,R,S).
        bias: (C_out) or None.
        stride, padding, dilation: those of that convolution; a number, or one for rows and one for columns.
        output_padding: rows and columns added below and to the right, less than stride or dilation.
        groups: divides C_in.

    Returns: (N,C_out,H,W), H = (P - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1, W likewise. In memory
        channels-last, or as the input lies where groups are of one channel, or of two, four or eight in and out.

    Errors: RuntimeError for shapes, sizes or options that do not fit; TypeError for what is not a tensor or a number.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.conv_transpose2d(fastnn.ones(1, 1, 2, 2), fastnn.ones(1, 1, 2, 2))
        tensor([[[[1., 2., 1.],
                  [2., 4., 2.],
                  [1., 2., 1.]]]])
    """
    options = stride, padding, output_padding, groups, dilation
    if _checked("conv_transpose2d", input, weight, bias, 2, "(C_in,C_out/groups,R,S)"):
        return shape.squeeze(_transposed(shape.unsqueeze(input, 0), weight, bias, options, False), 0)
    return _transposed(input, weight, bias, options, False)


def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """y[n,c,w] = bias[c] + sum over k,q,s of weight[k,c,s] input[n,k,q], where q stride - padding + s dilation = w; `conv_transpose2d` over one row.

    Args:
        input: (N,C_in,L), or (C_in,L) without a batch. weight: (C_in,C_out/groups,S). Others as `conv_transpose2d`.

    Returns: (N,C_out,W), row-major.

    Errors: as `conv_transpose2d`.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> F.conv_transpose1d(fastnn.tensor([[1., 2.]]), fastnn.tensor([[[1., 1., 1.]]]), stride=2)
        tensor([[1., 1., 3., 2., 2.]])
    """
    alone = _checked("conv_transpose1d", input, weight, bias, 1, "(C_in,C_out/groups,S)")
    x = shape.unsqueeze(shape.unsqueeze(input, 0) if alone else input, 2)
    y = _transposed(x, shape.unsqueeze(weight, 2), bias, (stride, padding, output_padding, groups, dilation), True)
    y = shape.contiguous(shape.squeeze(y, 2))
    return shape.squeeze(y, 0) if alone else y


METHODS = ()
FUNCTIONS = ("conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")
INPLACE = ()
