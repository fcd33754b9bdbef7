"""Files for the user: whole or not at all, and his to share."""

import os

import pytest

from deploykit.errors import UsageError
from deploykit.io.files import copy_artifact, write_text


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_file_has_the_permissions_that_any_new_file_has(tmp_path):
    source = tmp_path / "stored"
    source.write_bytes(b"engine")
    source.chmod(0o400)
    for path in (write_text(tmp_path / "table.json", "{}"), copy_artifact(source, tmp_path / "copy.engine")):
        assert path.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_written_leaves_nothing_and_what_was_there(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "kept.json").write_text("old")
    for target in (tmp_path / "taken", tmp_path / "nowhere" / "table.json"):
        with pytest.raises(UsageError, match="cannot write"):
            write_text(target, "{}")
    with pytest.raises(UsageError, match="cannot write"):
        copy_artifact(tmp_path / "gone", tmp_path / "kept.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.json", "taken"]
    assert (tmp_path / "kept.json").read_text() == "old"
