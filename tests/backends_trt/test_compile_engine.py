"""TensorRT-RTX's real compiler on small typed graphs, no GPU."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import small_graphs
from small_graphs import FLOAT, HALF, INT8, INT8_WITH_INT32_BIAS, UNKNOWN_OP, spec

from deploykit.backends.nvinfer import compile_engine, load_library
from deploykit.errors import BuildFailed, UsageError
from deploykit.plan.rtx_log import parse_layers, read_log
from deploykit.plan.summary import summarize
from deploykit.spec import Precision

trt = pytest.importorskip("tensorrt_rtx")


def compile_small(folder, text=FLOAT, precision=Precision.FP32, *, progress=None, **options):
    wanted = spec(**options)
    typed = small_graphs.write(folder, text, precision)
    compiled = compile_engine(trt, typed, wanted, targets=wanted.targets, verbose=True, progress=progress)
    plan = summarize(
        read_log(
            compiled.log,
            compiler="tensorrt-rtx",
            precision=precision,
            batch=wanted.batch.optimum,
            targets=(),
            engine_bytes=len(compiled.content),
        )
    )
    return compiled, plan


def test_float32_reads_float_and_every_weighted_node_is_accounted_for(tmp_path):
    compiled, plan = compile_small(tmp_path)
    assert len(compiled.content) == plan.engine_bytes > 10_000
    assert 0 < compiled.seconds < 60
    assert plan.weighted_reads == {"Float": 3}
    assert (plan.weighted_matched, plan.weighted_nodes) == (3, 3)
    assert plan.other_precision == {}
    assert plan.unmatched == ()


def test_a_convolution_left_in_float_is_named_in_an_fp16_plan(tmp_path):
    _, plan = compile_small(tmp_path, HALF, Precision.FP16)
    assert plan.weighted_reads == {"Float": 1, "Half": 1}
    assert plan.other_precision == {"conv2": "Float"}


def test_a_convolution_without_a_pair_is_named_in_an_int8_plan(tmp_path):
    _, plan = compile_small(tmp_path, INT8, Precision.INT8)
    assert plan.weighted_reads == {"Float": 1, "Int8": 1}
    assert plan.other_precision == {"conv1": "Float"}


def bytes_moved(compiled, batch):
    return read_log(
        compiled.log, compiler="tensorrt-rtx", precision=Precision.FP32, batch=batch, targets=(), engine_bytes=1
    ).bytes_moved


def test_more_images_move_more_bytes_and_the_weights_once(tmp_path):
    compiled, _ = compile_small(tmp_path)
    one, two, three = (bytes_moved(compiled, batch) for batch in (1, 2, 3))
    assert three - two == two - one > 0
    weights = 4 * (16 * 8 * 9 + 16 + 16 * 16 + 10 * 16 + 10)
    assert one - (two - one) >= weights


def test_the_engine_takes_the_whole_batch_range(tmp_path):
    compiled, _ = compile_small(tmp_path, batch="2:4:16")
    assert "MinShape: [2,8,16,16], OptShape: [4,8,16,16], MaxShape: [16,8,16,16]" in compiled.log


def test_several_targets_share_one_engine_and_duplicates_count_once(tmp_path):
    compiled, _ = compile_small(tmp_path, targets=("sm_89", "sm_80", "sm_89", "sm_120"))
    assert "Number of target compute capabilities: 3" in compiled.log


@pytest.mark.parametrize("target", ["9.0", "10.0", "8.7"])
def test_a_target_that_rtx_lacks_needs_full_tensorrt(tmp_path, target):
    with pytest.raises(UsageError, match=r"compiles for sm_75, .*not for sm_(90|100|87); .*--target sm_89"):
        compile_small(tmp_path, targets=(target,))


def test_a_static_graph_needs_no_profile(tmp_path):
    compiled, _ = compile_small(tmp_path, FLOAT.replace("batch", "4"))
    assert bytes_moved(compiled, 1) == bytes_moved(compiled, 8)


class Watched:
    """TensorRT with a builder that notes each build: the flags it was given, and whether it made an engine."""

    def __init__(self):
        self.builds = []

    def __getattr__(self, name):
        return getattr(trt, name)

    def Builder(self, log):  # noqa: N802
        return WatchedBuilder(trt.Builder(log), self.builds)


class WatchedBuilder:
    def __init__(self, builder, builds):
        self._builder, self._builds = builder, builds

    def __getattr__(self, name):
        return getattr(self._builder, name)

    def build_serialized_network(self, network, config):
        content = self._builder.build_serialized_network(network, config)
        self._builds.append((config.get_flag(trt.BuilderFlag.TF32), config.profiling_verbosity, content is not None))
        return content


def test_tf32_is_off_unless_asked_for_and_the_plan_is_logged_in_detail(tmp_path):
    watched, typed = Watched(), small_graphs.write(tmp_path, FLOAT)
    for tf32 in (False, True):
        compile_engine(watched, typed, spec(tf32=tf32), targets=spec().targets)
    detailed = trt.ProfilingVerbosity.DETAILED
    assert watched.builds == [(False, detailed, True), (True, detailed, True)]


def test_an_unknown_operator_fails_with_the_node_and_the_parsers_words(tmp_path):
    with pytest.raises(BuildFailed, match=r"rejects the \w+ graph typed: Unheard node 'odd_one': .*Plugin not found"):
        compile_small(tmp_path, UNKNOWN_OP)


def test_an_int32_bias_is_rejected_with_the_parsers_words(tmp_path):
    with pytest.raises(BuildFailed) as caught:
        compile_small(tmp_path, INT8_WITH_INT32_BIAS, Precision.INT8)
    assert caught.value.message.startswith("tensorrt_rtx rejects the int8 graph typed: DequantizeLinear node 'bdq': ")
    assert caught.value.message.endswith("input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8)")
    assert "\n" not in caught.value.message


def test_the_finest_lines_of_the_log_are_kept_only_on_request(tmp_path):
    typed = small_graphs.write(tmp_path, FLOAT)
    brief, full = (
        compile_engine(trt, typed, spec(), targets=spec().targets, verbose=verbose).log for verbose in (False, True)
    )
    assert parse_layers(full)
    assert "LayerType:" not in brief
    assert 0 < len(brief) < len(full) / 2


def test_a_file_that_is_no_onnx_fails(tmp_path):
    typed = small_graphs.write(tmp_path, FLOAT)
    typed.path.write_bytes(b"\xff" * 100)
    with pytest.raises(BuildFailed, match="graph typed: "):
        compile_engine(trt, typed, spec(), targets=spec().targets)


def test_nothing_is_printed(tmp_path, capfd):
    compile_small(tmp_path)
    with pytest.raises(BuildFailed):
        compile_small(tmp_path, UNKNOWN_OP)
    assert capfd.readouterr() == ("", "")


def test_progress_tells_phases_and_steps(tmp_path):
    seen = []
    compile_small(tmp_path, progress=lambda *step: seen.append(step))
    assert ("Building engine", 0, 6) in seen
    assert ("Building engine", 6, 6) in seen
    assert all(0 <= done <= total for _, done, total in seen)


class Stop(BaseException):
    pass


@pytest.mark.parametrize("phase", ["Building engine", "Optimizing graph"])
def test_an_exception_of_the_progress_callback_stops_the_build_and_comes_through(tmp_path, phase):
    seen = []

    def stop(name, done, total):
        seen.append(name)
        if name == phase:
            raise Stop(name)

    with pytest.raises(Stop, match=phase):
        compile_small(tmp_path, progress=stop)
    assert seen[-1] == phase
    assert compile_small(tmp_path)[1].kernels > 0


def test_a_stopped_build_makes_no_engine(tmp_path):
    def stop(name, done, total):
        raise Stop

    watched, typed = Watched(), small_graphs.write(tmp_path, FLOAT)
    with pytest.raises(Stop):
        compile_engine(watched, typed, spec(), targets=spec().targets, progress=stop)
    assert [made for _, _, made in watched.builds] == [False]


BUILD_AND_SIGNAL = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import small_graphs, tensorrt_rtx
    from deploykit.backends.nvinfer import compile_engine, load_library

    def terminated(number, frame):
        raise SystemExit(128 + number)

    if {own_handler}:
        signal.signal(signal.SIGTERM, terminated)
    calls = 0

    def at_call(frame, event, argument):  # the worst moment: a callback has begun and has not reached its first line
        global calls
        if event == "call" and frame.f_code.co_name == {callback!r}:
            calls += 1
            if calls == 30:
                os.kill(os.getpid(), {number})

    sys.setprofile(at_call)
    typed = small_graphs.write(Path({folder!r}), small_graphs.FLOAT)
    try:
        compile_engine(tensorrt_rtx, typed, small_graphs.spec(), targets=small_graphs.spec().targets)
    except KeyboardInterrupt:
        print("interrupted", calls >= 30, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        sys.exit(130)
    print("not reached")
"""


@pytest.mark.parametrize("callback", ["log", "step_complete"])
@pytest.mark.parametrize(
    ("number", "own_handler", "code"),
    [(signal.SIGINT, False, 130), (signal.SIGTERM, True, 143), (signal.SIGTERM, False, -signal.SIGTERM)],
)
def test_a_signal_during_the_build_ends_it_cleanly(tmp_path, callback, number, own_handler, code):
    script = textwrap.dedent(BUILD_AND_SIGNAL).format(
        tests=str(Path(__file__).parent),
        folder=str(tmp_path),
        number=int(number),
        own_handler=own_handler,
        callback=callback,
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=dict(os.environ)
    )
    assert done.returncode == code, done.stderr
    assert "not reached" not in done.stdout
    if number == signal.SIGINT:
        assert done.stdout == "interrupted True True\n"


def test_the_layers_name_the_nodes_fused_into_them(tmp_path):
    compiled, _ = compile_small(tmp_path)
    fused = {node: layer.kind for layer in parse_layers(compiled.log) for node in layer.nodes}
    assert {"conv1", "relu1", "conv2", "sum", "fc"} <= set(fused)


def test_a_signal_waits_until_the_library_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "interrupted_library.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGINT)\nloaded = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        load_library("interrupted_library")
    assert sys.modules.pop("interrupted_library").loaded
