"""Pictures of a training, by matplotlib (an extra: `pip install fastnn[train]`)."""


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
