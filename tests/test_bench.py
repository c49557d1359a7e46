"""The benchmarks, without timing: each workload means the same in every form and a wrong one is found (the tables of
fastnn/bench/workloads: conv.py, gemm.py, loader.py, norm.py, pool.py, steps.py, jax_step.py, numpy_step.py); a whole run at
small size; reports, the picture, the command."""
import copy
import importlib.util
import json
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
    with pytest.raises(harness.BenchError, match=f"{name.split()[0]}.*: numpy computes"):
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
        harness.agree(name, computed(work, "fastnn", "torch", "torch_cl"), work.check)


def test_a_wrong_layer_is_found(monkeypatch):
    """The bug is in the library here, not in the numbers."""
    right = computed(WORKLOADS["conv 5x5 1->6 28x28 n64"].small(), "fastnn")
    conv2d = fastnn.nn.functional.conv2d
    monkeypatch.setattr(fastnn.nn.functional, "conv2d", lambda x, w, *rest: conv2d(x, w.transpose(2, 3), *rest))
    wrong = computed(WORKLOADS["conv 5x5 1->6 28x28 n64"].small(), "fastnn")
    with pytest.raises(harness.BenchError):
        harness.agree("conv", {**right, "torch": wrong["fastnn"]}, 1e-4)


def test_agree_counts_results():
    with pytest.raises(harness.BenchError, match="jax gives 1 results, fastnn 2"):
        harness.agree("w", {"fastnn": [[1.0], [2.0]], "jax": [[1.0]]}, 1e-4)


def test_fingerprint_sees_order():
    import numpy as np
    a = np.arange(6.0).reshape(2, 3)
    b = workload.fingerprint(a.T)
    assert workload.fingerprint(a)[0] == pytest.approx(b[0]) and abs(workload.fingerprint(a)[1] - b[1]) > 1e-3


def test_flops_and_bytes():
    conv = WORKLOADS["conv 3x3 64->64 56x56 n16"]
    assert conv.flops == 3 * 2 * 16 * 56 * 56 * 64 * 64 * 9
    assert conv.bytes == 3 * 4 * (2 * 16 * 64 * 56 * 56 + 64 * 64 * 9)
    assert WORKLOADS["conv 7x7/2 3->64 224x224 n4"].flops == 2 * 2 * 4 * 112 * 112 * 64 * 3 * 49    # no dx
    assert WORKLOADS["mlp 784-512-512-10 b64 sgd"].flops == 2 * 64 * (2 * 784 * 512 + 3 * (512 * 512 + 512 * 10))
    lenet = 2 * 28 * 28 * 25 * 6 + 3 * (10 * 10 * 25 * 6 * 16 + 400 * 120 + 120 * 84 + 84 * 10)
    assert WORKLOADS["lenet 28x28 b64 sgd-m"].flops == 2 * 64 * lenet
    for name, work in WORKLOADS.items():
        assert work.bytes > 0 and (work.flops > 0) == (FAMILY_OF[name] not in ("pool", "norm", "loader")), name


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
    result = harness.run(harness.available(["numpy"]), [1], ["mlp-tiny 16-32-32-4 b32 adam", "batchnorm 64x128x28x28"], 3, 0.001,
                         small=True, say=said.append)
    return {**result, "said": "\n".join(said)}


def made(ours, theirs, name="gemm 256", threads=1):
    """A row with known times."""
    base = {"workload": name, "family": "gemm", "threads": threads, "flops": 1, "bytes": 1, "gflops": 1.0, "gbs": None,
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
    assert len(rows) == 8 and len({row.count("|") for row in rows[:4]}) == 1 and "geometric mean" in text
    assert len({row.count("|") for row in rows[4:]}) == 1 and all(row in text.split("## First calls")[1] for row in rows[4:])
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


def test_summary_takes_the_better_pytorch_and_counts_clear_rounds():
    rows = [made([1.0, 1.0, 1.0], {"torch": [4.0, 4.0, 4.0], "torch_cl": [2.0, 2.0, 2.0]}, "a"),
            made([1.0, 1.0, 3.0], {"torch": [2.0, 2.0, 2.0]}, "b"), made([2.0, 2.0, 2.0], {"torch": [1.0, 1.0, 1.0]}, "c")]
    text = report.summary({"rows": rows})
    assert text == ("- 1 thread against torch or torch-cl, the faster: geometric mean 1.3x (eager 1.3x) of 3; "
                    "wins 2 (1 in every round), losses 1 (1 in every round): c 0.50x.")


def test_changes_names_what_is_gone():
    old = {"rows": [made([2.0], {"torch": [4.0]}), made([1.0], {}, "gone")]}
    text = report.changes(old, {"rows": [made([1.0], {"torch": [4.0]}), made([1.0], {}, "fresh")]})
    assert "| gemm 256 | 1 | 2,000,000 | 1,000,000 | 2.0x | 2.0x | 4.0x | 1.0x |" in text and "Only before: gone (1 thread)." in text


def test_plot(found, tmp_path):
    pytest.importorskip("matplotlib")
    plot.plot(found, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes()[1:4] == b"PNG"


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
