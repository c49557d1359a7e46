"""Results as tables: all of them, a summary, what changed, and the README's part."""
import math
import re
import statistics

NAMES = {"fastnn": "eager", "fastnn_captured": "captured", "torch": "torch", "torch_cl": "torch-cl",
         "torch_compile": "torch-compile", "torch_foreach": "torch-foreach", "jax": "jax", "numpy": "numpy",
         "sklearn": "sklearn", "thinc": "thinc"}
VARIANTS = {"torch": ("torch", "torch_cl", "torch_compile", "torch_foreach"), "jax": ("jax",), "numpy": ("numpy",),
            "sklearn": ("sklearn",), "thinc": ("thinc",)}
GROUPS = {"all": lambda row: True, "above 0.1 GFLOP": lambda row: row["flops"] > 1e8,
          "small": lambda row: 0 < row["flops"] <= 1e8, "memory": lambda row: not row["flops"]}
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


def outcome(row, peer):
    """'won' if our slowest round beats the fastest of theirs in any variant, 'lost' if our fastest is slower than the
    slowest of their best variant, else 'level': the difference is within the noise of this run."""
    ours, found = row["rounds"][form(row)], best(row, peer)
    fastest = min(min(row["rounds"][v]) for v in VARIANTS[peer] if v in row["rounds"])
    return "won" if max(ours) < fastest else "lost" if max(row["rounds"][found]) < min(ours) else "level"


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


def summary(found, split=tuple(VARIANTS)):
    """For each thread count and peer: means, medians, rows won, level and lost, of all rows and, for the peers in `split`,
    by size; then the rows where we are slower."""
    lines = [heading(["threads", "against", "rows", "of", "geometric mean", "eager", "median", "least", "won", "level", "lost"])]
    behind = []
    for n in threads_of(found):
        for peer in VARIANTS:
            known = [row for row in found["rows"] if row["threads"] == n and best(row, peer)]
            for group, belongs in GROUPS.items():
                rows = [row for row in known if belongs(row)]
                if not rows or group != "all" and peer not in split:
                    continue
                ratios, eager = ([ratio(row, peer, of) for row in rows] for of in (None, "fastnn"))
                results = [outcome(row, peer) for row in rows]
                lines.append(line([str(n), peer, str(len(rows)), group, times(mean(ratios)), times(mean(eager)),
                                   times(statistics.median(ratios)), times(min(ratios)),
                                   *(str(results.count(r)) for r in ("won", "level", "lost"))]))
            slower = sorted((ratio(row, peer), row["workload"], outcome(row, peer)) for row in known if ratio(row, peer) < 1)
            if slower:
                behind.append(f"- Slower than {peer}, {counted(n)}: "
                              + ", ".join(f"{name} {times(r)} ({result})" for r, name, result in slower) + ".")
    variants = ", ".join(NAMES[v] for v in VARIANTS["torch"] if any(v in row["seconds"] for row in found["rows"]))
    notes = [f"Against torch is against the fastest of {variants}." if variants else "",
             "Won: our slowest round beats the fastest of theirs; lost: the reverse; level: within the noise of this run."]
    behind = [*behind, *scaling(found)]
    return "\n".join(["", *lines, "", " ".join(filter(None, notes)), *([""] * bool(behind)), *behind])


def scaling(found):
    """How many times faster the most threads are than the fewest, in the rows above 0.1 GFLOP: a line for us and one for PyTorch's best."""
    counts = sorted(threads_of(found))
    timed = {(row["workload"], row["threads"]): row for row in found["rows"] if GROUPS["above 0.1 GFLOP"](row)}
    pairs = [(row, timed[name, counts[-1]]) for (name, n), row in timed.items() if n == counts[0] < counts[-1] and (name, counts[-1]) in timed]
    for who, fastest in (("fastnn", form), ("torch", lambda row: best(row, "torch"))):
        gains = {few["workload"]: few["seconds"][fastest(few)] / many["seconds"][fastest(many)] for few, many in pairs if fastest(few) and fastest(many)}
        steps = [f"{name} {times(gains[name])}" for name in gains if timed[name, counts[0]]["family"] in ("mlp", "steps")]
        if gains:
            yield (f"- From {counted(counts[0])} to {counted(counts[-1])}, {who}: {times(mean(gains.values()))} in the geometric mean of "
                   f"{counted(len(gains), 'row')} above 0.1 GFLOP" + ("; " + ", ".join(steps) if steps else "") + ".")


def absent(found):
    """Which peers are not there or broke down, and why, in lines."""
    lines = [f"- {peer}: left out. {why}" for peer, why in found.get("left_out", {}).items()]
    failures = {}
    for row in found["rows"]:
        for library, why in row.get("failed", {}).items():
            failures.setdefault((NAMES[library], why), []).append(f"{row['workload']} ({counted(row['threads'])})")
    return "\n".join(lines + [f"- {library}: {why} At {', '.join(at)}." for (library, why), at in failures.items()])


def facts(found):
    """Machine and versions, in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in found["peers"].items())
    return (f"fastnn {found['fastnn']}{' (' + found['commit'] + ')' if found['commit'] else ''}, {versions}, Python "
            f"{found['python']}, {found['machine']}, {counted(found['cores'], 'core')}, "
            f"{counted(found['rounds'], 'round')} of {found['seconds']} s")


def first_calls(found):
    """Milliseconds of the few calls that the result takes: recording and compilation are in them alone. All libraries
    prepare at once, so these show the order of size only."""
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
            "they, and x, are of the captured form where there is one. FLOPs count the direct method. Of limit: of "
            "min(FMA peak, copy speed * flops / byte); products on tile registers (docs/design.md) can pass it.\n\n"
            f"{tables(found)}\n## Summary\n{summary(found)}\n\n## First calls\n\n"
            f"The few calls whose result is compared; capture and compilation are in them (PyTorch keeps what it compiled on disk "
            f"for the next run). All libraries take them at once: read the order of size.\n\n{first_calls(found)}\n"
            + (f"\n## Not there\n\n{absent(found)}\n" if absent(found) else ""))


def changes(old, new):
    """Rows that both have: our time and our ratio to PyTorch at its best, before and now. The peer's own change is the
    machine's. Within noise: some round then was as fast as some round now."""
    before = {(row["workload"], row["threads"]): row for row in old["rows"]}
    lines, factors = [heading(["workload", "threads", "before us", "now us", "faster", "x torch before", "x torch now",
                               "torch's own change", "within noise"])], []
    for row in new["rows"]:
        then = before.get((row["workload"], row["threads"]))
        if then is None:
            continue
        ours, peers = [r["seconds"][form(r)] for r in (then, row)], [best(r, "torch") for r in (then, row)]
        factors.append(ours[0] / ours[1])
        a, b = (r["rounds"][form(r)] for r in (then, row))
        overlap = min(a) <= max(b) and min(b) <= max(a)
        machine = then["seconds"][peers[0]] / row["seconds"][peers[1]] if all(peers) else None
        lines.append(line([row["workload"], str(row["threads"]), *map(us, ours), times(factors[-1]),
                           *(times(ratio(r, "torch")) for r in (then, row)), times(machine), "yes" * overlap]))
    gone = before.keys() - {(row["workload"], row["threads"]) for row in new["rows"]}
    missing = [f"{name} ({counted(n)})" for name, n in before if (name, n) in gone]
    ending = (f"Geometric mean: {times(mean(factors))} faster than before, {counted(len(factors), 'row')}." if factors
              else "No row in common.")
    return "\n".join(["", *lines, "", ending, *([f"Only before: {', '.join(missing)}."] if missing else [])])


def readme(found):
    """What the README shows: training steps and the first row of every other family at the most threads, the ratio to PyTorch on
    fewest beside it, and the summary of all rows."""
    counts, rows = sorted(threads_of(found)), found["rows"]
    most, fewest = counts[-1], counts[:1] if len(counts) > 1 else []
    ours = {"fastnn": "fastnn", "fastnn_captured": "captured"}
    theirs = {"torch": "PyTorch", "jax": "JAX", "numpy": "NumPy", "sklearn": "scikit-learn", "thinc": "thinc"}
    used = [p for p in theirs if any(best(row, p) for row in rows)]
    ratios = {(row["workload"], row["threads"]): times(ratio(row, "torch")).rstrip("x") for row in rows}
    shown = [most, *fewest]
    lines = [heading(["workload", *ours.values(), *(theirs[p] for p in used), "of limit", *(f"x, {counted(n)}" for n in shown)])]
    first = {}
    for row in rows:
        if row["threads"] == most and (row["family"] in ("mlp", "steps") or first.setdefault(row["family"], row) is row):
            lines.append(line([row["workload"], *(us(row["seconds"].get(l)) for l in ours),
                               *(us(row["seconds"].get(best(row, p))) for p in used),
                               percent(row["share_of_limit"]), *(ratios.get((row["workload"], n), "") for n in shown)]))
    limits = "; ".join(limits_line(int(n), l).split(", region")[0] for n, l in found["limits"].items())
    return f"{facts(found)}. {limits}.\n\n" + "\n".join(lines) + f"\n{summary(found, split=('torch',))}"


def write_readme(found, path):
    """Put the README's table between its two marks.

    Raises:
        ValueError: the file has no marks.
    """
    text = path.read_text()
    if not all(text.count(mark) == 1 for mark in MARKS):
        raise ValueError(f"{path} should have {MARKS[0]} and {MARKS[1]} once each")
    path.write_text(re.sub(f"(?<={MARKS[0]}\n).*(?={MARKS[1]})", lambda _: readme(found) + "\n", text, flags=re.S))
