"""MNIST and FashionMNIST, from the files as published."""
import os

from ..ops.create import from_numpy, int64
from .download import fetch
from .idx import read_idx
from .images import Images


class MNIST(Images):
    """Handwritten digits, 28x28 grey levels: 60,000 to train on and 10,000 to test with.

    Args:
        root: folder with the files `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and those of `t10k-`, each
            plain or with .gz, in `root/MNIST/raw`, `root/MNIST`, `root/mnist` or `root` itself.
        train: True for the training part, False for the test part.
        transform: called with the image: Pillow's where that is installed, else a uint8 array (28, 28).
        target_transform: called with the class, an int.
        download: fetch files that are missing into `root/MNIST/raw`, guarded by checksums.

    Attributes:
        data: uint8 tensor (N, 28, 28). targets: int64 tensor (N). classes: names.

    Raises:
        RuntimeError: files are missing, or could not be fetched; the message says where to put them.
        ValueError: a file is damaged or is not what its name says.

    Source: Y. LeCun, C. Cortes and C. Burges, from databases of NIST.

    Example:
        >>> from fastnn.datasets import MNIST
        >>> try:
        ...     MNIST("no/such/folder", train=False)
        ... except RuntimeError as error:
        ...     print(error)                                           # doctest: +ELLIPSIS
        MNIST: not found in ...: t10k-images-idx3-ubyte(.gz), t10k-labels-idx1-ubyte(.gz). Put the published files ...
    """

    classes = [f"{i} - {name}" for i, name in enumerate("zero one two three four five six seven eight nine".split())]
    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
    resources = {                            # compressed files: bytes, SHA-256
        "train-images-idx3-ubyte.gz": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte.gz": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte.gz": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte.gz": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    }
    _folders = ("MNIST/raw", "MNIST", "mnist", "")

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        self.root, self.train = os.fspath(root), train
        images_path, labels_path = self._files(download)
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if images.shape[1:] != (28, 28):
            raise ValueError(f"{images_path}: images should be 28x28, but the array is {images.shape}")
        if len(images) != len(labels):
            raise ValueError(f"{images_path} has {len(images)} images, but {labels_path} {len(labels)} labels")
        if len(labels) and labels.max() >= len(self.classes):
            raise ValueError(f"{labels_path}: label {labels.max()} at {labels.argmax()} is not in "
                             f"0..{len(self.classes) - 1}")
        super().__init__(from_numpy(images), from_numpy(labels).to(int64), transform, target_transform)

    @property
    def raw_folder(self):
        """Where download puts the files."""
        return os.path.normpath(os.path.join(self.root, self._folders[0]))

    @property
    def class_to_idx(self):
        """{name: class}"""
        return {name: i for i, name in enumerate(self.classes)}

    def _files(self, download):
        """Paths of the images and of the labels, of one folder."""
        part = "train" if self.train else "t10k"
        names = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        folders = [os.path.normpath(os.path.join(self.root, folder)) for folder in self._folders]
        there = {folder: [path for name in names for path in _either(folder, name)] for folder in folders}
        if download and not any(len(paths) == 2 for paths in there.values()):
            raw = self.raw_folder
            for name in names:
                if not _either(raw, name):
                    fetch(name + ".gz", self.mirrors, *self.resources[name + ".gz"], raw)
            return [path for name in names for path in _either(raw, name)]
        best = max(folders, key=lambda folder: len(there[folder]))
        if len(there[best]) == 2:
            return there[best]
        missing = ", ".join(f"{name}(.gz)" for name in names if not _either(best, name))
        where = f"beside {there[best][0]}" if there[best] else f"in {', '.join(folders)}"
        raise RuntimeError(f"{type(self).__name__}: not found {where}: {missing}. Put the published files into "
                           f"{self.raw_folder}, or fetch them with download=True")

    def _details(self):
        return [f"Root location: {self.root}", f"Split: {'Train' if self.train else 'Test'}"]


def _either(folder, name):
    """[the file, plain or else compressed], [] where there is none."""
    path = os.path.join(folder, name)
    return [p for p in (path, path + ".gz") if os.path.isfile(p)][:1]


class FashionMNIST(MNIST):
    """Pictures of clothes in ten classes, in everything else as MNIST: folders `root/FashionMNIST/raw`,
    `root/FashionMNIST`, `root/fashion-mnist` or `root`.

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, 2017; MIT licence.
    """

    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    resources = {
        "train-images-idx3-ubyte.gz": (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        "train-labels-idx1-ubyte.gz": (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        "t10k-images-idx3-ubyte.gz": (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        "t10k-labels-idx1-ubyte.gz": (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    }
    _folders = ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "")
