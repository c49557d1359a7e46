"""Every kind of input: wrong shapes, ranks, dimensions and indices. What a case is stands in inputs.py."""
from inputs import NAN, Cases

CASES = Cases()
gives, raises = CASES.gives, CASES.raises


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


@raises(IndexError, "Dimension specified as 0 but tensor has no dimensions")
def unbind_of_a_scalar(f):
    f.tensor(1.0).unbind()


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


@gives([[[[[9., 0., 0.], [0., 0., 0.], [0., 0., 0.]]]], [[[[9.]]]], [[[3., 0., 0., 0.]]], [[[9., 0.], [0., 0.], [0., 0.]]], 9.])
def stride_beyond_the_image(f):
    """One row and one column are left: nothing may be as large as the stride."""
    F, steps = f.nn.functional, []
    x, w, line = f.full((1, 1, 3, 3), 3., requires_grad=True), f.full((1, 1, 1, 1), 3., requires_grad=True), f.ones(1, 1, 4, requires_grad=True)
    steps += F.conv2d(x, w, stride=2 ** 40)[..., 0, 0], F.conv1d(line, w[0], stride=2 ** 40).sum()
    (steps[0].sum() * 3 + steps[1]).backward()
    y = f.full((1, 1, 1, 1), 3., requires_grad=True)
    up = F.conv_transpose2d(y, f.full((1, 1, 1, 1), 3.), stride=2 ** 20, output_padding=(2, 1))
    up[0, 0, 0, 0].backward()
    return x.grad, steps[0][..., None, None], line.grad, up[0].detach(), y.grad.item() * 3


test_input, test_input_as_torch = CASES.tests()
