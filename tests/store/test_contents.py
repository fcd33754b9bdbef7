"""What a store holds: listed, checked and removed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_builds import KEY, OTHER, SECRET, build, files_under, flip_bit, leftovers, manifest_path

from deploykit.store import Store
from deploykit.store.contents import check_entries, list_entries, object_sizes
from deploykit.store.removal import clear, prune

THIRD = "ef" * 32
DAY = 86400.0


def age(store, key, days):
    """As if the entry had been used that long ago."""
    then = time.time() - days * DAY
    os.utime(manifest_path(store, key), (then, then))


def made_of(size):
    def make(writer):
        writer.write("net.engine", os.urandom(size))
        return {}

    return make


def keys(entries):
    return [each.key for each in entries]


def test_an_entry_is_listed_with_its_size_age_and_what_it_was_made_from(store):
    build(store)
    build(store, OTHER)
    age(store, KEY, 3)
    last, first = (each.shown for each in list_entries(store))
    assert (last.key, first.key) == (OTHER, KEY)
    assert (first.kind, first.made_from, first.bytes, first.state) == ("engine", "lenet5 fp16", 22, "ok")
    assert 3 * DAY <= first.age_seconds < 3 * DAY + 60
    assert last.age_seconds < 60


def test_a_hit_is_a_use_and_a_listing_is_none(store):
    build(store)
    age(store, KEY, 3)
    list_entries(store)
    assert list_entries(store)[0].shown.age_seconds > 2 * DAY
    store.find("engine", KEY)
    assert list_entries(store)[0].shown.age_seconds < 60


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lambda store, engine: engine.unlink(), "net.engine is missing"),
        (lambda store, engine: engine.write_bytes(b""), "net.engine has another size"),
        (lambda store, engine: manifest_path(store).write_text("{}"), "its manifest has no seal"),
    ],
)
def test_what_shows_without_reading_is_listed_and_left(store, harm, fault):
    entry, _ = build(store)
    harm(store, entry.path("net.engine"))
    before = files_under(store.root)
    (shown,) = [each.shown for each in list_entries(store)]
    assert (shown.state, shown.fault) == ("corrupt", fault)
    assert files_under(store.root) == before


def test_sizes_count_each_file_once(store):
    build(store)
    build(store, OTHER)
    build(store, THIRD, made_of(1000))
    manifest_path(store, THIRD).unlink()
    listed = list_entries(store)
    sizes = object_sizes(store, {path for each in listed for path in each.objects})
    assert sizes == (22, 1000, 0)


def test_a_check_reads_all_of_it(store):
    entry, _ = build(store)
    build(store, OTHER, made_of(100))
    flip_bit(entry.path("net.engine"), 3)
    whole, corrupt = check_entries(store)
    assert keys(whole) == [OTHER]
    (bad,) = corrupt
    assert (bad.what, bad.fault) == (f"engine {KEY}", "net.engine fails its checksum")
    assert len(bad.moved_to) == 2
    assert all(Path(path).exists() for path in bad.moved_to)
    assert keys(check_entries(store)[0]) == [OTHER]


def test_a_check_looks_behind_stamps(store):
    store = Store(store.root, SECRET)
    entry, _ = build(store)
    time.sleep(0.15)
    store.find("engine", KEY)
    before = entry.path("net.engine").stat()
    assert store.stamps_path("engine", KEY).exists()
    sound = entry.path("net.engine").read_bytes()
    entry.path("net.engine").write_bytes(sound[:-1] + b"E")
    os.utime(entry.path("net.engine"), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [each.fault for each in check_entries(store)[1]] == ["net.engine fails its checksum"]


def test_an_object_of_no_entry_has_to_be_what_its_name_says(store):
    entry, _ = build(store)
    manifest_path(store).unlink()
    flip_bit(entry.path("net.engine"), 0)
    (store.root / "objects/README").write_text("mine")
    found = {each.what.rpartition("/")[2]: each.fault for each in check_entries(store)[1]}
    assert found == {entry.path("net.engine").name: "is not what its name says", "README": "does not belong there"}
    assert check_entries(store) == ([], [])


def test_another_folder_is_no_store(tmp_path):
    (tmp_path / "objects/ab").mkdir(parents=True)
    (tmp_path / "objects/ab" / ("ab" * 19)).write_text("of git")
    store = Store.open(tmp_path)
    assert check_entries(store) == ([], [])
    assert clear(store, dry_run=False).bytes == 0
    assert files_under(tmp_path) == [f"objects/ab/{'ab' * 19}"]
    assert len(list(tmp_path.iterdir())) == 1, "no folder was made"


# Removal


@pytest.fixture
def aged(store):
    """Three entries of 1000 bytes, used 0, 10 and 40 days ago."""
    for key, days in ((KEY, 0), (OTHER, 10), (THIRD, 40)):
        build(store, key, made_of(1000))
        age(store, key, days)
    return store


@pytest.mark.parametrize(
    ("older_than", "max_bytes", "gone"),
    [
        (None, None, []),
        (30 * DAY, None, [THIRD]),
        (5 * DAY, None, [THIRD, OTHER]),
        (None, 2000, [THIRD]),
        (None, 1999, [THIRD, OTHER]),
        (None, 0, [THIRD, OTHER, KEY]),
        (30 * DAY, 1000, [THIRD, OTHER]),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_the_oldest_go_first(aged, older_than, max_bytes, gone, dry_run):
    before = files_under(aged.root)
    found = prune(aged, older_than=older_than, max_bytes=max_bytes, dry_run=dry_run)
    assert sorted(keys(found.removed)) == sorted(gone)
    assert found.bytes == 1000 * len(gone)
    left = [key for key in (KEY, OTHER, THIRD) if dry_run or key not in gone]
    assert sorted(each.shown.key for each in list_entries(aged)) == sorted(left)
    assert check_entries(aged)[1] == []
    if dry_run:
        assert files_under(aged.root) == before
    else:
        assert len([name for name in leftovers(aged.root) if name.startswith("objects/")]) == len(left)


def test_a_file_that_another_entry_has_too_stays(store):
    build(store)
    build(store, OTHER)
    age(store, KEY, 40)
    assert prune(store, older_than=DAY, max_bytes=None, dry_run=False).bytes == 0
    assert store.find("engine", OTHER) is not None


def test_what_nothing_refers_to_goes_and_what_cannot_be_used(store):
    keyed = Store(store.root, SECRET)
    build(keyed)
    build(store, OTHER, made_of(500))
    (manifest_path(store, THIRD)).write_text("{}")
    (store.root / "entries/engine" / f"{'12' * 32}.verified").write_text("{}")
    (store.root / "entries/engine" / f"{'12' * 32}.4711").write_text("{}")
    (store.root / "work/engine-dead").mkdir()
    found = prune(keyed, older_than=None, max_bytes=None, dry_run=False)
    assert {each.key: each.state for each in found.removed} == {OTHER: "untrusted", THIRD: "corrupt"}
    names = [name for name in leftovers(store.root) if not name.startswith("objects/")]
    assert names == [f"entries/engine/{KEY}.json"]
    assert list((store.root / "work").iterdir()) == []
    assert build(keyed)[1]


def test_a_clock_that_was_set_back_makes_nothing_old(store):
    build(store)
    age(store, KEY, -400)
    assert list_entries(store)[0].shown.age_seconds == 0
    assert prune(store, older_than=0.0, max_bytes=None, dry_run=False).removed == ()
    assert build(store)[1]


def test_quarantine_goes_by_age_or_with_all(store):
    build(store)
    manifest_path(store).write_text("")
    store.find("engine", KEY)
    build(store)
    prune(store, older_than=DAY, max_bytes=None, dry_run=False)
    assert len(list((store.root / "quarantine").iterdir())) == 1
    clear(store, dry_run=True)
    assert build(store)[1]
    found = clear(store, dry_run=False)
    assert keys(found.removed) == [KEY]
    assert leftovers(store.root) == []
    assert not build(store)[1], "it is a store still"


HOLDER = """
import pathlib, sys
from deploykit.store import Store
def make(writer):
    writer.write("net.engine", b"new")
    print("building", flush=True)
    sys.stdin.readline()
    return {}
Store.open(pathlib.Path(sys.argv[1])).get_or_make("engine", "ab" * 32, make, request={}, versions={}, files=("new",))
"""


def test_what_another_process_builds_is_kept(store):
    build(store)
    build(store, OTHER, made_of(10))
    command = [sys.executable, "-c", HOLDER, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "building\n"
        build(store, THIRD)
        manifest_path(store, THIRD).replace(manifest_path(store))  # something for `clear` to find in its place
        found = clear(store, dry_run=False)
        assert (keys(found.removed), keys(found.kept)) == ([OTHER], [KEY])
        assert (store.root / f"work/engine-{KEY}").is_dir()
        holder.communicate("\n", timeout=20)
    assert holder.returncode == 0
    assert store.entry_at("engine", KEY).path("net.engine").read_bytes() == b"new"
    assert check_entries(store)[1] == []
