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


# ---- numbers that do not fit, and what is no number --------------------------------------------------------------------

@raises(RuntimeError, "converted to type uint8 without overflow.*from 7 to 300")
def number_above_uint8(f):
    f.tensor([7, 300], dtype=f.uint8)


@raises(RuntimeError, "converted to type int32 without overflow")
def number_above_int32(f):
    f.tensor([2 ** 31], dtype=f.int32)


@raises(RuntimeError, "converted to type int64 without overflow.*nan")
def nan_as_an_integer(f):
    f.tensor([1.0, float("nan")], dtype=f.int64)


@gives([[255, 2], [2147483647, -2147483648], [1, 0], []])
def numbers_that_fit(f):
    return (f.tensor([-1, 2.9], dtype=f.uint8), f.tensor([2 ** 31 - 1, -2 ** 31], dtype=f.int32), f.tensor([300.0, 0], dtype=f.bool),
            f.tensor([], dtype=f.int64))


@gives([44, 1])
def arrays_wrap(f):
    return f.tensor(np.array([300, 257]), dtype=f.uint8)


@raises(TypeError, "fill_value.*must be Number, not NoneType")
def filled_with_nothing(f):
    f.full((2,), None)


@raises(RuntimeError, "arange.*(invalid size|overflow)|invalid size, possible overflow")
def arange_of_too_many(f):
    f.arange(0, 1e30)


@raises(TypeError, "randint.*(must be int|float)")
def randint_of_reals(f):
    f.randint(0, 2.5, (2,))


@raises(ValueError, "randint.*high=9223372036854775808 must fit into int64|Overflow")
def randint_of_too_many(f):
    f.randint(0, 2 ** 63, (2,))


@raises(ValueError, r"only one element tensors can be converted to Python scalars.*\(2,\)")
def float_of_two_numbers(f):
    float(f.zeros(2))


@raises(ValueError, r"only one element tensors.*\(0, 3\)")
def int_of_nothing(f):
    int(f.zeros(0, 3))


@raises(TypeError, "unsupported format string passed to .*__format__")
def format_of_two_numbers(f):
    f"{f.zeros(2):.3f}"


@gives(["1.500", True])
def format_of_a_number(f):
    return f"{f.tensor(1.5):.3f}", f"{f.zeros(2)}" == str(f.zeros(2))


@raises(RuntimeError, "__contains__ only supports Tensor or scalar, but you passed in a .*str")
def word_in_a_tensor(f):
    "a" in f.zeros(2)


@gives([True, False, True, True])
def numbers_in_a_tensor(f):
    x = f.tensor([1.0, 2.0])
    return 2 in x, 3.0 in x, f.tensor(1.0) in x, np.float32(2) in x


@raises(TypeError, r"cat.*must be tuple of Tensors, not Tensor")
def cat_of_a_tensor(f):
    f.cat(f.zeros(2, 3))


@raises(ValueError, "eps must be non-negative, but got -1.0|eps must be positive")
def batch_norm_of_negative_eps(f):
    f.nn.functional.batch_norm(f.zeros(2, 3), f.zeros(3), f.ones(3), eps=-1.0)


@gives([-1, 0, 1])
def hardtanh_of_integers(f):
    return f.nn.functional.hardtanh(f.tensor([-5, 0, 5]))


@raises(NotImplementedError, r"binary_cross_entropy_with_logits.*int64.*input of shape \(2, 3\)")
def logits_of_integers(f):
    f.nn.functional.binary_cross_entropy_with_logits(f.ones(2, 3, dtype=f.int64), f.ones(2, 3))


@raises(NotImplementedError, r"binary_cross_entropy_with_logits.*bool.*target of shape \(2,\)", torch=RuntimeError)
def events_of_bools(f):
    f.nn.functional.binary_cross_entropy_with_logits(f.zeros(2), f.ones(2, dtype=f.bool))


@raises(NotImplementedError, r"kl_div.*int64.*target", torch=RuntimeError)
def divergence_from_integers(f):
    f.nn.functional.kl_div(f.zeros(2), f.ones(2, dtype=f.int64), reduction="sum")


@raises(TypeError, "element 0 is str", torch=AttributeError)
def clipped_words(f):
    f.nn.utils.clip_grad_norm_("a", 1.0)


@raises(ValueError, "batch_size attribute should not be set after DataLoader is initialized")
def loader_changed(f):
    f.utils.data.DataLoader([1, 2]).batch_size = 2


test_input, test_input_as_torch = CASES.tests()
