"""What may be opened: regular files, as large as they are allowed to be and as long as they were."""

import hashlib
import os
import socket

import pytest

from deploykit import limits
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.io.door import digest_file, open_file, read_file, require_file

OPENERS = [open_file, read_file, digest_file, require_file]


@pytest.fixture
def place(tmp_path):
    """One of everything that is no regular file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        yield tmp_path


@pytest.mark.parametrize("use", OPENERS)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pipe", "table .*/pipe is not a file but a pipe"),
        ("socket", "is not a file but a socket"),
        ("endless", "is not a file but a device"),
        ("folder", "table .*/folder is a folder"),
        ("dangling", "there is no table"),
        ("gone", "there is no table"),
        ("n" * 300, "cannot read table .*: File name too long"),
        ("zero\0", "there is no table"),
    ],
)
def test_what_is_no_file_is_refused_and_not_waited_for(place, use, name, said):
    with pytest.raises(UsageError, match=said):
        use(place / name, "table")


@pytest.mark.parametrize("use", OPENERS)
def test_a_file_beyond_its_limit_is_refused_by_its_size_alone(tmp_path, use):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(UntrustedArtifact, match="10000000000000 bytes, more than the 64000000 of DEPLOYKIT_MAX_TEXT_"):
        use(tmp_path / "large", "table", limit=limits.TEXT_BYTES)


def test_a_file_is_read_and_hashed_whole(tmp_path):
    content = os.urandom(3_000_001)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", "table") == content
    assert digest_file(tmp_path / "link", "table") == hashlib.sha256(content).hexdigest()
    (tmp_path / "empty").touch()
    assert read_file(tmp_path / "empty", "table") == b""
    assert digest_file(tmp_path / "empty", "table") == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("use", [read_file, digest_file])
def test_a_file_without_an_end_is_left(place, use):
    """/proc says that its files have no bytes, and gives some all the same."""
    with pytest.raises(UntrustedArtifact, match="changed while it was read, or has no end"):
        use(place.joinpath("/proc/self/status"), "table")


def test_a_limit_is_what_the_environment_says(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(bytes(100))
    monkeypatch.setenv("DEPLOYKIT_MAX_LIST_BYTES", "100")
    assert read_file(tmp_path / "file", "list", limit=limits.LIST_BYTES) == bytes(100)
    monkeypatch.setenv("DEPLOYKIT_MAX_LIST_BYTES", "99")
    with pytest.raises(UntrustedArtifact, match="set DEPLOYKIT_MAX_LIST_BYTES to allow more"):
        read_file(tmp_path / "file", "list", limit=limits.LIST_BYTES)


@pytest.mark.parametrize("text", ["0", "-1", "1e6", "many", "9" * 30, "\u0661"])
def test_a_limit_that_is_no_number_is_a_usage_error(monkeypatch, text):
    monkeypatch.setenv("DEPLOYKIT_MAX_ROWS", text)
    with pytest.raises(UsageError, match="DEPLOYKIT_MAX_ROWS is"):
        _ = limits.ROWS.value


def test_every_limit_is_listed_once():
    declared = [each for each in vars(limits).values() if isinstance(each, limits.Limit)]
    assert sorted(limits.LIMITS, key=id) == sorted(declared, key=id)
    assert len({each.variable for each in declared}) == len(declared)
