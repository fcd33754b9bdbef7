"""`deploykit store`: what it prints, its exit codes, and the same from Python."""

import json
import os
import time

import pytest
from test_json_schema import SCHEMA, faults

import deploykit as dk
from deploykit.store import Store

KEYS = ("ab" * 32, "cd" * 32)


@pytest.fixture
def filled(tmp_path):
    """A store of two entries, one of them last used ten days ago."""
    store = Store.open(tmp_path / "engines")
    for number, key in enumerate(KEYS):
        request = {"spec": {"model": {"name": f"net{number}"}, "precision": "fp16"}, "backend": "trt-rtx"}

        def make(writer, number=number):
            writer.write("model.engine", bytes([number]) * 1000)
            return {}

        store.get_or_make("engine", key, make, request=request, versions={})
    long_ago = time.time() - 10 * 86400
    os.utime(store.manifest_path("engine", KEYS[1]), (long_ago, long_ago))
    return store


def answer(done, kind):
    found = json.loads(done.stdout)
    assert faults(found, SCHEMA["properties"][kind]) == []
    return found


def test_ls_lists_what_is_there(run, filled):
    done = run("store", "ls", store=filled.root)
    assert (done.returncode, done.stderr) == (0, "")
    head, first, second, total = done.stdout.splitlines()
    assert head.split() == ["kind", "key", "size", "used", "made", "from", "state"]
    assert first.split()[:4] == ["engine", KEYS[0][:12], "0.00", "MB"]
    assert second.split()[4:] == ["10", "d", "net1", "fp16", "trt-rtx", "ok"]
    assert total == f"2 entries in {filled.root}, 0.00 MB of files"
    found = answer(run("store", "ls", "--json", store=filled.root), "store ls")
    assert [(each["key"], each["bytes"]) for each in found["entries"]] == [(key, 1000) for key in KEYS]
    assert found["object_bytes"] == 2000


def test_a_store_that_is_not_there_is_empty(run, tmp_path):
    done = run("store", "ls", store=tmp_path / "none")
    assert done.stdout == f"0 entries in {tmp_path / 'none'}, 0.00 MB of files\n"
    assert run("store", "verify", store=tmp_path / "none").returncode == 0
    assert run("store", "prune", store=tmp_path / "none").returncode == 0
    assert run("store", "clear", store=tmp_path / "none").returncode == 0
    assert not (tmp_path / "none").exists()


def test_verify_exits_with_5_and_says_what_was_moved_and_then_with_0(run, filled):
    assert answer(run("store", "verify", "--json", store=filled.root), "store verify")["entries"] == 2
    engine = filled.entry_at("engine", KEYS[0]).path("model.engine")
    engine.write_bytes(b"\1" * 1000)
    done = run("store", "verify", store=filled.root)
    assert done.returncode == 5
    assert done.stdout.startswith(f"corrupt: engine {KEYS[0]}: model.engine fails its checksum; moved to ")
    assert done.stdout.endswith(f"1 sound in {filled.root}, 0.00 MB of files\n")
    clean = run("store", "verify", "--json", store=filled.root)
    assert clean.returncode == 0
    assert answer(clean, "store verify")["quarantined"] == []


def test_with_a_key_what_it_did_not_seal_is_told(run, filled, monkeypatch):
    monkeypatch.setenv("DEPLOYKIT_STORE_KEY", "a key of thirty-two bytes, or so")
    done = run("store", "verify", store=filled.root)
    assert done.returncode == 5
    assert done.stdout.count("untrusted: its manifest is not sealed with DEPLOYKIT_STORE_KEY") == 2
    monkeypatch.setenv("DEPLOYKIT_STORE_KEY", "short")
    done = run("store", "ls", store=filled.root)
    assert done.returncode == 1
    assert done.stderr.startswith("deploykit: error: DEPLOYKIT_STORE_KEY has 5 bytes, fewer than 16; ")


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ([], 0),
        (["--older-than", "9d"], 1),
        (["--older-than", "2w"], 0),
        (["--max-size", "1.5kB"], 1),
        (["--max-size", "0"], 2),
        (["--older-than", "9d", "--dry-run"], 1),
    ],
)
def test_prune_removes_by_age_and_size(run, filled, options, gone):
    found = answer(run("store", "prune", *options, "--json", store=filled.root), "store prune")
    assert len(found["removed"]) == gone
    assert found["bytes"] == 1000 * gone
    left = json.loads(run("store", "ls", "--json", store=filled.root).stdout)["entries"]
    assert len(left) == (2 if "--dry-run" in options else 2 - gone)


def test_clear_removes_all(run, filled):
    assert "would remove 2 from" in run("store", "clear", "--dry-run", store=filled.root).stdout
    done = run("store", "clear", store=filled.root)
    assert done.stdout.splitlines()[-1] == f"removed 2 from {filled.root}, 0.00 MB of files"
    assert answer(run("store", "clear", "--json", store=filled.root), "store clear")["removed"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--older-than", "soon"], "--older-than soon is not a number with a unit; write 30d"),
        (["--older-than", "3"], "--older-than 3 is not a number with a unit; write 30d"),
        (["--max-size", "20 parsecs"], "--max-size 20 parsecs is not a number with a unit; write 20GB"),
    ],
)
def test_an_age_or_a_size_that_is_none_is_one_line(run, filled, options, said):
    done = run("store", "prune", *options, store=filled.root)
    assert (done.returncode, done.stderr) == (2, f"deploykit: error: {said}\n")


def test_foreign_text_does_not_steer_the_terminal(run, filled):
    filled.get_or_make("engine", "ef" * 32, lambda _: {}, request={"model": {"name": "\x1b[31mred\ud800"}}, versions={})
    done = run("store", "ls", store=filled.root)
    assert done.returncode == 0
    assert "\\x1b[31mred\\ud800" in done.stdout


def test_python_answers_as_the_command_does(filled):
    assert [each.made_from for each in dk.store_entries(store=filled.root).entries] == [
        "net0 fp16 trt-rtx",
        "net1 fp16 trt-rtx",
    ]
    dk.verify_store(store=filled.root).raise_if_failed()
    filled.manifest_path("engine", KEYS[0]).write_text("")
    with pytest.raises(dk.UntrustedArtifact, match="1 corrupt"):
        dk.verify_store(store=filled.root).raise_if_failed()
    assert [each.key for each in dk.prune_store(older_than="1d", store=filled.root).removed] == [KEYS[1]]
    assert dk.clear_store(store=filled.root).removed == ()


def test_a_command_that_does_not_exist_leads_to_it(run):
    assert "store ls, verify, prune and clear" in run("prune").stderr
