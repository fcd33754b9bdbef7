"""The store with real files and real processes: hits, corruption, races, kills, full and read-only disks."""

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_builds import KEY, OTHER, build, files_under, leftovers, make_engine

from deploykit.errors import StoreFailed
from deploykit.store import Store
from deploykit.store.contents import check_entries


def test_a_second_build_is_a_hit_and_does_not_call_the_maker(store):
    made, hit = build(store)
    assert not hit
    again, hit = build(store, make=lambda writer: pytest.fail("made twice"))
    assert hit
    assert again == made
    assert again.path("net.engine").read_bytes() == b"\x00engine"
    assert again.path("build.log").read_text() == "fused 3 kernels"
    assert [again.path(name).suffix for name in ("net.engine", "build.log")] == [".engine", ".log"]
    assert (again.facts, again.versions) == ({"kernels": 58}, {"onnx": "1.23"})
    assert again.request == {"model": {"name": "lenet5"}, "precision": "fp16"}


def test_the_manifest_says_what_was_asked_and_what_came_out(store):
    build(store)
    manifest = json.loads((store.root / f"entries/engine/{KEY}.json").read_text())
    assert set(manifest) == {
        *("seal", "schema_version", "kind", "key", "request", "versions", "created", "files", "facts")
    }
    assert manifest["files"]["build.log"]["bytes"] == len("fused 3 kernels")


def test_equal_content_under_two_keys_is_stored_once(store):
    first, _ = build(store)
    second, hit = build(store, OTHER)
    assert not hit
    assert second.path("net.engine") == first.path("net.engine")
    assert len([name for name in files_under(store.root) if name.startswith("objects/")]) == 2


def test_a_key_of_another_kind_is_another_entry(store):
    build(store)
    assert store.find("onnx", KEY) is None


def test_finding_in_a_store_that_does_not_exist_makes_no_folder(store):
    assert store.find("engine", KEY) is None
    assert not store.root.exists()


def test_folders_are_private(store):
    entry, _ = build(store)
    folders = [path for path in (store.root, *store.root.rglob("*")) if path.is_dir()]
    assert entry.path("net.engine").parent in folders
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_an_unknown_file_of_an_entry_is_named(store):
    entry, _ = build(store)
    with pytest.raises(StoreFailed, match=r"no file 'plan.json'.*net.engine, build.log"):
        entry.path("plan.json")


@pytest.mark.parametrize("name", ["../escape", "a/b", ".hidden", ""])
def test_a_file_name_cannot_leave_the_work_folder(store, name):
    with pytest.raises(ValueError, match="not a plain file name"):
        build(store, make=lambda writer: writer.write(name, b""))
    assert leftovers(store.root) == []


def same_size(path):
    path.write_bytes(b"X" * path.stat().st_size)


def same_size_and_time(path):
    before = path.stat()
    same_size(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("harm", [same_size, same_size_and_time, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("reads_before", [0, 1])
def test_a_corrupt_object_is_a_miss_and_is_rebuilt(store, caplog, harm, reads_before):
    entry, _ = build(store)
    for _ in range(reads_before):
        store.find("engine", KEY)
    time.sleep(0.02)  # past the clock tick of the file system's change times
    harm(entry.path("net.engine"))
    with caplog.at_level(logging.WARNING):
        assert store.find("engine", KEY) is None
    assert "is corrupt (net.engine" in caplog.text
    again, hit = build(store)
    assert not hit
    assert again.path("net.engine").read_bytes() == b"\x00engine"


def test_a_corrupt_object_is_kept_in_quarantine_and_a_sound_one_stays(store):
    entry, _ = build(store)
    same_size(entry.path("net.engine"))
    store.find("engine", KEY)
    kept = sorted(path.name.split("-", 1)[1] for path in (store.root / "quarantine").iterdir())
    assert kept == sorted([f"{KEY}.json", entry.path("net.engine").name])
    assert entry.path("build.log").exists()


def test_an_unchanged_file_is_not_hashed_again(store, monkeypatch):
    build(store)
    time.sleep(0.15)  # past the time in which a file may change without another time of change
    store.find("engine", KEY)
    monkeypatch.setattr("deploykit.store.files.open_regular", lambda path: pytest.fail("hashed again"))
    monkeypatch.setattr("deploykit.store.manifest.read_regular", lambda path, most: path.read_bytes())
    assert store.find("engine", KEY) is not None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_is_left_when_the_maker_raises(store, error):
    def fail(writer):
        make_engine(writer)
        raise error

    with pytest.raises(error):
        build(store, make=fail)
    assert leftovers(store.root) == []
    assert build(store)[1] is False


def test_nothing_is_left_when_the_commit_is_cut_short(store):
    def forget(writer):
        make_engine(writer)
        writer.path("plan.json")
        return {}

    with pytest.raises(FileNotFoundError):
        build(store, make=forget)
    assert leftovers(store.root) == []


# Other processes

MAKER = """
import sys, time, pathlib
from deploykit.store import Store
root, seconds, calls = pathlib.Path(sys.argv[1]), float(sys.argv[2]), pathlib.Path(sys.argv[3])
def make(writer):
    writer.write("net.engine", b"E" * 1000)
    with calls.open("a") as file:
        file.write("made\\n")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not calls.with_name("go").exists():
        time.sleep(0.01)
    return {}
entry, hit = Store.open(root).get_or_make("engine", "ab" * 32, make, request={}, versions={})
print("hit" if hit else "made", entry.path("net.engine").stat().st_size)
"""


def start_maker(root, seconds, calls, **options):
    command = [sys.executable, "-c", MAKER, str(root), str(seconds), str(calls)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_until_made(calls):
    deadline = time.monotonic() + 20
    while not (calls.exists() and calls.read_text()):
        assert time.monotonic() < deadline, "the maker did not start"
        time.sleep(0.01)


@pytest.mark.parametrize("several", [2, 4])
def test_of_several_makers_of_one_key_one_makes_it_and_all_end_well(tmp_path, several):
    calls = tmp_path / "calls"
    makers = [start_maker(tmp_path / "engines", 0.5, calls) for _ in range(several)]
    said = sorted(maker.communicate(timeout=30)[0].strip() for maker in makers)
    assert [maker.returncode for maker in makers] == [0] * several
    assert said == [*["hit 1000"] * (several - 1), "made 1000"]
    assert calls.read_text() == "made\n"
    assert check_entries(Store.open(tmp_path / "engines"))[1] == []


def test_an_interrupted_maker_leaves_nothing(tmp_path):
    calls, root = tmp_path / "calls", tmp_path / "engines"
    maker = start_maker(root, 60, calls)
    wait_until_made(calls)
    maker.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in maker.communicate(timeout=20)[1]
    assert leftovers(root) == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_maker_leaves_no_entry_and_frees_its_lock(tmp_path, ending):
    calls, root = tmp_path / "calls", tmp_path / "engines"
    maker = start_maker(root, 60, calls)
    wait_until_made(calls)
    maker.send_signal(ending)
    maker.communicate(timeout=20)
    store = Store.open(root)
    assert store.find("engine", KEY) is None
    assert not [name for name in files_under(root) if name.startswith(("objects/", "entries/"))]
    build(store, OTHER)  # a build of something else sweeps what the dead one left
    assert list((root / "work").iterdir()) == []
    assert build(store)[1] is False


def test_the_work_of_a_living_maker_is_not_swept(tmp_path):
    calls, root = tmp_path / "calls", tmp_path / "engines"
    maker = start_maker(root, 60, calls)
    wait_until_made(calls)
    build(Store.open(root), OTHER)
    assert maker.poll() is None, "the other maker should still be at work"
    (tmp_path / "go").touch()
    assert maker.communicate(timeout=20)[0] == "made 1000\n"


def test_a_full_disk_is_named_with_the_fix_and_leaves_nothing(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))

    maker = start_maker(tmp_path / "engines", 0, tmp_path / "calls", preexec_fn=limit)
    error = maker.communicate(timeout=20)[1].splitlines()[-1]
    assert maker.returncode == 1
    assert error.startswith("deploykit.errors.StoreFailed: no room to write in ")
    assert str(tmp_path / "engines") in error
    assert "free space, or choose another store with --store DIR or DEPLOYKIT_STORE" in error
    assert leftovers(tmp_path / "engines") == []


def without_root_rights():
    """A command prefix under which file modes bind even root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores file modes, and there is no setpriv to drop that right")
    rights = "-dac_override,-dac_read_search"
    prefix = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("setpriv may not drop root's right to ignore file modes")
    return prefix


def set_writable(root, writable):
    for path in (root, *root.rglob("*")):
        path.chmod((0o700 if path.is_dir() else 0o600) if writable else (0o500 if path.is_dir() else 0o400))


def test_a_read_only_store_gives_what_it_has_and_says_what_it_cannot_do(tmp_path):
    prefix = without_root_rights()
    store = Store.open(tmp_path / "engines")
    build(store)
    set_writable(store.root, False)
    try:
        run = [*prefix, sys.executable, "-c", MAKER, str(store.root), "0", str(tmp_path / "calls")]
        hit = subprocess.run(run, capture_output=True, text=True)
        other = [MAKER.replace('"ab"', '"ef"') if word is MAKER else word for word in run]
        miss = subprocess.run(other, capture_output=True, text=True)
    finally:
        set_writable(store.root, True)
    assert (hit.stdout, hit.returncode) == ("hit 7\n", 0)
    assert miss.returncode == 1
    assert f"StoreFailed: cannot write to {store.root}" in miss.stderr.splitlines()[-1]
    assert "DEPLOYKIT_STORE" in miss.stderr.splitlines()[-1]
