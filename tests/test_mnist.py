"""MNIST and FashionMNIST from files as published: idx.py reads them, download.py fetches them, images.py serves samples and batches."""
import gzip
import hashlib
import os
import pickle
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import datasets, transforms
from fastnn.datasets import images as images_module
from fastnn.datasets.download import fetch
from fastnn.datasets.idx import read_idx
from fastnn.utils.data import DataLoader, Subset, default_collate

FOLDERS = [("MNIST", f) for f in ("MNIST/raw", "MNIST", "mnist", "")] + [("FashionMNIST", f) for f in ("FashionMNIST/raw", "fashion-mnist", "")]
DATA = Path(os.environ.get("FASTNN_DATA") or Path(__file__).resolve().parent.parent.parent / "shared" / "data")


def idx(array, **other):
    """The bytes of an idx file; `magic`, `shape` may lie."""
    shape = other.get("shape", array.shape)
    return other.get("magic", bytes([0, 0, 8, array.ndim])) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


def make(root, part="train", folder="MNIST/raw", n=7, packed=True, seed=0, images=None, labels=None):
    """A small data set in the published form; returns its arrays."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.uint8)
    for name, data in ((f"{part}-images-idx3-ubyte", idx(x) if images is None else images),
                       (f"{part}-labels-idx1-ubyte", idx(y) if labels is None else labels)):
        path = Path(root, folder, name + ".gz" * packed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if packed else data)
    return x, y


# ---- the files ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, folder", FOLDERS)
@pytest.mark.parametrize("packed", [True, False])
def test_layouts(tmp_path, name, folder, packed):
    wants = {part: make(tmp_path, part, folder, n, packed, n) for part, n in (("train", 7), ("t10k", 3))}
    for part, (x, y) in wants.items():
        for root in (tmp_path, str(tmp_path)):
            d = getattr(datasets, name)(root, train=part == "train")
            assert d.data.dtype == fastnn.uint8 and d.targets.dtype == fastnn.int64
            assert np.array_equal(d.data.numpy(), x) and np.array_equal(d.targets.numpy(), y) and len(d) == len(x)
    assert len(d.classes) == 10 and d.class_to_idx[d.classes[3]] == 3 and d.raw_folder == str(tmp_path / name / "raw")


def test_plain_goes_first_and_both_files_come_from_one_folder(tmp_path):
    make(tmp_path, folder="MNIST/raw", seed=1)
    x, y = make(tmp_path, folder="MNIST/raw", seed=2, packed=False)
    assert np.array_equal(datasets.MNIST(tmp_path).data.numpy(), x)
    for name in ("", ".gz"):
        os.unlink(tmp_path / f"MNIST/raw/train-labels-idx1-ubyte{name}")
    with pytest.raises(RuntimeError, match=r"not found beside .*MNIST.raw.train-images-idx3-ubyte: train-labels-idx1-ubyte\(.gz\)\. Put"):
        datasets.MNIST(tmp_path)
    x, _ = make(tmp_path, folder="mnist", seed=3)
    assert np.array_equal(datasets.MNIST(tmp_path).data.numpy(), x)


def test_missing_files_are_named_with_their_place(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        datasets.FashionMNIST(tmp_path, train=False)
    for words in ("FashionMNIST: not found in", "t10k-images-idx3-ubyte(.gz), t10k-labels-idx1-ubyte(.gz)", "download=True",
                  f"Put the published files into {tmp_path / 'FashionMNIST' / 'raw'}"):
        assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


ONE = np.arange(6, dtype=np.uint8)
IMAGES = np.zeros((2, 28, 28), np.uint8)
BAD = {                                                             # images, labels: what is said
    "nothing": (b"", None, r"begins with 0x\(nothing\), not 0x00000803"),
    "text": (b"<html>404</html>", None, "begins with 0x3c68746d, not 0x00000803"),
    "short magic": (b"\0\0", None, "begins with 0x0000"),
    "floats": (idx(IMAGES, magic=b"\0\0\x0d\3"), None, "begins with 0x00000d03"),
    "labels for images": (idx(ONE), None, "begins with 0x00000801, not 0x00000803"),
    "images for labels": (None, idx(IMAGES), "begins with 0x00000803, not 0x00000801"),
    "short header": (idx(IMAGES)[:11], None, "should have 16 bytes, but the file ends after 11"),
    "cut off": (idx(IMAGES)[:-1], None, r"says \(2, 28, 28\), 1,568 bytes, but 1,567 follow"),
    "longer": (idx(IMAGES) + b"\0", None, "1,568 bytes, but more follow"),
    "swapped bytes": (bytes([0, 0, 8, 3]) + struct.pack("<3I", 2, 28, 28) + IMAGES.tobytes(), None, "more than the 1,073,741,824"),
    "largest": (idx(IMAGES, shape=(2 ** 32 - 1,) * 3), None, "79,228,162,458,924,105,385,300,197,375 bytes, more than"),
    "lying": (idx(IMAGES, shape=(1 << 20, 28, 28)), None, "822,083,584 bytes, but 1,568 follow"),
    "other size": (idx(np.zeros((7, 32, 32), np.uint8)), None, r"should be 28x28, but the array is \(7, 32, 32\)"),
    "empty images": (idx(np.zeros((7, 0, 28), np.uint8)), None, r"the array is \(7, 0, 28\)"),
    "fewer labels": (None, idx(ONE), "has 7 images, but .* 6 labels"),
    "wild label": (None, idx(np.array([1, 2, 3, 10, 5, 6, 7], np.uint8)), "label 10 at 3 is not in 0..9"),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("case", BAD)
def test_damaged_and_hostile_files(tmp_path, case, packed):
    images, labels, words = BAD[case]
    make(tmp_path, packed=packed, images=images, labels=labels)
    tracemalloc.start()
    with pytest.raises(ValueError, match=words) as caught:
        datasets.MNIST(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20 and str(tmp_path) in str(caught.value)
    tracemalloc.stop()


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:30], lambda b: b[:8], lambda b: b[:-6] + b"xy" + b[-4:],
                                    lambda b: b[:40] + bytes(20) + b[60:], lambda b: b + b"junk", lambda b: b"\x1f\x8b" + b"x" * 50])
def test_damaged_compression(tmp_path, damage):
    path = tmp_path / "x.gz"
    path.write_bytes(damage(gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (3, 5, 6), dtype=np.uint8)))))
    with pytest.raises(ValueError, match="x.gz: (the compressed data are damaged or cut off|not an idx file)"):
        read_idx(path, 3)


def test_every_cut_of_a_file_is_noticed(tmp_path):
    whole = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    path = tmp_path / "x"
    for n in range(len(whole)):
        for data in (whole[:n], gzip.compress(whole)[:n]):
            path.write_bytes(data)
            with pytest.raises(ValueError):
                read_idx(path, 3)
    path.write_bytes(whole)
    assert read_idx(path, 3).flags.writeable and read_idx(path, 3).shape == (2, 3, 4)
    with pytest.raises(OSError):
        read_idx(tmp_path / "none", 3)


def test_an_empty_set(tmp_path):
    make(tmp_path, n=0)
    d = datasets.MNIST(tmp_path, transform=transforms.ToTensor())
    assert len(d) == 0 and list(DataLoader(d, 4)) == []


# ---- samples -----------------------------------------------------------------------------------------------------------------------

@pytest.fixture(params=[True, False], ids=["pillow", "arrays"])
def pillow(request, monkeypatch):
    """With Pillow, and as if it were not installed."""
    images_module._picture.cache_clear()
    if request.param:
        pytest.importorskip("PIL")
    else:
        monkeypatch.setitem(sys.modules, "PIL.Image", None)
    yield request.param
    images_module._picture.cache_clear()


def test_samples(tmp_path, pillow):
    x, y = make(tmp_path)
    d = datasets.MNIST(tmp_path)
    for i in (0, 3, -1):
        image, target = d[i]
        assert type(target) is int and target == y[i] and np.array_equal(np.asarray(image), x[i])
        assert (image.mode, image.size) == ("L", (28, 28)) if pillow else (type(image), image.dtype) == (np.ndarray, np.uint8)
    assert [t for _, t in d] == y.tolist()                                    # an IndexError ends it
    d.transform, d.target_transform = transforms.ToTensor(), lambda c: f"class {c}"
    image, target = d[2]
    assert target == f"class {y[2]}" and np.array_equal(image.numpy(), np.float32(x[2:3]) / np.float32(255))
    if not pillow:
        datasets.MNIST(tmp_path)[0][0][:] = 0                                 # a copy
        assert np.array_equal(d.data.numpy(), x)


def test_repr(tmp_path):
    make(tmp_path, n=2)
    d = datasets.MNIST(tmp_path, transform=transforms.Compose([transforms.ToTensor()]), target_transform=abs)
    assert repr(d) == (f"Dataset MNIST\n    Number of datapoints: 2\n    Root location: {tmp_path}\n    Split: Train\n    Transform: Compose(\n"
                       "        ToTensor()\n    )\n    Target transform: <built-in function abs>")


NORMALIZED = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])


@pytest.mark.parametrize("transform", [transforms.ToTensor(), NORMALIZED], ids=["ToTensor", "Normalize"])
def test_batches_have_the_bits_of_samples(tmp_path, transform, pillow, threads, monkeypatch):
    x, y = make(tmp_path, n=23)
    d = datasets.MNIST(tmp_path, transform=transform)
    loaders = [lambda **more: DataLoader(d, 5, shuffle=True, generator=fastnn.Generator().manual_seed(1), **more),
               lambda **more: DataLoader(Subset(d, [4, 4, 1, 22, 0, -1]), 4, **more)]
    for loader in loaders:
        single = list(loader(collate_fn=lambda batch: default_collate(batch)))
        with monkeypatch.context() as m:
            m.setattr(images_module.Images, "__getitem__", None)              # no sample is touched
            gathered = list(loader())
        for (a, c), (b, e) in zip(gathered, single, strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes() and a.shape == b.shape and a.stride() == b.stride()
            assert c.tolist() == e.tolist() and c.dtype == e.dtype == fastnn.int64


def test_what_cannot_be_gathered_comes_by_samples(tmp_path):
    """Changed samples, transforms that may draw random numbers, targets or data of the user's own: as the loader collates them."""
    x, y = make(tmp_path)

    class Inverted(datasets.MNIST):
        def __getitem__(self, index):
            image, target = super().__getitem__(index)
            return 1 - image, target
    first = [next(iter(DataLoader(d, 3))) for d in (
        Inverted(tmp_path, transform=transforms.ToTensor()), datasets.MNIST(tmp_path, transform=transforms.Lambda(lambda image: 7)),
        datasets.MNIST(tmp_path, transform=transforms.ToTensor(), target_transform=lambda c: c + 100))]
    scaled = np.float32(x[:3, None]) / np.float32(255)
    assert np.array_equal(first[0][0].numpy(), 1 - scaled) and first[1][0].tolist() == [7, 7, 7]
    assert np.array_equal(first[2][0].numpy(), scaled) and first[2][1].tolist() == (y[:3] + 100).tolist()
    d = datasets.MNIST(tmp_path, transform=transforms.ToTensor())
    d.targets = y.tolist()
    assert next(iter(DataLoader(d, 3)))[1].tolist() == y[:3].tolist()
    d = datasets.MNIST(tmp_path, transform=transforms.ToTensor())
    d.data, d.targets = d.data[2:4], d.targets[2:4]
    (a, c), = DataLoader(d, 3)
    assert np.array_equal(a.numpy(), np.float32(x[2:4, None]) / np.float32(255)) and c.tolist() == y[2:4].tolist() and len(d) == 2


def test_pickle(tmp_path):
    make(tmp_path)
    d = pickle.loads(pickle.dumps(datasets.MNIST(tmp_path, transform=NORMALIZED)))
    assert np.array_equal(d[3][0].numpy(), datasets.MNIST(tmp_path, transform=NORMALIZED)[3][0].numpy())


# ---- downloads ---------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A place to download from, without a network."""
    place = tmp_path / "mirror"
    for part, n in (("train", 7), ("t10k", 3)):
        make(place, part, "", n)
    resources = {p.name: (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in place.iterdir()}
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ((tmp_path / "gone").as_uri() + "/", place.as_uri() + "/"))
    return place


def test_download(tmp_path, mirror):
    root = tmp_path / "data"
    want = datasets.MNIST(mirror)
    got = datasets.MNIST(root, download=True)
    assert np.array_equal(got.data.numpy(), want.data.numpy())
    assert sorted(os.listdir(root / "MNIST/raw")) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    os.unlink(root / "MNIST/raw/train-labels-idx1-ubyte.gz")
    for path in mirror.glob("train-images*"):
        path.unlink()
    assert len(datasets.MNIST(root, download=True)) == 7 and len(datasets.MNIST(root, download=True)) == 7      # what is there is not fetched anew


def test_a_wrong_download_is_refused(tmp_path, mirror):
    path = mirror / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for data in (whole + b"x", whole[:-1], whole[:-1] + b"x", b""):
        path.write_bytes(data)
        with pytest.raises(RuntimeError, match="not the published file of .* bytes with SHA-256") as caught:
            datasets.MNIST(tmp_path / "data", train=False, download=True)
        assert f"Put it into {tmp_path / 'data' / 'MNIST' / 'raw'}" in str(caught.value) and "gone" in str(caught.value)
        assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


def test_fetch_refuses_without_a_mirror(tmp_path):
    with pytest.raises(RuntimeError, match="x could not be downloaded"):
        fetch("x", [(tmp_path / "none").as_uri() + "/"], 1, "", tmp_path)


# ---- the published files themselves --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, mean, std", [("MNIST", 0.1307, 0.3081), ("FashionMNIST", 0.2860, 0.3530)])
def test_published_files(name, mean, std):
    kind = getattr(datasets, name)
    folder = DATA / name / "raw"
    if not folder.is_dir():
        pytest.skip(f"no {name} in {DATA} (FASTNN_DATA names another folder)")
    for file, (size, sha256) in kind.resources.items():
        data = (folder / file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)
    train, test = kind(DATA), kind(DATA, train=False)
    assert (len(train), len(test)) == (60000, 10000) and np.bincount(test.targets.numpy(), minlength=10).min() >= 892
    assert abs(train.data.numpy().mean() / 255 - mean) < 1e-4 and abs(train.data.numpy().std() / 255 - std) < 1e-4
