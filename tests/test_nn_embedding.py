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


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("padding", (None, 1))
@pytest.mark.parametrize("dim", (1, 3, 17, 40, 300))
def test_gradient_of_a_row_is_summed_in_the_order_of_the_indices(dim, padding, dtype, isa):
    """Rows met often, never, and once; on all threads, eager and captured, the bits of the plain sum from the first on, whether
    threads own rows (narrow tables) or columns (wide ones)."""
    rng = np.random.default_rng(dim)
    words = rng.integers(0, 6, 3000)
    words[words == 2], words[1234] = 3, 7
    x, w = fastnn.tensor(words.reshape(50, 60)), fastnn.zeros(9, dim, dtype=getattr(fastnn, dtype)).requires_grad_()
    dy = (rng.standard_normal((3000, dim)) * np.exp(rng.uniform(-5, 5, (3000, 1)))).astype(dtype)
    want = np.zeros((9, dim), dtype)
    for word, row in zip(words, dy):
        if word != padding:
            want[word] += row
    assert want[0].any() and not want[[2, 6, 8]].any() and (want[1] == 0).all() == (padding == 1)

    def step(x, dy):
        w.grad = None
        F.embedding(x, w, padding).backward(dy)
    captured, dy = fastnn.capture(step), fastnn.tensor(dy.reshape(50, 60, dim))
    for n in THREADS:
        with machine(isa, n):
            for run in (step, captured, captured, captured):
                run(x, dy)
                same_bits(w.grad, fastnn.tensor(want), f"{n} threads")
            dw = kernels.embedding_backward(dy.numpy(), x.numpy(), num_embeddings=9, padding_idx=padding)
            assert dw.tobytes() == want.tobytes()
    assert captured.replays >= 4


def test_gradients_of_one_table_met_twice_add_up():
    """Tied weights: rows of the table, and the table as a layer."""
    w, x = fastnn.randn(5, 4).requires_grad_(), fastnn.tensor([1, 3, 1])
    (F.embedding(x, w, padding_idx=3) @ w.t()).sum().backward()
    want = w.detach().numpy()[[1, 3, 1]].sum(0) + np.array([0, 2, 0, 0, 0])[:, None] * w.detach().numpy().sum(0)
    np.testing.assert_allclose(w.grad.numpy(), want, rtol=1e-5, atol=1e-6)


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
    (lambda: nn.Embedding.from_pretrained(fastnn.zeros(3, 4), sparse=True), NotImplementedError, "sparse=True: not supported"),
    (lambda: F.embedding(fastnn.tensor([1]), fastnn.zeros(3, 4), scale_grad_by_freq=True), NotImplementedError, "scale_grad_by_freq=True"),
    (lambda: F.embedding(fastnn.tensor([1]), fastnn.zeros(3, 4), max_norm=2.0), NotImplementedError, "max_norm=2.0: not supported"),
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
