"""Datasets and random_split."""
import numpy as np
import pytest

import fastnn
from fastnn.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split
from fastnn.utils.data.dataset import gatherer_of


def test_tensor_dataset():
    d = TensorDataset(fastnn.arange(6).reshape(3, 2), fastnn.tensor([7, 8, 9]))
    x, y = d[1]
    assert len(d) == 3 and x.tolist() == [2, 3] and y.item() == 8 and d[-1][1].item() == 9


def test_subset_and_concat():
    d = TensorDataset(fastnn.arange(5))
    s, c = Subset(d, [4, 0, 4]), ConcatDataset([d, Subset(d, range(2))])
    assert [s[i][0].item() for i in range(len(s))] == [4, 0, 4]
    assert [x.item() for x, in s.__getitems__([2, 1])] == [4, 0]
    assert len(c) == 7 and [c[i][0].item() for i in range(-7, 7)] == [0, 1, 2, 3, 4, 0, 1] * 2
    assert isinstance(d + d, ConcatDataset) and [x.item() for x, in c] == [0, 1, 2, 3, 4, 0, 1]
    with pytest.raises(IndexError, match="index 7 is out of range for 7 samples"):
        c[7]


@pytest.mark.parametrize("lengths, want", [([3, 7], [3, 7]), ([0.5, 0.5], [5, 5]), ([0.34, 0.33, 0.33], [4, 3, 3]), ([0.28, 0.28, 0.44], [3, 3, 4]),
                                           ([10, 0], [10, 0])])
def test_random_split(torch, lengths, want):
    parts = random_split(range(10), lengths)
    assert [len(p) for p in parts] == want == [len(p) for p in torch.utils.data.random_split(range(10), lengths)]
    assert sorted(i for p in parts for i in p.indices) == list(range(10))

    def split(seed):
        return [p.indices for p in random_split(range(10), lengths, generator=fastnn.Generator().manual_seed(seed))]
    assert split(1) == split(1) != split(2)


@pytest.mark.parametrize("act, error, words", [
    (lambda: random_split(range(10), [3, 3]), ValueError,
     r"does not equal the length of the input dataset! \(3 \+ 3 and 10\)"),
    (lambda: random_split(range(10), [-0.5, 1.5]), ValueError, "Fraction at index 0"),
    (lambda: random_split(range(10), [0.5, 0.5 + 1e-10]), ValueError, "does not equal the length"),
    (lambda: TensorDataset(), ValueError, "Size mismatch"),
    (lambda: TensorDataset(fastnn.zeros(2), fastnn.zeros(3)), ValueError, r"\[\(2,\), \(3,\)\]"),
    (lambda: TensorDataset(fastnn.tensor(1)), ValueError, "Size mismatch"),
    (lambda: TensorDataset([1]), TypeError, "argument 0 is a list"),
    (lambda: ConcatDataset([]), ValueError, "empty"),
    (lambda: ConcatDataset([IterableDataset()]), TypeError, "IterableDataset"),
    (lambda: Dataset()[0], NotImplementedError, "__getitem__"),
    (lambda: iter(IterableDataset()), NotImplementedError, "__iter__")])
def test_refusals(act, error, words):
    with pytest.raises(error, match=words):
        act()


def test_empty_part_warns():
    with pytest.warns(UserWarning, match="index 1 is 0"):
        random_split(range(1), [0.6, 0.4])


class Doubled(TensorDataset):
    def __getitem__(self, index):
        return tuple(2 * t for t in super().__getitem__(index))


def test_gather_is_left_where_samples_are_a_subclass_own():
    d = TensorDataset(fastnn.arange(5).float(), fastnn.arange(10).reshape(5, 2))
    index = fastnn.tensor([3, 3, 0])
    x, y = gatherer_of(Subset(d, [4, 3, 2, 1]))(index)
    assert x.tolist() == [1, 1, 4] and y.tolist() == [[2, 3], [2, 3], [8, 9]]
    assert gatherer_of(Doubled(fastnn.arange(5))) is None
    assert gatherer_of(Subset(Doubled(fastnn.arange(5)), [1])) is None and gatherer_of([1, 2]) is None
    assert next(iter(DataLoader(Subset(Doubled(fastnn.arange(5)), [1, 2]), 2)))[0].tolist() == [2, 4]


def test_gathered_batches_are_copies_and_want_no_gradient():
    x = fastnn.arange(6).float().requires_grad_()
    batch, = next(iter(DataLoader(TensorDataset(x), 6)))
    assert not batch.requires_grad
    batch.fill_(0)
    assert np.array_equal(x.detach().numpy(), np.arange(6))
