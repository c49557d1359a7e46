"""Functions of tensors with their gradients, a family per file.

Each module ends with the names it gives: FUNCTIONS to `fastnn`, METHODS to `Tensor`, INPLACE to `Tensor` with a trailing underscore."""
from . import activation, along, attention, compare, conv, create, elementwise, index, loss, matmul, norm, order, pad, pool, random, reduce, shape, upsample

MODULES = (create, shape, elementwise, compare, activation, reduce, index, along, order, matmul, conv, norm, pad, pool, random, upsample, attention)
