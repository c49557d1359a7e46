"""Transforms made of other functions."""


class Compose:
    """One transform after another.

    Args:
        transforms: list of callables.

    Example:
        >>> from fastnn import transforms
        >>> transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
        Compose(
            ToTensor()
            Normalize(mean=0.5, std=0.5)
        )
    """

    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, img):
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self):
        return "\n    ".join(["Compose(", *(repr(t).replace("\n", "\n    ") for t in self.transforms)]) + "\n)"


class Lambda:
    """A function as a transform.

    Raises:
        TypeError: `lambd` cannot be called.

    Example:
        >>> from fastnn import transforms
        >>> transforms.Lambda(lambda x: x + 1)(2)
        3
    """

    def __init__(self, lambd):
        if not callable(lambd):
            raise TypeError(f"Lambda: argument lambd should be callable, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img):
        return self.lambd(img)

    def __repr__(self):
        return "Lambda()"
