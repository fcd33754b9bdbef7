"""A timed row that is too slow for all parity inputs is judged on those that it answered, and says so; or on none."""

import json
from dataclasses import replace

from deploykit.bench import BenchSettings, lane
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision
from deploykit.workflow.compare import Request, bench, verify

BOTH = (Precision.FP32, Precision.INT8)


def request(settings):
    spec = BuildSpec(ModelSpec("test_convnet"), batch=BatchRange(1, 2, 2))
    return Request(spec, ("ort",), BOTH, settings)


def test_it_is_judged_on_the_first_answers(workspace, monkeypatch):
    settings = BenchSettings(threads=1, max_seconds=0.5, processes=1)
    whole = verify(workspace, request(settings))
    monkeypatch.setattr(lane, "PARITY_SECONDS", 0.0)
    few = bench(workspace, request(settings))
    for row, other in zip(few.rows, whole.rows, strict=True):
        assert (row.parity.verdict, other.parity.verdict) == ("pass", "pass")
        assert (row.parity.images, other.parity.images) == (4, 12 if other.precision == "fp32" else 8)
        assert "parity of the first 2 of 6 runs, since it is too slow for all" in row.note
        assert row.parity.outputs[0].total.sqnr_db != other.parity.outputs[0].total.sqnr_db


def test_verify_takes_its_time(workspace, monkeypatch):
    monkeypatch.setattr(lane, "PARITY_SECONDS", 0.0)
    report = verify(workspace, request(BenchSettings(threads=1)))
    assert [row.parity.images for row in report.rows] == [12, 8]
    assert all("too slow" not in row.note for row in report.rows)


def test_a_table_that_gave_up_parity_says_so_and_does_not_fail_for_it(workspace):
    settings = BenchSettings(threads=1, max_seconds=0.3, processes=1)
    report = bench(workspace, replace(request(settings), parity=False, backends=("ort", "trt-rtx")))
    assert [row.state for row in report.rows] == ["measured", "measured", "built", "built"]
    assert [row.parity for row in report.rows] == [None] * 4
    assert not report.conditions.parity_checked
    assert report.conditions.gave_up[-1] == "parity was not checked: `deploykit verify` does"
    assert report.failure is None
    assert json.loads(report.to_json())["environment"]["conditions"]["parity_checked"] is False
