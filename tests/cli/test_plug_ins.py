"""Networks and backends that another distribution adds, sound and broken, as the command line shows them."""

import json

import pytest

CARD = """
CARD = {"factory": "plugged:network", "family": "plugged", "image_size": 8, "classes": 5,
        "preprocessing": {"resize": 8, "crop": 8}}
INCOMPLETE = {"family": "plugged"}
NONE = None
LIST = [CARD]
TEXT_COUNT = {**CARD, "params": "many"}
TEXT_LIST = {**CARD, "options": "width_mult"}
NUMBER_KEY = {**CARD, 5: 6}
OBJECT = {**CARD, "paper": object()}

def network():
    from torch import nn
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))

def fails():
    raise RuntimeError("no card today\\nnor tomorrow")
"""
RAISES = "raise OSError('cannot find libexotic.so')"
EXITS = "import sys; sys.exit('exotic is not licensed')"
NO_PYTHON = "def broken(:"
BACKENDS = """
from deploykit.backends import get_backend
from deploykit.spec import Reason

NONE = None

def makes_a_list():
    return []

def makes_none():
    return None

def fails():
    raise RuntimeError("no device")

class Sound:
    name, runs_module, compiles, libraries, placement = "sound", False, False, (), None
    def unavailable(self):
        return Reason("the device is asleep", "wake it")
    def supports(self, source):
        return None
    def build(self, source, settings, progress=None):
        raise AssertionError("never asked")
    def open(self, engine, *, threads=0):
        raise AssertionError("never asked")

class Available(Sound):
    def unavailable(self):
        return None

class AskRaises(Sound):
    def unavailable(self):
        raise ValueError("driver too old")

class AskAnswersText(Sound):
    def unavailable(self):
        return "not today"

class SupportsRaises(Available):
    def supports(self, source):
        raise KeyError("opset")

class BuildRaises(Available):
    def build(self, source, settings, progress=None):
        raise ZeroDivisionError("division by zero")

class BuildReturnsAList(Available):
    def build(self, source, settings, progress=None):
        return [source]

class PlacementRaises(Available):
    @property
    def placement(self):
        raise RuntimeError("no scheme")

class OpenRaises(Available):
    def build(self, source, settings, progress=None):
        from dataclasses import replace
        engine = get_backend("ort").build(source, settings)
        return replace(engine, backend="openraises")
    def open(self, engine, *, threads=0):
        raise RuntimeError("no session")

class Lacking:
    name = "lacking"

class TextLibraries(Sound):
    libraries = "exotic"
"""
FIX = "it is a plug-in of the package plugged 1.0: update or uninstall that"


def installed(folder, modules, group, points):
    """A folder with an installed distribution."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    listed = "\n".join(f"{name} = {target}" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{listed}\n")
    return folder


NETWORKS = {
    "incomplete": ("plugged:INCOMPLETE", "its card is not complete: 'preprocessing'"),
    "none": ("plugged:NONE", "its entry point gives a NoneType, not a card"),
    "list": ("plugged:LIST", "its entry point gives a list, not a card"),
    "textcount": ("plugged:TEXT_COUNT", "params is 'many', not"),
    "textlist": ("plugged:TEXT_LIST", "options is a text, not a list of texts"),
    "numberkey": ("plugged:NUMBER_KEY", "unknown keys on its card: 5"),
    "object": ("plugged:OBJECT", "its card is malformed: object"),
    "fails": ("plugged:fails", "plugged:fails failed: RuntimeError: no card today nor tomorrow"),
    "absent": ("plugged:ABSENT", "cannot import plugged:ABSENT: AttributeError"),
    "nomodule": ("exotic_module:CARD", "cannot import exotic_module:CARD: ModuleNotFoundError"),
    "raises": ("raises:CARD", "cannot import raises:CARD: OSError: cannot find libexotic.so"),
    "exits": ("exits:CARD", "cannot import exits:CARD: SystemExit: exotic is not licensed"),
    "nopython": ("nopython:CARD", "cannot import nopython:CARD: SyntaxError: invalid syntax"),
}


@pytest.fixture(scope="module")
def plugged(tmp_path_factory):
    """One sound network and all broken ones."""
    modules = {"plugged": CARD, "raises": RAISES, "exits": EXITS, "nopython": NO_PYTHON}
    points = {"pluggednet": "plugged:CARD", **{f"{name}net": target for name, (target, _) in NETWORKS.items()}}
    return installed(tmp_path_factory.mktemp("plugged"), modules, "deploykit.models", points)


def test_list_goes_on_past_every_broken_network(run, plugged):
    done = run("list", "--json", path=plugged)
    assert done.returncode == 0
    models = {model["name"]: model for model in json.loads(done.stdout)["models"]}
    assert models["pluggednet"]["input"] == [3, 8, 8]
    assert models["pluggednet"]["params"] is None
    assert "resnet50" in models
    assert not [name for name in models if name.removesuffix("net") in NETWORKS]
    lines = done.stderr.splitlines()
    assert len(lines) == len(NETWORKS)
    for name, (_, said) in NETWORKS.items():
        (line,) = [line for line in lines if f"model {name}net" in line]
        assert line.startswith("deploykit: warning: ")
        assert said in line
        assert line.endswith(FIX)
    assert "pluggednet" in run("list", "plugged*", path=plugged).stdout


def test_a_broken_network_is_one_line_where_it_is_asked_for(run, plugged):
    done = run("export", "raisesnet", path=plugged)
    assert done.returncode == 2
    assert done.stderr.endswith(f"cannot import raises:CARD: OSError: cannot find libexotic.so; {FIX}\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.full
def test_they_take_the_same_road(run, plugged):
    done = run("verify", "pluggednet", "--backends", "torch,ort,trt", "--json", path=plugged)
    assert done.returncode == 0, done.stderr
    assert [row["parity"]["verdict"] for row in json.loads(done.stdout)["rows"]] == ["pass"] * 3


BACKEND_FAULTS = {
    "none": ("plugged_backends:NONE", "plugged_backends:NONE is None, not a class or a function"),
    "alist": ("plugged_backends:makes_a_list", "plugged_backends:makes_a_list makes a list without runs_module"),
    "anone": ("plugged_backends:makes_none", "plugged_backends:makes_none makes None without runs_module"),
    "fails": ("plugged_backends:fails", "plugged_backends:fails failed: RuntimeError: no device"),
    "lacking": ("plugged_backends:Lacking", "plugged_backends:Lacking makes a Lacking without runs_module"),
    "textlibraries": ("plugged_backends:TextLibraries", "its libraries is a str, not a tuple"),
    "raises": ("raises:Backend", "cannot import raises:Backend: OSError: cannot find libexotic.so"),
    "exits": ("exits:Backend", "cannot import exits:Backend: SystemExit"),
    "nopython": ("nopython:Backend", "cannot import nopython:Backend: SyntaxError"),
    "askraises": ("plugged_backends:AskRaises", "its unavailable() failed: ValueError: driver too old"),
    "asktext": ("plugged_backends:AskAnswersText", "its unavailable() returned a str, not a Reason or None"),
}
ROW_FAULTS = {
    "supportsraises": ("plugged_backends:SupportsRaises", "unavailable", "its supports() failed: KeyError: 'opset'"),
    "buildraises": ("plugged_backends:BuildRaises", "failed", "its build() failed: ZeroDivisionError"),
    "buildlist": ("plugged_backends:BuildReturnsAList", "failed", "its build() returned a list, not an Engine"),
    "placementraises": ("plugged_backends:PlacementRaises", "unavailable", "its placement failed: RuntimeError"),
    "openraises": ("plugged_backends:OpenRaises", "failed", "its open() failed: RuntimeError: no session"),
}


@pytest.fixture(scope="module")
def backends(tmp_path_factory):
    """A sound backend, which says that it is unavailable, and all broken ones."""
    modules = {"plugged_backends": BACKENDS, "raises": RAISES, "exits": EXITS, "nopython": NO_PYTHON}
    points = {"sound": "plugged_backends:Sound"}
    points |= {name: target for name, (target, *_) in (*BACKEND_FAULTS.items(), *ROW_FAULTS.items())}
    return installed(tmp_path_factory.mktemp("backends"), modules, "deploykit.backends", points)


def test_doctor_has_a_line_for_every_backend(run, backends):
    done = run("doctor", "--json", path=backends)
    assert done.returncode == 0, done.stderr
    found = {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["backend torch"]["state"] == "ok"
    assert found["backend sound"]["detail"] == "the device is asleep"
    for name, (_, said) in BACKEND_FAULTS.items():
        finding = found[f"backend {name}"]
        assert said in finding["detail"]
        assert finding["fix"] == "pip install --force-reinstall plugged"
        assert finding["state"] == "broken"


@pytest.mark.full
def test_a_broken_backend_costs_its_own_row(run, backends):
    asked = ["ort", "sound", *BACKEND_FAULTS, *ROW_FAULTS]
    done = run("verify", "test_convnet", "--backends", ",".join(asked), "--json", path=backends)
    rows = {row["backend"]: row for row in json.loads(done.stdout)["rows"]}
    assert list(rows) == asked
    assert rows["ort"]["parity"]["verdict"] == "pass"
    assert "the device is asleep" in rows["sound"]["reason"]
    expected = {name: ("unavailable", said) for name, (_, said) in BACKEND_FAULTS.items()}
    expected |= {name: (state, said) for name, (_, state, said) in ROW_FAULTS.items()}
    for name, (state, said) in expected.items():
        assert rows[name]["state"] == state, rows[name]
        assert said in rows[name]["reason"]
        assert "package plugged 1.0" in rows[name]["reason"]
    assert done.returncode == 1
    assert "internal error" not in done.stdout + done.stderr


def test_a_broken_backend_is_one_line_where_it_is_asked_for(run, backends):
    done = run("build", "test_convnet", "--backend", "raises", path=backends)
    assert len(done.stderr.splitlines()) == 1


def test_metadata_that_cannot_be_read_hides_no_other(run, plugged, tmp_path):
    info = tmp_path / "garbage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: garbage\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(b"[deploykit.models]\nno equals sign\n\xff\xfe\n")
    done = run("list", "resnet50", "--json", path=tmp_path)
    assert done.returncode == 0, done.stderr
