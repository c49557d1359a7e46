"""transforms/geometry.py: crops, flips, frames and grey, as torchvision does them to arrays, images of Pillow's and tensors; whole batches with
the bits and the random numbers of their images one by one."""
import numpy as np
import pytest

import fastnn
from fastnn import datasets, transforms
from fastnn._core import uniform_each
from fastnn.transforms.batches import on_batches
from fastnn.utils.data import DataLoader, Subset, TensorDataset, default_collate

RNG = np.random.default_rng(0)
COLOUR, GREY = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8), RNG.integers(0, 256, (7, 9), dtype=np.uint8)
T = transforms


def as_array(img):
    return np.moveaxis(img.numpy(), -3, -1) if isinstance(img, fastnn.Tensor) and img.dim() > 2 else np.asarray(img)


def kinds(array):
    """The image in each form."""
    yield array
    yield fastnn.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0)) if array.ndim == 3 else array)
    try:
        from PIL import Image
    except ImportError:
        return
    yield Image.fromarray(array)


def both(transform, array):
    """The result as an array, the same for each form and of the same kind as it."""
    results = []
    for img in kinds(array):
        fastnn.manual_seed(3)
        got = transform(img)
        assert isinstance(got, next((kind for kind in (fastnn.Tensor, np.ndarray) if isinstance(img, kind)), type(img).__mro__[-2]))
        results.append(as_array(got))
    for other in results[1:]:
        assert other.dtype == results[0].dtype and np.array_equal(other, results[0])
    return results[0]


@pytest.mark.parametrize("array", [COLOUR, GREY], ids=["colour", "grey"])
class TestOfOneImage:
    @pytest.mark.parametrize("padding, widths", [(2, (2, 2, 2, 2)), ((1, 3), (1, 3, 1, 3)), ([4, 3, 2, 1], (4, 3, 2, 1)), (0, (0, 0, 0, 0))])
    @pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
    def test_pad(self, array, padding, widths, mode):
        left, top, right, bottom = widths
        want = np.pad(array, [(top, bottom), (left, right), (0, 0)][:array.ndim], mode, **({"constant_values": 7} if mode == "constant" else {}))
        assert np.array_equal(both(T.Pad(padding, 7, mode), array), want)

    @pytest.mark.parametrize("size", [3, (4, 7), (7, 9), (6, 3)])
    def test_center_crop(self, array, size):
        h, w = (size, size) if isinstance(size, int) else size
        top, left = round((7 - h) / 2), round((9 - w) / 2)
        assert np.array_equal(both(T.CenterCrop(size), array), array[top:top + h, left:left + w])

    def test_center_crop_of_a_small_image(self, array):
        got = both(T.CenterCrop((10, 4)), array)
        assert np.array_equal(got[1:8], array[:, 2:6]) and not got[:1].any() and not got[8:].any()      # (9 - 4) / 2 rounds to even
        frame = np.zeros((12, 14, *array.shape[2:]), array.dtype)                                       # what is odd goes below and to the right
        frame[2:9, 2:11] = array
        assert np.array_equal(both(T.CenterCrop((12, 14)), array), frame)

    @pytest.mark.parametrize("options", [{}, dict(padding=2), dict(padding=(3, 0), fill=9), dict(padding=1, padding_mode="reflect")])
    def test_random_crop(self, array, options):
        """Each place turns up, and nothing else."""
        crop = T.RandomCrop((6, 7), **options)
        whole = T.Pad(options.get("padding", 0), options.get("fill", 0), options.get("padding_mode", "constant"))(array)
        places = {whole[i:i + 6, j:j + 7].tobytes() for i in range(whole.shape[0] - 5) for j in range(whole.shape[1] - 6)}
        both(crop, array)
        fastnn.manual_seed(0)
        assert {crop(array).tobytes() for _ in range(len(places) * 12)} == places

    def test_random_crop_pads_what_is_too_small(self, array):
        got = both(T.RandomCrop(12, pad_if_needed=True), array)
        assert got.shape[:2] == (12, 12) and got.any()

    @pytest.mark.parametrize("flip, axis", [(T.RandomHorizontalFlip, 1), (T.RandomVerticalFlip, 0)])
    def test_flips(self, array, flip, axis):
        assert np.array_equal(both(flip(1.0), array), np.flip(array, axis)) and np.array_equal(both(flip(p=0), array), array)
        fastnn.manual_seed(0)
        count = sum(flip(0.3)(array).tobytes() != array.tobytes() for _ in range(400))
        assert 85 < count < 155


def test_grayscale():
    got = T.Grayscale()(COLOUR)
    assert got.shape == (7, 9) and np.abs(got - COLOUR @ [0.299, 0.587, 0.114]).max() <= 0.51
    three = T.Grayscale(3)(COLOUR)
    assert three.shape == COLOUR.shape and all(np.array_equal(three[..., i], got) for i in range(3))
    for img in kinds(COLOUR):
        grey, colour = as_array(T.Grayscale()(img)), as_array(T.Grayscale(3)(img))
        assert np.abs(grey.reshape(7, 9).astype(int) - got).max() <= isinstance(img, fastnn.Tensor)       # torchvision cuts off, Pillow rounds
        assert np.array_equal(colour[..., 1], colour[..., 2])
    assert np.array_equal(T.Grayscale()(GREY), GREY) and T.Grayscale(3)(GREY).shape == (7, 9, 3)
    assert T.Grayscale()(fastnn.rand(2, 3, 4, 5)).shape == (2, 1, 4, 5)


def test_grayscale_of_pillow_bit_for_bit():
    image = pytest.importorskip("PIL.Image")
    colours = RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(image.fromarray(colours).convert("L")), T.Grayscale()(colours))


def test_as_torchvision():
    """Where it is installed: the same frames and crops, Pillow's images in and out."""
    theirs, image = pytest.importorskip("torchvision.transforms"), pytest.importorskip("PIL.Image").fromarray(COLOUR)
    for name, args in (("Pad", ((1, 2, 3, 4), 5)), ("CenterCrop", (4,)), ("CenterCrop", ((9, 2),)), ("Pad", (2, 0, "reflect"))):
        assert np.array_equal(getattr(T, name)(*args)(image), getattr(theirs, name)(*args)(image))


def test_results_are_their_own():
    x = COLOUR.copy()
    for transform in (T.RandomCrop(3), T.CenterCrop(3), T.Pad(0), T.RandomHorizontalFlip(1)):
        transform(x)[...] = 0
    assert np.array_equal(x, COLOUR)
    t = fastnn.rand(2, 3, 4, 5)
    assert T.RandomCrop(3)(t).shape == (2, 3, 3, 3) and T.RandomVerticalFlip(1)(t).tolist() == t.flip(-2).tolist()


@pytest.mark.parametrize("make, error, words", [
    (lambda: T.RandomCrop(8)(GREY), ValueError, r"crop size \(8, 8\) is larger than input image size \(7, 9\)"),
    (lambda: T.RandomCrop((1, 2, 3)), ValueError, "one or two positive integers"), (lambda: T.RandomCrop(0), ValueError, "positive"),
    (lambda: T.CenterCrop(2.5), TypeError, "iterable"), (lambda: T.Pad((1, 2, 3)), ValueError, "an integer, 2 or 4 of them"),
    (lambda: T.Pad(-1), NotImplementedError, "negative padding -1: not supported"),
    (lambda: T.Pad(1, padding_mode="wrap"), ValueError, "one of constant, edge"),
    (lambda: T.RandomCrop(1, padding_mode="x"), ValueError, "one of constant"), (lambda: T.RandomHorizontalFlip(1.5), ValueError, "of 0..1, got 1.5"),
    (lambda: T.Grayscale(2), ValueError, "1 or 3, got 2"), (lambda: T.Grayscale()(np.zeros((2, 2, 4), np.uint8)), ValueError, r"got \(2, 2, 4\)"),
    (lambda: T.Grayscale()(fastnn.zeros(2, 2)), ValueError, r"got \(2, 2\)"), (lambda: T.RandomCrop(1)([1]), TypeError, "got list"),
    (lambda: T.RandomVerticalFlip()(np.zeros(3)), ValueError, "1 dimensions"), (lambda: T.Pad(1)(fastnn.zeros(3)), ValueError, r"got \(3,\)")])
def test_refusals(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_reprs():
    assert repr(T.Compose([T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()])) == ("Compose(\n    RandomCrop(size=(32, 32), padding=4)\n"
                                                                                      "    RandomHorizontalFlip(p=0.5)\n)")
    assert [repr(t) for t in (T.Pad(2), T.CenterCrop(3), T.Grayscale(), T.RandomVerticalFlip(0.25))] == [
        "Pad(padding=2, fill=0, padding_mode=constant)", "CenterCrop(size=(3, 3))", "Grayscale(num_output_channels=1)", "RandomVerticalFlip(p=0.25)"]


# ---- on whole batches --------------------------------------------------------------------------------------------------------------

STEPS = {"crop and flip": [T.RandomCrop(7, padding=2), T.RandomHorizontalFlip()], "flips": [T.RandomVerticalFlip(0.3), T.RandomHorizontalFlip(0.7)],
         "frames": [T.Pad((1, 2), 9), T.RandomCrop((5, 8), padding=3, padding_mode="edge"), T.CenterCrop(4)],
         "larger": [T.RandomCrop(20, pad_if_needed=True), T.CenterCrop(24)], "grey": [T.Grayscale(), T.RandomCrop(5)],
         "grey thrice": [T.Grayscale(3), T.RandomHorizontalFlip()]}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("shape", [(6, 7, 9, 3), (6, 7, 9), (1, 7, 9)])
def test_a_batch_has_the_bits_of_its_images(name, shape):
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    transform = T.Compose([*STEPS[name], T.ToTensor(), T.Normalize(0.4, 0.2)])
    apply = on_batches(transform)
    assert apply.random == any(isinstance(step, (T.RandomCrop, T.RandomHorizontalFlip, T.RandomVerticalFlip)) for step in STEPS[name])
    for seed in range(5):
        fastnn.manual_seed(seed)
        got, after = apply(fastnn.from_numpy(images)), fastnn.default_generator.get_state()
        fastnn.manual_seed(seed)
        want = fastnn.stack([transform(image) for image in images])
        assert got.shape == want.shape and got.stride() == want.stride() and got.numpy().tobytes() == want.numpy().tobytes()
        assert fastnn.default_generator.get_state() == after
    assert apply(fastnn.from_numpy(images[:0])).shape[0] == 0


def test_what_is_left_to_samples():
    crop, flip, tensor = T.RandomCrop(3), T.RandomHorizontalFlip(), T.ToTensor()
    mine = type("Mine", (T.RandomCrop,), {})(3)
    for steps in ([crop], [tensor, flip], [mine, tensor], [crop, T.Lambda(abs), tensor], [crop, tensor, T.Normalize(0, 1), flip]):
        assert on_batches(T.Compose(steps)) is None
    assert not on_batches(tensor).random


class Pictures(datasets.images.Images):
    pass


@pytest.mark.parametrize("kind", [Pictures, datasets.Digits])
def test_the_loader_draws_the_same(kind, monkeypatch):
    """Gathered, sample by sample, in threads, by a Subset, and resumed: the same batches; other ones in the next epoch."""
    steps = T.Compose([T.RandomCrop(6, padding=1), T.RandomHorizontalFlip(), T.ToTensor()])
    data = kind(RNG.integers(0, 256, (23, 8, 8, 3), dtype=np.uint8), list(range(23)), steps) if kind is Pictures else datasets.Digits(False, steps)
    plain = lambda batch: default_collate(batch)  # noqa: E731

    def epochs(data=data, count=2, **more):
        loader = DataLoader(data, 5, shuffle=True, generator=fastnn.Generator().manual_seed(1), **more)
        return [[(x.numpy().tobytes(), y.tolist()) for x, y in loader] for _ in range(count)]
    first, second = want = epochs(collate_fn=plain)
    assert first[0][0] != second[0][0] and sorted(sum((y for _, y in first), [])) == sorted(sum((y for _, y in second), []))
    assert epochs(collate_fn=plain, num_workers=3) == want
    with monkeypatch.context() as m:
        m.setattr(kind, "__getitem__", None) if kind is not Pictures else m.setattr(datasets.images.Images, "__getitem__", None)
        assert epochs() == want and epochs(num_workers=2) == want and epochs(Subset(data, list(range(len(data))))) == want
        loader = DataLoader(data, 5, shuffle=True, generator=fastnn.Generator().manual_seed(1))
        taken = iter(loader)
        for _ in range(2):
            next(taken)
        other = DataLoader(data, 5, shuffle=True, generator=fastnn.Generator())
        other.load_state_dict(loader.state_dict())
        assert [(x.numpy().tobytes(), y.tolist()) for x, y in other] == first[2:]


def test_without_random_steps_no_number_is_drawn():
    """The order of later epochs is what it was before there were such steps."""
    data = TensorDataset(fastnn.arange(9))
    fastnn.manual_seed(0)
    list(DataLoader(data, 4, shuffle=True))
    after = fastnn.default_generator.get_state()
    fastnn.manual_seed(0)
    list(DataLoader(Pictures(np.zeros((9, 2, 2), np.uint8), list(range(9)), T.ToTensor()), 4, shuffle=True))
    assert fastnn.default_generator.get_state() == after


def test_numbers_are_those_of_single_draws():
    fastnn.manual_seed(5)
    together, after = uniform_each(7).tolist(), fastnn.default_generator.get_state()
    fastnn.manual_seed(5)
    assert [fastnn.rand(1, dtype=fastnn.float64).item() for _ in range(7)] == together and fastnn.default_generator.get_state() == after
    assert uniform_each(0).tolist() == []
