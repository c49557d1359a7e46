"""Every kind of input: the tape, and what a refused write leaves. What a case is stands in inputs.py."""
import copy

import pytest

import fastnn
from inputs import Cases

CASES = Cases()
gives, raises = CASES.gives, CASES.raises


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


test_input, test_input_as_torch = CASES.tests()


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
