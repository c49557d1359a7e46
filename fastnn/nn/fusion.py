"""What Sequential runs together, with the bits of one after another:

    Linear, Conv2d or BatchNorm, then ReLU     one pass: relu is taken before the result is stored
    Conv2d, ReLU, MaxPool2d                    relu after the pooling, on a quarter of the numbers or less

Only modules of exactly these types, without hooks, whose forward is their class's. In other containers and in a forward of one's own
nothing is joined, but by a captured step.
"""
from .._core import enter_module
from . import functional as F
from .activation import ReLU
from .batchnorm import BatchNorm1d, BatchNorm2d
from .conv import Conv2d
from .linear import Linear
from .pooling import MaxPool2d

_TAKE_RELU = (Linear, Conv2d, BatchNorm1d, BatchNorm2d)


def _is(module, *types):
    return (type(module) in types and "forward" not in module.__dict__ and not (module._forward_hooks or module._forward_pre_hooks
                                                                                or module._backward_hooks or module._backward_pre_hooks))


def run(modules, input):
    """The last module's result, each called on the one's before."""
    i = 0
    while i < len(modules):
        module, relu, pool = (*modules[i:i + 3], None, None)[:3]
        i += 1
        if not (type(relu) is ReLU and _is(module, *_TAKE_RELU) and _is(relu, ReLU)):
            input = module(input)
            continue
        i += 1
        enter_module(relu)
        if type(module) is Conv2d and _is(pool, MaxPool2d) and not pool.return_indices and pool.dilation in (1, (1, 1)):
            input = F.relu(pool(module(input)))      # a window has a pixel of the image, so the padding's -inf never wins
            i += 1
        else:
            enter_module(module)
            input = module.forward_relu(input)
    return input
