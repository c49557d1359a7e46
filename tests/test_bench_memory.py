"""bench/memory.py: resident memory of a workload, each library in a process of its own."""
import json
import mmap

import pytest

from fastnn.bench import harness, memory

SMALL = "mlp-tiny 16-32-32-4 b32 adam"


def test_growth_is_seen():
    """32 MiB that are written count, also when they are given back; a new beginning forgets them."""
    page = b"x" * (1 << 20)
    memory.forget()
    before = memory.resident()
    with mmap.mmap(-1, 32 << 20) as block:
        for _ in range(32):
            block.write(page)
        assert memory.highest() - before > 30 << 20
    assert memory.highest() - before > 30 << 20
    if memory.forget():
        assert memory.highest() - before < 16 << 20


def test_each_library_in_its_process(tmp_path, capsys):
    path = tmp_path / "rows.json"
    memory.main([SMALL, "--libraries", "fastnn,fastnn_captured,numpy_nobody_has", "--calls", "6", "--json", str(path)])
    rows = {row["library"]: row for row in json.loads(path.read_text())}
    assert list(rows) == ["fastnn", "fastnn_captured"]
    plain, captured = rows["fastnn"], rows["fastnn_captured"]
    assert plain["arena"] == 0 < captured["arena"] < 64 << 20 and 0 < plain["pool"] < plain["peak"] < 256 << 20
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["MiB", "peak", "steady", "pool", "arena"] and [line.split()[0] for line in lines[1:]] == list(rows)


def test_a_process_that_fails_is_named(capfd):
    with pytest.raises(harness.BenchError, match="fastnn: the process ended with code 1"):
        memory.compare("no such workload", ["fastnn"])
    assert "KeyError" in capfd.readouterr().err


def test_beside_torch(torch):
    ours, theirs = memory.compare(SMALL, ["fastnn_captured", "torch"])
    assert ours["peak"] < theirs["peak"] and "arena" not in theirs
