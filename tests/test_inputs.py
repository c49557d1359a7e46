"""Every kind of input: it works as in PyTorch or raises, in the caller's words.

A case is a function of the package, so the same text runs on fastnn, where the outcome written above it must come, and
on PyTorch, where it is installed, whose values, dtypes and class of exception must be the same. `torch=` gives
PyTorch's class where it differs, or why it is not asked.
"""
import copy
import io
import json
import os
import struct

import numpy as np
import pytest

import fastnn

try:
    import resource
except ImportError:                          # not on Windows
    resource = None

NAN, INF = float("nan"), float("inf")
ZEROS = np.zeros((4, 4), np.float32)
NOT_CARRIED, OURS = "PyTorch carries it", "PyTorch has no such function"
CASES = []


def gives(want, torch=True):
    """The case returns `want`: the values of its tensors and arrays, and plain values as they are."""
    def add(f):
        CASES.append(pytest.param(f, want, None, torch, id=f.__name__))
        return f
    return add


def raises(kind, match, torch=True):
    """The case raises `kind`, with a message that matches."""
    def add(f):
        CASES.append(pytest.param(f, kind, match, torch, id=f.__name__))
        return f
    return add


def plain(x):
    if isinstance(x, (tuple, list)):
        return [plain(v) for v in x]
    return np.array(x.detach().numpy()) if hasattr(x, "detach") else x


def agree(got, want):
    if isinstance(got, list):
        assert len(got) == len(want)
        for g, w in zip(got, want):
            agree(g, w)
    elif isinstance(got, np.ndarray):
        if isinstance(want, np.ndarray):
            assert got.dtype == want.dtype
        assert got.shape == np.shape(want)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    else:
        assert got == want or (got != got and want != want), f"got {got!r}, expected {want!r}"


# ---- arrays of every make --------------------------------------------------------------------------------------------

A = np.arange(12, dtype=np.float32).reshape(3, 4)
W = np.array([[1, 0, 2, 0], [0, 1, 0, -1]], np.float32)
AW = [[4, -2], [16, -2], [28, -2]]


def linear(f, x):
    return f.nn.functional.linear(x, f.from_numpy(W.copy()))


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


@gives(AW)
def strided(f):
    wide = np.full((5, 8), NAN, np.float32)
    wide[1:4, ::2] = A
    return linear(f, f.from_numpy(wide)[1:4, ::2])


@gives(AW)
def strided_array(f):
    wide = np.full((5, 8), NAN, np.float32)
    wide[1:4, ::2] = A
    return linear(f, f.from_numpy(wide[1:4, ::2]))


@gives(AW)
def fortran_ordered(f):
    return linear(f, f.from_numpy(np.asfortranarray(A)))


@gives(AW)
def transposed(f):
    return linear(f, f.from_numpy(np.ascontiguousarray(A.T)).t())


@gives([AW[1]] * 3)
def zero_stride(f):
    return linear(f, f.from_numpy(A[1:2].copy()).expand(3, 4))


@gives([[AW[1]] * 3, 66])
def zero_stride_array(f):
    x = f.from_numpy(np.broadcast_to(A[1], (3, 4)))
    return linear(f, x), x.sum()


@gives([AW, 66])
def read_only_array(f):
    x = f.from_numpy(read_only(A))
    return linear(f, x), x.sum()


@raises(ValueError, r"cannot write to a tensor of shape \(3, 4\) whose NumPy memory is read-only",
        torch="PyTorch writes to it")
def read_only_array_written(f):
    f.from_numpy(read_only(A)).add_(1)


@raises(ValueError, r"shape \(4,\) .*read-only", torch="PyTorch writes to it")
def view_of_a_read_only_array_written(f):
    f.from_numpy(read_only(A))[1].zero_()


@raises(ValueError, "read-only", torch="PyTorch writes to it")
def read_only_array_assigned(f):
    f.from_numpy(read_only(A))[0, 0] = 1


@gives(A + 1)
def read_only_array_copied(f):
    return f.tensor(read_only(A)).add_(1)


@gives([[0, 5, 0], [5, 5, 5]])
def shared_with_an_array(f):
    a = np.zeros(3, np.float32)
    x = f.from_numpy(a)
    x[1] = 5
    first = x.clone()
    a[:] = 5
    return first, x


@raises(ValueError, "byte order different from the native")
def byte_swapped(f):
    f.from_numpy(A.astype(A.dtype.newbyteorder()))


@raises(ValueError, "negative")
def negative_strides(f):
    f.from_numpy(A[::-1])


@gives(A[::-1], torch="PyTorch refuses it")
def negative_strides_copied(f):
    return f.tensor(A[::-1])


@raises(ValueError, "strides not a multiple of the element byte size")
def strides_between_elements(f):
    f.from_numpy(np.zeros(4, [("a", "<f4"), ("b", "u1")])["a"])


@raises(TypeError, "float16.*only supported types are: float64, float32, int64, int32, uint8, and bool",
        torch=NOT_CARRIED)
def array_of_halves(f):
    f.from_numpy(A.astype(np.float16))


@raises(TypeError, "uint32", torch=NOT_CARRIED)
def array_of_unsigned(f):
    f.from_numpy(A.astype(np.uint32))


@raises(TypeError, "complex", torch=NOT_CARRIED)
def complex_numbers(f):
    f.tensor([1j])


@raises(TypeError, "object|can't convert")
def array_of_objects(f):
    f.from_numpy(np.array([object()]))


@raises(TypeError, r"expected np.ndarray \(got list\)")
def from_numpy_of_a_list(f):
    f.from_numpy([1.0])


@raises(RuntimeError, "at most 8 dimensions.* 9", torch=NOT_CARRIED)
def array_of_nine_dimensions(f):
    f.from_numpy(np.zeros((1,) * 9, np.float32))


@raises(RuntimeError, "at most 8 dimensions", torch=NOT_CARRIED)
def nine_dimensions(f):
    f.zeros(*(1,) * 9)


@raises(RuntimeError, "at most 8 dimensions", torch=NOT_CARRIED)
def unsqueezed_to_nine_dimensions(f):
    f.zeros(*(1,) * 8).unsqueeze(0)


@gives(AW)
def unaligned_array(f):
    raw = np.zeros(A.nbytes + 1, np.uint8)
    a = raw[1:].view(np.float32).reshape(A.shape)
    a[...] = A
    return linear(f, f.tensor(a))


# ---- empty, of one element, not numbers ------------------------------------------------------------------------------

@gives([0, NAN, 1, False, True, [0, 0]])
def empty_reduced(f):
    e = f.zeros(0)
    return e.sum(), e.mean(), e.prod(), e.bool().any(), e.bool().all(), f.zeros(0, 2).sum(0)


@gives([ZEROS[:0, :2], ZEROS[:3, :2], ZEROS[:0, :0]])
def empty_products(f):
    return linear(f, f.zeros(0, 4)), f.zeros(3, 0) @ f.zeros(0, 2), f.zeros(0, 3) @ f.zeros(3, 0)


@gives([ZEROS[:0, :3], ZEROS[:2, :0], [1, 2], ZEROS[:0]])
def empty_shaped(f):
    joined = f.cat([f.zeros(0), f.tensor([1., 2.])])
    return f.zeros(0, 3) + 1, f.zeros(2, 0).softmax(1), joined, f.zeros(2, 0, 2).reshape(0, 4)


@gives([NAN, 0, ZEROS[:0, :3]])
def empty_batch_in_a_loss(f):
    x = f.zeros(0, 3, requires_grad=True)
    y = f.zeros(0, dtype=f.int64)
    mean, total = f.nn.functional.cross_entropy(x, y), f.nn.functional.cross_entropy(x, y, reduction="sum")
    mean.backward()
    return mean, total, x.grad


@gives([[0, 0], ZEROS[:0]])
def empty_batch_trained(f):
    w, x = f.ones(2, 4, requires_grad=True), f.zeros(0, 4, requires_grad=True)
    f.nn.functional.linear(x, w).sum().backward()
    return w.grad.sum(1), x.grad


@raises(RuntimeError, "max.*(empty|numel)")
def empty_maximum(f):
    f.zeros(0).max()


@raises(IndexError, "argmax.*")
def empty_argmax(f):
    f.zeros(3, 0).argmax(1)


@gives([[[5, 6, 7]], NAN, 0, 3, [[4.]]])
def single_elements(f):
    one = f.tensor([[3.]])
    return one + f.tensor([2., 3., 4.]), one.var(), one.var(correction=0), one.squeeze(), one @ f.tensor([[4 / 3]])


@gives([NAN, NAN, 1, [0, NAN, 2], [NAN, 1, 1], [False, False], [True, False]])
def nan_kept(f):
    x = f.tensor([-1., NAN, 2.])
    clamped = f.tensor([NAN, 0., 3.]).clamp(1, 1)
    return x.max(), x.sum(), x.argmax(), x.relu(), clamped, x[1:] == f.tensor([NAN, 1.]), x[1:].isnan()


@gives([[[NAN] * 3, [0, 0, 1]], [[NAN] * 2], [NAN, NAN]])
def nan_in_softmax_and_loss(f):
    F = f.nn.functional
    x = f.tensor([[1., NAN, 2.], [-INF, -INF, 0.]])
    return x.softmax(1), f.full((1, 2), -INF).softmax(1), F.cross_entropy(x[:1], f.tensor([0])) + f.zeros(2)


@gives([[1, 2, INF, NAN], [0, 3, 2, 1], [NAN, INF, 2, 1]])
def nan_sorted(f):
    x = f.tensor([1., NAN, INF, 2.])
    return *x.sort(), x.sort(descending=True)[0]


# ---- sizes -----------------------------------------------------------------------------------------------------------

@raises(RuntimeError, r"\[2147483648, 2147483648\].*(more elements|overflow)")
def overflowing_size(f):
    f.empty(2 ** 31, 2 ** 31)


@raises(RuntimeError, "overflow|more elements")
def overflowing_bytes(f):
    f.zeros(2 ** 62)


@raises(RuntimeError, "Overflow|overflow", torch=TypeError)
def size_beyond_int64(f):
    f.zeros(2 ** 70)


@raises(RuntimeError, "overflow|more elements|invalid for input of size 1")
def overflowing_view(f):
    f.zeros(1).view(2 ** 31, 2 ** 32)


@raises(RuntimeError, "overflow|more elements")
def overflowing_repeat(f):
    f.zeros(2).repeat(2 ** 40, 2 ** 40)


@raises(MemoryError, f"cannot allocate {2 ** 52} bytes", torch=RuntimeError)
def huge_allocation(f):
    f.empty(2 ** 50)


@raises(RuntimeError, "negative dimension -1")
def negative_size(f):
    f.zeros(2, -1)


@raises(TypeError, "zeros.*(str|float)")
def size_of_another_type(f):
    f.zeros("2")


@raises(TypeError, "float")
def size_not_whole(f):
    f.zeros(2.5)


# ---- wrong shape or rank ---------------------------------------------------------------------------------------------

@raises(RuntimeError, r"linear.*\(3, 5\).*5.*\(2, 4\).*4")
def linear_features(f):
    f.nn.Linear(4, 2)(f.zeros(3, 5))


@raises(RuntimeError, r"linear: bias \(3,\) must have shape \(2,\)")
def linear_bias(f):
    f.nn.functional.linear(f.zeros(3, 4), f.zeros(2, 4), f.zeros(3))


@raises(RuntimeError, r"cannot be multiplied.*\(2, 3\).*\(4, 5\)")
def matmul_inner(f):
    f.zeros(2, 3) @ f.zeros(4, 5)


@raises(RuntimeError, r"\(2, 2, 3\).*\(3, 3, 4\)")
def matmul_batch(f):
    f.zeros(2, 2, 3) @ f.zeros(3, 3, 4)


@raises(RuntimeError, "at least 1D|0-d|0D|at least one dimension")
def matmul_of_a_scalar(f):
    f.tensor(1.) @ f.zeros(3)


@raises(RuntimeError, r"mm.*(2-D|2D|matri)")
def mm_of_three_dimensions(f):
    f.mm(f.zeros(1, 2, 3), f.zeros(3, 2))


@raises(RuntimeError, r"t\(\) expects a tensor with <= 2 dimensions, but self is 3D")
def transpose_of_three_dimensions(f):
    f.zeros(1, 2, 3).t()


@raises(RuntimeError, r"\(2, 3\).*\(2, 4\)")
def add_shapes(f):
    f.zeros(2, 3) + f.zeros(2, 4)


@raises(RuntimeError, r"shape.*\[?\(?3.*(broadcast|match).*2, 3")
def add_in_place_grows(f):
    f.zeros(3).add_(f.zeros(2, 3))


@raises(RuntimeError, r"'\[5\]' is invalid for input of size 6")
def view_size(f):
    f.zeros(2, 3).view(5)


@raises(RuntimeError, r"view size is not compatible.*\(3, 2\).*\.reshape")
def view_of_a_transpose(f):
    f.zeros(2, 3).t().view(6)


@raises(RuntimeError, "only one dimension can be inferred")
def view_with_two_holes(f):
    f.zeros(6).view(-1, -1)


@raises(RuntimeError, "match except in dimension 0.*3.*2")
def cat_sizes(f):
    f.cat([f.zeros(1, 2), f.zeros(1, 3)])


@raises(RuntimeError, "non-empty list", torch=(RuntimeError, ValueError))
def cat_of_nothing(f):
    f.cat([])


@raises(RuntimeError, r"equal size.*\[2\].*\[3\]")
def stack_sizes(f):
    f.stack([f.zeros(2), f.zeros(3)])


@raises(RuntimeError, r"expanded size.*\(4\).*existing size \(3\)")
def expand_size(f):
    f.zeros(3).expand(4)


@raises(RuntimeError, r"single memory location.*clone\(\)")
def expanded_written(f):
    f.zeros(1).expand(3).add_(1)


@raises(ValueError, r"batch_size \(3\).*\(2\).*cross_entropy.*\(3, 4\).*\(2,\)")
def loss_batches(f):
    f.nn.functional.cross_entropy(f.zeros(3, 4), f.zeros(2, dtype=f.int64))


@raises(RuntimeError, "weight.*3.*4|weight.*4.*3")
def loss_weight(f):
    f.nn.functional.cross_entropy(f.zeros(3, 4), f.zeros(3, dtype=f.int64), weight=f.ones(3))


@raises(RuntimeError, r"\(2, 3\).*\(4,\)|must match")
def mse_shapes(f):
    f.nn.functional.mse_loss(f.zeros(2, 3), f.zeros(4))


@gives([[2, 2], [0, 0]])
def expanded_filled(f):
    x, y = f.ones(1, 2), f.ones(2)
    x.expand(3, 2).fill_(2)
    y.expand(3, 2)[1].zero_()
    return x[0], y


@raises(IndexError, "too many indices.*2")
def too_many_indices(f):
    f.zeros(2, 3)[0, 0, 0]


@raises(IndexError, r"mask.*\(?\[?3.*2")
def mask_shape(f):
    f.zeros(2, 3)[f.ones(3, 2, dtype=f.bool)]


@raises(RuntimeError, r"\(3,\).*\(2,\)")
def assigned_shape(f):
    f.zeros(2, 3)[0] = f.zeros(2)


@raises(ValueError, "step must be greater than zero")
def slice_backwards(f):
    f.zeros(3)[::-1]


@raises(TypeError, r"len\(\) of a 0-d tensor")
def length_of_a_scalar(f):
    len(f.tensor(1.))


@raises(TypeError, "iteration over a 0-d tensor")
def iteration_over_a_scalar(f):
    list(f.tensor(1.))


@raises(RuntimeError, "3 elements cannot be converted to Scalar")
def item_of_three(f):
    f.zeros(3).item()


@raises(RuntimeError, "Boolean value of Tensor with more than one value is ambiguous")
def truth_of_three(f):
    bool(f.zeros(3))


@raises(RuntimeError, "no values", torch=RuntimeError)
def truth_of_none(f):
    bool(f.zeros(0))


# ---- wrong dimension or index ----------------------------------------------------------------------------------------

@raises(RuntimeError, "split expects at least a 1-dimensional tensor")
def split_of_a_scalar(f):
    f.tensor(1.).split(1)


@raises(IndexError, r"Dimension out of range \(expected to be in range of \[-2, 1\], but got 2\)")
def sum_dimension(f):
    f.zeros(2, 3).sum(2)


@raises(IndexError, r"\[-2, 1\], but got -3")
def softmax_dimension(f):
    f.zeros(2, 3).softmax(-3)


@raises(IndexError, r"\[-2, 1\], but got 5")
def transpose_dimension(f):
    f.zeros(2, 3).transpose(0, 5)


@raises(IndexError, r"\[-3, 2\], but got 4")
def unsqueeze_dimension(f):
    f.zeros(2, 3).unsqueeze(4)


@raises(RuntimeError, "duplicate dims|repeated dim")
def permute_twice(f):
    f.zeros(2, 3).permute(0, 0)


@raises(RuntimeError, "dim 0 appears multiple times|repeated|multiple times")
def sum_dimension_twice(f):
    f.zeros(2, 3).sum((0, 0))


@raises(RuntimeError, "start_dim cannot come after end_dim")
def flatten_backwards(f):
    f.zeros(2, 3).flatten(1, 0)


@raises(IndexError, "index 3 is out of bounds for dimension 0 with size 3")
def index_too_large(f):
    f.zeros(3)[3]


@raises(IndexError, "index -4 is out of bounds for dimension 0 with size 3|out of (range|bounds)")
def index_array_too_small(f):
    f.zeros(3)[f.tensor([0, -4])]


@raises(IndexError, "int|long")
def index_of_floats(f):
    f.zeros(3)[f.tensor([0., 1.])]


@raises(TypeError, "only integers, slices.*got str", torch=(IndexError, TypeError))
def index_of_a_string(f):
    f.zeros(3)["a"]


@raises(RuntimeError, "index 3 is out of bounds for dimension 0 with size 3")
def gather_out_of_bounds(f):
    f.zeros(3).gather(0, f.tensor([3]))


@raises(RuntimeError, "index -1 is out of bounds for dimension 0 with size 3")
def scatter_out_of_bounds(f):
    f.zeros(3).scatter_(0, f.tensor([-1]), f.ones(1))


@raises(IndexError, "out of range|out of bounds", torch=(IndexError, RuntimeError))
def index_select_out_of_bounds(f):
    f.zeros(3).index_select(0, f.tensor([3]))


@raises(IndexError, "Target 4 is out of bounds")
def class_out_of_range(f):
    f.nn.functional.cross_entropy(f.zeros(3, 4), f.tensor([0, 4, 1]))


@raises(IndexError, "Target -1 is out of bounds")
def class_below_zero(f):
    f.nn.functional.nll_loss(f.zeros(3, 4), f.tensor([0, -1, 1]))


@gives([1.3862944, NAN])
def class_ignored(f):
    F = f.nn.functional
    return F.cross_entropy(f.zeros(2, 4), f.tensor([0, -100])), F.cross_entropy(f.zeros(2, 4), f.tensor([-100, -100]))


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


# ---- the tape --------------------------------------------------------------------------------------------------------

@raises(RuntimeError, "leaf Variable that requires grad is being used in an in-place operation")
def leaf_in_place(f):
    f.ones(2, requires_grad=True).add_(1)


@raises(RuntimeError, "view of a leaf Variable that requires grad is being used in an in-place operation")
def view_of_a_leaf_in_place(f):
    f.ones(2, requires_grad=True)[0].mul_(2)


@raises(RuntimeError, "leaf Variable that requires grad")
def leaf_assigned(f):
    f.ones(2, requires_grad=True)[0] = 2


@raises(RuntimeError, "backward through the graph a second time.*retain_graph=True")
def backward_twice(f):
    y = f.ones(2, requires_grad=True).exp().sum()
    y.backward()
    y.backward()


@gives([4, 4])
def backward_twice_retained(f):
    x = f.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


@raises(RuntimeError, "modified by an inplace operation.*version 1; expected version 0")
def saved_changed_in_place(f):
    x = f.ones(2, requires_grad=True)
    y = x.exp()
    z = y * y
    y.detach().add_(1)
    z.sum().backward()


@raises(RuntimeError, "grad can be implicitly created only for scalar outputs")
def backward_of_a_vector(f):
    (f.ones(2, requires_grad=True) * 2).backward()


@raises(RuntimeError, r"Mismatch in shape.*3.*2")
def backward_with_another_shape(f):
    (f.ones(2, requires_grad=True) * 2).backward(f.ones(3))


@raises(RuntimeError, "does not require grad and does not have a grad_fn")
def backward_without_a_graph(f):
    f.ones(2).sum().backward()


@raises(RuntimeError, r"assigned grad.*\(?\[?3.*2")
def gradient_of_another_shape(f):
    f.ones(2, requires_grad=True).grad = f.ones(3)


@raises(RuntimeError, "assigned grad.*float64.*float32|type")
def gradient_of_another_type(f):
    f.ones(2, requires_grad=True).grad = f.ones(2, dtype=f.float64)


@raises(TypeError, "Tensor or None.*list|list")
def gradient_of_no_tensor(f):
    f.ones(2, requires_grad=True).grad = [1., 1.]


@raises(RuntimeError, r"Can't call numpy\(\) on Tensor that requires grad. Use tensor.detach\(\).numpy\(\) instead")
def numpy_of_a_leaf(f):
    f.ones(2, requires_grad=True).numpy()


@raises(BufferError, "require gradient")
def dlpack_of_a_leaf(f):
    f.ones(2, requires_grad=True).__dlpack__()


@raises(RuntimeError, "only change requires_grad flags of leaf variables")
def flag_of_a_result(f):
    (f.ones(2, requires_grad=True) * 2).requires_grad = False


@raises(RuntimeError, "can't retain_grad on Tensor that has requires_grad=False")
def retain_without_a_graph(f):
    f.ones(2).retain_grad()


@raises(RuntimeError, "not have been used in the graph. Set allow_unused=True")
def gradient_of_the_unused(f):
    x, y = f.ones(2, requires_grad=True), f.ones(2, requires_grad=True)
    f.autograd.grad(x.sum(), y)


@raises(RuntimeError, "only Tensors created explicitly by the user|Only Tensors created explicitly")
def deepcopy_of_a_result(f):
    copy.deepcopy(f.ones(2, requires_grad=True) * 2)


@gives([[0, 0, 0], [1, 1, 1], [0, 5, 5]])
def gradient_of_what_was_written_over(f):
    """The old values have a gradient of zero, the new ones theirs."""
    x, v, w = f.ones(3, requires_grad=True), f.ones(3, requires_grad=True), f.ones(3, requires_grad=True)
    y, z = x.clone(), w * 5
    y.copy_(f.zeros(3))
    y.add_(v)
    z[0] = 2
    (y + z).sum().backward()
    return x.grad, v.grad, w.grad


@gives([[3, 3], [2, 2]])
def gradient_of_an_expanded_leaf(f):
    x, y = f.ones(2, requires_grad=True), f.ones(1, 2, requires_grad=True)
    (x.expand(3, 2).sum() + y.expand(2, 2).sum()).backward()
    return x.grad, y.grad[0]


# ---- modules ---------------------------------------------------------------------------------------------------------

@raises(RuntimeError, r'Missing key.*"bias"[\s\S]*Unexpected key.*"b"')
def state_with_other_keys(f):
    f.nn.Linear(2, 2).load_state_dict({"weight": f.zeros(2, 2), "b": f.zeros(2)})


@raises(RuntimeError, r"size mismatch for weight.*3, 2.*2, 2")
def state_of_another_size(f):
    f.nn.Linear(2, 2, bias=False).load_state_dict({"weight": f.zeros(3, 2)})


@raises(TypeError, "state_dict.*dict.*list")
def state_of_another_kind(f):
    f.nn.Linear(2, 2).load_state_dict([1])


@raises(AttributeError, r"before Module.__init__\(\) call")
def module_without_init(f):
    class Net(f.nn.Module):
        def __init__(self):
            self.layer = f.nn.Linear(2, 2)
    Net()


@raises(NotImplementedError, 'missing the required "forward" function')
def module_without_forward(f):
    f.nn.Module()(1)


@raises(AttributeError, "'Linear' object has no attribute 'wieght'")
def module_attribute(f):
    f.nn.Linear(2, 2).wieght


@raises(TypeError, "cannot assign.*as parameter 'weight'")
def parameter_replaced_by_a_tensor(f):
    f.nn.Linear(2, 2).weight = f.zeros(2, 2)


@raises(TypeError, "int is not a Module subclass|is not a Module")
def sequential_of_a_number(f):
    f.nn.Sequential(f.nn.Linear(2, 2), 3)


@raises(KeyError, "module name can.*t contain.*a.b")
def module_name_with_a_dot(f):
    f.nn.Module().add_module("a.b", f.nn.Linear(2, 2))


@raises(ValueError, "dropout probability has to be between 0 and 1, but got -0.1")
def dropout_layer_of_less_than_none(f):
    f.nn.Dropout(-0.1)


# ---- optimizers ------------------------------------------------------------------------------------------------------

def leaf(f, *shape):
    return f.zeros(*shape or (2,), requires_grad=True)


@raises(ValueError, "empty parameter list")
def optimizer_of_nothing(f):
    f.optim.SGD([], lr=0.1)


@raises(TypeError, "params argument.*iterable")
def optimizer_of_a_tensor(f):
    f.optim.SGD(leaf(f), lr=0.1)


@raises(TypeError, "can only optimize Tensors.*int")
def optimizer_of_numbers(f):
    f.optim.SGD([1], lr=0.1)


@raises(ValueError, "can't optimize a non-leaf Tensor")
def optimizer_of_a_result(f):
    f.optim.SGD([leaf(f) * 2], lr=0.1)


@raises(ValueError, "Invalid learning rate: -0.1")
def negative_learning_rate(f):
    f.optim.SGD([leaf(f)], lr=-0.1)


@raises(ValueError, "Invalid momentum value: -1")
def negative_momentum(f):
    f.optim.SGD([leaf(f)], lr=0.1, momentum=-1)


@raises(ValueError, "Nesterov momentum requires a momentum and zero dampening")
def nesterov_without_momentum(f):
    f.optim.SGD([leaf(f)], lr=0.1, nesterov=True)


@raises(ValueError, "Invalid beta parameter at index 1: 1.0")
def beta_of_one(f):
    f.optim.Adam([leaf(f)], betas=(0.9, 1.0))


@raises(ValueError, "Invalid epsilon value: -1")
def negative_epsilon(f):
    f.optim.AdamW([leaf(f)], eps=-1)


@raises(ValueError, "some parameters appear in more than one parameter group")
def parameter_in_two_groups(f):
    p = leaf(f)
    f.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)


@raises(ValueError, "different number of parameter groups|doesn't match the size")
def optimizer_state_of_another(f):
    p, q = leaf(f), leaf(f)
    f.optim.SGD([p], lr=0.1).load_state_dict(f.optim.SGD([p, q], lr=0.1).state_dict())


@gives([[0, 0], [0.9, 0.9]])
def optimizer_skips_what_has_no_gradient(f):
    p, q = leaf(f), f.ones(2, requires_grad=True)
    optimizer = f.optim.SGD([p, q], lr=0.1, weight_decay=0.5)
    q.grad = f.full((2,), 0.5)
    optimizer.step()
    return p, q


@raises(RuntimeError, "non-finite|nan|NaN")
def clipping_what_is_not_finite(f):
    p = leaf(f)
    p.grad = f.full((2,), NAN)
    f.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


# ---- data ------------------------------------------------------------------------------------------------------------

def pairs(f):
    return f.utils.data.TensorDataset(f.zeros(5, 2), f.zeros(5))


@raises(ValueError, r"Size mismatch between tensors: \[\(5,\), \(4,\)\]", torch=AssertionError)
def dataset_sizes(f):
    f.utils.data.TensorDataset(f.zeros(5), f.zeros(4))


@raises(ValueError, "batch_size should be a positive integer value, but got batch_size=0")
def loader_batch_of_none(f):
    f.utils.data.DataLoader(pairs(f), batch_size=0)


@raises(ValueError, "num_workers option should be non-negative|num_workers")
def loader_workers_below_none(f):
    f.utils.data.DataLoader(pairs(f), num_workers=-1)


@raises(ValueError, "mutually exclusive")
def loader_sampler_and_shuffle(f):
    f.utils.data.DataLoader(pairs(f), shuffle=True, sampler=[0, 1])


@raises(TypeError, "unexpected keyword argument 'batchsize'|batchsize")
def loader_option_unknown(f):
    f.utils.data.DataLoader(pairs(f), batchsize=2)


@raises(RuntimeError, r"equal size.*\[1\].*\[2\]")
def loader_samples_of_two_sizes(f):
    list(f.utils.data.DataLoader([f.zeros(1), f.zeros(2)], batch_size=2))


@raises(TypeError, "default_collate.*object")
def loader_samples_of_objects(f):
    list(f.utils.data.DataLoader([object(), object()], batch_size=2))


@raises(ValueError, "Sum of input lengths does not equal the length of the input dataset")
def split_lengths(f):
    f.utils.data.random_split(pairs(f), [2, 2])


@raises(IndexError, "out of (range|bounds)")
def dataset_index(f):
    pairs(f)[5]


# ---- capture ---------------------------------------------------------------------------------------------------------

@raises(TypeError, "capture expects a function, got int", torch=OURS)
def captured_number(f):
    f.capture(3)


@raises(ValueError, "limit must be 1 or more, got 0", torch=OURS)
def capture_limit(f):
    f.capture(abs, limit=0)


@raises(TypeError, "an argument of type list cannot be part of a key", torch=OURS)
def captured_list(f):
    f.capture(lambda x: None)([1])


@raises(fastnn.CaptureError, r"input of shape \(2,\) requires grad.*detach\(\)", torch=OURS)
def captured_input_with_a_gradient(f):
    f.capture(lambda x: x * 2)(f.ones(2, requires_grad=True))


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("case, want, match, torch_", CASES)
def test_input(case, want, match, torch_):
    if match is None:
        agree(plain(case(fastnn)), want)
    else:
        with pytest.raises(want, match=match) as caught:
            case(fastnn)
        assert type(caught.value) is want


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case, want, match, torch_", CASES)
def test_input_as_torch(case, want, match, torch_, torch):
    if isinstance(torch_, str):
        pytest.skip(torch_)
    if match is None:
        agree(plain(case(fastnn)), plain(case(torch)))
    else:
        with pytest.raises(want if torch_ is True else torch_):
            case(torch)


# ---- nothing is lost -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change", [lambda x: x.add_(fastnn.ones(4)), lambda x: x.copy_(fastnn.ones(4)),
                                    lambda x: x.__setitem__(0, fastnn.ones(2)),
                                    lambda x: x.__setitem__(fastnn.tensor([0, 7]), 1.0),
                                    lambda x: x.scatter_(0, fastnn.tensor([7]), fastnn.ones(1)),
                                    lambda x: x.masked_fill_(fastnn.ones(2, dtype=fastnn.bool), 1.0),
                                    lambda x: x.mul_("a"), lambda x: x.fill_("a")])
def test_a_refused_write_changes_nothing(change):
    x = fastnn.arange(3.0)
    with pytest.raises((RuntimeError, IndexError, TypeError)):
        change(x)
    assert x.tolist() == [0, 1, 2]


def test_a_refused_state_changes_nothing_it_names():
    layer = fastnn.nn.Linear(2, 2)
    before = [p.tolist() for p in layer.parameters()]
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        layer.load_state_dict({"weight": fastnn.zeros(3, 2), "bias": layer.bias.detach().clone()})
    assert [p.tolist() for p in layer.parameters()] == before


# ---- files -----------------------------------------------------------------------------------------------------------

def saved():
    file = io.BytesIO()
    fastnn.save({"w": fastnn.arange(6.0).view(2, 3), "b": [fastnn.ones(2, dtype=fastnn.bool), 3, None, "x", 2.5, True]},
                file)
    return file.getvalue()


def crafted(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, end, dtype="F32", begin=0, **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


FILES = {
    "nothing": (b"", "too few"), "three bytes": (b"abc", "too few"),
    "text": (b"PK\x03\x04 this is another file", "header"), "cut in the length": (saved()[:7], "too few"),
    "cut in the header": (saved()[:40], "truncated"), "cut in the data": (saved()[:-1], "within the .* of data"),
    "one byte more": (saved() + b"\0", "padded"), "length of 2**64 - 1": (crafted({}, length=2 ** 64 - 1), "limit"),
    "length beyond the file": (crafted({}, length=1000), "truncated"), "no object": (crafted(b"[]"), "'{'"),
    "no JSON": (crafted(b"{]"), "not valid"), "not UTF-8": (crafted(b'{"\xff": 1}'), "UTF-8"),
    "deep": (crafted(b'{"a":' * 10 ** 5 + b"1" + b"}" * 10 ** 5), "nested"),
    "NaN in the header": (crafted(b'{"a": NaN}'), "NaN"), "a key twice": (crafted(b'{"a": {}, "a": {}}'), "twice"),
    "entry of another kind": (crafted({"a": 3}), "'a' needs exactly"),
    "entry with more": (crafted({"a": entry([1], 4, x=1)}, bytes(4)), "'a' needs exactly"),
    "dtype unknown": (crafted({"a": entry([1], 4, "Q9")}, bytes(4)), "unknown dtype 'Q9'"),
    "negative size": (crafted({"a": entry([-1], 4)}, bytes(4)), "'a' has a shape"),
    "size of another kind": (crafted({"a": entry([1.5], 4)}, bytes(4)), "'a' has a shape"),
    "overflowing shape": (crafted({"a": entry([2 ** 33, 2 ** 33], 4)}, bytes(4)), "'a' of shape .* overflows"),
    "nine dimensions": (crafted({"a": entry([1] * 9, 4)}, bytes(4)), "at most 8"),
    "size and bytes": (crafted({"a": entry([2], 4)}, bytes(4)), "takes 8 bytes"),
    "beyond the end": (crafted({"a": entry([2], 8)}, bytes(4)), "data_offsets"),
    "backwards": (crafted({"a": entry([1], 0, begin=4)}, bytes(4)), "data_offsets"),
    "overlap": (crafted({"a": entry([1], 4), "b": entry([1], 4)}, bytes(4)), "overlap"),
    "gap": (crafted({"a": entry([1], 8, begin=4)}, bytes(8)), "gaps"),
    "bool of 2": (crafted({"a": entry([1], 1, "BOOL")}, b"\2"), "neither 0 nor 1"),
    "metadata of another kind": (crafted({"__metadata__": {"a": 1}}), "__metadata__"),
    "structure of another kind": (crafted({"__metadata__": {"fastnn": '{"exec": "rm"}'}}), "means nothing"),
    "structure without its tensor": (crafted({"__metadata__": {"fastnn": '{"tensor": "w"}'}}), "means nothing"),
}


@pytest.mark.parametrize("name", FILES)
def test_file_refused(name, tmp_path):
    raw, match = FILES[name]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(raw)
    for source in (path, io.BytesIO(raw)):
        with pytest.raises(ValueError, match=match) as caught:
            fastnn.load(source)
        assert source is not path or str(path) in str(caught.value)


def test_file_cut_anywhere_is_refused(tmp_path):
    raw = saved()
    assert fastnn.load(io.BytesIO(raw))["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    for n in range(len(raw)):
        with pytest.raises(ValueError, match="load: the file: "):
            fastnn.load(io.BytesIO(raw[:n]))


def test_file_with_any_byte_changed_is_refused_or_read():
    """Never another exception, a crash, or a tensor of another shape than the header's."""
    raw, refused = saved(), 0
    for n in range(len(raw)):
        changed = bytearray(raw)
        changed[n] ^= 0x15
        try:
            fastnn.load(io.BytesIO(bytes(changed)))
        except (ValueError, NotImplementedError):
            refused += 1
    assert refused > len(raw) // 4


def test_file_of_a_type_not_carried():
    with pytest.raises(NotImplementedError, match="'a' has dtype BF16: not supported"):
        fastnn.load(io.BytesIO(crafted({"a": entry([2], 4, "BF16")}, bytes(4))))


@pytest.mark.parametrize("value, where", [({"a": [1, {2}]}, r"obj\['a'\]\[1\] is a set"),
                                          (lambda: 0, "obj is a function"), ({"m": object()}, r"obj\['m'\]"),
                                          ({(1, 2): 3}, "key"), (np.zeros(2), "ndarray"), ({"c": 1j}, "complex")])
def test_what_cannot_be_saved(value, where, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(TypeError, match=where):
        fastnn.save(value, path)
    assert not os.listdir(tmp_path)


def test_structure_that_contains_itself(tmp_path):
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        fastnn.save(loop, tmp_path / "a.safetensors")


@pytest.mark.skipif(resource is None, reason="needs limits on the size of files")
def test_full_disk_keeps_the_old_file(tmp_path):
    """A limit on the size of files stands in for the disk: writing fails half way."""
    path = tmp_path / "a.safetensors"
    fastnn.save({"epoch": 1}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(OSError, match="too large|No space"):
            fastnn.save({"epoch": 2, "w": fastnn.zeros(1 << 16)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["a.safetensors"] and fastnn.load(path) == {"epoch": 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_device():
    with pytest.raises(OSError, match="No space"):
        fastnn.save(fastnn.zeros(1 << 16), "/dev/full")


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        fastnn.save(fastnn.zeros(2), tmp_path / "missing" / "a.safetensors")
    with pytest.raises(FileNotFoundError, match="missing"):
        fastnn.load(tmp_path / "missing.safetensors")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        fastnn.save(fastnn.zeros(2), tmp_path / "a.safetensors")


def test_there_are_enough_cases():
    assert len(CASES) + len(FILES) >= 80
