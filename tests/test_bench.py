"""The benchmarks, without timing: each workload means the same in every form and a wrong one is found (the tables of
fastnn/bench/workloads: attention.py, conv.py, elementwise.py, gemm.py, loader.py, norm.py, optim.py, pool.py, steps.py, and the
other libraries' steps: jax_step.py, numpy_step.py, sklearn_step.py, thinc_step.py); a whole run at small size; reports, pictures,
the command."""
import copy
import importlib.util
import json
import re
from pathlib import Path

import pytest

import fastnn
from fastnn import _core, cli
from fastnn.bench import calibrate, harness, plot, report, worker
from fastnn.bench.workloads import FAMILIES, FAMILY_OF, WORKLOADS, workload

RUN = Path(__file__).resolve().parent.parent / "benchmarks" / "run.py"


def computed(work, *libraries):
    """{library: result} of those that have a form; what is timed runs once after, as in a run."""
    found = {}
    for library in libraries:
        make = work.form(library)
        if make:
            call, result = make()
            found[library] = result()
            call()
    return found


@pytest.mark.parametrize("name", WORKLOADS)
def test_forms_agree_and_wrong_results_are_found(name):
    work = WORKLOADS[name].small()
    found = computed(work, "fastnn", "fastnn_captured", "numpy")
    harness.agree(name, found, work.check)
    assert any(v for group in found["fastnn"] for v in group)
    other = copy.copy(work)
    other.seed += 1                              # the same work on other data
    with pytest.raises(harness.BenchError, match=f"{re.escape(name.split()[0])}.*: numpy computes"):
        harness.agree(name, {**found, "numpy": computed(other, "fastnn")["fastnn"]}, work.check)
    for i in range(len(found["fastnn"])):        # a digit of one result, and what is not a number
        for wrong in (lambda v: v * (1 + 20 * work.check) + 1e-30, lambda v: float("nan")):
            changed = copy.deepcopy(found["fastnn"])
            at = max(range(len(changed[i])), key=lambda k: abs(changed[i][k]))
            changed[i][at] = wrong(changed[i][at])
            with pytest.raises(harness.BenchError, match=f"as result {i}, "):
                harness.agree(name, {**found, "torch": changed}, work.check)


@pytest.mark.parametrize("family", FAMILIES)
def test_pytorch_computes_the_same(family, torch):
    for name in FAMILIES[family]:
        work = WORKLOADS[name].small()
        found = computed(work, "fastnn", "torch", "torch_cl", "torch_foreach")
        assert len(found) > 1
        harness.agree(name, found, work.check)


@pytest.mark.parametrize("library", ["sklearn", "thinc"])
def test_other_networks_compute_the_same(library):
    pytest.importorskip(library)
    names = [name for name in FAMILIES["mlp"] if WORKLOADS[name].form(library)]
    assert len(names) > 5
    for name in names:
        work = WORKLOADS[name].small()
        harness.agree(name, computed(work, "fastnn", library), work.check)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20 32x32 b1 sgd-m", "conv 3x3 g32 128->128 28x28 n16", "maxpool 3x3/2 16x64x112x112",
                                  "batchnorm+relu 16x64x112x112", "embedding 10000x512 32x128", "gemm 1024x700x512 a bt",
                                  "adamw 25.6M clipped"])
def test_jax_computes_the_same(name):
    pytest.importorskip("jax")
    work = WORKLOADS[name].small()
    harness.agree(name, computed(work, "fastnn", "jax"), work.check)


def test_workloads_are_many_and_their_sizes_small():
    assert len(WORKLOADS) >= 45 and len(WORKLOADS) == sum(map(len, FAMILIES.values()))
    for name, work in WORKLOADS.items():
        small = work.small()
        assert type(small) is type(work) and small.flops < 2e7 and small.bytes < 1e7, name
        assert {"fastnn", "torch"} <= {*work.twins} or {"fastnn", "torch_cl"} <= {*work.twins}, name
        brought = getattr(work, "channels_last", False)
        assert brought == getattr(small, "channels_last", False) and brought == name.endswith(" nhwc"), name


def test_a_wrong_layer_is_found(monkeypatch):
    """The bug is in the library here, not in the numbers."""
    right = computed(WORKLOADS["conv 5x5 1->6 28x28 n64"].small(), "fastnn")
    conv2d = fastnn.nn.functional.conv2d
    monkeypatch.setattr(fastnn.nn.functional, "conv2d", lambda x, w, *rest: conv2d(x, w.transpose(2, 3), *rest))
    wrong = computed(WORKLOADS["conv 5x5 1->6 28x28 n64"].small(), "fastnn")
    with pytest.raises(harness.BenchError):
        harness.agree("conv", {**right, "torch": wrong["fastnn"]}, 1e-4)


@pytest.mark.parametrize("name", [name for name, work in WORKLOADS.items() if isinstance(work, workload.Layer)])
def test_a_captured_layer_makes_its_result(name, monkeypatch):
    """Few layers need y for their gradients: a step whose y nobody held would leave the forward pass out."""
    sums = []
    monkeypatch.setattr(workload, "fingerprint", lambda a: sums.append(float(abs(a).sum())))
    _, result = WORKLOADS[name].small().form("fastnn_captured")()
    result()
    assert sums[0] > 0


def test_agree_counts_results():
    with pytest.raises(harness.BenchError, match="jax gives 1 results, fastnn 2"):
        harness.agree("w", {"fastnn": [[1.0], [2.0]], "jax": [[1.0]]}, 1e-4)


def test_a_peer_with_other_numbers_is_left_out_but_not_all():
    right, off = [[1.0, 2.0]], [[1.0, 2.1]]
    results = {"fastnn": right, "fastnn_captured": right, "torch": right, "torch_compile": off}
    found = harness.wrong("w", results, 1e-4)
    assert list(found) == ["torch_compile"] and "torch_compile computes [1.0, 2.1] as result 0, fastnn [1.0, 2.0]" in found["torch_compile"]
    assert harness.wrong("w", {"fastnn": right}, 1e-4) == {}
    for wrong in ({"torch": off}, {"fastnn_captured": off}):
        with pytest.raises(harness.BenchError, match="2.1"):
            harness.wrong("w", {**results, **wrong}, 1e-4)


def test_fingerprint_sees_order():
    import numpy as np
    a = np.arange(6.0).reshape(2, 3)
    b = workload.fingerprint(a.T)
    assert workload.fingerprint(a)[0] == pytest.approx(b[0]) and abs(workload.fingerprint(a)[1] - b[1]) > 1e-3
    long = np.ones((3, workload._PERIOD), np.float32)
    marks = []
    for i in range(3):                           # the same change in any stretch
        other = long.copy()
        other[i, 7] = 2
        marks.append(workload.fingerprint(other))
    assert marks[0][0] == pytest.approx((3 * workload._PERIOD + 3) ** 0.5) and len({round(p, 3) for _, p in marks}) == 3
    assert any(v != v for v in workload.fingerprint(np.array([1.0, np.nan])))


def test_flops_and_bytes():
    conv = WORKLOADS["conv 3x3 64->64 56x56 n16"]
    assert conv.flops == 3 * 2 * 16 * 56 * 56 * 64 * 64 * 9
    assert conv.bytes == 3 * 4 * (2 * 16 * 64 * 56 * 56 + 64 * 64 * 9)
    assert WORKLOADS["conv 7x7/2 3->64 224x224 n4"].flops == 2 * 2 * 4 * 112 * 112 * 64 * 3 * 49    # no dx
    assert WORKLOADS["mlp 784-512-512-10 b64 sgd"].flops == 2 * 64 * (2 * 784 * 512 + 3 * (512 * 512 + 512 * 10))
    lenet = 2 * 28 * 28 * 25 * 6 + 3 * (10 * 10 * 25 * 6 * 16 + 400 * 120 + 120 * 84 + 84 * 10)
    assert WORKLOADS["lenet 28x28 b64 sgd-m"].flops == 2 * 64 * lenet
    for name, work in WORKLOADS.items():
        counted = FAMILY_OF[name] not in ("pool", "norm", "elementwise", "optim", "loader")
        assert work.bytes > 0 and (work.flops > 0) == counted, name
    assert WORKLOADS["conv 3x3 depthwise 512 14x14 n32"].flops == 3 * 2 * 32 * 14 * 14 * 512 * 9
    assert WORKLOADS["conv 20x5/2 1->32 161x700 n4"].P == (71, 348)
    assert WORKLOADS["resnet20 32x32 b1 sgd-m"].flops == 2 * (3 * 40_551_040 - 442_368)           # the first: no dx
    assert WORKLOADS["adamw 25.6M clipped"].bytes == 9 * 4 * 25_600_000


def test_our_model_is_the_network_of_the_list():
    work = WORKLOADS["resnet20 32x32 b1 sgd-m"]
    plain = copy.copy(work)
    plain.model = None
    harness.agree("resnet", {"fastnn": computed(work, "fastnn")["fastnn"], "list": computed(plain, "fastnn")["fastnn"]}, work.check)


def test_the_least_time():
    limits = {"fma_gflops": 100.0, "copy_gbs": 10.0}
    assert calibrate.least_seconds(1e9, 2e8, limits) == (0.02, "copy")
    assert calibrate.least_seconds(1e10, 2e8, limits) == (0.1, "fma")
    assert calibrate.least_seconds(0, 1e6, limits) == (0.0, None)            # caches may hold it


class Paced:
    """A worker that takes so long for each call."""

    def __init__(self, library, *seconds):
        self.library, self.seconds, self.asked = library, seconds, 0

    def ask(self, **command):
        self.asked += 1
        return {"seconds": self.seconds[(self.asked - 1) % len(self.seconds)], "limits": {}}


def test_who_is_far_behind_sits_out():
    ours, *theirs = Paced("fastnn", 2.0, 1.0), Paced("torch", 7.0), Paced("jax", 8.1), Paced("numpy", 41.0)
    times, _ = harness.rounds_of([ours, *theirs], 5, 0)
    assert [w.asked for w in (ours, *theirs)] == [5, 5, 3, 1] and times["jax"] == [8.1] * 3


def test_steps_keep_their_weights_after_the_result():
    """The timed steps do all the work, but the loss stays where it is."""
    for library in ("fastnn", "fastnn_captured", "numpy"):
        call, result = WORKLOADS["mlp-tiny 16-32-32-4 b32 adam"].small().form(library)()
        losses = result()[0]
        assert sorted(losses, reverse=True) == losses and losses[0] > losses[-1]
        one, two = float(call()), float(call())
        assert one == two < losses[-1]


def test_worker_answers():
    lines = [json.dumps(c) for c in ({"prepare": "gemm 256", "small": True}, {"time": 0.0, "limits": True, "small": True},
                                     {"machine": True, "small": True}, {"time": 0.0}, {"prepare": "loader mnist b64 shuffled", "small": True})]
    prepared, timed, machine, again, missing = worker.serve("numpy", 1, lines)
    assert len(prepared["result"][0]) == 2 and prepared["first_seconds"] > 0
    assert timed["seconds"] > 0 and min(timed["limits"].values()) > 0 and not again["limits"]
    assert set(machine) == {"fma_gflops", "copy_gbs", "region_ns", "barrier_ns", "isa", "threading"} and missing == {"missing": True}


def test_limits():
    assert _core.fma_peak(0.001, 2) > 0 and calibrate.Bandwidth(1).measure(0) > 0


@pytest.fixture(scope="module")
def found():
    """A whole run: processes of their own, two families."""
    said = []
    result = harness.run(harness.available(["numpy"])[0], [1], ["mlp-tiny 16-32-32-4 b32 adam", "batchnorm 64x128x28x28"], 3, 0.001,
                         small=True, say=said.append)
    return {**result, "said": "\n".join(said)}


def made(ours, theirs, name="gemm 256", threads=1, flops=1):
    """A row with known times."""
    base = {"workload": name, "family": "gemm", "threads": threads, "flops": flops, "bytes": 1, "gflops": 1.0, "gbs": None,
            "share_of_fma_peak": 0.5, "share_of_bandwidth": None, "share_of_limit": 0.5}
    times = {"fastnn": ours, **theirs}
    seconds = {k: sorted(v)[len(v) // 2] for k, v in times.items()}
    return {**base, "rounds": times, "seconds": seconds, "ratio": {f"fastnn/{k}": seconds[k] / seconds["fastnn"] for k in theirs}}


def test_run(found):
    assert len(found["rows"]) == 2 and list(found["limits"]) == ["1"] and found["fastnn"] == fastnn.__version__
    for row in found["rows"]:
        assert {"fastnn", "fastnn_captured", "numpy"} == set(row["seconds"]) and all(len(v) == 3 for v in row["rounds"].values())
        assert row["form"] == "fastnn_captured" and len(row["round_limits"]["fma_gflops"]) == 3
        assert row["ratio"].keys() == {"fastnn/numpy", "fastnn_captured/numpy"} and all(v > 0 for v in row["first_seconds"].values())
        shares = sorted(row["bytes"] / t / 1e9 / l for t, l in zip(row["rounds"]["fastnn_captured"], row["round_limits"]["copy_gbs"]))
        assert row["share_of_bandwidth"] == pytest.approx(shares[1])
    mlp, norm = found["rows"]
    assert mlp["gflops"] > 0 and mlp["limit"] == "fma" and norm["gflops"] is None and norm["share_of_limit"] is None
    assert found["said"].count("\n| ") == 4 and "FMA peak" in found["said"]          # two lines of heading, two rows


def test_reports(found, tmp_path):
    again = json.loads(json.dumps({k: v for k, v in found.items() if k != "said"}))
    text = report.markdown(again)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    table, middle, calls = rows[:4], rows[4:-4], rows[-4:]
    assert len({row.count("|") for row in table}) == 1 and "geometric mean" in middle[0] and len(middle) == 2 + 3
    assert len({row.count("|") for row in calls}) == 1 and all(row in text.split("## First calls")[1] for row in calls)
    assert "## Not there" not in text
    (tmp_path / "README.md").write_text(f"a\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\nb\n")
    for _ in range(2):
        report.write_readme(again, tmp_path / "README.md")
    new = (tmp_path / "README.md").read_text()
    assert new.startswith(f"a\n{report.MARKS[0]}\n") and new.endswith(f"{report.MARKS[1]}\nb\n") and "old" not in new
    assert new.count("| batchnorm 64x128x28x28 |") == 1
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(ValueError, match="should have <!-- benchmarks -->"):
        report.write_readme(again, tmp_path / "README.md")
    assert "1.0x faster than before, 2 rows" in report.changes(again, again)


def test_summary_takes_the_better_pytorch_and_tells_noise():
    rows = [made([1.0, 1.0, 1.0], {"torch": [4.0, 4.0, 4.0], "torch_cl": [2.0, 2.0, 2.0]}, "a", flops=2e8),
            made([1.0, 1.0, 3.0], {"torch": [2.0, 2.0, 2.0]}, "b"), made([2.0, 2.0, 2.0], {"torch": [1.0, 1.0, 1.0]}, "c"),
            made([1.0, 1.0, 1.0], {"torch": [1.5, 1.5, 0.5], "torch_cl": [9.0]}, "d", flops=0)]
    lines = report.summary({"rows": rows}).splitlines()
    assert [line for line in lines if line.startswith("| 1 |")] == [
        "| 1 | torch | 4 | all | 1.3x | 1.3x | 1.8x | 0.50x | 1 | 2 | 1 |",
        "| 1 | torch | 1 | above 0.1 GFLOP | 2.0x | 2.0x | 2.0x | 2.0x | 1 | 0 | 0 |",
        "| 1 | torch | 2 | small | 1.0x | 1.0x | 1.2x | 0.50x | 0 | 1 | 1 |",
        "| 1 | torch | 1 | memory | 1.5x | 1.5x | 1.5x | 1.5x | 0 | 1 | 0 |"]
    assert "fastest of torch, torch-cl." in lines[-3] and lines[-1] == "- Slower than torch, 1 thread: c 0.50x (lost)."
    assert sum(line.startswith("| 1 |") for line in report.summary({"rows": rows}, split=()).splitlines()) == 1


def test_scaling_from_the_fewest_threads_to_the_most():
    both = {"torch": [6.0], "torch_cl": [9.0]}, {"torch": [5.0], "torch_cl": [4.0]}
    few, many = [dict(made([t], p, "a", flops=2e8), threads=n, family="steps") for t, p, n in zip((3.0, 2.0), both, (1, 4))]
    rows = [few, dict(few, threads=2), many, *(dict(made([1.0], {}, "small", flops=1e6), threads=n, family="mlp") for n in (1, 4)),
            dict(made([1.0], {}, "once", flops=1e9), threads=1, family="gemm")]
    assert list(report.scaling({"rows": rows})) == [
        "- From 1 thread to 4 threads, fastnn: 1.5x in the geometric mean of 1 row above 0.1 GFLOP; a 1.5x.",
        "- From 1 thread to 4 threads, torch: 1.5x in the geometric mean of 1 row above 0.1 GFLOP; a 1.5x."]
    assert not list(report.scaling({"rows": [few]}))


def test_a_round_of_theirs_that_wins_is_no_win_of_ours():
    row = made([1.0, 1.0, 1.1], {"torch": [1.5, 1.5, 1.5], "torch_compile": [1.0, 1.9, 1.9]})
    assert report.best(row, "torch") == "torch" and report.outcome(row, "torch") == "level"


def test_changes_names_what_is_gone():
    old = {"rows": [made([2.0], {"torch": [4.0]}), made([1.0], {}, "gone")]}
    text = report.changes(old, {"rows": [made([1.0], {"torch": [4.0]}), made([1.0], {}, "fresh")]})
    assert "| gemm 256 | 1 | 2,000,000 | 1,000,000 | 2.0x | 2.0x | 4.0x | 1.0x |  |" in text and "Only before: gone (1 thread)." in text
    assert "| 1.0x | yes |" in report.changes(old, old)


def test_what_is_absent_is_told_with_its_reason(monkeypatch):
    """A peer that breaks down leaves its cell empty; we may not."""
    def broken(self):
        raise RuntimeError("no compiler\nmore")
    monkeypatch.setattr(workload.Layer, "numpy", broken)
    monkeypatch.setattr(workload.Layer, "make", lambda self, twin: broken(self))
    lines = [json.dumps({"prepare": "linear 1024->1024 m8", "small": True})]
    assert [*worker.serve("numpy", 1, lines)] == [{"failed": "RuntimeError: no compiler"}]
    with pytest.raises(RuntimeError, match="no compiler"):
        [*worker.serve("fastnn", 1, lines)]
    rows = [{**made([1.0], {}, name), "failed": {"torch_compile": "RuntimeError: no compiler"}} for name in "ab"]
    text = report.absent({"rows": rows, "left_out": {"thinc": "ModuleNotFoundError: No module named 'thinc'"}})
    assert text.splitlines() == ["- thinc: left out. ModuleNotFoundError: No module named 'thinc'",
                                 "- torch-compile: RuntimeError: no compiler At a (1 thread), b (1 thread)."]


def test_available(monkeypatch):
    monkeypatch.setitem(harness.DISTRIBUTIONS, "nothing", "nothing")
    found, left_out = harness.available(["numpy", "nothing"])
    assert list(found) == ["numpy"] and "No module named 'nothing'" in left_out["nothing"]
    assert harness.DISTRIBUTIONS.keys() >= harness.PEERS.keys()
    assert {v for variants in harness.PEERS.values() for v in variants} <= report.NAMES.keys() == plot.COLORS.keys()


def test_plot(found, tmp_path):
    pytest.importorskip("matplotlib")
    plot.plot(found, tmp_path / "bench.png")
    plot.plot(found, tmp_path / "pictures")
    pictures = [tmp_path / "bench.png", *(tmp_path / "pictures").iterdir()]
    assert {p.name for p in pictures} == {"bench.png", "mlp.png", "norm.png"} and all(p.read_bytes()[1:4] == b"PNG" for p in pictures)
    row = {"flops": 4e9, "bytes": 1e9, "round_limits": {"fma_gflops": [90.0, 100.0, 200.0], "copy_gbs": [10.0, 10.0, 10.0]}}
    assert plot.limit_rate(row, "flops") == pytest.approx(40)


def test_command(found, tmp_path, capsys):
    """`fastnn bench --load` shows and writes the results of an earlier run."""
    earlier, later, text = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "b.md"
    earlier.write_text(json.dumps({k: v for k, v in found.items() if k != "said"}))
    assert cli.main(["bench", "--load", str(earlier), "--json", str(later), "--markdown", str(text), "--compare", str(earlier)]) == 0
    said = capsys.readouterr().out
    assert json.loads(later.read_text()) == json.loads(earlier.read_text()) and text.read_text().startswith("# fastnn side by side")
    assert "faster than before" in said and "geometric mean" in said
    assert cli.main(["bench", "--rounds", "0"]) == 1 and "--rounds 0" in capsys.readouterr().err
    assert cli.main(["bench", "--json", str(tmp_path / "no" / "a.json")]) == 1 and "no such folder" in capsys.readouterr().err
    assert cli.main(["bench", "--load", str(tmp_path / "none.json")]) == 1 and "none.json" in capsys.readouterr().err


@pytest.mark.parametrize("args, words", [(["--only", "["], "unterminated"), (["--only", "nothing like it"], "is in none of mlp-tiny"),
                                         (["--peers", "matlab"], "matlab is not one of torch"), (["--threads", "0"], "below 1")])
def test_usage_errors(capsys, args, words):
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench", *args])
    assert caught.value.code == 2 and words in capsys.readouterr().err


def test_a_broken_worker_is_an_error():
    w = harness.Worker("numpy", 1)
    with pytest.raises(harness.BenchError, match="numpy: the worker ended with code 1 at .*nonsense"):
        w.ask(prepare="nonsense")
    w.close()


@pytest.mark.skipif(not RUN.exists(), reason="no benchmarks beside the tests")
def test_script(capsys):
    spec = importlib.util.spec_from_file_location("run", RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(SystemExit, match="run.py: .*none.json"):
        module.main(["--readme", "none.json"])
    readme = (RUN.parent.parent / "README.md").read_text()
    assert all(readme.count(mark) == 1 for mark in report.MARKS)
