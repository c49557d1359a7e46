# Activations: y = f(x), and dx from dy and y alone. `out` as in _ops_elem.pxi.

cdef extern from "fn.h":
    enum: FN_OP_relu_fwd, FN_OP_relu_bwd, FN_OP_sigmoid_fwd, FN_OP_sigmoid_bwd, FN_OP_tanh_fwd, FN_OP_tanh_bwd

_ELEM_NS[FN_OP_sigmoid_fwd] = _ELEM_NS[FN_OP_tanh_fwd] = 0.4


cdef TensorBase _act_backward(int op, str name, TensorBase dy, TensorBase y):
    cdef fn_elem_args p
    memset(&p, 0, sizeof(p))
    if dy.dtype_ != y.dtype_:
        raise TypeError(f"{name}: a gradient of {DTYPE_NAMES[dy.dtype_]} for an output of {DTYPE_NAMES[y.dtype_]}")
    if not same_shape(dy, y):
        raise RuntimeError(f"{name}: the gradient has shape {shape_of(dy)}, but the output has {shape_of(y)}")
    return elementwise(op, name, dy.dtype_, &p, dy, y, None, None)


def relu(TensorBase x, TensorBase out=None):
    if x.dtype_ == FN_BOOL:
        raise RuntimeError("Boolean inputs not supported for relu")
    return _unary(FN_OP_relu_fwd, "relu", x, out)


def relu_backward(TensorBase dy, TensorBase y):
    """dy where y > 0"""
    return _act_backward(FN_OP_relu_bwd, "relu", dy, y)


def sigmoid(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_sigmoid_fwd, "sigmoid", x, out)


def sigmoid_backward(TensorBase dy, TensorBase y):
    """dy (1 - y) y"""
    return _act_backward(FN_OP_sigmoid_bwd, "sigmoid", dy, y)


def tanh(TensorBase x, TensorBase out=None):
    return _unary(FN_OP_tanh_fwd, "tanh", x, out)


def tanh_backward(TensorBase dy, TensorBase y):
    """dy (1 - y^2)"""
    return _act_backward(FN_OP_tanh_bwd, "tanh", dy, y)
