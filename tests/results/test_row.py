import json
import math

import numpy as np
import pytest

from deploykit.bench import Interval, Latency, PerBatch, Ratio, TimedBlock
from deploykit.bench.environment import fingerprint
from deploykit.codec import encode
from deploykit.parity import Undecided
from deploykit.plan.summary import PlanSummary
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.document import to_json
from deploykit.results.row import Row

LATENCY = Latency(21.5, Interval(21.25, 21.75), 22.5, None, None, 100, 20, 1, 3)


PLAN = PlanSummary(
    kernels=58,
    kinds={"kgen": 58},
    batch=1,
    bytes_moved=2_500_000,
    engine_bytes=1_234_567,
    weights_bytes=None,
    activation_bytes=None,
    scratch_bytes=None,
    weighted_nodes=2,
    weighted_matched=2,
    weighted_reads={"Half": 2},
    other_precision={},
    unmatched=(),
)


def row(**options):
    return Row(**{"model": "lenet5", "backend": "ort", "precision": "fp32", "batch": 1, "state": "measured", **options})


@pytest.mark.parametrize("state", ["built", "unavailable", "failed"])
def test_only_a_measured_row_carries_a_latency(state):
    with pytest.raises(ValueError, match=f"a row that is {state} carries no latency"):
        row(state=state, reason="why", latency_ms=LATENCY)
    with pytest.raises(ValueError, match=f"a row that is {state} says why"):
        row(state=state)


def test_the_row_has_the_documented_shape():
    found = encode(
        row(
            latency_ms=LATENCY,
            ratio_to_first=Ratio(0.5, Interval(0.25, 0.75), 10, 3),
            blocks=(TimedBlock(0, (9, 1, 2)), TimedBlock(1, (8, 3), process=1)),
            plan=PLAN,
            parity=Undecided("no reference"),
        )
    )
    assert found["latency_ms"] == {
        "median": 21.5, "ci95": [21.25, 21.75], "p90": 22.5, "p95": None, "p99": None, "n": 100, "flagged": 20,
        "outliers": 1, "processes": 3,
    }  # fmt: skip
    assert found["ratio_to_first"] == {
        "value": 0.5,
        "ci95": [0.25, 0.75],
        "within_noise": False,
        "rounds": 10,
        "processes": 3,
    }
    assert found["samples_ns"] == [9, 1, 2, 8, 3]
    assert found["blocks"] == [{"round": 0, "runs": 3, "process": 0}, {"round": 1, "runs": 2, "process": 1}]
    assert (found["plan"]["kernels"], found["plan"]["mb_moved"], found["plan"]["engine_mb"]) == (58, 2.5, 1.2)
    assert found["parity"] == {"verdict": "inconclusive", "reason": "no reference"}
    assert (encode(row())["plan"], encode(row())["parity"]) == ({}, {})
    assert encode(row())["latency_ms"] is None


def test_a_row_of_single_steps_has_their_mode_their_mean_and_the_burn_in_apart():
    found = encode(
        row(
        mode="forward", per_batch_ms=PerBatch(2.5, 0.5, 3, 2), burn_in_ns=(9, 8), steps_ns=(1, 2, 3)
    ))  # fmt: skip
    assert found["mode"] == "forward"
    assert found["per_batch_ms"] == {"mean": 2.5, "sd": 0.5, "n": 3, "burn_in": 2}
    assert (found["burn_in_ns"], found["samples_ns"], found["blocks"]) == ([9, 8], [1, 2, 3], [])
    rest = encode(row())
    assert (rest["mode"], rest["per_batch_ms"], rest["burn_in_ns"]) == (None, None, [])


def test_a_report_is_strict_json():
    conditions = Conditions(model="lenet5", batch=1, threads=2, tf32=False, seconds=math.nan)
    machine = fingerprint(threads=2, seed=0, tf32=False)
    environment = ComparisonEnvironment(**machine.facts(), conditions=conditions)
    report = Report(environment=environment, rows=(row(cold_ms=math.inf, build_seconds=np.float32(0.5)),))

    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads(report.to_json(), parse_constant=refuse)
    assert set(found) == {"schema_version", "environment", "rows", "saturation", "end_to_end", "scenarios"}
    assert found["environment"]["conditions"]["threads"] == 2
    assert found["environment"]["cpu"]["cores"] == machine.cpu.cores
    assert found["environment"]["conditions"]["seconds"] is None
    assert (found["rows"][0]["cold_ms"], found["rows"][0]["build_seconds"]) == (None, 0.5)


def test_no_nan_and_no_infinity_is_written():
    plan = {"sqnr_db": math.inf, "floor": np.float32(0.5), "limits": [math.nan, -math.inf, np.int64(3)]}
    assert json.loads(to_json(plan)) == {"sqnr_db": None, "floor": 0.5, "limits": [None, None, 3]}


def test_json_keeps_lists_of_numbers_on_one_line():
    assert to_json({"a": [1, 2], "b": {}, "c": [{"d": []}], "e": "é"}) == (
        '{\n  "a": [1, 2],\n  "b": {},\n  "c": [\n    {\n      "d": []\n    }\n  ],\n  "e": "\\u00e9"\n}'
    )
