"""Results in a folder: under names of their own, whole, never one over another; and the newest two of a kind."""

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_results import MACHINE, accuracy, row, table

from deploykit.errors import UsageError
from deploykit.workflow.saved import latest, load, save

REPORT = table(row(ms=10))


def named(folder, *names):
    for name in names:
        (folder / name).write_text("{}")


def test_a_saved_report_is_named_by_network_command_date_and_machine_and_comes_back(tmp_path):
    path = save(REPORT, tmp_path / "a" / "b")
    assert re.fullmatch(r"net-bench-\d{8}T\d{6}Z-[0-9a-f]{8}\.json", path.name)
    assert load(path) == REPORT
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("report", "start"),
    [
        (table(row(model="x"), model="runs/best v2.onnx"), "best-v2.onnx-verify-"),
        (table(row(), model="pkg.net:make(1, 'a/../b')"), "b-verify-"),
        (table(row(), model="../.."), "network-verify-"),
        (table(row(mode="forward", steps_ns=(1, 2))), "net-forward-2"),
        (accuracy([True, False]), "net-evaluate-"),
    ],
)
def test_a_name_is_one_of_a_file_whatever_the_network_is_called(report, start, tmp_path):
    path = save(report, tmp_path)
    assert path.parent == tmp_path
    assert path.name.startswith(start)


def test_another_machine_has_another_name_and_another_hour_or_load_has_not(tmp_path):
    def digest(**change):
        return save(table(row(), machine=replace(MACHINE, **change)), tmp_path).stem.split("-")[3]

    assert digest() == digest(load_average=9.0, libraries={}, threads=1)
    assert digest() != digest(cpu=replace(MACHINE.cpu, model="Another CPU"))


def test_saving_at_once_overwrites_nothing(tmp_path):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(save(REPORT, tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 8
    assert {load(path) == REPORT for path in tmp_path.iterdir()} == {True}


def test_a_file_system_without_hard_links_overwrites_nothing_either(tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert len({save(REPORT, tmp_path) for _ in range(3)}) == 3
    assert {load(path) == REPORT for path in tmp_path.iterdir()} == {True}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_is_a_file_is_one_line_and_nothing_is_left(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=r"cannot write into .*taken: (File exists|Not a directory)"):
        save(REPORT, tmp_path / "taken")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_the_newest_two_of_one_kind(tmp_path):
    named(
        tmp_path,
        "net-bench-20260101T000000Z-aaaaaaaa.json",
        "net-bench-20260102T000000Z-aaaaaaaa.json",
        "net-bench-20260103T000000Z-bbbbbbbb.json",
        "net-forward-20260104T000000Z-aaaaaaaa.json",
        "other-bench-20260105T000000Z-aaaaaaaa.json",
        "net-bench-20260106T000000Z-aaaaaaaa-2.json",
        "net-bench-20260106T000000Z-aaaaaaaa-10.json",
        "notes.json",
        ".net-bench-20260107T000000Z-aaaaaaaa.json.0123456789abcdef",
    )
    start = "net-bench-20260106T000000Z-aaaaaaaa"
    assert [path.name for path in latest(tmp_path, 1)] == [f"{start}-2.json", f"{start}-10.json"]
    assert latest(tmp_path, 3)[0].name == "net-bench-20260101T000000Z-aaaaaaaa.json"
    with pytest.raises(UsageError, match=r"--last 4 requires 5 results; .* has 4 of net-bench on machine aaaaaaaa"):
        latest(tmp_path, 4)


def test_an_empty_folder_and_none_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="has no saved result; save some with bench --save"):
        latest(tmp_path, 1)
    with pytest.raises(UsageError, match=r"cannot read the folder .*gone: No such file"):
        latest(tmp_path / "gone", 1)
