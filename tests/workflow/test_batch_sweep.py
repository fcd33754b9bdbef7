"""Several batches in one table: rows, ratios and images per second of each, one table's time for all."""

from dataclasses import replace

import pytest
from answering import write_network

from deploykit.bench import BenchSettings
from deploykit.errors import UsageError
from deploykit.results.document import to_json
from deploykit.results.saved import read_results
from deploykit.spec import BuildSpec, ModelSpec, Precision, parse_batches
from deploykit.workflow.compare import Request, bench, verify

QUICK = BenchSettings(threads=1, max_seconds=0.6, gap_ms=0.0, throughput=True)


@pytest.fixture
def ask(answering, tmp_path):
    network = write_network(tmp_path / "network.onnx")

    def make(*backends, batches="2,5", **more):
        spec = BuildSpec(ModelSpec(str(network)))
        options = {"precisions": (Precision.FP32,), "settings": QUICK, "batches": parse_batches(batches), **more}
        return Request(spec=spec, backends=backends, **options)

    return make


def test_every_batch_has_rows_of_its_own_and_ratios_to_the_first_of_its_batch(workspace, ask):
    report = bench(workspace, ask("exact", "null", "torch"))
    assert [(row.label, row.batch, row.state) for row in report.rows] == [
        ("exact fp32 batch 2", 2, "measured"), ("exact fp32 batch 5", 5, "measured"),
        ("null fp32 batch 2", 2, "measured"), ("null fp32 batch 5", 5, "measured"),
        ("torch fp32 batch 2", 2, "unavailable"), ("torch fp32 batch 5", 5, "unavailable"),
    ]  # fmt: skip
    assert report.conditions.batches == (2, 5)
    assert report.conditions.stopped_by == "the time limit of 0.3 s for each batch"  # its share, of each batch
    timed = report.rows[:4]
    assert all(row.images_per_second > 0 for row in timed)
    assert [row.parity.verdict for row in timed] == ["pass", "pass", "fail", "fail"]
    assert [row.ratio_to_first.value == 1 for row in timed] == [True, True, False, False]
    assert {(found.backend, found.largest) for found in report.saturation} == {("exact", 5), ("null", 5)}
    again = read_results(to_json(report), what="file")
    assert [row.label for row in again.rows] == [row.label for row in report.rows]
    assert (again.saturation, again.conditions) == (report.saturation, report.conditions)


@pytest.mark.full
def test_verify_judges_every_batch(workspace, ask):
    report = verify(workspace, ask("exact", "reversed", batches="1,3"))
    assert {(row.backend, row.batch): row.parity.verdict for row in report.rows} == {
        ("exact", 1): "pass", ("exact", 3): "pass", ("reversed", 1): "pass", ("reversed", 3): "fail",
    }  # fmt: skip
    assert report.saturation == ()


def test_a_batch_that_the_network_does_not_take_is_refused(workspace, ask, tmp_path):
    import onnx

    network = onnx.load(tmp_path / "network.onnx")
    for value in (*network.graph.input, *network.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(network, tmp_path / "fixed.onnx")
    asked = ask("exact")
    fixed = replace(asked, spec=BuildSpec(ModelSpec(str(tmp_path / "fixed.onnx"))))
    with pytest.raises(UsageError, match="takes batches of 2 only"):
        bench(workspace, fixed)
