"""DataLoader: order, options, state, and the same batches from every path."""
import pytest

import fastnn
from fastnn.utils.data import (BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler,
                               Subset, SubsetRandomSampler,
                               TensorDataset, WeightedRandomSampler)


class Plain(Dataset):
    """The samples of a TensorDataset, one by one; each draws a random number too."""

    def __init__(self, n, noise=False):
        self.n, self.noise = n, noise

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return (i, fastnn.rand(1)) if self.noise else (i,)


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def batches(loader):
    return [batch[0].tolist() if isinstance(batch, (list, tuple)) else batch.tolist() for batch in loader]


def gen(seed=0):
    return fastnn.Generator().manual_seed(seed)


OPTIONS = [dict(batch_size=4), dict(batch_size=4, drop_last=True), dict(batch_size=4, shuffle=True),
           dict(batch_size=20), dict(),
           dict(batch_size=3, sampler=[5, 1, 5]), dict(batch_sampler=[[1, 2], [3]]),
           dict(batch_size=5, drop_last=True, shuffle=True)]


@pytest.mark.parametrize("options", OPTIONS)
def test_paths_agree(options):
    """In memory, by samples, from a subset and from workers: the same batches."""
    def made(dataset, **more):
        loader = DataLoader(dataset, **options, generator=gen(), **more)
        out = batches(loader)
        assert len(loader) == len(out)
        return out
    want = made(TensorDataset(fastnn.arange(11)))
    assert want == made(Plain(11)) == made(Plain(11), num_workers=2)
    assert want == made(Subset(TensorDataset(fastnn.arange(11)), range(11)))
    flat = [i for b in want for i in b]
    if options.get("shuffle"):
        assert len(set(flat)) == len(flat) and flat != sorted(flat)
    elif "sampler" not in options and "batch_sampler" not in options:
        assert flat == list(range(len(flat)))


def test_samplers_and_generators():
    data = TensorDataset(fastnn.arange(10))
    for sampler in (RandomSampler(data, generator=gen()), SubsetRandomSampler(range(5), gen()),
                    WeightedRandomSampler([1] * 10, 6, generator=gen())):
        loader = DataLoader(data, 4, sampler=sampler)
        a, b = batches(loader), batches(loader)
        assert a != b and sum(map(len, a)) == len(sampler)
    loader = DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 4, True))
    assert batches(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]] and len(loader) == 2
    fastnn.manual_seed(1)
    a = batches(DataLoader(data, 4, shuffle=True))
    fastnn.manual_seed(1)
    assert batches(DataLoader(data, 4, shuffle=True)) == a


def test_indices_from_the_end():
    """Gathered as by samples."""
    data = TensorDataset(fastnn.arange(10))
    for make, want in ((lambda: dict(dataset=Subset(data, [-1, 0, -2])), [0, 8, 9]),
                       (lambda: dict(dataset=Subset(Subset(data, range(1, 10)), [-1, -9])), [1, 9]),
                       (lambda: dict(dataset=data, sampler=SubsetRandomSampler([-1, 4, -10], gen(3))), [0, 4, 9])):
        gathered, = batches(DataLoader(**make(), batch_size=3))
        single, = batches(DataLoader(**make(), batch_size=3, collate_fn=lambda batch: [fastnn.stack([x for x, in batch])]))
        assert gathered == single and sorted(gathered) == want
    for wrong in (10, -11):
        with pytest.raises(IndexError):
            list(DataLoader(Subset(data, [wrong]), 2))


def test_a_users_sampler():
    class Backwards(RandomSampler):
        def __iter__(self):
            return iter(range(len(self.data_source) - 1, -1, -1))
    data = TensorDataset(fastnn.arange(5))
    assert batches(DataLoader(data, 2, sampler=Backwards(data))) == [[4, 3], [2, 1], [0]]


def test_single_samples_and_collate():
    assert [s[0] for s in DataLoader(Plain(3), batch_size=None)] == [0, 1, 2]
    assert [s.item() for s, in DataLoader(TensorDataset(fastnn.arange(3)), batch_size=None, shuffle=True,
                                          generator=gen())] != []
    assert list(DataLoader(Plain(5), 2, collate_fn=len)) == [2, 2, 1]
    assert list(DataLoader([1, 2, 3], 2, collate_fn=sum)) == [3, 3]
    assert batches(DataLoader([3.0, 4.0], 2)) == [[3.0, 4.0]] and list(DataLoader(Plain(0), 2)) == []
    x, y = next(iter(DataLoader(TensorDataset(fastnn.zeros(4, 2), fastnn.arange(4)), 3)))
    assert x.shape == (3, 2) and y.tolist() == [0, 1, 2]


def test_getitems_is_used():
    class Many(Plain):
        def __getitems__(self, indices):
            return [(10 * i,) for i in indices]
    assert batches(DataLoader(Many(4), 2)) == [[0, 10], [20, 30]]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_streams(workers):
    seen = [i for b in batches(DataLoader(Stream(5), 2, num_workers=workers)) for i in b]
    assert sorted(seen) == sorted(list(range(5)) * max(workers, 1))
    assert len(DataLoader(Stream(5), 2)) == 3 and len(DataLoader(Stream(5), 2, drop_last=True)) == 2
    assert len(DataLoader(Stream(5), None)) == 5
    if not workers:
        assert batches(DataLoader(Stream(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
        assert list(DataLoader(Stream(3), None)) == [0, 1, 2]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_random_numbers_of_samples_do_not_depend_on_workers(workers):
    def noise(n):
        fastnn.manual_seed(7)
        return [b[1].tolist() for b in DataLoader(Plain(11, noise=True), 3, shuffle=True, num_workers=n)]
    want = noise(0)
    assert noise(workers) == want and len({v for b in want for v, in b}) == 11


# ---- state -----------------------------------------------------------------------------------------------------------

def take(loader, n):
    """The first n batches of an epoch, the state then, and the rest."""
    it = iter(loader)
    first = [next(it)[0].tolist() for _ in range(n)]
    return first, loader.state_dict(), [b[0].tolist() for b in it]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("dataset", [TensorDataset(fastnn.arange(23)), Plain(23, noise=True)])
@pytest.mark.parametrize("done", [0, 1, 5, 6])
def test_resume_in_the_middle(workers, own, dataset, done):
    def make():
        return DataLoader(dataset, 4, shuffle=True, num_workers=workers, generator=gen(5) if own else None)
    fastnn.manual_seed(2)
    loader = make()
    batches(loader)
    it = iter(loader)
    for _ in range(done):
        next(it)
    state, rng = loader.state_dict(), fastnn.default_generator.get_state()
    rest, after = [[t.tolist() for t in b] for b in it], [[t.tolist() for t in b] for b in loader]
    for skipped in (False, True):                            # the second time through a JSON-like copy
        fastnn.manual_seed(99)
        other = make()
        other.load_state_dict({k: list(v) if isinstance(v, tuple) else v for k,
                               v in state.items()} if skipped else state)
        fastnn.default_generator.set_state(rng)
        assert other.state_dict() == state
        assert [[t.tolist() for t in b] for b in other] == rest and [[t.tolist() for t in b] for b in other] == after


def test_state_between_epochs():
    loader = DataLoader(TensorDataset(fastnn.arange(7)), 2, shuffle=True)
    assert loader.state_dict() == {"start": None, "taken": 0, "generator": None}
    batches(loader)
    assert loader.state_dict() == {"start": None, "taken": 0, "generator": None}
    next(iter(loader))
    assert loader.state_dict()["taken"] == 1
    batches(loader)
    assert loader.state_dict()["taken"] == 0


def test_resume_of_streams_and_lists():
    for make in (lambda: DataLoader(Stream(7), 2), lambda: DataLoader(Stream(7), 2, num_workers=1),
                 lambda: DataLoader(range(7), 2, sampler=[6, 5, 4, 3, 2, 1, 0])):
        loader, it = make(), None
        it = iter(loader)
        next(it), next(it)
        state, rest = loader.state_dict(), [b.tolist() for b in it]
        other = make()
        other.load_state_dict(state)
        assert [b.tolist() for b in other] == rest != []


def test_bad_state():
    loader = DataLoader(TensorDataset(fastnn.arange(7)), 2, shuffle=True)
    with pytest.raises(ValueError, match="expected the keys"):
        loader.load_state_dict({"x": 1})
    with pytest.raises(ValueError, match="generator of their own"):
        loader.load_state_dict(DataLoader(TensorDataset(fastnn.arange(7)), 2, shuffle=True,
                                          generator=gen()).state_dict())


@pytest.mark.parametrize("options, error, words", [
    (dict(num_workers=-1), ValueError, "non-negative"), (dict(timeout=-1), ValueError, "non-negative"),
    (dict(prefetch_factor=2), ValueError, "prefetch_factor option needs"),
    (dict(persistent_workers=True), ValueError, "persistent_workers option needs"),
    (dict(multiprocessing_context="spawn"), ValueError, "multiprocessing_context option needs"),
    (dict(num_workers=1, prefetch_factor=0), ValueError, "should be positive"),
    (dict(in_order=False), NotImplementedError, "in_order=False: not supported"),
    (dict(sampler=[0], shuffle=True), ValueError, "mutually exclusive with shuffle"),
    (dict(batch_sampler=[[0]], batch_size=2), ValueError, "mutually exclusive"),
    (dict(batch_sampler=[[0]], drop_last=True), ValueError, "mutually exclusive"),
    (dict(batch_size=None, drop_last=True), ValueError, "disables auto-batching"),
    (dict(batch_size=0), ValueError, "batch_size=0"),
    (dict(num_workers=1, multiprocessing_context="thread"), ValueError, "cannot find context")])
def test_refusals(options, error, words):
    with pytest.raises(error, match=words):
        DataLoader([1, 2], **options)


@pytest.mark.parametrize("option", [dict(shuffle=True), dict(sampler=[0]), dict(batch_sampler=[[0]])])
def test_stream_refusals(option):
    with pytest.raises(ValueError, match=f"IterableDataset: expected unspecified {next(iter(option))} option"):
        DataLoader(Stream(3), **option)
