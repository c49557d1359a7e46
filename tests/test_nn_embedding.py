"""embedding.py, functional.embedding and the door of kernels."""
import numpy as np
import pytest

import fastnn
from check import THREADS, machine, same_bits
from fastnn import kernels, nn
from fastnn.nn import functional as F


@pytest.mark.parametrize("padding", [None, 0, -2])
def test_as_pytorch(torch, padding):
    rng = np.random.default_rng(0)
    w, x, dy = rng.standard_normal((7, 5)).astype(np.float32), rng.integers(0, 7, (40, 3)), rng.standard_normal((40, 3, 5)).astype(np.float32)
    results = []
    for lib in (fastnn, torch):
        m = lib.nn.Embedding.from_pretrained(lib.tensor(w), freeze=False, padding_idx=padding)
        y = m(lib.tensor(x))
        y.backward(lib.tensor(dy))
        results.append([repr(m), y.detach().numpy(), m.weight.grad.numpy()])
    assert results[0][0] == results[1][0] and np.array_equal(results[0][1], results[1][1])
    np.testing.assert_allclose(results[0][2], results[1][2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kernels.embedding_backward(dy, x, num_embeddings=7, padding_idx=padding), results[1][2], rtol=1e-5, atol=1e-5)
    assert np.array_equal(kernels.embedding_forward(x, w), results[1][1])


def test_same_bits_and_capture():
    """Rows met often, on all threads; eager and captured."""
    x, dy, first = fastnn.randint(0, 5, (3000,)), fastnn.randn(3000, 17), None
    w = fastnn.randn(5, 17, requires_grad=True)

    def step(x, dy):
        w.grad = None
        F.embedding(x, w, 1).backward(dy)
    captured = fastnn.capture(step)
    for n in THREADS:
        with machine(threads=n):
            for run in (step, captured):
                run(x, dy)
                first = first if first is not None else w.grad.clone()
                same_bits(first, w.grad)
    assert not first[1].any() and first[0].any()


def test_start_and_state():
    m = nn.Embedding(10, 3, padding_idx=-1)
    assert m.padding_idx == 9 and not m.weight[9].any() and m.weight[:9].all() and list(m.state_dict()) == ["weight"] and m.weight.requires_grad
    frozen = nn.Embedding.from_pretrained(fastnn.ones(2, 3))
    assert not frozen.weight.requires_grad and frozen(fastnn.tensor(1)).tolist() == [1, 1, 1]
    assert m(fastnn.zeros(0, 2).long()).shape == (0, 2, 3)


@pytest.mark.parametrize("call, kind, words", [
    (lambda: nn.Embedding(3, 4, padding_idx=5), AssertionError, "padding_idx=5, num_embeddings=3"),
    (lambda: nn.Embedding(3, 4, max_norm=1.0), NotImplementedError, "max_norm=1.0: not supported"),
    (lambda: F.embedding(fastnn.tensor([1]), fastnn.zeros(3, 4), sparse=True), NotImplementedError, "sparse=True: not supported"),
    (lambda: nn.Embedding(3, 4, scale_grad_by_freq=True), NotImplementedError, "scale_grad_by_freq"),
    (lambda: F.embedding(fastnn.tensor([5]), fastnn.zeros(3, 4)), IndexError, "5"),
    (lambda: F.embedding(fastnn.tensor([-1]), fastnn.zeros(3, 4)), IndexError, "-1"),
    (lambda: F.embedding(fastnn.zeros(2), fastnn.zeros(3, 4)), RuntimeError, "float32"),
    (lambda: F.embedding(fastnn.tensor([1]), fastnn.zeros(3)), RuntimeError, r"2 dimensions.*\(3,\)"),
    (lambda: F.embedding(fastnn.tensor([1]), fastnn.zeros(3, 4), padding_idx=7), AssertionError, "padding_idx=7"),
    (lambda: nn.Embedding(3, 4, _weight=fastnn.zeros(2, 2)), AssertionError, r"\(2, 2\), \(3, 4\)"),
    (lambda: nn.Embedding.from_pretrained(fastnn.zeros(3)), AssertionError, r"2-dimensional, got shape \(3,\)")])
def test_messages(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
