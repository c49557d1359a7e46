"""Layers made of layers (nn/blocks.py)."""
import numpy as np
import pytest

import fastnn
from check import captured_everywhere, same_bits
from fastnn import nn


def test_perceptron_is_a_step_of_an_affine_map():
    p = nn.Perceptron(3, 4)
    x = fastnn.randn(2, 5, 3)
    z = x.numpy() @ p.weight.detach().numpy().T + p.bias.detach().numpy()
    assert (p(x).numpy() == (z >= 0)).all() and p(x).dtype == fastnn.float32 and not p(x).requires_grad
    p.bias.data.zero_()
    assert (p(fastnn.zeros(3)) == 1).all()                   # of 0 it is 1
    assert list(p.state_dict()) == ["weight", "bias"] and repr(p) == "Perceptron(in_features=3, out_features=4, bias=True)"


@pytest.mark.parametrize("bias", (True, False))
def test_the_perceptron_rule_parts_what_a_hyperplane_parts(bias):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((60, 3)), rng.standard_normal((3, 2))
    margin = x @ w + (0.3 if bias else 0)
    x, t = x[(np.abs(margin) > 0.1).all(1)], (margin > 0)[(np.abs(margin) > 0.1).all(1)].astype(float)
    p = nn.Perceptron(3, 2, bias=bias, dtype=fastnn.float64)
    ours, mine, b = p.weight, p.weight.detach().numpy().copy(), p.bias.detach().numpy().copy() if bias else np.zeros(2)
    for turn in range(200):
        p.learn(fastnn.tensor(x), fastnn.tensor(t), lr=0.5)
        for row, want in zip(x, t):
            wrong = want - (mine @ row + b >= 0)
            mine, b = mine + 0.5 * np.outer(wrong, row), b + 0.5 * wrong * bias
        if turn == 0:
            np.testing.assert_allclose(p.weight.detach().numpy(), mine, atol=1e-12)
        if (p(fastnn.tensor(x)).numpy() == t).all():
            break
    assert turn < 199 and p.weight is ours and p.weight.grad is None
    p.learn(fastnn.tensor(x[0]), fastnn.tensor(t[0]))         # one item


def test_maxout_is_the_largest_affine_map():
    m = nn.Maxout(4, 3, pieces=5).double()
    x = fastnn.randn(2, 6, 4, dtype=fastnn.float64).requires_grad_()
    y = m(x)
    w, b = m.weight.detach().numpy().reshape(3, 5, 4), m.bias.detach().numpy().reshape(3, 5)
    z = np.einsum("ojk,abk->aboj", w, x.detach().numpy()) + b
    np.testing.assert_allclose(y.detach().numpy(), z.max(-1), atol=1e-12)
    y.sum().backward()
    which = np.eye(5)[z.argmax(-1)]
    np.testing.assert_allclose(x.grad.numpy(), np.einsum("aboj,ojk->abk", which, w), atol=1e-12)
    np.testing.assert_allclose(m.weight.grad.numpy(), np.einsum("aboj,abk->ojk", which, x.detach().numpy()).reshape(15, 4), atol=1e-12)
    assert m.bias.grad.sum().item() == 36 and repr(m) == "Maxout(in_features=4, out_features=3, pieces=5, bias=True)"
    plain, relu = nn.Maxout(1, 1, bias=False), fastnn.tensor([[-2.0], [3.0]])
    plain.weight.data.copy_(fastnn.tensor([[1.0], [0.0]]))
    assert plain(relu).tolist() == [[0.0], [3.0]]            # max(x, 0)


def test_residual():
    body = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)
    x = fastnn.randn(3, 4)
    same_bits(nn.Residual(*body)(x), nn.Sequential(*body)(x) + x)
    same_bits(nn.Residual(body[0])(x), body[0](x) + x)
    wide = nn.Linear(4, 6)
    block = nn.Residual(nn.Linear(4, 6), shortcut=wide)
    same_bits(block(x), block.body(x) + wide(x))
    assert list(block.state_dict()) == ["body.weight", "body.bias", "shortcut.weight", "shortcut.bias"]
    assert list(nn.Residual(*body).state_dict())[0] == "body.0.weight"
    with pytest.raises(RuntimeError, match=r"Residual: the body makes \(3, 6\) of input \(3, 4\), but the shortcut \(3, 4\)"):
        nn.Residual(nn.Linear(4, 6))(x)
    leaf = x.requires_grad_()
    nn.Residual(nn.Identity())(leaf).sum().backward()
    assert (leaf.grad == 2).all()


def test_dense_block(torch):
    """Channels grow; result and gradients as the same graph gives in PyTorch."""
    block = nn.DenseBlock(3, growth=4, layers=3).double()
    assert block.out_channels == 15 and list(block.state_dict())[:2] == ["layers.0.0.weight", "layers.0.0.bias"]
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 7))
    leaf, theirs = fastnn.tensor(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    weights = [torch.tensor(p.detach().numpy(), requires_grad=True) for p in block.parameters()]
    want = theirs
    for w, b in zip(weights[::2], weights[1::2]):
        want = torch.cat((want, torch.nn.functional.conv2d(want, w, b, padding=1).relu()), 1)
    y = block(leaf)
    np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), atol=1e-12)
    (y ** 2).sum().backward(), (want ** 2).sum().backward()
    for a, b in zip((leaf, *block.parameters()), (theirs, *weights)):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-9)


def test_captured_with_the_same_bits():
    net = nn.Sequential(nn.DenseBlock(3, 4, 2), nn.Residual(nn.Conv2d(11, 11, 3, padding=1), nn.ReLU()), nn.Flatten(), nn.Maxout(11 * 30, 5))
    x = fastnn.randn(2, 3, 5, 6)

    def step(x):
        net.zero_grad()
        loss = (net(x) ** 2).sum()
        loss.backward()
        return loss.detach()
    captured_everywhere(step, list(net.parameters()), x)


def test_bad_input():
    for f, error, words in ((lambda: nn.Maxout(3, 4, 0), ValueError, "pieces must be 1 or more, got 0"),
                            (lambda: nn.DenseBlock(3, 4, 0), ValueError, "layers=0"),
                            (lambda: nn.DenseBlock(3, 4, 1, 2), ValueError, "kernel_size odd.*kernel_size=2"),
                            (lambda: nn.Maxout(3, 4)(fastnn.zeros(2, 5)), RuntimeError, "in_features=3|5"),
                            (lambda: nn.DenseBlock(3, 4, 1)(fastnn.zeros(2, 5, 4, 4)), RuntimeError, "C=5")):
        with pytest.raises(error, match=words):
            f()
