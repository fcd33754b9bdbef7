"""What deploykit calls of TensorRT exists in every release that it supports, with the arguments it passes.

Sessions cannot run without a GPU, but that every binding exists and takes those arguments can be checked anywhere:
TensorRT-RTX is installed, and `make test-contract` fetches the bindings of full TensorRT. Each release is imported in a
process of its own. That what the bindings call behaves alike is not shown by this.
"""

import ast
import sys
import tomllib
from pathlib import Path

import pytest
from tensorrt_releases import BACKENDS, CHECKOUT, HOLDING, LOADING, RELEASES, RTX, ask, members, missing, table
from tensorrt_uses import HOLDERS, OTHERS

from deploykit.backends import tensorrt

SHIM_TESTS = Path(__file__).parents[1] / "cuda_shim"
TARGETS_GUARD = 'if not hasattr(trt, "ComputeCapability"):\n    raise ValueError\n'
SETS_TARGETS = "config.num_compute_capabilities = 1\nconfig.set_compute_capability(trt.ComputeCapability.SM89, 0)\n"

WRONG = {
    "network.get_imput(0)": "does not exist",
    "trt.BuilderFlags.TF32": "does not exist",
    "network.get_input()": "fits none",
    "network.get_input(0, 1)": "fits none",
    "context.execute_async_v3(handle=1)": "fits none",
    "plan.num_io_tensors = 1": "cannot be set",
    "plan.num_io_tensors()": "cannot be called",
    "trt.Runtime()": "fits none",
    "trt.nptype()": "fits none",
    "inspector.get_engine_information()": "fits none",
    "inspector.context = context": "does not exist",
    "trt.LayerInformationFormat.TEXT": "does not exist",
    "config = builder.create_optimization_profile()": "is no IBuilderConfig but IOptimizationProfile",
    "def shape(network):\n    made_up = network.get_input(0)\n    return made_up.shape": "made_up is not known",
    "tensors[0].allowed_formats = 1": "tensors[0] is not known",
    "network.get_input(0).shape": "network.get_input(0) is not known",
    "if hasattr(trt, 'Builder'):\n    network.get_imput(0)": "does not exist",
    "if not hasattr(trt, 'Builder'):\n    pass\nelse:\n    network.get_imput(0)": "does not exist",
    "if not hasattr(trt, 'Builder'):\n    raise\nnetwork.get_imput(0)": "does not exist",
    "if not hasattr(trt, 'Made_up'):\n    later()\nnetwork.get_imput(0)": "does not exist",
}
GUARDED = {
    "if hasattr(trt, 'Made_up'):\n    trt.Made_up()": "Made_up",
    "if not hasattr(trt, 'Made_up'):\n    raise\ntrt.Made_up()": "Made_up",
    "if hasattr(trt, 'Builder') and hasattr(config, 'made_up'):\n    config.made_up = 1": "IBuilderConfig.made_up",
}
FURTHER = (*WRONG, *GUARDED, "trt.BuilderFlag.FP16", SETS_TARGETS, TARGETS_GUARD + SETS_TARGETS)


@pytest.fixture(params=[release for release in (*RELEASES, RTX) if not missing(release)])
def release(request):
    """Each release that is here; the first test says which are not."""
    return request.param


@pytest.fixture
def answer(release):
    return ask(release, FURTHER)


@pytest.mark.parametrize("release", [*RELEASES, RTX])
def test_it_is_that_release_which_was_imported(release):
    if reason := missing(release):
        pytest.skip(reason)
    assert release in (ask(release, FURTHER)["version"], RTX)


@pytest.mark.parametrize("source", [*HOLDING, *LOADING])
def test_every_use_of_tensorrt_exists(answer, source):
    uses = answer["uses"][source]
    assert uses["faults"] == []
    assert uses["calls"] >= 8 or (source in LOADING and "__version__" in uses["members"])


def test_every_name_that_is_declared_is_in_use():
    """With TensorRT-RTX no part of the code is out of reach."""
    if reason := missing(RTX):
        pytest.skip(reason)
    uses = ask(RTX, FURTHER)["uses"]
    assert {name for source in HOLDING for name in uses[source]["met"]} == {*HOLDERS, *OTHERS}


def test_no_other_code_loads_tensorrt():
    loading = {path.name for path in (CHECKOUT / "deploykit").rglob("*.py") if "load_library(" in path.read_text()}
    assert loading == {*LOADING, "nvinfer.py"}
    assert {path.name for path in BACKENDS.glob("*.py") if "trt: Any" in path.read_text()} == {*HOLDING, "tensorrt.py"}


@pytest.mark.parametrize("source", WRONG)
def test_a_wrong_use_is_found(answer, source):
    faults = answer["uses"][source]["faults"]
    assert len(faults) == 1
    assert WRONG[source] in faults[0]


def test_what_a_release_no_longer_has_is_found(release, answer):
    faults = answer["uses"]["trt.BuilderFlag.FP16"]["faults"]
    assert faults == ([] if release.startswith("10.") else ["line 1: trt.BuilderFlag.FP16 does not exist"])


@pytest.mark.parametrize("source", GUARDED)
def test_what_a_check_keeps_out_of_reach_is_not_held_against_a_release(answer, source):
    assert answer["uses"][source]["faults"] == []
    assert answer["uses"][source]["guarded"] == [GUARDED[source]]


def test_targets_need_the_check_that_stands_before_them(release, answer):
    unchecked, checked = (answer["uses"][source] for source in (SETS_TARGETS, TARGETS_GUARD + SETS_TARGETS))
    assert checked["faults"] == []
    assert (unchecked["faults"] == []) is (release == RTX)


def test_what_the_checks_keep_out_of_reach_is_what_the_release_lacks(release, answer):
    out_of_reach = {name for source in HOLDING for name in answer["uses"][source]["guarded"]}
    wanted = {"ComputeCapability", "IBuilderConfig.num_compute_capabilities", "IBuilderConfig.set_compute_capability"}
    assert out_of_reach == (set() if release == RTX else wanted)


def test_the_callbacks_override_every_method_with_its_own_arguments(answer):
    assert set(answer["callbacks"]) == {"ILogger", "IProgressMonitor"}
    for name, wanted in answer["callbacks"].items():
        assert wanted
        assert wanted.items() <= answer["own_callbacks"][name].items()


def test_the_logger_made_from_the_bindings_keeps_what_it_is_told(answer):
    assert answer["log"] == {"lines": ["no\n  memory", "done"], "complaint": "no memory"}


def test_types_have_the_names_that_numpy_has(answer):
    expected = ("float32", "float16", "int8", "int32", "int64", "uint8", "bool")
    assert tuple(answer["dtypes"].values()) == expected


def test_the_profile_is_set_with_three_shapes(answer):
    assert answer["profile"] == ["(input, min, opt, max)"]


def test_host_code_in_engines_stays_forbidden(answer):
    assert answer["host_code"]
    assert not any("engine_host_code_allowed" in (BACKENDS / name).read_text() for name in (*HOLDING, *LOADING))


def test_what_the_library_does_not_make_is_one_error(release, answer):
    wanted = {
        "build": "BuildFailed: TensorRT could not make a builder: it does not say why",
        "open": "BuildFailed: TensorRT could not make a runtime: it does not say why",
        "targets": "UsageError: tensorrt_bindings compiles for the GPU that is here, not for sm_89",
    }
    assert answer["refusals"] == ({} if release == RTX else wanted)  # TensorRT-RTX's library is here and makes them


def test_the_fake_runtime_has_the_methods_of_the_real_one_and_no_others(answer):
    assert answer["fakes"] == []


def test_the_session_uses_nothing_that_the_fake_lacks():
    """Else the shim's tests would pass by without it."""
    sys.path.insert(0, str(SHIM_TESTS))
    try:
        import fake_tensorrt as fake
    finally:
        sys.path.remove(str(SHIM_TESTS))
    of = {"runtime": fake.FakeRuntime, "plan": fake.FakeEngine, "context": fake.FakeExecutionContext}
    of |= {"_runtime": fake.FakeRuntime, "_plan": fake.FakeEngine, "inspector": fake.FakeEngineInspector}
    looked_up = [node for node in ast.walk(ast.parse((BACKENDS / HOLDING[1]).read_text())) if hasattr(node, "attr")]
    met = set()
    for node in looked_up:
        holder = node.value
        name = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", None)
        if name in of:
            met.add(name)
            assert hasattr(of[name], node.attr)
    assert met == set(of)


def test_the_oldest_release_that_is_accepted_is_the_oldest_that_is_checked():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    oldest = ".".join(map(str, tensorrt.OLDEST))
    assert f"tensorrt>={oldest}" in project["optional-dependencies"]["gpu"]
    assert RELEASES[0].startswith(f"{oldest}.")


def test_the_page_shows_how_releases_differ():
    for release in (*RELEASES, RTX):
        if reason := missing(release):
            pytest.skip(reason)
    page = (CHECKOUT / "docs/decisions/tensorrt-floor.md").read_text()
    assert table({release: members(ask(release, FURTHER)) for release in (*RELEASES, RTX)}) in page
