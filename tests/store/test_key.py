"""Keys are the same in every process, change with everything they are made of, and cost milliseconds."""

import hashlib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import deploykit
from deploykit.spec import BuildSpec, ModelSpec, Precision
from deploykit.store.key import cache_key, file_digest, source_digest

SPEC = BuildSpec(ModelSpec("resnet50", weights=Path("w.safetensors")), Precision.INT8)


def test_a_key_is_the_same_in_another_process():
    code = """
from pathlib import Path
from deploykit.store.key import cache_key
from deploykit.spec import BuildSpec, ModelSpec, Precision
spec = BuildSpec(ModelSpec("resnet50", weights=Path("w.safetensors")), Precision.INT8)
print(cache_key({"spec": spec, "n": [1, 2.5]}))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert said == cache_key({"n": [1, 2.5], "spec": SPEC})


def test_a_key_changes_with_any_part():
    keys = {cache_key({"spec": SPEC, "seed": 0}), cache_key({"spec": replace(SPEC, tf32=True), "seed": 0})}
    keys |= {cache_key({"spec": SPEC, "seed": 1}), cache_key({"spec": SPEC})}
    assert len(keys) == 4


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes"])
def test_a_value_without_a_stable_text_is_no_part_of_a_key(value):
    with pytest.raises(TypeError, match="not a JSON value"):
        cache_key({"value": value})


def test_the_source_digest_follows_sources_and_their_names(tmp_path):
    package = tmp_path / "package"
    (package / "sub").mkdir(parents=True)
    (package / "a.py").write_text("x = 1")
    (package / "sub/cards.toml").write_text("[a]")
    seen = {source_digest(package)}
    (package / "notes.txt").write_text("not a source")
    assert source_digest(package) in seen
    (package / "a.py").write_text("x = 2")
    seen.add(source_digest(package))
    (package / "sub/cards.toml").write_text("[b]")
    seen.add(source_digest(package))
    (package / "a.py").rename(package / "b.py")
    seen.add(source_digest(package))
    assert len(seen) == 4


def test_the_package_s_own_digest_costs_little_more_than_reading_it():
    package = Path(deploykit.__file__).parent

    def read_all():
        for path in package.rglob("*"):
            if path.suffix in {".py", ".toml"}:
                hashlib.sha256(path.read_bytes())

    def seconds(call):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    pairs = [(seconds(lambda: source_digest(package)), seconds(read_all)) for _ in range(7)]
    assert min(ours for ours, _ in pairs) < 20 * min(plain for _, plain in pairs)


def test_a_file_digest_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_store_imports_no_framework():
    code = (
        "import sys, deploykit.store, deploykit.io.loader;"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'numpy', 'rich', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
