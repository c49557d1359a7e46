"""What every operation of csrc/ops.inc means, in NumPy: float64, int64 or bool in and out, loops where they read best.

A meaning bears its op's name; one that is also a Python builtin has a trailing underscore. It takes the op's operands
as arrays in the natural order, then the options; outputs that the op writes side by side come as a tuple. Integers are
int64 here, and whoever compares cuts them to the type at hand, which wraps as the type does.
"""
from .activations import *
from .attention import *
from .convolution import *
from .drawing import *
from .elementwise import *
from .indexing import *
from .losses import *
from .normalisation import *
from .optimizers import *
from .pooling import *
from .products import *
from .reductions import *
from .resampling import *
from .softmax import *


def meaning(op):
    """The function that op means."""
    return globals().get(op + "_") or globals()[op]
