"""Calls of every operation of csrc/ops.inc as users make them, with operands; test_ops_list.py gives each to check_op.

CASES[op] lists (run, mean, operands, options of check_op). Operands of floats take each type in turn; whole() makes
those that every type holds. What only one family needs (special values, long inputs, odd options) is in that family's
own test file. The families draw from one generator, one after the other.
"""
from . import elementwise, convolution, normalisation, attention, pooling, resampling, products, reductions, copies, indexing, losses, drawing
from .common import CASES, randn
