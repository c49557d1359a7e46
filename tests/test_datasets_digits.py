"""Digits: the data, and its fixed, shuffled, stratified split."""
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import datasets, transforms
from fastnn.datasets.digits import held_out
from fastnn.utils.data import DataLoader


def test_data_are_those_of_scikit_learn():
    """Read from its package's file: importing it takes seconds."""
    sklearn = importlib.util.find_spec("sklearn")
    if sklearn is None:
        pytest.skip("scikit-learn is not installed")
    theirs = np.loadtxt(Path(sklearn.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=int)
    ours = datasets.Digits()
    assert np.array_equal(ours.data.numpy().reshape(-1, 64), theirs[:, :-1])
    assert np.array_equal(ours.targets.numpy(), theirs[:, -1])


def test_data_are_unchanged():
    d = datasets.Digits()
    assert d.data.shape == (1797, 8, 8) and d.data.dtype == fastnn.uint8 and d.targets.dtype == fastnn.int64
    digest = hashlib.sha256(d.data.numpy().tobytes() + d.targets.numpy().astype(np.uint8).tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    assert len(d.classes) == 10 and d.classes[3] == "3 - three"
    assert (Path(datasets.__file__).parent / "digits" / "README.md").read_text().count("CC BY 4.0") == 1


def test_split():
    everything, train, val = datasets.Digits(), datasets.Digits(train=True), datasets.Digits(train=False)
    assert (len(train), len(val)) == (1438, 359)
    rows = {bytes(r) for r in val.data.numpy().reshape(-1, 64)}
    assert sorted(train.targets.tolist() + val.targets.tolist()) == sorted(everything.targets.tolist())
    counts = np.bincount(everything.targets.numpy())
    assert np.array_equal(np.bincount(val.targets.numpy()), np.floor(counts / 5 + 0.5))          # stratified
    assert len(rows) == 359 and not np.all(np.diff(val.targets.numpy()) >= 0)                    # shuffled
    kept, held = held_out(everything.targets.numpy())                                            # fixed
    assert kept[:8].tolist() == [480, 1145, 308, 1019, 6, 1339, 420, 932]
    assert held[:8].tolist() == [410, 821, 1264, 1720, 366, 1352, 1663, 503]
    kept, held = held_out(np.array([0] * 7 + [1] * 3))
    assert sorted([*kept, *held]) == list(range(10)) and len(held) == 2


def test_samples_and_batches():
    d = datasets.Digits(train=False)
    x, y = d[3]
    assert x.shape == (1, 8, 8) and x.dtype == fastnn.float32 and isinstance(y, int) and 0 <= x.min().item()
    assert x.max().item() <= 1
    assert np.array_equal(x.numpy()[0] * 16, d.data[3].numpy())
    bx, by = next(iter(DataLoader(d, 5)))
    assert bx.shape == (5, 1, 8, 8) and by.tolist() == d.targets[:5].tolist()
    assert np.array_equal(bx[3].numpy(), x.numpy())


def test_transforms():
    d = datasets.Digits(transform=lambda image: image, target_transform=lambda c: -c)
    image, c = d[0]
    assert image.dtype == np.uint8 and image.shape == (8, 8) and image.max() <= 255 and c == 0
    assert np.array_equal(image, d.data[0].numpy().astype(int) * 255 // 16)
    bx, by = next(iter(DataLoader(d, 4)))
    assert bx.dtype == fastnn.uint8 and by.tolist() == [0, -1, -2, -3]
    for transform in (lambda image: 255 - image, transforms.Compose([transforms.ToTensor()])):        # a sample at a time, and whole batches
        d = datasets.Digits(transform=transform)
        bx, by = next(iter(DataLoader(d, 4)))
        assert by.tolist() == [0, 1, 2, 3] and all(np.array_equal(bx[i].numpy(), np.asarray(d[i][0])) for i in range(4))


def test_refusals():
    with pytest.raises(TypeError, match="True, False or None"):
        datasets.Digits("train")
