"""What lies in the place of an object, a manifest or a folder of the store: only regular, unchanged files are read."""

import os
import random
import shutil
import socket

import pytest
from small_builds import KEY, OTHER, build, flip_bit, manifest_path

from deploykit.errors import StoreFailed
from deploykit.store import Store
from deploykit.store.contents import check_entries

FILES = {
    "net.engine": bytes(range(256)) * 8,
    "graph.onnx": b"ir_version" * 90,
    "build.log": b"fused\n" * 50,
    "plan.json": b"{}",
}


def make_files(writer):
    for name, content in FILES.items():
        writer.write(name, content)
    return {}


def is_rebuilt(store, make=make_files):
    assert store.find("engine", KEY) is None
    assert not build(store, make=make)[1]
    assert build(store, make=make)[1]
    assert check_entries(store)[1] == []
    return True


@pytest.mark.parametrize("name", FILES)
def test_a_bit_that_flips_in_any_file_of_an_entry_is_noticed(store, name):
    entry, _ = build(store, make=make_files)
    pick = random.Random(name)
    size = len(FILES[name])
    for position in {0, size - 1, *(pick.randrange(size) for _ in range(6))}:
        flip_bit(entry.path(name), position, pick.randrange(8))
        assert is_rebuilt(store)


def to_itself_moved(path, aside):
    path.rename(aside)
    path.symlink_to(aside)


def to_nowhere(path, aside):
    path.unlink()
    path.symlink_to(aside)


def to_a_fifo(path, aside):
    path.unlink()
    os.mkfifo(path)


def to_a_link_to_a_fifo(path, aside):
    os.mkfifo(aside)
    path.unlink()
    path.symlink_to(aside)


def to_a_folder(path, aside):
    path.unlink()
    path.mkdir()
    (path / "note").write_text("")


def to_a_socket(path, aside):
    path.unlink()
    short = os.open(path.parent, os.O_RDONLY)  # a socket's path has 108 bytes at most
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{short}/{path.name}")
    os.close(short)


def to_a_device(path, aside):
    path.unlink()
    path.symlink_to("/dev/zero")


OTHERS = (to_itself_moved, to_nowhere, to_a_fifo, to_a_link_to_a_fifo, to_a_folder, to_a_socket, to_a_device)


@pytest.mark.parametrize("change", OTHERS)
@pytest.mark.parametrize("part", ["object", "manifest"])
def test_what_is_no_regular_file_is_not_opened_and_is_made_again(store, tmp_path, change, part):
    entry, _ = build(store, make=make_files)
    aside = tmp_path / "aside"
    change(entry.path("net.engine") if part == "object" else manifest_path(store), aside)
    before = sorted(tmp_path.iterdir())
    assert is_rebuilt(store)
    assert sorted(tmp_path.iterdir()) == before, "what a link leads to stays where it is"


@pytest.mark.parametrize("part", ["objects", "entries"])
def test_a_folder_that_is_a_link_is_not_followed(store, tmp_path, part):
    entry, _ = build(store, make=make_files)
    folder = entry.path("net.engine").parent if part == "objects" else manifest_path(store).parent
    shutil.move(folder, tmp_path / "aside")
    folder.symlink_to(tmp_path / "aside")
    kept = sorted((tmp_path / "aside").iterdir())
    assert is_rebuilt(store)
    assert not folder.is_symlink()
    assert sorted((tmp_path / "aside").iterdir()) == kept


@pytest.mark.parametrize("part", ["objects", "entries"])
def test_a_file_in_a_folder_s_place_is_moved_aside(store, part):
    entry, _ = build(store, make=make_files)
    folder = entry.path("net.engine").parent if part == "objects" else manifest_path(store).parent
    shutil.rmtree(folder)
    folder.write_text("")
    assert is_rebuilt(store)


def test_a_work_folder_that_is_a_link_is_not_written_through(store, tmp_path):
    build(store, OTHER)
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside/mine").write_text("mine")
    (store.root / f"work/engine-{KEY}").symlink_to(tmp_path / "aside")
    build(store)
    assert [path.name for path in (tmp_path / "aside").iterdir()] == ["mine"]


def test_a_lock_that_is_a_link_is_refused(store, tmp_path):
    build(store, OTHER)
    (tmp_path / "mine").write_text("mine")
    (store.root / f"locks/engine-{KEY}").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreFailed, match=f"the lock .*engine-{KEY} is a link; delete it"):
        build(store)
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_is_quarantined_twice_in_a_second_is_kept_twice(store):
    for _ in range(3):
        build(store)
        manifest_path(store).write_text("")
        assert store.find("engine", KEY) is None
    assert len(list((store.root / "quarantine").glob(f"*{KEY}.json"))) == 3


def test_a_store_under_a_link_of_the_user_s_is_a_store(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "engines").symlink_to(tmp_path / "disk")
    store = Store.open(tmp_path / "engines")
    assert not build(store)[1]
    assert build(store)[1]
