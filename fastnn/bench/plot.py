"""Pictures of results, by matplotlib (an extra: `pip install fastnn[train]`)."""
import statistics
from pathlib import Path

from .calibrate import least_seconds
from .report import NAMES, counted, threads_of

COLORS = {"fastnn": "#1f77b4", "fastnn_captured": "#0b3d66", "torch": "#d62728", "torch_cl": "#ff7f0e",
          "torch_compile": "#8c2d04", "torch_foreach": "#e377c2", "jax": "#9467bd", "numpy": "#7f7f7f",
          "sklearn": "#bcbd22", "thinc": "#17becf"}


def plot(found, path):
    """A panel for each family and thread count: a dot for each library's rate at each workload, and what the machine allows
    as a line. A path without a suffix is a folder, which gets a picture for each family.

    Rates are GFLOP/s, or GB/s for families without arithmetic that counts. The limit of a workload is min(FMA peak, copy
    speed * flops / byte) by the medians of those measured around its timings; where neither binds it has a gap.

    Raises:
        ImportError: matplotlib is not installed.
    """
    families = list(dict.fromkeys(row["family"] for row in found["rows"]))
    if Path(path).suffix:
        return draw(found, families, path)
    Path(path).mkdir(exist_ok=True)
    for family in families:
        draw(found, [family], Path(path) / f"{family}.png")


def draw(found, families, path):
    """Panels of families, one under the other, thread counts side by side."""
    from matplotlib.figure import Figure
    counts = threads_of(found)
    panels = [[[row for row in found["rows"] if row["family"] == family and row["threads"] == n] for n in counts]
              for family in families]
    heights = [max(map(len, line)) + 3 for line in panels]
    figure = Figure(figsize=(7 * len(counts), 0.22 * sum(heights) + 0.8), layout="constrained")
    axes = figure.subplots(len(families), len(counts), squeeze=False, gridspec_kw={"height_ratios": heights})
    for family, line, panel in zip(families, axes, panels):
        for n, ax, rows in zip(counts, line, panel):
            dots(ax, rows)
            ax.set_title(f"{family}, {counted(n)}", fontsize=10)
    handles = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, fontsize=8)
    figure.savefig(path, dpi=120)


def limit_rate(row, quantity):
    """What the machine allows in this row, in units of 1e9 a second."""
    limits = {k: statistics.median(v) for k, v in row["round_limits"].items()}
    seconds, _ = least_seconds(row["flops"], row["bytes"], limits)
    return row[quantity] / seconds / 1e9 if seconds else float("nan")


def dots(ax, rows):
    """One family: workloads downward, rates to the right, so that equal distances are equal ratios."""
    quantity, unit = ("flops", "GFLOP/s") if any(row["flops"] for row in rows) else ("bytes", "GB/s")
    for library, color in COLORS.items():
        found = [(row[quantity] / row["seconds"][library] / 1e9, y) for y, row in enumerate(rows) if library in row["seconds"]]
        if found:
            ours = library.startswith("fastnn")
            ax.scatter(*zip(*found), color=color, label="fastnn " * ours + NAMES[library], s=42 if ours else 20, marker="D" if ours else "o")
    limits = [limit_rate(row, quantity) for row in rows]
    ax.plot([l for l in limits for _ in range(2)], [y + d for y in range(len(rows)) for d in (-0.5, 0.5)],
            color="black", linestyle="--", linewidth=1, label="limit of the machine")
    ax.set_xscale("log")
    ax.set_yticks(range(len(rows)), [row["workload"] for row in rows], fontsize=7)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(alpha=0.3, which="both")
    ax.set_xlabel(unit, fontsize=8)
    ax.tick_params(axis="x", labelsize=7)
