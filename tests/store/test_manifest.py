"""Manifests that were changed, by a disk or by hand: nothing of them is believed, and the entry is made again."""

import itertools
import json
import logging
import random
import re
import time

import pytest
from small_builds import KEY, OTHER, SECRET, Facts, build, flip_bit, manifest_path, reseal

from deploykit.errors import StoreFailed
from deploykit.store import Store
from deploykit.store.contents import check_entries, list_entries
from deploykit.store.files import forget_digests
from deploykit.store.seal import KEY_VARIABLE, head


@pytest.fixture
def keyed(store):
    """The same store under a key."""
    return Store(store.root, SECRET)


def is_made_again(store, key=KEY):
    """The entry is not found, then built, found and clean."""
    assert store.find("engine", key, facts=Facts, files=("net.engine",)) is None
    assert not build(store, key)[1]
    assert build(store, key)[1]
    assert check_entries(store)[1] == []
    return True


def test_the_manifest_is_one_json_object_that_begins_with_its_seal(store):
    build(store)
    content = json.loads(manifest_path(store).read_text())
    assert next(iter(content)) == "seal"
    assert content["seal"]["hmac_sha256"] is None
    assert content["facts"] == {"kernels": 58}


def places(text):
    """Positions and bits, 60 of them: five in every field's value, in names, and in what is between them."""
    pick = random.Random(4)
    ends = [match.end() for match in re.finditer(r'^ "\w+": ', text, re.MULTILINE)] + [len(text)]
    classes = [range(start, end) for start, end in itertools.pairwise(ends)]
    classes.append([match.start(1) + 1 for match in re.finditer(r'^ ("\w+)": ', text, re.MULTILINE)])
    classes.append([index for index, char in enumerate(text) if char in "{}[]:,\n "])
    each = [position for kind in classes for position in pick.sample(list(kind), min(5, len(kind)))]
    return [(position, pick.randrange(8)) for position in each + pick.sample(range(len(text)), 60 - len(each))]


@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_bit_that_flips_anywhere_in_a_manifest_is_noticed(store, secret):
    store = Store(store.root, secret)
    build(store)
    sound = manifest_path(store).read_bytes()
    flips = places(sound.decode())
    assert len(flips) == 60
    for position, bit in flips:
        flip_bit(manifest_path(store), position, bit)
        assert store.find("engine", KEY) is None, sound[position - 20 : position + 20]
        assert not manifest_path(store).exists(), "it was not moved away"
        manifest_path(store).write_bytes(sound)
        assert store.find("engine", KEY) is not None
    assert check_entries(store)[1] == []
    assert len([path for path in (store.root / "quarantine").iterdir() if path.name.endswith(f"{KEY}.json")]) == 60


def replaced(name, value):
    return lambda content: content.update({name: value})


def of_files(**changed):
    return lambda content: content["files"]["net.engine"].update(changed)


WRONG = {
    "a field is missing": lambda content: content.pop("versions"),
    "a foreign field": replaced("signature", "none"),
    "another schema": replaced("schema_version", 3),
    "a schema of true": replaced("schema_version", True),
    "facts of another type": replaced("facts", {"kernels": "many"}),
    "facts that are a list": replaced("facts", ["kernels"]),
    "files that are a text": replaced("files", "net.engine"),
    "files that are a list": replaced("files", ["net.engine"]),
    "versions that are numbers": replaced("versions", {"onnx": 1}),
    "no time": replaced("created", "yesterday"),
    "a time without zone": replaced("created", "2026-01-01T00:00:00"),
    "another kind": replaced("kind", "onnx"),
    "another key": replaced("key", OTHER),
    "a missing file entry": lambda content: content["files"].pop("net.engine"),
    "a null character in a suffix": lambda content: content["files"].update({"a.\0": content["files"]["build.log"]}),
    "a name that leaves the store": lambda content: content["files"].update({"../a": content["files"]["build.log"]}),
    "a digest that leaves the store": of_files(sha256="../../../../" + "a" * 52),
    "a digest that is a number": of_files(sha256=5),
    "a size below 0": of_files(bytes=-1),
    "a size that is a text": of_files(bytes="7"),
    "a file with a foreign field": of_files(mode="0600"),
    "facts 500 levels deep": replaced("facts", json.loads("[" * 500 + "]" * 500)),
    "a request that is null": replaced("request", None),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_valid_json_that_is_no_manifest_is_made_again(store, caplog, change):
    build(store)
    reseal(store, change)
    with caplog.at_level(logging.WARNING):
        assert is_made_again(store)
    assert caplog.text.count("is corrupt (its manifest") == 1


TEXTS = {
    "nothing": "",
    "half of it": "{",
    "a list": "[]",
    "no fields": '{"schema_version": 2}',
    "another encoding": "\xff\x00",
    "a hundred thousand levels": "[" * 100_000 + "]" * 100_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_no_manifest_is_made_again(store, text):
    build(store)
    manifest_path(store).write_text(text)
    assert is_made_again(store)


RESTS = {
    "nothing": "",
    "half of it": ' "kind": ',
    "a key twice": ' "kind": "engine",\n "kind": "onnx"\n}',
    "a second seal": ' "seal": {}\n}',
    "no fields": ' "schema_version": 2\n}',
    "another encoding": ' "kind": "\xff"\n}',
    "a hundred thousand levels": f' "facts": {"[" * 100_000}{"]" * 100_000}\n}}',
    "a number of a million digits": f' "schema_version": {"9" * 1_000_000}\n}}',
}


@pytest.mark.parametrize("rest", RESTS.values(), ids=RESTS)
def test_a_seal_over_something_else_is_made_again(store, rest):
    build(store)
    content = rest.encode("latin-1")
    manifest_path(store).write_bytes(head(None, content) + content)
    assert is_made_again(store)


def test_a_manifest_in_another_entry_s_place_is_not_used(store):
    build(store)
    manifest_path(store).rename(manifest_path(store, OTHER))
    assert is_made_again(store, OTHER)


def test_an_older_deploykit_s_entry_is_built_again_in_its_place(store, caplog):
    build(store)
    content = {"schema_version": 1, "kind": "engine", "key": KEY, "files": {}}
    manifest_path(store).write_text(json.dumps(content, indent=1))
    assert [each.shown.state for each in list_entries(store)] == ["outdated"]
    assert check_entries(store)[1] == []
    assert is_made_again(store)
    assert "was written by an older deploykit" in caplog.text
    assert not (store.root / "quarantine").exists() or not list((store.root / "quarantine").iterdir())


# A key


def test_what_was_built_without_the_key_is_not_used_with_it(store, keyed, caplog):
    build(store)
    assert keyed.find("engine", KEY) is None
    assert keyed.find("engine", KEY) is None
    assert caplog.text.count(f"is not used: its manifest is not sealed with {KEY_VARIABLE}") == 1
    assert [each.shown.state for each in list_entries(keyed)] == ["untrusted"]
    assert store.find("engine", KEY) is not None, "it was left where it was"
    assert not build(keyed)[1]
    assert build(keyed)[1]
    assert store.find("engine", KEY) is not None, "the checksum of a sealed manifest holds without the key, too"


def test_another_key_is_as_none(keyed):
    build(keyed)
    assert Store(keyed.root, b"another key of 32 bytes, or more").find("engine", KEY) is None


def test_a_forged_manifest_passes_without_a_key_only(store, keyed):
    """Who may write to a store can compute a checksum: that is what the key is for."""
    build(store)
    build(keyed)
    reseal(store, lambda content: content["facts"].update(kernels=1))
    assert store.find("engine", KEY).facts == {"kernels": 1}
    assert keyed.find("engine", KEY) is None


def test_a_bit_of_the_hmac_shows_without_the_key_too(store, keyed):
    build(keyed)
    flip_bit(manifest_path(store), manifest_path(store).read_text().index('256": "') + 10)
    assert store.find("engine", KEY) is None


@pytest.mark.parametrize("key", ["short", "fifteen bytes.."])
def test_a_key_that_can_be_guessed_is_refused(monkeypatch, tmp_path, key):
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(StoreFailed, match=rf"{KEY_VARIABLE} has \d+ bytes, fewer than 16; .*openssl rand"):
        Store.open(tmp_path)


@pytest.mark.parametrize("key", ["", " \n"])
def test_an_empty_key_is_none(monkeypatch, tmp_path, key):
    monkeypatch.setenv(KEY_VARIABLE, key)
    assert Store.open(tmp_path).secret is None


# Stamps


@pytest.fixture
def stamped(keyed):
    """A store whose one entry was found once, so that its stamps are written."""
    build(keyed)
    time.sleep(0.15)  # past the time in which a file may change without another time of change
    keyed.find("engine", KEY)
    assert manifest_path(keyed).with_suffix(".verified").exists()
    forget_digests()
    return keyed


def no_hashing(monkeypatch):
    monkeypatch.setattr("deploykit.store.entry.digest_of", lambda path: pytest.fail(f"{path} was hashed again"))


def test_a_stamp_saves_the_hashing(stamped, monkeypatch):
    no_hashing(monkeypatch)
    assert stamped.find("engine", KEY) is not None


def test_without_a_key_no_stamp_is_written_or_read(store, stamped, monkeypatch):
    hashed = []
    monkeypatch.setattr("deploykit.store.entry.digest_of", lambda path: hashed.append(path) or path.name[:64])
    assert store.find("engine", KEY) is not None
    assert len(hashed) == 2


def forge_stamps(store, secret):
    """Stamps for the files as they are now, sealed with `secret`."""
    from deploykit.store.files import identity
    from deploykit.store.stamps import write_stamps

    entry = store.entry_at("engine", KEY)
    seen = {name: identity(file.path.stat()) for name, file in entry.files.items()}
    write_stamps(store.stamps_path("engine", KEY), entry, seen, secret)


@pytest.mark.parametrize("secret", [b"a key that somebody else has made", None])
def test_a_forged_stamp_does_not_let_a_flipped_engine_pass(stamped, secret):
    flip_bit(stamped.entry_at("engine", KEY).path("net.engine"), 3)
    if secret:
        forge_stamps(stamped, secret)
    assert is_made_again(stamped)


def test_a_stamp_is_believed_for_a_day_and_not_by_a_clock_that_was_set_back(stamped, monkeypatch):
    now = time.time()
    for later, believed in ((3600, True), (25 * 3600, False), (-3600, False)):
        hashed = []
        monkeypatch.setattr("deploykit.store.stamps.time.time", lambda later=later: now + later)
        monkeypatch.setattr(
            "deploykit.store.entry.digest_of", lambda path, hashed=hashed: hashed.append(path) or path.name[:64]
        )
        monkeypatch.setattr("deploykit.store.store.write_stamps", lambda *_: None)
        assert stamped.find("engine", KEY) is not None
        assert (hashed == []) is believed
