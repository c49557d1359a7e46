"""Functions of tensors with their gradients, a family per file.

Each module ends with the names it gives: FUNCTIONS to `fastnn`, METHODS to `Tensor`, INPLACE to `Tensor` with a trailing underscore."""
from . import activation, conv, create, elementwise, index, matmul, norm, pool, random, reduce, shape

MODULES = (create, shape, elementwise, activation, reduce, index, matmul, conv, norm, pool, random)
