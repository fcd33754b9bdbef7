"""Rows under MLPerf's load generator, on the null session: LoadGen itself is the real one."""

import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from deploykit.backends.null import NullSession
from deploykit.backends.protocol import Engine
from deploykit.bench.loadgen import PERCENTILE, SAMPLES_PER_QUERY, Load, LoadTest
from deploykit.errors import UnknownName, UsageError
from deploykit.spec import SCENARIOS, Precision, TensorSpec

INPUT = TensorSpec("images", ("batch", 1, 2, 2), "float32")
OUTPUT = TensorSpec("logits", ("batch", 3), "float32")
ENGINE = Engine("null", "null", Precision.FP32, (INPUT,), (OUTPUT,))
SAMPLES = tuple({"images": np.full((1, 1, 2, 2), number, np.float32)} for number in range(6))
RUN_SECONDS = 0.002


@dataclass
class Watched:
    """A session that takes RUN_SECONDS a run, remembers what it was shown, and may raise at one run."""

    raises_at: int = -1
    shown: list[list[float]] = field(default_factory=list)

    def run(self, feed):
        self.shown.append(feed["images"][:, 0, 0, 0].tolist())
        if len(self.shown) == self.raises_at:
            raise ValueError("out of memory")
        time.sleep(RUN_SECONDS)
        return NullSession(ENGINE).run(feed)


def ask(scenario, session=None, *, batch=4, seconds=0.3, **options):
    pytest.importorskip("mlperf_loadgen", reason="LoadGen is not installed; pip install 'deploykit[loadgen]'")
    return LoadTest(scenario=scenario, samples=SAMPLES, batch=batch, seconds=seconds, **options).run(
        session or Watched()
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_has_its_figure_and_every_sample_is_answered(scenario):
    session = Watched()
    found = ask(scenario, session)
    assert (found.scenario, found.percentile) == (scenario, PERCENTILE.get(scenario))
    served = [number for run in session.shown[8:] for number in run]
    assert len(served) == found.samples
    assert set(served) <= set(range(6))
    assert max(map(len, session.shown)) <= 4
    if scenario == "offline":
        assert (found.queries, found.percentile_ms, found.median_ms) == (1, None, None)
    else:
        assert found.percentile_ms >= found.median_ms >= RUN_SECONDS * 1e3
    if scenario == "multi-stream":
        assert found.samples == found.queries * SAMPLES_PER_QUERY
        assert found.median_ms >= 2 * RUN_SECONDS * 1e3  # eight samples, four at a time
    assert found.samples_per_second == pytest.approx(found.samples / found.seconds, rel=0.05)


def test_one_stream_never_waits_for_a_batch_to_fill_up():
    session = Watched()
    found = ask("single-stream", session)
    assert {len(run) for run in session.shown[8:]} == {1}
    assert found.valid, found.invalid


def test_queries_that_wait_are_run_together():
    """Twice what single samples could do, and half of what whole batches can."""
    session = Watched()
    found = ask("server", session, seconds=0.5, qps=1000.0, bound_ms=500.0)
    assert (found.target_qps, found.bound_ms) == (1000, 500)
    assert {len(run) for run in session.shown[8:]} >= {2, 3}
    assert found.percentile_ms < 500


def test_a_server_that_is_asked_too_much_misses_its_bound():
    found = ask("server", qps=8000.0, bound_ms=3.0)
    assert found.percentile_ms > 3
    assert (found.valid, found.invalid != "") == (False, True)


def test_a_server_is_asked_for_a_part_of_what_batches_reach():
    found = ask("server")
    assert found.target_qps <= 0.7 * 4 / RUN_SECONDS
    assert found.bound_ms >= 5 * RUN_SECONDS * 1e3


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_session_that_raises_ends_the_scenario_with_its_error(scenario):
    session = Watched(raises_at=12)
    with pytest.raises(ValueError, match="out of memory"):
        ask(scenario, session)
    assert len(session.shown) == 12


def test_loads():
    assert Load.of("server, offline,server").scenarios == ("server", "offline")
    assert Load.of(["Offline"]).scenarios == ("offline",)
    with pytest.raises(UnknownName, match="serve"):
        Load.of("serve")
    with pytest.raises(UsageError, match="requires the scenario server"):
        Load.of("offline", qps=10)
    with pytest.raises(UsageError, match="the bound of a server is 0"):
        Load.of("server", bound_ms=0)
