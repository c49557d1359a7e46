"""CIFAR-10 and CIFAR-100, from the files as published: the binary or the Python version, packed or unpacked."""
import gzip
import os
import tarfile
import warnings
import zlib

import numpy as np

from .download import fetch
from .idx import _up_to
from .images import Images
from .pickled import read_pickle

_MOST = 1 << 28                          # bytes of a file, and of what an archive holds
_PIXELS = 3 * 32 * 32


class CIFAR10(Images):
    """Photographs of ten classes of things, 32x32 in colour: 50,000 to train on and 10,000 to test with.

    Args:
        root: folder with one of `cifar-10-batches-bin`, `cifar-10-batches-py`, `cifar-10-binary.tar.gz`, `cifar-10-python.tar.gz`, in that
            order, in `root` itself or in `root/CIFAR10`. An archive is read where it lies; unpacked files are read sooner.
        train: True for the training part, False for the test part.
        transform: called with the image: Pillow's where that is installed, else a uint8 array (32, 32, 3).
        target_transform: called with the class, an int.
        download: fetch the archive of the Python version into `root` where there is none of these, guarded by checksums.

    Attributes:
        data: uint8 array (N, 32, 32, 3). targets: list of ints. classes: names.

    Files of the training part that are not there are named in a warning, and the others are taken.

    Raises:
        RuntimeError: there is nothing to read, or it could not be fetched; the message says where to put it.
        ValueError: a file is damaged or is not what its name says.

    Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.

    Example:
        >>> from fastnn.datasets import CIFAR10
        >>> try:
        ...     CIFAR10("no/such/folder", train=False)
        ... except RuntimeError as error:
        ...     print(error)                                           # doctest: +ELLIPSIS
        CIFAR10: neither cifar-10-batches-bin, cifar-10-batches-py, cifar-10-binary.tar.gz nor cifar-10-python.tar.gz in ...
    """

    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    mirrors = ("https://www.cs.toronto.edu/~kriz/",)
    resources = {                            # the archive that is fetched: bytes, SHA-256
        "cifar-10-python.tar.gz": (170498071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
    }
    _folders = ("cifar-10-batches-bin", "cifar-10-batches-py")               # binary, Python
    _archives = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")
    _names = [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]        # of the training and of the test part; binary ones end in .bin
    _key, _superclasses = "labels", 0        # of the classes, Python version; how many superclasses, binary version

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        self.root, self.train = os.fspath(root), train
        files = [self._parse(*file) for file in self._read(download)]
        pixels = np.concatenate([pixels for pixels, _ in files])
        data = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        super().__init__(data, [label for _, labels in files for label in labels], transform, target_transform)

    @property
    def class_to_idx(self):
        """{name: class}"""
        return {name: i for i, name in enumerate(self.classes)}

    # ---- finding files

    def _read(self, download):
        """(path, bytes, binary?) of each file, in order."""
        found = self._found()
        if found is None and download:
            (name, guard), = self.resources.items()
            fetch(name, self.mirrors, *guard, self._places()[0])
            found = self._found()
        if found is None:
            *others, last = self._folders + self._archives
            raise RuntimeError(f"{type(self).__name__}: neither {', '.join(others)} nor {last} in {' or '.join(self._places())}, with "
                               f"{', '.join(self._names[not self.train])}. Put the published files there, or fetch them with download=True")
        path, binary, wanted, there = found
        missing = [name for name in wanted if name not in there]
        if missing:
            warnings.warn(f"{type(self).__name__}: {', '.join(missing)} missing in {path}: only a part of the images is there", stacklevel=3)
        return [(os.path.join(path, name), there[name], binary) for name in wanted if name in there]

    def _places(self):
        return [os.path.normpath(os.path.join(self.root, folder)) for folder in ("", type(self).__name__)]

    def _found(self):
        """(folder or archive, binary?, names, {name: bytes} of those in it) of the first that has any; None: there is none."""
        for reader, kinds in ((_unpacked, self._folders), (_packed, self._archives)):
            for kind in kinds:
                binary = kind == kinds[0]
                wanted = [name + ".bin" * binary for name in self._names[not self.train]]
                for path in (os.path.join(place, kind) for place in self._places()):
                    there = reader(path, self._folders[not binary], wanted)
                    if there:
                        return path, binary, wanted, there
        return None

    # ---- reading them

    def _parse(self, path, data, binary):
        """(pixels (n, 3072), labels) of a file."""
        try:
            pixels, labels = self._records(data) if binary else self._arrays(read_pickle(data))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return pixels, labels

    def _records(self, data):
        """Each record: the superclass if there are any, the class, 1,024 bytes of red, of green, of blue."""
        head = 2 if self._superclasses else 1
        length = head + _PIXELS
        if not data or len(data) % length:
            raise ValueError(f"should be records of {length:,} bytes, but has {len(data):,} bytes, {len(data) % length:,} too many")
        records = np.frombuffer(data, np.uint8).reshape(-1, length)
        if head == 2:
            _check_labels(records[:, 0], self._superclasses, "superclass")
        _check_labels(records[:, head - 1], len(self.classes), "label")
        return records[:, head:], records[:, head - 1].tolist()

    def _arrays(self, batch):
        """A dict with the array of pixels and the list of classes."""
        if not isinstance(batch, dict):
            raise ValueError(f"should hold a dict, but holds a {type(batch).__name__}")
        batch = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
        for key in ("data", self._key):
            if key not in batch:
                raise ValueError(f"should be a dict with {key!r}, but has {', '.join(map(repr, batch))[:200]}")
        pixels, labels = batch["data"], batch[self._key]
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
            raise ValueError(f"'data' should be an array (N, {_PIXELS}) of bytes, got {getattr(pixels, 'shape', type(pixels).__name__)}")
        if not isinstance(labels, list) or any(type(label) is not int for label in labels):
            raise ValueError(f"{self._key!r} should be a list of integers")
        if len(pixels) != len(labels):
            raise ValueError(f"has {len(pixels):,} images, but {len(labels):,} {self._key}")
        if not labels:
            raise ValueError("has no images")
        _check_labels(labels, len(self.classes), "label")
        return pixels, labels

    def _details(self):
        return [f"Root location: {self.root}", f"Split: {'Train' if self.train else 'Test'}"]


def _check_labels(labels, count, name):
    for i, label in enumerate(labels):
        if not 0 <= label < count:
            raise ValueError(f"{name} {label} at {i} is not in 0..{count - 1}")


def _unpacked(path, folder, wanted):
    """{name: bytes} of the files of a folder, which may not exist."""
    there = {}
    for name in wanted:
        if os.path.isfile(file_path := os.path.join(path, name)):
            with open(file_path, "rb") as file:
                there[name] = _up_to(file, _MOST + 1)
            if len(there[name]) > _MOST:
                raise ValueError(f"{file_path}: has more than the {_MOST:,} bytes that are read")
    return there


def _packed(path, folder, wanted):
    """The same of an archive, where they lie in `folder`. Nothing is written anywhere, whatever names it holds."""
    there = {}
    if not os.path.isfile(path):
        return there
    try:
        with gzip.open(path) as file:
            bounded = _Bounded(file)
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                for member in archive:
                    head, _, name = member.name.removeprefix("./").rpartition("/")
                    if head == folder and name in wanted and member.isreg() and not member.issparse():
                        there[name] = archive.extractfile(member).read()
            while bounded.read(1 << 20):                             # to the end, where gzip's checksum stands
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: the archive is damaged or cut off: {error}") from None
    if not there:
        raise ValueError(f"{path}: the archive has none of {', '.join(f'{folder}/{name}' for name in wanted)}")
    return there


class _Bounded:
    """A file that ends in an error behind _MOST bytes: a small compressed one may hold more than memory does."""

    def __init__(self, file):
        self.file, self.left = file, _MOST

    def read(self, size):
        data = self.file.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(f"it holds more than the {_MOST:,} bytes that are read")
        return data


class CIFAR100(CIFAR10):
    """Photographs of 100 classes of things, in everything else as CIFAR10: `cifar-100-binary`, `cifar-100-python` or their archives, in `root`
    or `root/CIFAR100`."""

    classes = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar
        cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house
        kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
        otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew
        skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
        tulip turtle wardrobe whale willow_tree wolf woman worm""".split()
    resources = {
        "cifar-100-python.tar.gz": (169001437, "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),
    }
    _folders = ("cifar-100-binary", "cifar-100-python")
    _archives = ("cifar-100-binary.tar.gz", "cifar-100-python.tar.gz")
    _names = ["train"], ["test"]
    _key, _superclasses = "fine_labels", 20
