"""Whose store it is: where it lies, who may write to it, and what another user put there."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from small_builds import KEY, OTHER, build

from deploykit.errors import StoreFailed
from deploykit.store import Store
from deploykit.store.ownership import make_folders


def test_the_store_comes_from_the_argument_then_the_environment_then_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPLOYKIT_STORE", raising=False)
    assert Store.open().root == tmp_path / "engines"
    monkeypatch.setenv("DEPLOYKIT_STORE", str(tmp_path / "shared"))
    assert Store.open().root == tmp_path / "shared"
    assert Store.open(tmp_path / "mine").root == tmp_path / "mine"


def test_a_file_in_the_store_s_place_is_refused(tmp_path):
    (tmp_path / "engines").write_text("")
    with pytest.raises(StoreFailed, match="is not a folder"):
        Store.open(tmp_path / "engines")


def mode(path):
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("open_to", [0o775, 0o777])
@pytest.mark.parametrize("part", [".", "entries", "objects"])
def test_a_build_takes_the_right_to_write_from_others(store, part, open_to):
    build(store)
    (store.root / part).chmod(open_to)
    again = Store.open(store.root)
    assert again.find("engine", KEY) is not None
    assert mode(store.root / part) == open_to, "reading changes no mode"
    build(again, OTHER)
    assert mode(store.root / part) == 0o755


def test_a_sticky_folder_such_as_tmp_stays_as_it_is(tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    store = Store.open(tmp_path / "tmp")
    build(store)
    assert mode(store.root) == 0o1777
    assert mode(store.root / "objects") == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("planted", ["manifest", "net.engine"])
def test_what_another_user_put_into_the_store_is_rebuilt(store, caplog, planted):
    entry, _ = build(store)
    store.find("engine", KEY)
    path = store.root / f"entries/engine/{KEY}.json" if planted == "manifest" else entry.path(planted)
    os.chown(path, 12345, 12345)
    assert store.find("engine", KEY) is None
    assert f"its {planted}" if planted == "manifest" else planted in caplog.text
    assert "belongs to another user (uid 12345)" in caplog.text
    again, hit = build(store)
    assert not hit
    assert again.path("net.engine").stat().st_uid == 0
    assert build(store)[1]


ROOT_S_STORE = """
import os, pathlib, sys
from deploykit.store import Store
os.setgroups([]); os.setgid(12345); os.setuid(12345)
print(Store.open(pathlib.Path(sys.argv[1])).find("engine", "ab" * 32) is not None)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("modes", "said"),
    [
        ({".": 0o755}, "True"),
        ({".": 0o1777}, "True"),
        ({".": 0o777}, "is owned by root and writable by other users"),
        ({"objects": 0o1777}, "is owned by root and writable by other users"),
    ],
)
def test_root_s_store_serves_others_unless_they_may_write_to_it(modes, said):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to other users
        Path(folder).chmod(0o755)
        store = Store.open(Path(folder) / "engines")
        build(store)
        for path in store.root.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for part, bits in {".": 0o755, **modes}.items():
            (store.root / part).chmod(bits)
        run = [sys.executable, "-c", ROOT_S_STORE, str(store.root)]
        done = subprocess.run(run, capture_output=True, text=True)
    assert said in (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("part", [".", "objects"])
def test_another_user_s_store_is_refused(tmp_path, part):
    (tmp_path / "engines" / part).mkdir(parents=True)
    os.chown(tmp_path / "engines" / part, 12345, 12345)
    with pytest.raises(StoreFailed, match=r"another user \(uid 12345\)"):
        Store.open(tmp_path / "engines")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="Linux has a folder in which none can be made")
def test_a_place_where_no_folder_can_be_made_is_said():
    with pytest.raises(StoreFailed, match=r"cannot make the store /proc/store: No such file"):
        make_folders(Path("/proc/store"))
