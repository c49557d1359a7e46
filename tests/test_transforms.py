"""transforms: what torchvision's first version of them does, and the same bits for whole batches."""
import itertools
import sys

import numpy as np
import pytest

import fastnn
from fastnn import transforms
from fastnn.transforms.batches import on_batches

NORMALIZE = transforms.Normalize((0.1, 0.2, 0.3), [0.4, 0.5, 0.6])


def bits(t):
    return tuple(t.shape), t.dtype, t.stride(), t.numpy().tobytes()


# ---- ToTensor ----------------------------------------------------------------------------------------------------------------------

def test_every_byte_is_divided_by_255(torch):
    x = np.arange(256, dtype=np.uint8).reshape(16, 16)
    got = transforms.ToTensor()(x)
    assert got.shape == (1, 16, 16) and got.dtype == fastnn.float32 and got[0, 15, 15].item() == 1
    assert np.array_equal(got[0].numpy(), torch.from_numpy(x).float().div(255).numpy())
    fastnn.set_default_dtype(fastnn.float64)
    assert np.array_equal(transforms.ToTensor()(x)[0].numpy(), x / 255)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3), (3, 5, 4), (0, 5), (0, 5, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64, np.int64, np.int32, np.bool_])
def test_arrays(shape, kind):
    x = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    for array in (x, np.asfortranarray(x), x[::-1, ::-1]):
        got, want = transforms.ToTensor()(array), (array if array.ndim == 3 else array[:, :, None]).transpose(2, 0, 1)
        assert got.is_contiguous() and np.array_equal(got.numpy(), np.float32(want) / np.float32(255) if kind == np.uint8 else want)
        assert got.dtype == (fastnn.float32 if kind == np.uint8 else fastnn.from_numpy(x).dtype)
    before = x.copy()
    transforms.ToTensor()(x).zero_()
    assert np.array_equal(x, before)                                       # a copy


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "YCbCr", "CMYK", "HSV", "I", "F"])
def test_pillow(mode):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    picture = image.fromarray(pixels)
    picture = picture.convert("RGB").convert("L").convert(mode) if mode in ("1", "LA", "P", "I", "F") else picture.convert(mode)
    got, raw = transforms.ToTensor()(picture), np.array(picture)
    assert got.shape == (len(picture.getbands()), 4, 6)
    if mode in ("I", "F"):
        assert got.dtype == (fastnn.int32 if mode == "I" else fastnn.float32) and np.array_equal(got[0].numpy(), raw)
    else:
        raw = raw * np.uint8(255) if mode == "1" else raw
        want = np.float32(raw.reshape(4, 6, -1).transpose(2, 0, 1)) / np.float32(255)
        assert np.array_equal(got.numpy(), want) and got.max().item() > 0.5


@pytest.mark.parametrize("pic, error, words", [
    ([[1]], TypeError, "PIL image or an array, got list"), (fastnn.zeros(2, 2), TypeError, "got Tensor"),
    (np.zeros(3), ValueError, r"1 dimensions: \(3,\)"), (np.zeros((1, 2, 3, 4)), ValueError, r"4 dimensions: \(1, 2, 3, 4\)"),
    (np.zeros((2, 2), np.complex64), TypeError, "complex64")])
def test_what_totensor_refuses(pic, error, words):
    with pytest.raises(error, match=words):
        transforms.ToTensor()(pic)


# ---- Normalize ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (1, 2, 3, 4, 5), (3, 0, 5)])
@pytest.mark.parametrize("mean, std", [((0.1, 0.2, 0.3), [0.4, 0.5, 0.6]), (0.5, (2.0,)), (np.arange(3.0), fastnn.tensor([1., 2., 3.]))])
@pytest.mark.parametrize("kind", [fastnn.float32, fastnn.float64])
def test_normalize(shape, mean, std, kind):
    x = fastnn.rand(*shape, dtype=kind)
    m, s = (np.asarray(v, dtype=kind.name).reshape(-1, 1, 1) for v in (mean, std))
    want, before = (x.numpy() - m) / s, x.numpy().copy()
    assert np.array_equal(transforms.Normalize(mean, std)(x).numpy(), want) and np.array_equal(x.numpy(), before)
    assert transforms.Normalize(mean, std, inplace=True)(x) is x and np.array_equal(x.numpy(), want)


@pytest.mark.parametrize("args, img, error, words", [
    ((0.5, 0.5), np.zeros((1, 2, 2)), TypeError, "should be a tensor, got ndarray"),
    ((0.5, 0.5), fastnn.zeros(1, 2, 2, dtype=fastnn.uint8), TypeError, r"of a real type, got fastnn.uint8 \(1, 2, 2\)"),
    ((0.5, 0.5), fastnn.zeros(2, 2), ValueError, r"should be \(..., C, H, W\), got \(2, 2\)"),
    ((0.5, (0.5, 0.0)), fastnn.zeros(2, 2, 2), ValueError, "std should not be zero"),
    ((0.5, 1e-60), fastnn.zeros(2, 2, 2), ValueError, "std should not be zero as fastnn.float32"),
    (((1, 2, 3), 1), fastnn.zeros(1, 28, 28), RuntimeError, r"\(1, 28, 28\) has C=1, but mean has shape \(3,\)"),
    ((1, (1, 2)), fastnn.zeros(4, 3, 8, 8), RuntimeError, r"C=3, but std has shape \(2,\)"),
    (([[1]], 1), fastnn.zeros(1, 2, 2), RuntimeError, r"mean has shape \(1, 1\)")])
def test_what_normalize_refuses(args, img, error, words):
    with pytest.raises(error, match=words):
        transforms.Normalize(*args)(img)


# ---- Compose, Lambda ---------------------------------------------------------------------------------------------------------------

def test_compose_and_lambda():
    both = transforms.Compose([transforms.Lambda(lambda x: x + 1), transforms.Lambda(lambda x: x * 10)])
    assert both(1) == 20 and transforms.Compose([])(3) == 3
    with pytest.raises(TypeError, match="should be callable, got int"):
        transforms.Lambda(3)


def test_reprs():
    inner = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.25,))])
    assert repr(inner) == "Compose(\n    ToTensor()\n    Normalize(mean=(0.5,), std=(0.25,))\n)"
    assert repr(transforms.Compose([inner, transforms.Lambda(abs)])) == (
        "Compose(\n    Compose(\n        ToTensor()\n        Normalize(mean=(0.5,), std=(0.25,))\n    )\n    Lambda()\n)")


# ---- on whole batches --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(5, 7, 6), (5, 7, 6, 3), (5, 7, 6, 1), (0, 7, 6), (1, 1, 1)])
@pytest.mark.parametrize("default", [fastnn.float32, fastnn.float64])
def test_a_batch_has_the_bits_of_its_samples(shape, default, threads):
    fastnn.set_default_dtype(default)
    images = fastnn.randint(0, 256, shape).to(fastnn.uint8)
    norm = NORMALIZE if shape[3:] == (3,) else transforms.Normalize(0.1307, 0.3081, inplace=True)
    for transform in (transforms.ToTensor(), transforms.Compose([transforms.ToTensor()]),
                      transforms.Compose([transforms.ToTensor(), norm]), transforms.Compose((transforms.ToTensor(), norm, norm))):
        got = on_batches(transform)(images)
        if shape[0]:
            assert bits(got) == bits(fastnn.stack([transform(image.numpy()) for image in images]))
        assert got.shape == (shape[0], (*shape, 1)[3], *shape[1:3])


class Louder(transforms.ToTensor):
    def __call__(self, pic):
        return 2 * super().__call__(pic)


@pytest.mark.parametrize("transform", [
    None, len, Louder(), NORMALIZE, transforms.Compose([]), transforms.Compose([NORMALIZE, transforms.ToTensor()]),
    transforms.Compose([transforms.ToTensor(), Louder()]), transforms.Compose([transforms.ToTensor(), transforms.Lambda(abs)]),
    type("Mine", (transforms.Compose,), {})([transforms.ToTensor()])], ids=repr)
def test_other_transforms_are_left_to_samples(transform):
    assert on_batches(transform) is None


def test_pillow_is_not_imported_for_arrays(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    transforms.ToTensor()(np.zeros((2, 2), np.uint8))
    assert "PIL.Image" not in sys.modules


def test_loops_are_covered():
    """All 256 bytes through Normalize, batch and sample alike."""
    images = fastnn.arange(256).to(fastnn.uint8).view(4, 8, 8)
    for mean, std in itertools.product((0.1307, 1 / 3), (0.3081, 7.0)):
        both = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
        want = (np.arange(256, dtype=np.float32) / np.float32(255) - np.float32(mean)) / np.float32(std)
        assert np.array_equal(on_batches(both)(images).numpy().reshape(-1), want)
