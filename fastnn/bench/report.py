"""Results as tables: all of them, a summary, what changed, and the README's part."""
import math
import re
import statistics

NAMES = {"fastnn": "eager", "fastnn_captured": "captured", "torch": "torch", "torch_cl": "torch-cl",
         "torch_compile": "torch-compile", "jax": "jax", "numpy": "numpy"}
VARIANTS = {"torch": ("torch", "torch_cl", "torch_compile"), "jax": ("jax",), "numpy": ("numpy",)}
MARKS = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def form(row):
    """What stands for fastnn: the captured form, where there is one."""
    return "fastnn_captured" if "fastnn_captured" in row["seconds"] else "fastnn"


def best(row, peer):
    """The fastest of a peer's variants in this row, or None."""
    return min((v for v in VARIANTS[peer] if v in row["seconds"]), key=row["seconds"].get, default=None)


def ratio(row, peer, ours=None):
    """How many times faster than the peer at its best, or None."""
    found = best(row, peer)
    return row["ratio"][f"{ours or form(row)}/{found}"] if found else None


def clear(row, peer):
    """Does every round of one side beat every round of the other?"""
    ours, theirs = row["rounds"][form(row)], row["rounds"][best(row, peer)]
    return max(ours) < min(theirs) or max(theirs) < min(ours)


def mean(values):
    """Geometric mean."""
    return math.exp(statistics.fmean(map(math.log, values)))


def us(seconds):
    return "" if seconds is None else f"{seconds * 1e6:,.1f}" if seconds < 1e-3 else f"{seconds * 1e6:,.0f}"


def times(value):
    return "" if value is None else f"{value:.1f}x" if value >= 0.995 else f"{value:.2f}x"


def percent(value):
    return "" if value is None else f"{value:.0%}" if value >= 0.01 else f"{value:.1%}"


def line(cells):
    return f"| {' | '.join(cells)} |"


def heading(cells):
    return f"{line(cells)}\n{line(['---'] + ['---:'] * (len(cells) - 1))}"


def threads_of(found):
    return list(dict.fromkeys(row["threads"] for row in found["rows"]))


def counted(n, what="thread"):
    return f"{n} {what}{'s' * (n != 1)}"


def limits_line(threads, l):
    return (f"{counted(threads)}: FMA peak {l['fma_gflops']:.0f} GFLOP/s, copy {l['copy_gbs']:.1f} GB/s, region "
            f"{l['region_ns']:.0f} ns, barrier {l['barrier_ns']:.0f} ns, {l['isa']}, {l['threading']}")


class Columns:
    """The table of all results: microseconds of each library, how near the machine's limits, how many times faster."""

    def __init__(self, libraries):
        self.libraries = libraries
        self.peers = [p for p, variants in VARIANTS.items() if any(v in libraries for v in variants)]

    def head(self):
        return heading(["workload", *(f"{NAMES[l]} us" for l in self.libraries), "GFLOP/s", "of FMA peak",
                        "GB/s", "of copy", "of limit", *(f"x {p}" for p in self.peers)])

    def row(self, row):
        number = lambda v: "" if v is None else f"{v:.1f}"
        return line([row["workload"], *(us(row["seconds"].get(l)) for l in self.libraries), number(row["gflops"]),
                     percent(row["share_of_fma_peak"]), number(row["gbs"]), percent(row["share_of_bandwidth"]),
                     percent(row["share_of_limit"]), *(times(ratio(row, p)) for p in self.peers)])


def tables(found):
    used = {library for row in found["rows"] for library in row["seconds"]}
    columns = Columns([library for library in NAMES if library in used])
    return "\n".join(f"{limits_line(n, found['limits'][str(n)])}\n\n{columns.head()}\n"
                     + "".join(columns.row(row) + "\n" for row in found["rows"] if row["threads"] == n)
                     for n in threads_of(found))


def summary(found):
    """For each thread count and peer: the geometric mean, how many wins, which losses."""
    lines = []
    for n in threads_of(found):
        for peer in VARIANTS:
            rows = [row for row in found["rows"] if row["threads"] == n and best(row, peer)]
            if not rows:
                continue
            won = [row for row in rows if ratio(row, peer) >= 1]
            lost = sorted((row for row in rows if ratio(row, peer) < 1), key=lambda row: ratio(row, peer))
            sure = lambda rows: f"{sum(clear(row, peer) for row in rows)} in every round"
            variants = [NAMES[v] for v in VARIANTS[peer] if any(v in row["seconds"] for row in rows)]
            lines.append(f"- {counted(n)} against {' or '.join(variants)}{', the faster' * (len(variants) > 1)}: "
                         f"geometric mean {times(mean(ratio(row, peer) for row in rows))} "
                         f"(eager {times(mean(ratio(row, peer, 'fastnn') for row in rows))}) of {len(rows)}; "
                         f"wins {len(won)} ({sure(won)}), losses {len(lost)} ({sure(lost)})"
                         + "".join(f"{': ' if i == 0 else ', '}{row['workload']} {times(ratio(row, peer))}"
                                   for i, row in enumerate(lost)) + ".")
    return "\n".join(lines)


def facts(found):
    """Machine and versions, in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in found["peers"].items())
    return (f"fastnn {found['fastnn']}{' (' + found['commit'] + ')' if found['commit'] else ''}, {versions}, Python "
            f"{found['python']}, {found['machine']}, {counted(found['cores'], 'core')}, "
            f"{counted(found['rounds'], 'round')} of {found['seconds']} s")


def first_calls(found):
    """Milliseconds of the few calls that the result takes: recording and compilation are in them alone."""
    used = {library for row in found["rows"] for library in row["seconds"]}
    libraries = [library for library in NAMES if library in used]
    lines = [heading(["workload", "threads", *(f"{NAMES[l]} ms" for l in libraries)])]
    for row in found["rows"]:
        ms = (row["first_seconds"].get(l) for l in libraries)
        cells = ("" if v is None else f"{v * 1e3:,.1f}" for v in ms)
        lines.append(line([row["workload"], str(row["threads"]), *cells]))
    return "\n".join(lines)


def markdown(found):
    return (f"# fastnn side by side\n\n{facts(found)}\n\n"
            "Microseconds a call, medians of rounds taken turn by turn, every library in its own process. Shares of the FMA "
            "peak and of the copy speed are medians over rounds, each against the limit measured within or around that timing; "
            "they, and x, are of the captured form where there is one. FLOPs count the direct method.\n\n"
            f"{tables(found)}\n## Summary\n\n{summary(found)}\n\n## First calls\n\n"
            f"The calls whose result is compared; capture and compilation are in them.\n\n{first_calls(found)}\n")


def changes(old, new):
    """Rows that both have: our time and our ratio to PyTorch at its best, before and now. The peer's own change is the
    machine's."""
    before = {(row["workload"], row["threads"]): row for row in old["rows"]}
    lines, factors = [heading(["workload", "threads", "before us", "now us", "faster", "x torch before", "x torch now",
                               "torch's own change"])], []
    for row in new["rows"]:
        then = before.get((row["workload"], row["threads"]))
        if then is None:
            continue
        ours, peers = [r["seconds"][form(r)] for r in (then, row)], [best(r, "torch") for r in (then, row)]
        factors.append(ours[0] / ours[1])
        machine = then["seconds"][peers[0]] / row["seconds"][peers[1]] if all(peers) else None
        lines.append(line([row["workload"], str(row["threads"]), *map(us, ours), times(factors[-1]),
                           *(times(ratio(r, "torch")) for r in (then, row)), times(machine)]))
    gone = before.keys() - {(row["workload"], row["threads"]) for row in new["rows"]}
    missing = [f"{name} ({counted(n)})" for name, n in before if (name, n) in gone]
    ending = (f"Geometric mean: {times(mean(factors))} faster than before, {counted(len(factors), 'row')}." if factors
              else "No row in common.")
    return "\n".join(["", *lines, "", ending, *([f"Only before: {', '.join(missing)}."] if missing else [])])


def readme(found):
    """What the README shows: a row for each workload at the most threads, the ratio to PyTorch on fewest beside it."""
    counts, rows = sorted(threads_of(found)), found["rows"]
    most, fewest = counts[-1], counts[:1] if len(counts) > 1 else []
    titles = {"fastnn": "fastnn", "fastnn_captured": "captured", "torch": "PyTorch", "torch_cl": "channels-last",
              "jax": "JAX", "numpy": "NumPy"}
    libraries = [l for l in titles if any(l in row["seconds"] for row in rows)]
    ratios = {(row["workload"], row["threads"]): times(ratio(row, "torch")).rstrip("x") for row in rows}
    shown = [most, *fewest]
    lines = [heading(["workload", *(titles[l] for l in libraries), "of limit", *(f"x, {counted(n)}" for n in shown)])]
    for row in rows:
        if row["threads"] == most:
            lines.append(line([row["workload"], *(us(row["seconds"].get(l)) for l in libraries),
                               percent(row["share_of_limit"]), *(ratios.get((row["workload"], n), "") for n in shown)]))
    limits = "; ".join(limits_line(int(n), l).split(", region")[0] for n, l in found["limits"].items())
    return f"{facts(found)}. {limits}.\n\n" + "\n".join(lines) + f"\n\n{summary(found)}"


def write_readme(found, path):
    """Put the README's table between its two marks.

    Raises:
        ValueError: the file has no marks.
    """
    text = path.read_text()
    if not all(text.count(mark) == 1 for mark in MARKS):
        raise ValueError(f"{path} should have {MARKS[0]} and {MARKS[1]} once each")
    path.write_text(re.sub(f"(?<={MARKS[0]}\n).*(?={MARKS[1]})", lambda _: readme(found) + "\n", text, flags=re.S))
