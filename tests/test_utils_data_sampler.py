"""Samplers."""
import numpy as np
import pytest

import fastnn
from fastnn.utils.data import (BatchSampler, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler,
                               WeightedRandomSampler)


def gen(seed=0):
    return fastnn.Generator().manual_seed(seed)


def test_sequential():
    assert list(SequentialSampler(range(4))) == [0, 1, 2, 3] and len(SequentialSampler(range(4))) == 4
    assert list(SequentialSampler([])) == []


@pytest.mark.parametrize("n, k", [(5, None), (5, 12), (5, 3), (1, 1)])
def test_random(n, k):
    s = RandomSampler(range(n), num_samples=k, generator=gen())
    a, b = list(s), list(s)
    assert len(a) == len(s) == (k or n) and set(a) <= set(range(n))
    for at in range(0, len(a) - n + 1, n):
        assert sorted(a[at:at + n]) == list(range(n))
    assert list(RandomSampler(range(n), num_samples=k, generator=gen())) == a and (n < 3 or a != b)


def test_random_draws():
    counts = np.bincount(list(RandomSampler(range(4), replacement=True, num_samples=4000, generator=gen())),
                         minlength=4)
    assert counts.min() > 850


def test_default_generator_is_honoured():
    fastnn.manual_seed(3)
    a = list(RandomSampler(range(50)))
    fastnn.manual_seed(3)
    assert list(RandomSampler(range(50))) == a != list(RandomSampler(range(50)))


def test_subset_random():
    s = SubsetRandomSampler([3, 9, 27, 81], generator=gen())
    assert sorted(s) == [3, 9, 27, 81] and len(s) == 4 and len({tuple(s) for _ in range(20)}) > 3


@pytest.mark.parametrize("weights", [[1, 0, 3, 6], [0.0, 5.0, 0.0, 0.0]])
def test_weighted_draws(weights):
    n = 8000
    counts = np.bincount(list(WeightedRandomSampler(weights, n, generator=gen())), minlength=4)
    want = n * np.array(weights) / sum(weights)
    assert np.all(np.abs(counts - want) <= 5 * np.sqrt(want)) and len(WeightedRandomSampler(weights, 7)) == 7


def test_weighted_without_replacement():
    s = WeightedRandomSampler([1, 0, 3, 6], 2, replacement=False, generator=gen())
    draws = [list(s) for _ in range(500)]
    assert all(len(set(d)) == 2 and 1 not in d for d in draws)
    first = np.bincount([d[0] for d in draws], minlength=4)
    assert np.all(np.abs(first - 500 * np.array([0.1, 0, 0.3, 0.6])) <= 5 * np.sqrt([50, 0, 150, 300]))


def test_batches():
    assert list(BatchSampler(SequentialSampler(range(5)), 2, True)) == [[0, 1], [2, 3]]
    assert len(BatchSampler(range(5), 2, True)) == 2
    assert list(BatchSampler([7, 8, 9], 2, False)) == [[7, 8], [9]] and len(BatchSampler(range(5), 2, False)) == 3


@pytest.mark.parametrize("act, error, words", [
    (lambda: RandomSampler([1], replacement=1), TypeError, "replacement should be a boolean"),
    (lambda: RandomSampler([1], num_samples=0), ValueError, "num_samples=0"),
    (lambda: WeightedRandomSampler([1], -1), ValueError, "num_samples=-1"),
    (lambda: WeightedRandomSampler([[1.0]], 1), ValueError, r"shape \(1, 1\)"),
    (lambda: WeightedRandomSampler([1, -1], 1), ValueError, "not negative"),
    (lambda: WeightedRandomSampler([0, 0], 1), ValueError, "not all zero"),
    (lambda: WeightedRandomSampler([float("nan")], 1), ValueError, "finite"),
    (lambda: WeightedRandomSampler([1, 0], 2, False), ValueError, "without replacement"),
    (lambda: BatchSampler([1], 0, False), ValueError, "batch_size=0"),
    (lambda: BatchSampler([1], True, False), ValueError, "batch_size=True"),
    (lambda: BatchSampler([1], 1, 3), ValueError, "drop_last=3"),
    (lambda: iter(Sampler()), NotImplementedError, "__iter__")])
def test_refusals(act, error, words):
    with pytest.raises(error, match=words):
        act()
