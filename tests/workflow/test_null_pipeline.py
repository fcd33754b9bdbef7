"""The whole pipeline on backends that need nothing: from the request to the row, in milliseconds."""

import json

import numpy as np
import onnx
import pytest
from answering import WEIGHTS, write_network

from deploykit.backends import get_backend
from deploykit.backends.null import NullBackend
from deploykit.codec import encode
from deploykit.errors import BackendMissing, UnknownName, UsageError
from deploykit.spec import BatchRange, BuildSpec, Calibration, Feed, Fusions, ModelSpec, Precision, Reason, Synthetic
from deploykit.store import Store
from deploykit.workflow import engine as engine_module
from deploykit.workflow.adopt import adopt
from deploykit.workflow.calibrate import calibrate
from deploykit.workflow.engine import build
from deploykit.workflow.export import export
from deploykit.workflow.rows import BuiltRow, RefusedRow, asked_rows, build_rows, row_of
from deploykit.workflow.typed import type_graph
from deploykit.workflow.workspace import Workspace

NULL = NullBackend()


@pytest.fixture
def workspace(tmp_path):
    return Workspace(Store.open(tmp_path / "store"), warn=lambda text: None)


@pytest.fixture
def spec(tmp_path):
    model = ModelSpec(str(write_network(tmp_path / "network.onnx")))
    return BuildSpec(model, batch=BatchRange(1, 2, 4), data=Synthetic.NOISE, calibration=Calibration(images=4))


@pytest.mark.parametrize("precision", list(Precision))
def test_a_network_goes_from_the_request_to_a_session(workspace, spec, precision):
    built = build(workspace, spec.with_precision(precision), NULL)
    assert (built.engine.precision, built.typed.graph.precision) == (precision, precision)
    assert built.engine.typed_digest == built.typed.graph.digest
    assert (built.typed.graph.digest == built.exported.digest) == (precision is Precision.FP32)
    assert built.plan is None
    images = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    with NULL.open(built.engine) as session:
        feed: Feed = {"images": images}
        assert session.run(feed)["scores"].shape == (2, len(WEIGHTS))


def test_every_step_is_found_again_by_another_workspace_over_the_same_store(workspace, spec):
    build(workspace, spec.with_precision(Precision.INT8), NULL)
    assert any(stage.startswith("calibrate on 4 images") for stage in workspace.seconds)
    again = Workspace(workspace.store)
    assert build(again, spec.with_precision(Precision.INT8), NULL).exported.hit
    assert again.seconds == {}


def test_a_table_is_of_the_graph_that_is_quantized(workspace, spec):
    exported = export(workspace, spec.model, spec.fusions)
    table, facts = calibrate(workspace, exported, spec)
    assert (table.graph_digest, table.images) == (exported.digest, 4)
    assert facts.images == 4


def test_a_fusion_that_is_still_to_be_decided_reaches_no_graph(workspace, spec):
    with pytest.raises(UsageError, match="not decided yet"):
        export(workspace, spec.model, Fusions.parse("auto"))


def test_a_typed_graph_of_another_network_is_not_adopted(workspace, spec, tmp_path):
    exported = export(workspace, spec.model, spec.fusions)
    typed = type_graph(workspace, exported, spec.with_precision(Precision.FP16), None)
    assert adopt(workspace, typed.graph.path, exported, Precision.FP16).graph.digest == typed.graph.digest
    other = onnx.load(typed.graph.path)
    other.graph.output[0].name = other.graph.node[-1].output[0] = "others"
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(UsageError, match="scores"):
        adopt(workspace, tmp_path / "other.onnx", exported, Precision.FP16)


class Absent(NullBackend):
    """Lacks a library, and counts how often it was asked."""

    name = "absent"
    asked = 0

    def unavailable(self):
        Absent.asked += 1
        return Reason("its library is not installed", "pip install library")


def test_a_backend_that_is_missing_is_asked_once_and_costs_nothing(workspace, spec, monkeypatch):
    monkeypatch.setattr("deploykit.workflow.rows.get_backend", lambda name, *, strict: Absent())
    rows = build_rows(workspace, asked_rows(spec, ["absent"], list(Precision), strict=False))
    assert [type(row) for row in rows] == [RefusedRow] * 3
    assert Absent.asked == 1
    assert workspace.seconds == {}
    assert [(row_of(row).state, row_of(row).precision) for row in rows] == [
        ("unavailable", precision) for precision in ("fp32", "fp16", "int8")
    ]
    assert "pip install library" in row_of(rows[0]).reason
    with pytest.raises(BackendMissing, match="cannot be used here"):
        build(workspace, spec, Absent())


def test_rows_that_were_built_and_rows_that_were_refused_stand_side_by_side(workspace, spec):
    rows = build_rows(workspace, asked_rows(spec, ["null", "torch"], [Precision.FP32], strict=False))
    assert [(type(row), row.asked.label, row.runs) for row in rows] == [
        (BuiltRow, "null fp32", True),
        (RefusedRow, "torch fp32", False),
    ]
    ran, refused = map(row_of, rows)
    assert (ran.state, ran.note, ran.typed_digest) == ("measured", "computes no network", rows[0].built.exported.digest)
    assert (refused.state, refused.typed_digest) == ("unavailable", None)
    broken = row_of(rows[0], failure=BackendMissing("the device has left"))
    assert (broken.state, broken.reason, broken.flavour) == ("unavailable", "the device has left", ran.flavour)
    json.dumps(encode(ran))


def test_an_unknown_backend_is_refused_before_anything_is_built(workspace, spec):
    with pytest.raises(UnknownName, match="nul"):
        build_rows(workspace, asked_rows(spec, ["null", "nul"], [Precision.FP32], strict=False))
    assert workspace.seconds == {}
    assert get_backend("null").unavailable() is None


def test_an_engine_is_compiled_anew_by_another_version_of_its_backends_library(workspace, spec, monkeypatch):
    class Compiling(NullBackend):
        name = "compiling"
        compiles = True
        libraries = ("compiler",)

    installed = {"compiler": "1.0"}
    monkeypatch.setattr(engine_module, "library_versions", lambda names: {name: installed[name] for name in names})
    assert not build(workspace, spec, Compiling()).hit
    assert build(workspace, spec, Compiling()).hit
    installed["compiler"] = "1.1"
    assert not build(workspace, spec, Compiling()).hit
