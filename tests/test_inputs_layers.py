"""Every kind of input: modules, optimizers, data, capture. What a case is stands in inputs.py."""
import fastnn
from inputs import NAN, OURS, Cases

CASES = Cases()
gives, raises = CASES.gives, CASES.raises


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


test_input, test_input_as_torch = CASES.tests()
