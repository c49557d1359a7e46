"""Every kind of input: wrong dtypes, devices, Python types and numbers. What a case is stands in inputs.py."""
import numpy as np

from inputs import NOT_CARRIED, Cases

CASES = Cases()
gives, raises = CASES.gives, CASES.raises


# ---- wrong dtype or device -------------------------------------------------------------------------------------------

@raises(RuntimeError, "linear.*float64.*float32|linear.*float32.*float64|mat1 and mat2 must have the same dtype")
def linear_of_doubles(f):
    f.nn.Linear(4, 2)(f.zeros(3, 4, dtype=f.float64))


@raises(RuntimeError, "same dtype|int64.*float32|Float.*Long")
def matmul_of_two_types(f):
    f.zeros(2, 3) @ f.zeros(3, 2, dtype=f.int64)


@raises(RuntimeError, "cross_entropy.*(int32|Int)|Long.*(Int|int32)")
def classes_of_32_bits(f):
    f.nn.functional.cross_entropy(f.zeros(3, 4), f.zeros(3, dtype=f.int32))


@raises(RuntimeError, r"mean.*(int64|Long)")
def mean_of_integers(f):
    f.zeros(3, dtype=f.int64).mean()


@raises(NotImplementedError, r"softmax.*not implemented for '?(int64|Long)'?",
        torch=(NotImplementedError, RuntimeError))
def softmax_of_integers(f):
    f.zeros(3, dtype=f.int64).softmax(0)


@gives([[1, 2.7182817], [0.5, 1], [1.5, 2.5], True])
def integers_promoted(f):
    x = f.tensor([0, 1])
    return x.exp(), f.tensor([1, 2]) / 2, f.tensor([1, 2]) + 0.5, (x / x.sum()).dtype == f.float32


@gives([np.array([1.5, 2.5], np.float32), np.array([3, 4]), np.array([2.5, 3.5], np.float32),
        np.array([2, 3], np.uint8)])
def promotion_of_scalars(f):
    """A 0-d tensor and a Python number change the kind of type, not its width."""
    small, wide, long = f.tensor([1, 2], dtype=f.uint8), f.tensor(0.5, dtype=f.float64), f.tensor(2, dtype=f.int32)
    return f.tensor([1., 2.]) + wide, f.tensor([1, 2]) + long, small + 1.5, small + f.tensor(1)


@raises(RuntimeError, "result type (Float|float32) can't be cast to.*(Long|int64)")
def in_place_to_integers(f):
    f.zeros(3, dtype=f.int64).add_(1.5)


@raises(RuntimeError, "[Ss]ubtraction.*bool")
def bools_subtracted(f):
    f.ones(2, dtype=f.bool) - f.ones(2, dtype=f.bool)


@raises(NotImplementedError, "bitwise_and.*(float32|Float)", torch=(NotImplementedError, RuntimeError))
def bits_of_floats(f):
    f.zeros(2) & f.zeros(2)


@raises(RuntimeError, "dtypes match.*float32.*int64|dtypes match.*Float.*Long")
def assigned_type(f):
    f.zeros(3)[f.tensor([0, 1])] = f.tensor([1, 2])


@raises(RuntimeError, "[Ss]ubtraction.*bool")
def bool_number_subtracted(f):
    f.ones(2) - True


@raises(RuntimeError, "ZeroDivisionError|[Dd]ivi(de|sion).*zero")
def integers_divided_by_zero(f):
    f.tensor([1, 2]) // f.tensor([1, 0])


@raises(RuntimeError, "[Ii]ntegers to negative integer powers are not allowed")
def integers_to_a_negative_power(f):
    f.tensor([1, 2]) ** -1


@raises(RuntimeError, "only Tensors of floating point.* dtype can require gradients")
def integers_requiring_a_gradient(f):
    f.zeros(3, dtype=f.int64).requires_grad_()


@raises(TypeError, "dtype.*float32")
def dtype_of_numpy(f):
    f.zeros(3, dtype=np.float32)


@raises(NotImplementedError, "float16: not supported", torch=NOT_CARRIED)
def halves(f):
    f.zeros(3).half()


@raises(RuntimeError, "CUDA|cuda", torch=(RuntimeError, AssertionError))
def device_missing(f):
    f.zeros(3, device="cuda:7")


@raises(RuntimeError, "CUDA|cuda", torch=(RuntimeError, AssertionError))
def moved_to_a_missing_device(f):
    f.nn.Linear(2, 2).to("cuda:7")


@raises(RuntimeError, "Expected one of cpu.* device type at start of device string: nowhere")
def device_unknown(f):
    f.zeros(3, device="nowhere")


# ---- wrong Python types and numbers ----------------------------------------------------------------------------------

@raises(TypeError, "str")
def tensor_plus_string(f):
    f.zeros(2) + "a"


@raises(TypeError, "NoneType|None")
def tensor_times_none(f):
    f.mul(f.zeros(2), None)


@raises(TypeError, "list")
def linear_of_a_list(f):
    f.nn.functional.linear([[1., 2.]], f.zeros(3, 2))


@raises(TypeError, "expected Tensor as element 1.*got int")
def cat_of_a_number(f):
    f.cat([f.zeros(1), 2])


@raises(ValueError, "tensor.*(length|inhomogeneous)")
def ragged_list(f):
    f.tensor([[1., 2.], [3.]])


@raises(TypeError, "tensor.*(object|other things)", torch=RuntimeError)
def tensor_of_objects(f):
    f.tensor([object()])


@raises(TypeError, "invalid data type|str", torch=(TypeError, ValueError))
def tensor_of_strings(f):
    f.tensor(["a"])


@raises(TypeError, "set_num_threads.*str", torch=RuntimeError)
def threads_of_a_string(f):
    f.set_num_threads("2")


@raises(RuntimeError, "positive number of threads")
def no_threads(f):
    f.set_num_threads(0)


@raises(RuntimeError, "step must be nonzero")
def arange_without_step(f):
    f.arange(0, 3, 0)


@raises(RuntimeError, "inconsistent with step sign")
def arange_away(f):
    f.arange(0, 3, -1)


@raises(RuntimeError, "steps must be non-negative")
def linspace_of_negative_steps(f):
    f.linspace(0, 1, -1)


@raises(RuntimeError, "from.*to|low.*high|random_ expects")
def randint_of_nothing(f):
    f.randint(3, 3, (2,))


@raises(RuntimeError, "p_in >= 0 && p_in <= 1")
def bernoulli_of_two(f):
    f.bernoulli(f.full((3,), 2.))


@raises(RuntimeError, "n must be non-negative|-1|negative")
def randperm_of_less_than_none(f):
    f.randperm(-1)


@raises(ValueError, "dropout probability has to be between 0 and 1, but got 1.5")
def dropout_of_too_much(f):
    f.nn.functional.dropout(f.zeros(3), 1.5)


@raises(ValueError, "reduction|average")
def reduction_unknown(f):
    f.nn.functional.mse_loss(f.zeros(2), f.zeros(2), reduction="avg")


@raises(RuntimeError, "label_smoothing must be between 0.0 and 1.0. Got: 2")
def smoothing_of_too_much(f):
    f.nn.functional.cross_entropy(f.zeros(3, 4), f.zeros(3, dtype=f.int64), label_smoothing=2.0)


@raises(NotImplementedError, "view.*not supported", torch=NOT_CARRIED)
def view_as_another_type(f):
    f.zeros(2).view(f.int32)


@raises(TypeError, "unexpected keyword argument 'nonsense'|nonsense")
def unknown_option(f):
    f.nn.Linear(2, 2, nonsense=1)


@raises(NotImplementedError, "differentiable.*not supported", torch=NOT_CARRIED)
def optimizer_option_not_carried(f):
    f.optim.Adam([f.zeros(2, requires_grad=True)], differentiable=True)


@raises(NotImplementedError, "higher-order gradients are not supported", torch=NOT_CARRIED)
def gradient_of_a_gradient(f):
    x = f.ones(2, requires_grad=True)
    f.autograd.grad((x * x).sum(), x, create_graph=True)


test_input, test_input_as_torch = CASES.tests()
