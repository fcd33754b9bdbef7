"""One request walks down once: what a cold build of an INT8 engine looks up, asks for and reads, and how often."""

import importlib.util
import sys
from collections import Counter

import pytest

from deploykit.backends.tensorrt_rtx import TensorRTRTXBackend
from deploykit.store import Store
from deploykit.zoo import registry

pytestmark = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is missing")

BUILD = ("build", "test_mobilenet", "--precision", "int8", "--backend", "trt-rtx", "--calibration-images", "8")
watched: list[Counter[str]] = []  # an audit hook stays for good: it counts for whoever is here


def count_reads(event, arguments):
    if watched and event == "open" and "r" in str(arguments[1]):
        path = str(arguments[0])
        if path.endswith(".onnx") and "/objects/" in path:
            watched[-1]["graph read"] += 1


sys.addaudithook(count_reads)


@pytest.fixture
def counted(monkeypatch):
    """How often each of these happens within the test."""
    seen: Counter[str] = Counter()

    def count(owner, name, label):
        real = getattr(owner, name)

        def counting(*arguments, **options):
            seen[label(*arguments)] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    registry.card_of.cache_clear()
    count(registry, "find_card", lambda name: f"resolve {name}")
    count(TensorRTRTXBackend, "unavailable", lambda self: "availability")
    count(Store, "get_or_make", lambda self, kind, *rest: f"look up {kind}")
    watched.append(seen)
    yield seen
    watched.remove(seen)


def test_a_cold_build_asks_for_everything_once(run, counted, tmp_path):
    done = run(*BUILD, store=tmp_path / "store")
    assert done.returncode == 0, done.stderr
    kinds = ("weights", "export", "observations", "typed", "engine")
    once = ("resolve test_mobilenet", "availability", *(f"look up {kind}" for kind in kinds))
    assert counted == {**dict.fromkeys(once, 1), "graph read": 2}


def test_a_build_that_is_known_reads_no_graph(run, counted, tmp_path):
    run(*BUILD, store=tmp_path / "store")
    counted.clear()
    assert run(*BUILD, store=tmp_path / "store").returncode == 0
    assert (counted["graph read"], counted["look up weights"], counted["availability"]) == (0, 1, 1)
