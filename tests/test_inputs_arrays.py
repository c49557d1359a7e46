"""Every kind of input: arrays of every make, empty ones, sizes. What a case is stands in inputs.py."""
import numpy as np

from inputs import NAN, NOT_CARRIED, Cases

INF = float("inf")
ZEROS = np.zeros((4, 4), np.float32)
CASES = Cases()
gives, raises = CASES.gives, CASES.raises


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


test_input, test_input_as_torch = CASES.tests()
