"""Processes that are killed while they write, and clocks that were set back: the store is whole after each."""

import os
import signal
import subprocess
import sys
import time

import pytest
from small_builds import KEY, OTHER, build, leftovers, manifest_path

from deploykit.store import Store
from deploykit.store.contents import check_entries, list_entries
from deploykit.store.removal import prune

KILLED = """
import os, pathlib, signal, sys
import deploykit.store.store as parts
from deploykit.store import Store

root, point = pathlib.Path(sys.argv[1]), sys.argv[2]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def make(writer):
    with writer.path("net.engine").open("wb") as file:
        file.write(b"E" * 4096)
        file.flush()
        if point == "half of a file":
            die()
        file.write(b"E" * 4096)
    writer.write("build.log", "fused 3 kernels")
    if point == "all files":
        die()
    return {"kernels": 58}

moved, move, write = [], parts.move_durably, parts.write_manifest

def moving(source, target):
    if point == f"before move {len(moved)}":
        die()
    move(source, target)
    moved.append(target)
    if point == f"after move {len(moved)}":
        die()

def writing(*args):
    content = write(*args)
    if point == "half of a manifest":
        (root / "work" / f"engine-{'ab' * 32}" / "manifest.draft").write_bytes(content[: len(content) // 2])
        die()
    return content

parts.move_durably, parts.write_manifest = moving, writing
Store.open(root).get_or_make("engine", "ab" * 32, make, request={}, versions={})
print("made")
"""
POINTS = {
    "half of a file": False,
    "all files": False,
    "before move 0": False,
    "after move 1": False,
    "after move 2": False,
    "half of a manifest": False,
    "before move 2": False,
    "after move 3": True,  # the manifest's own: the entry is there
    "never": True,
}


@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_while_it_writes_leaves_a_whole_store(tmp_path, point):
    store = Store.open(tmp_path / "engines")
    build(store, OTHER)
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.root), point], capture_output=True, text=True)
    assert done.returncode == (0 if point == "never" else -signal.SIGKILL), done.stderr
    assert check_entries(store)[1] == []
    assert (store.find("engine", KEY) is not None) is POINTS[point]
    prune(store, older_than=None, max_bytes=None, dry_run=False)
    assert [name for name in leftovers(store.root) if name.startswith("work/")] == []
    assert len([name for name in leftovers(store.root) if name.startswith("objects/")]) == (3 if POINTS[point] else 2)
    assert build(store)[1] is POINTS[point]
    assert build(store)[1]
    assert check_entries(store)[1] == []


BUILDER = """
import pathlib, random, sys
from deploykit.store import Store
root, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
store, pick = Store.open(root), random.Random(seed)
for _ in range(12):
    number = pick.randrange(6)
    def make(writer):
        writer.write("shared.log", "the same in all")
        writer.write("net.engine", bytes([number]) * 5000)
        return {"number": number}
    entry, _ = store.get_or_make("engine", f"{number:02x}" * 32, make, request={}, versions={})
    assert entry.facts == {"number": number} and entry.path("net.engine").read_bytes() == bytes([number]) * 5000
print("done")
"""


@pytest.mark.parametrize("several", [2, 4])
def test_several_builders_of_several_entries_get_what_they_asked_for(tmp_path, several):
    run = [sys.executable, "-c", BUILDER, str(tmp_path / "engines")]
    builders = [
        subprocess.Popen([*run, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in range(several)
    ]
    said = [builder.communicate(timeout=60) for builder in builders]
    assert [out for out, _ in said] == ["done\n"] * several, said
    store = Store.open(tmp_path / "engines")
    assert check_entries(store)[1] == []
    assert {each.shown.state for each in list_entries(store)} == {"ok"}
    assert list((store.root / "work").iterdir()) == []


def test_a_builder_beside_a_pruner_gets_what_it_asked_for(tmp_path):
    """Files that are put in place for an entry whose manifest is still to come are not taken for unreferenced."""
    run = [sys.executable, "-c", BUILDER, str(tmp_path / "engines"), "1"]
    store = Store.open(tmp_path / "engines")
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as builder:
        while builder.poll() is None:
            prune(store, older_than=None, max_bytes=None, dry_run=False)
        assert builder.stdout.read() == "done\n", builder.stderr.read()
    assert check_entries(store)[1] == []


def test_an_entry_of_tomorrow_is_used_today(store):
    """The clock was set back since it was built."""
    entry, _ = build(store)
    tomorrow = time.time() + 86400
    for path in (manifest_path(store), entry.path("net.engine"), store.root / f"locks/engine-{KEY}"):
        os.utime(path, (tomorrow, tomorrow))
    assert [each.shown.age_seconds for each in list_entries(store)] == [0]
    assert build(store)[1]
    assert check_entries(store)[1] == []
