"""Pictures of results, by matplotlib (an extra: `pip install fastnn[train]`)."""
import statistics

from .report import NAMES, counted, threads_of

COLORS = {"fastnn": "#1f77b4", "fastnn_captured": "#0b3d66", "torch": "#d62728", "torch_cl": "#ff9896",
          "torch_compile": "#8c2d04", "jax": "#9467bd", "numpy": "#7f7f7f"}


def plot(found, path):
    """A panel for each family and thread count: rates of all libraries as bars, what the machine allows as a line.

    Rates are GFLOP/s, or GB/s for families without arithmetic that counts; the limit is the median of those measured
    around the timings.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    families = list(dict.fromkeys(row["family"] for row in found["rows"]))
    counts = threads_of(found)
    panels = [[[row for row in found["rows"] if row["family"] == family and row["threads"] == n] for n in counts]
              for family in families]
    heights = [max(sum(len(row["seconds"]) + 1 for row in rows) for rows in line) for line in panels]
    figure = Figure(figsize=(7 * len(counts), 0.16 * sum(heights) + 1.1 * len(families)), layout="constrained")
    axes = figure.subplots(len(families), len(counts), squeeze=False, gridspec_kw={"height_ratios": heights})
    for family, line, panel in zip(families, axes, panels):
        for n, ax, rows in zip(counts, line, panel):
            draw(ax, rows)
            ax.set_title(f"{family}, {counted(n)}", fontsize=10)
    handles = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.savefig(path, dpi=120)


def draw(ax, rows):
    """The bars of one family."""
    compute = any(row["flops"] for row in rows)
    quantity, unit, limit = ("flops", "GFLOP/s", "fma_gflops") if compute else ("bytes", "GB/s", "copy_gbs")
    at, ticks = 0, []
    for row in rows:
        ticks.append((at + (len(row["seconds"]) - 1) / 2, row["workload"]))
        for library, seconds in row["seconds"].items():
            ax.barh(at, row[quantity] / seconds / 1e9, color=COLORS[library], label=NAMES[library], height=0.9)
            at += 1
        at += 1
    limits = [l for row in rows for l in row["round_limits"][limit]]
    ax.axvline(statistics.median(limits), color="black", linestyle="--", linewidth=1,
               label="limit of the machine")
    ax.set_yticks([t for t, _ in ticks], [name for _, name in ticks], fontsize=7)
    ax.invert_yaxis()
    ax.margins(y=0.01)
    ax.set_xlabel(unit, fontsize=8)
    ax.tick_params(axis="x", labelsize=7)
