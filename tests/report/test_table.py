"""The table as plain text: what a pipe, a log file or a terminal shows."""

import io
from dataclasses import replace

import pytest

from deploykit.bench import Disturbance, Interval, Latency, PerBatch, Ratio
from deploykit.bench.environment import Cpu, Machine
from deploykit.parity import Agreement, Distance, OutputParity, ParityResult, Undecided
from deploykit.plan.summary import PlanSummary
from deploykit.quote import printable
from deploykit.report.table import render_report
from deploykit.report.text import render_facts, render_table
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.row import Row

CONDITIONS = Conditions(
    model="lenet5",
    batch=1,
    threads=2,
    tf32=False,
    inputs="4 rotated, 2.4 MB: warm cache",
    copies="outside the timed runs",
    stopped_by="the time limit of 9 s",
    rounds=12,
    seconds=8.75,
)
MACHINE = Machine(
    cpu=Cpu(model="Some CPU", cores=2, flags=("avx512_vnni",), governor=None, clock_mhz=None, cache_bytes=None),
    memory_bytes=None,
    os="Linux",
    python="3.11",
    libraries={},
    gpu=None,
    git_revision=None,
    threads=2,
    seed=0,
    tf32=False,
    load_average=None,
)
NO_GPU = "no NVIDIA GPU; install NVIDIA's driver"


def plan(kernels, mb_moved, engine_mb):
    return PlanSummary(
        kernels=kernels,
        kinds={},
        batch=1,
        bytes_moved=round(mb_moved * 1e6),
        engine_bytes=round(engine_mb * 1e6),
        weights_bytes=None,
        activation_bytes=None,
        scratch_bytes=None,
        weighted_nodes=0,
        weighted_matched=0,
        weighted_reads={},
        other_precision={},
        unmatched=(),
    )


SNAPSHOT = """\
model       lenet5
run         batch 1, threads 2, TF32 off
CPU         Some CPU, 2 cores (avx512_vnni)
GPU         none
inputs      4 rotated, 2.4 MB: warm cache
copies      outside the timed runs
stopped by  the time limit of 9 s, after 12 rounds, 8.8 s
torch       torch 2.15.0 (cpu)
ort         onnxruntime 1.27.0 CPUExecutionProvider
trt         tensorrt-rtx 1.7.1 (ahead of time)

                                                                                                        traffic  engine
backend  precision  state            median ms [95 % CI]   time / torch fp32     parity        kernels       MB      MB
-----------------------------------------------------------------------------------------------------------------------
torch    fp32       measured         140.9 [140.5, 141.3]  1                     96.3 dB pass
ort      fp32       measured         21.80 [21.50, 22.10]  0.155 [0.152, 0.158]  97.0 dB pass
ort      fp16       measured [1]     139.9 [139.5, 140.3]  within noise          36.3 dB pass
ort      int8       measured [2]     6.925 [6.900, 6.950]  0.050 [0.049, 0.051]  12.3 dB fail
torch    int8       unavailable [3]
trt      fp16       built [4]                                                                       58    518.4    51.2
trt      int8       built [4]                                                                      106    946.0    26.1

Once, before the first timed run, and memory:

backend  precision  export s        build s  cold start s  memory MB
--------------------------------------------------------------------
torch    fp32                                        0.81        412
trt      fp16           3.10           0.40
trt      int8           3.25  0.60 (cached)

[1] ort fp16: computed in float32
[2] ort int8: parity fail: logits: 12.3 dB; at least 20
[3] torch int8: eager PyTorch has no INT8 path here
[4] trt fp16, trt int8: no NVIDIA GPU; install NVIDIA's driver
INT8 rows use different Q/DQ graphs, each in the scheme of its backend: ort int8 3f2a91c0aaaa, trt int8 8c11d2aabbbb.
Traffic: bytes that the kernels read and write per batch, computed from the compiled plan.
time / first row: the mean of the ratios of each round, not the quotient of the two medians.
In a block of several runs the first is left out of the statistics; --json has every sample.
"""


def row(backend="ort", precision="fp32", state="measured", **options):
    return Row(model="lenet5", batch=1, backend=backend, precision=precision, state=state, **options)


def parity(verdict, decibel, reason="", limit="", *, reference="PyTorch module in float64", **output):
    distance = Distance(10 ** (-decibel / 20), decibel, 0.0, 1.0)
    found = OutputParity("logits", "engine", verdict, reason, limit, floor=1e-6, total=distance, **output)
    return ParityResult((found,), 12, reference, "random weights")


def timed(median, width, ratio, spread, **options):
    return {
        "latency_ms": Latency(median, Interval(median - width, median + width), None, None, None, 60, 12, 0),
        "ratio_to_first": Ratio(ratio, Interval(ratio - spread, ratio + spread), 12),
        **options,
    }


def shown(*rows, conditions=CONDITIONS):
    out = io.StringIO()
    environment = ComparisonEnvironment(**MACHINE.facts(), conditions=conditions)
    render_report(Report(environment=environment, rows=tuple(rows)), file=out)
    return out.getvalue()


def test_the_whole_table_in_plain_text():
    ort, rtx = "onnxruntime 1.27.0 CPUExecutionProvider", "tensorrt-rtx 1.7.1 (ahead of time)"
    found = shown(
        row("torch", flavour="torch 2.15.0 (cpu)", cold_ms=812.4, memory_bytes=412_000_000,
            **timed(140.9, 0.4, 1, 0, parity=parity("pass", 96.31))),
        row(flavour=ort, **timed(21.8, 0.3, 0.155, 0.003, parity=parity("pass", 97.0))),
        row(precision="fp16", flavour=ort, note="computed in float32",
            **timed(139.9, 0.4, 0.99, 0.02, parity=parity("pass", 36.3))),
        row(precision="int8", flavour=ort, typed_digest="3f2a91c0aaaaaaaa",
            **timed(6.925, 0.025, 0.05, 0.001,
                    parity=parity("fail", 12.3, "logits: 12.3 dB; at least 20"))),
        row("torch", "int8", "unavailable", reason="eager PyTorch has no INT8 path here"),
        row("trt", "fp16", "built", flavour=rtx, reason=NO_GPU, build_seconds=0.4, export_seconds=3.1,
            plan=plan(58, 518.4, 51.2)),
        row("trt", "int8", "built", flavour=rtx, reason=NO_GPU, build_seconds=0.6, from_store=True, export_seconds=3.25,
            typed_digest="8c11d2aabbbbbbbb", plan=plan(106, 946.0, 26.1)),
    )  # fmt: skip
    assert found == SNAPSHOT
    assert max(map(len, found.splitlines())) <= 120


STEPS = """\
model   googlenet
run     batch 32, threads 2, TF32 off
step    forward and backward
loss    cross entropy + 0.3 x auxiliary
steps   10 of burn-in, then 100 timed
CPU     Some CPU, 2 cores (avx512_vnni)
GPU     none
inputs  noise
torch   torch 2.15.0 (cpu)

                                                                                  images
backend  precision  mode              batch  state     ms per batch, mean +/- sd      /s  steps
-----------------------------------------------------------------------------------------------
torch    fp32       forward-backward     32  measured  1779.6 +/- 43.2              18.0    100

Every timed step counts; --json has each of them, and the burn-in.
"""


def stepped(**options):
    conditions = Conditions(
        model="googlenet", batch=32, threads=2, tf32=False, inputs="noise", step="forward and backward",
        loss="cross entropy + 0.3 x auxiliary", burn_in=10, steps=100,
    )  # fmt: skip
    line = Row(
        model="googlenet", batch=32, backend="torch", precision="fp32", mode="forward-backward",
        flavour="torch 2.15.0 (cpu)", **options,
    )  # fmt: skip
    return shown(line, conditions=conditions)


def test_a_table_of_single_steps():
    figures = {"per_batch_ms": PerBatch(1779.64, 43.17, 100, 10), "images_per_second": 17.98}
    median = Latency(1770.0, None, 1800.0, None, None, 100, 0, 0)
    assert stepped(state="measured", latency_ms=median, **figures) == STEPS


def test_steps_that_failed_say_why():
    found = stepped(state="failed", reason="the worker process was killed by SIGKILL")
    assert "failed [1]" in found
    assert "[1] torch fp32: the worker process was killed by SIGKILL" in found
    assert "mean" not in found


@pytest.mark.parametrize(
    ("mean", "sd", "expected"),
    [
        (0.51234, 0.00456, "0.5123 +/- 0.0046"),
        (12.345, 1.234, "12.35 +/- 1.23"),
        (60500.0, 1234.5, "60500.0 +/- 1234.5"),
    ],
)
def test_the_deviation_has_the_decimals_of_the_mean(mean, sd, expected):
    assert expected in stepped(state="measured", per_batch_ms=PerBatch(mean, sd, 5, 0))


def test_throughput_is_shown_only_where_it_was_measured():
    assert "images" not in shown(row(**timed(2.0, 0.1, 1, 0)))
    assert "images" in shown(row(**timed(2.0, 0.1, 1, 0, images_per_second=512.25)))
    assert "512.2" in shown(row(**timed(2.0, 0.1, 1, 0, images_per_second=512.25)))


def test_a_missing_interval_is_said():
    lone = {"latency_ms": Latency(500.0, None, None, None, None, 3, 3, 0), "ratio_to_first": Ratio(1.5, None, 3)}
    found = shown(row("torch", **timed(2.0, 0.1, 1, 0)), row(**lone))
    assert "500.0 [too few rounds]" in found
    assert "1.500 [too few rounds]" in found
    assert "within noise" not in found


def test_processes_what_was_given_up_and_what_disturbed_stand_above():
    said = ("the time limit of 5 s", 9, 4.8)
    measured = dict(zip(("stopped_by", "rounds", "seconds"), said, strict=True))
    noisy = Disturbance(others_during=0.25, on_battery=True)
    conditions = replace(CONDITIONS, **measured, processes=1, gave_up=("one", "two"), disturbance=noisy)
    lines = shown(row(**timed(2.0, 0.1, 1, 0)), conditions=conditions).splitlines()
    at = lines.index("shortened   one")
    assert [line.strip() for line in lines[at + 1 : at + 4]] == [
        "two",
        "warning     other processes held 25% of the cores during the rounds: end them and measure again",
        "the machine runs on battery",
    ]
    assert not any(line.startswith("processes") for line in lines)
    quiet = replace(CONDITIONS, **measured, processes=3, disturbance=Disturbance())
    found = shown(row(cold_ms=20.0, cold_starts_ms=(30.0, 20.0, 10.0), **timed(2.0, 0.1, 1, 0)), conditions=quiet)
    assert "processes   3 for each row, one after the other" in found
    assert "warning" not in found
    assert "Once, before the first timed run (cold start: the median of 3 processes), and memory:\n" in found


def test_times_are_compared_with_the_first_measured_row():
    failed = row("torch", "fp32", "failed", reason="the worker process was killed by SIGKILL")
    assert "time / ort fp32" in shown(failed, row(**timed(2.0, 0.1, 1, 0)))


def test_int8_rows_of_one_graph_need_no_remark():
    digests = {"typed_digest": "a" * 64}
    assert "different typed graphs" not in shown(
        row("ort", "int8", **timed(2.0, 0.1, 1, 0), **digests), row("trt", "int8", "built", reason=NO_GPU, **digests)
    )


def test_a_verdict_without_a_figure_and_its_reason_are_shown():
    found = shown(row(parity=Undecided("logits: the output does not vary")))
    assert "inconclusive" in found
    assert "[1] ort fp32: parity inconclusive: logits: the output does not vary" in found


def test_a_verify_table_has_no_columns_of_times():
    found = shown(row(parity=parity("pass", 96.3)))
    assert "median" not in found
    assert "first run" not in found


def test_several_models_get_a_column():
    other = Row(model="vgg16", batch=1, backend="ort", precision="fp32", state="measured")
    assert "vgg16" in shown(row(), other)


HOSTILE = "[red]bold[/red] :smile: \x1b[31mred\x1b[0m\r\nnext \u202eabc \x9b2J"


def test_foreign_text_is_neither_markup_nor_control():
    out = io.StringIO()
    render_table(["name"], [[HOSTILE]], file=out)
    found = shown(row(state="failed", reason=HOSTILE, flavour=HOSTILE)) + out.getvalue()
    assert found.count("[red]bold[/red] :smile: \\x1b[31mred\\x1b[0m") == 3
    assert found.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "safe"), [("é[0]", "é[0]"), ("a\tb", "a\\tb"), ("\x07", "\\x07"), ("\u202e", "\\u202e")]
)
def test_printable(text, safe):
    assert printable(text) == safe


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_nothing_is_cut(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    render_table(["a heading that is long"], [["x" * 300]], file=out)
    assert out.getvalue().count("x") == 300
    assert "\x1b[1m" in out.getvalue()


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_pipe_gets_no_ansi_whatever_the_environment_says(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    assert "\x1b" not in shown(row(state="failed", reason="why"))


def test_facts_are_aligned_and_absent_ones_left_out():
    out = io.StringIO()
    render_facts({"onnx": "a.onnx", "engine": None, "note": "one\ntwo", "n": 0, "empty": ""}, file=out)
    assert out.getvalue() == "onnx  a.onnx\nnote  one\n      two\nn     0\n"


def test_an_empty_table_is_its_heading():
    out = io.StringIO()
    render_table(["name", "MACs"], [], right=("MACs",), file=out)
    assert out.getvalue() == "name  MACs\n----------\n"


def test_what_a_verdict_was_held_to_is_said_once_per_limit():
    found = parity("pass", 40.0, limit="SQNR at least 30 dB")
    text = shown(row("torch", "fp16", parity=found), row("ort", "fp16", parity=found))
    assert text.count("Parity limit of torch fp16, ort fp16: SQNR at least 30 dB.") == 1


def test_values_that_collapsed_are_broken_whatever_the_figure():
    reason = "values collapsed: out[channel 4:6]: the engine: 1 distinct value is left of 900"
    text = shown(row(precision="int8", parity=parity("fail", 48.3, reason, broken=True)))
    assert "48.3 dB fail (collapsed)" in text
    assert f"[1] ort int8: parity fail: {reason}" in text


def test_agreement_stands_where_there_is_no_ratio():
    found = OutputParity("labels", "engine", "pass", "", "", floor=0.0, kind="whole", agreement=Agreement(1, 400))
    assert "99.8 % agree pass" in shown(row(parity=ParityResult((found,), 4, "graph in float64", "given weights")))


def test_a_reference_out_of_the_ordinary_is_named():
    source = "exported graph in float64: the module does not follow .double(), aten.add makes float32"
    text = shown(row(parity=parity("pass", 96.3, reference=source)), row("trt", parity=parity("pass", 96.3)))
    assert f"Reference: {source}." in text
    assert "Reference: PyTorch" not in text
