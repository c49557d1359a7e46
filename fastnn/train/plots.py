"""Pictures of a training, by matplotlib (an extra: `pip install fastnn[train]`)."""
import numpy as np


def loss_curves(history, path, title=None):
    """Losses and accuracies over the epochs of a history as fit returns it, into an image file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    epochs = [row["epoch"] for row in history]
    kinds = [kind for kind in ("loss", "accuracy") if any(row[f"train_{kind}"] is not None for row in history)]
    figure = Figure(figsize=(5 * max(len(kinds), 1), 3.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0] if kinds else (), kinds):
        for part, label in (("train", "training"), ("val", "validation")):
            values = [row[f"{part}_{kind}"] for row in history]
            if any(v is not None for v in values):
                axes.plot(epochs, [float("nan") if v is None else v for v in values], label=label,
                          marker="." if len(epochs) < 2 else None)
        axes.set_xlabel("epoch")
        axes.set_ylabel(kind)
        axes.grid(alpha=0.3)
        axes.legend()
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=120)


def predictions(images, predicted, targets, path, classes=None, columns=8, title=None):
    """A grid of images with the class that a model gave each, into an image file. Wrong ones are framed in red and tell
    the true class too.

    Args:
        images: tensor or array (N, H, W) or (N, C, H, W), C 1 or 3 (then of 0..1).
        predicted, targets: N classes each.
        classes: their names; None means the numbers.
        columns: images in a row.

    Raises:
        ValueError: another shape of images, or not N classes.
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    images, predicted, targets = (np.asarray(a) for a in (images, predicted, targets))
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not predicted.shape == targets.shape == images.shape[:1]:
        raise ValueError("predictions: images should be (N, H, W) or (N, 1 or 3, H, W), with predicted, targets (N), "
                         f"got {images.shape}, {predicted.shape} and {targets.shape}")
    images = images.transpose(0, 2, 3, 1) if images.shape[1] == 3 else images[:, 0]
    height, rows = images.shape[1] / max(images.shape[2], 1), -(-len(images) // columns)
    figure = Figure((1.1 * columns + 0.2, (height + 0.5) * max(rows, 1) + 0.5), layout="constrained")
    axes = figure.subplots()
    least, most = (images.min(), images.max()) if images.size else (0, 1)
    for i, (image, guess, target) in enumerate(zip(images, predicted, targets)):
        x, top, right = 1.1 * (i % columns), -(height + 0.5) * (i // columns), guess == target
        axes.imshow(image, cmap="gray", vmin=least, vmax=most, extent=(x, x + 1, top - height, top))
        names = [str(c) if classes is None else classes[c] for c in (guess, target)]
        axes.text(x + 0.5, top - height - 0.05, names[0] if right else f"{names[0]}\ntrue: {names[1]}", fontsize=7,
                  ha="center", va="top", color="black" if right else "red")
        if not right:
            axes.add_patch(Rectangle((x, top - height), 1, height, fill=False, edgecolor="red", linewidth=2))
    axes.set_xlim(-0.05, 1.1 * columns)
    axes.set_ylim(-(height + 0.5) * max(rows, 1), 0.05)
    axes.set_aspect("equal")
    axes.set_axis_off()
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=120)
