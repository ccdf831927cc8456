"""Files are whole or absent, tensors come back as they were, fingerprints tell all apart."""

from __future__ import annotations

import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import letterrec.files
from letterrec.errors import RunError
from letterrec.files import atomic_path, fingerprint, read_json, write_json, write_text
from letterrec.files.arrays import read_arrays, read_metadata, read_shapes
from letterrec.files.tensors import read_tensors, write_tensors


def test_text_and_json_come_back_as_they_were(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "folder" / "a.txt", "Grüße\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_text("utf-8") == "Grüße\n"
    value = {"items": ["é", 1, 2.5, None, True], "nested": {"a": []}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "é" in (tmp_path / "a.json").read_text("utf-8")  # readable, not escaped


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("new, half writ")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


WRITER = """
import sys
import torch
from pathlib import Path
from letterrec.files.tensors import write_tensors

print("ready", flush=True)
i = 0
while True:
    write_tensors(Path(sys.argv[1]), {"a": torch.full((300_000,), float(i))}, {"i": i})
    i += 1
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 240
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    tensors, about = read_tensors(path)
    assert torch.equal(tensors["a"], torch.full((300_000,), float(about["i"])))


def test_tensors_and_metadata_come_back_as_they_were(tmp_path: Path) -> None:
    matrix = torch.arange(12.0).view(3, 4)
    tensors = {
        "transposed": matrix.T,  # not contiguous
        "row": matrix[0],  # shares memory with the one above
        "codes": torch.tensor([[1, -1]], dtype=torch.int32),
        "none": torch.zeros(0, 5),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "scalar": torch.tensor(3.0, requires_grad=True),
    }
    about = {"ids": ["a", "ü"], "seconds": 1.5, "nested": {"deep": [None]}}
    write_tensors(tmp_path / "t.safetensors", tensors, about)
    found, found_about = read_tensors(tmp_path / "t.safetensors")
    assert found_about == about
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach())


def test_arrays_shapes_and_metadata_are_read_without_reading_tensors(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    tensors = {
        "codes": torch.arange(6, dtype=torch.int32).view(2, 3),
        "mean": torch.tensor([0.5, -1.0]),
    }
    write_tensors(path, tensors, {"seconds": 1.5})
    found = read_arrays(path)
    assert found.keys() == tensors.keys()
    for name, array in found.items():
        assert array.dtype == tensors[name].numpy().dtype
        assert np.array_equal(array, tensors[name].numpy())
    assert read_shapes(path) == {"codes": [2, 3], "mean": [2]}
    assert read_metadata(path) == {"seconds": 1.5}
    path.write_bytes(path.read_bytes()[:-1])
    for read in (read_arrays, read_shapes, read_metadata):
        with pytest.raises(RunError, match=r"t\.safetensors is damaged"):
            read(path)


def test_tensors_that_share_their_storage_come_back_each(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    views = {"whole": whole, "tied": whole, "row": whole[1], "turned": whole.T, "rest": whole[1:]}
    write_tensors(tmp_path / "t.safetensors", views)
    found, _ = read_tensors(tmp_path / "t.safetensors")
    assert found.keys() == views.keys()
    for name, tensor in views.items():
        assert torch.equal(found[name], tensor), name


LARGE = """
import resource
import sys
import torch
from pathlib import Path
from letterrec.files.tensors import write_tensors

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

unit = 1 if sys.platform == "darwin" else 1024  # bytes
write_tensors(Path(sys.argv[1]), {"a": torch.ones(1)})  # what is loaded when it is first needed
tensors = {name: torch.ones(50_000_000) for name in "ab"}  # 200 MB each
before = peak()
write_tensors(Path(sys.argv[1]), tensors)
print((peak() - before) * unit)
"""


@pytest.mark.slow
def test_what_is_written_is_not_copied_in_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LARGE, str(tmp_path / "t.safetensors")]
    more = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert more < 100_000_000


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    for read in (read_json, read_tensors):
        with pytest.raises(RunError, match=r"gone is missing; the run is unfinished: .*--resume"):
            read(tmp_path / "gone")


def test_damaged_files_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": torch.ones(100)})
    whole = path.read_bytes()
    for damaged in (b"", whole[:5], whole[:-1], pickle.dumps({"a": 1})):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"t\.safetensors is damaged .*; fit the run again"):
            read_tensors(path)
        with pytest.raises(RunError, match=r"t\.safetensors is damaged .*; fit the run again"):
            read_json(path)


@pytest.mark.slow
def test_fingerprints_are_stable_over_processes() -> None:
    code = (
        "import numpy as np; from letterrec.files import fingerprint; "
        "print(fingerprint('a', b'b', ('c', 'd'), np.arange(3)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == fingerprint("a", b"b", ("c", "d"), np.arange(3))
    assert len(other.stdout.strip()) == 16


def test_fingerprints_see_order_bounds_shape_and_type() -> None:
    ones = np.ones(6, dtype=np.float32)
    seen = [
        fingerprint("ab", "c"),
        fingerprint("a", "bc"),
        fingerprint("c", "ab"),
        fingerprint(("ab", "c")),
        fingerprint(("a", "bc")),
        fingerprint(ones),
        fingerprint(ones.reshape(2, 3)),
        fingerprint(ones.reshape(3, 2)),
        fingerprint(ones.astype(np.float64)),
        fingerprint(),
        fingerprint(""),
    ]
    assert len(set(seen)) == len(seen)


def test_a_fingerprint_does_not_depend_on_the_memory_layout() -> None:
    matrix = np.arange(12).reshape(3, 4)
    assert fingerprint(np.asfortranarray(matrix)) == fingerprint(matrix)


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_texts_have_different_fingerprints(a: list[str], b: list[str]) -> None:
    assert (fingerprint(*a) == fingerprint(*b)) == (a == b)
    assert (fingerprint(tuple(a)) == fingerprint(tuple(b))) == (a == b)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027])
def test_files_have_the_rights_that_the_umask_gives(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
        write_tensors(tmp_path / "b.safetensors", {"x": torch.ones(2)})
        write_tensors(tmp_path / "b.safetensors", {"x": torch.ones(3)})  # over the one before
    finally:
        os.umask(before)
    rights = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert rights == dict.fromkeys(["a.json", "b.safetensors"], 0o666 & ~mask)


def test_deep_json_is_told_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for text in ("[" * 200_000, '{"n": ' + "9" * 5_000 + "}"):
        path.write_text(text)
        with pytest.raises(RunError, match="damaged"):
            read_json(path)


def test_pickles_are_read_in_one_place_only_and_without_code() -> None:
    """A ``.pt`` from outside is read as plain tensors; nothing else unpickles, but what this
    program has just sent from one of its processes to another.
    """
    source = Path(letterrec.__file__).parent
    calls = [
        line.strip()
        for path in source.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(
            r"torch\.load\(|pickle\.load\b|allow_pickle=True|joblib|weights_only=False", line
        )
    ]
    assert calls
    assert all("torch.load(" in call for call in calls)
    assert all("weights_only=True" in call for call in calls)
    loads = [
        p.relative_to(source) for p in source.rglob("*.py") if "pickle.loads(" in p.read_text()
    ]
    assert set(map(str, loads)) == {"processes/apart.py", "cluster/workers.py"}


@pytest.mark.slow
def test_a_file_is_read_whole_while_it_is_replaced_by_longer_and_shorter_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.safetensors"
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from letterrec.files.tensors import write_tensors\n"
        "for n in range(10**9):\n"
        "    size = 1 + n * 37 % 5000\n"
        "    values = torch.full((size,), float(n % 1000))\n"
        "    write_tensors(Path(sys.argv[1]), {'a': values}, {'n': n % 1000, 'size': size})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)]) as writer:
        try:
            while not path.exists():
                assert writer.poll() is None
                time.sleep(0.01)
            seen = set()
            for _ in range(1000):
                tensors, about = read_tensors(path)
                assert tensors["a"].tolist() == [float(about["n"])] * about["size"]
                seen.add(about["n"])
        finally:
            writer.kill()
    assert len(seen) > 3
