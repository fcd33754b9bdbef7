import pytest

from deploykit.codec import encode
from deploykit.errors import UnknownName, UntrustedArtifact, UsageError
from deploykit.plan.gpus import FIGURES, find_gpu_spec, gpu_for, gpu_names
from deploykit.spec import Target

NEW = '[card]\ncompute_capability = "8.9"\nfp32_tflops = 40\nbandwidth_gbs = 500\n'


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "gpus.toml"
        path.write_text(text)
        return path

    return write


def test_a_known_gpu_has_its_data_sheets_figures():
    gpu = find_gpu_spec("RTX4090")
    assert (gpu.name, gpu.target) == ("rtx4090", Target(8, 9))
    assert [getattr(gpu, figure) for figure in FIGURES] == [82.6, 82.6, 165.2, 660.6, 1008]
    assert gpu.approximate == ()


def test_figures_nobody_checked_are_named():
    assert find_gpu_spec("a10").approximate == ("tf32_tflops", "int8_tops")
    assert find_gpu_spec("l4").approximate == FIGURES


@pytest.mark.parametrize("name", gpu_names())
def test_every_row_is_whole_and_ordered(name):
    gpu = find_gpu_spec(name)
    assert gpu.fp32_tflops < gpu.fp16_tflops < gpu.int8_tops
    assert gpu.tf32_tflops is None or gpu.fp32_tflops <= gpu.tf32_tflops <= gpu.fp16_tflops
    assert set(gpu.approximate) <= set(FIGURES)


def test_a_gpu_without_tf32_takes_fp32_for_it():
    t4 = find_gpu_spec("t4")
    assert t4.tf32_tflops is None
    assert t4.peak("Float", tf32=True) == t4.peak("Float") == 8.1


@pytest.mark.parametrize(
    ("dtype", "tf32", "peak"),
    [
        ("Float", False, 19.5),
        ("Float", True, 156),
        ("Half", False, 312),
        ("Half", True, 312),
        ("Int8", False, 624),
        ("FP8", False, None),
    ],
)
def test_the_peak_is_that_of_the_type_read(dtype, tf32, peak):
    assert find_gpu_spec("a100-sxm-80gb").peak(dtype, tf32=tf32) == peak


def test_a_typing_error_gets_the_nearest_name():
    with pytest.raises(UnknownName, match="rtx4090") as caught:
        find_gpu_spec("rtx409")
    assert caught.value.exit_code == 2


def test_a_target_is_a_gpu_or_a_compute_capability_alone():
    assert gpu_for("sm_89") == (Target(8, 9), None)
    assert gpu_for("8.9") == (Target(8, 9), None)
    assert gpu_for("t4") == (Target(7, 5), find_gpu_spec("t4"))
    with pytest.raises(UsageError, match="sm_x"):
        gpu_for("sm_x")
    with pytest.raises(UnknownName, match="GPU 'tt4'"):
        gpu_for("tt4")


def test_the_users_figure_stands_before_the_built_in_one_and_is_no_longer_approximate(table):
    path = table("[L4]\nbandwidth_gbs = 250\n")
    gpu = find_gpu_spec("l4", path)
    assert (gpu.bandwidth_gbs, gpu.int8_tops) == (250, 242.5)
    assert "bandwidth_gbs" not in gpu.approximate
    assert "int8_tops" in gpu.approximate
    assert find_gpu_spec("l4").bandwidth_gbs == 300


def test_the_user_can_add_a_gpu(table):
    path = table(NEW + 'approximate = ["fp32_tflops"]\n')
    target, gpu = gpu_for("card", path)
    assert target == gpu.target == Target(8, 9)
    assert (gpu.fp32_tflops, gpu.fp16_tflops, gpu.approximate) == (40.0, None, ("fp32_tflops",))
    assert {"card", "t4"} <= set(gpu_names(path))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[card]\ncompute_capability = "8.9"\nfp32_tflops = 1\n', r"\[card\] lacks bandwidth_gbs"),
        ("[card]\nfp32_tflops = 1\n", r"lacks compute_capability, bandwidth_gbs"),
        (NEW + "int8_tops = -1\n", r"\[card\] int8_tops is '-1'"),
        (NEW + "int8_tops = 0\n", r"\[card\] int8_tops is '0'"),
        (NEW + "int8_tops = inf\n", r"\[card\] int8_tops is 'inf'"),
        (NEW + "int8_tops = nan\n", r"\[card\] int8_tops is 'nan'"),
        (NEW + f"int8_tops = {10**18}\n", r"\[card\] int8_tops is '1000"),
        (NEW + "int8_tops = true\n", r"\[card\] int8_tops is 'True'"),
        (NEW + 'int8_tops = "80"\n', r"\[card\] int8_tops is '80'"),
        (NEW.replace('"8.9"', "8.9"), r"\[card\] compute_capability is 8.9"),
        (NEW.replace('"8.9"', '"ada"'), r"\[card\] compute_capability is 'ada'"),
        (NEW + "int8_tflops = 1\n", r"int8_tflops.*did you mean"),
        (NEW + 'approximate = ["int8"]\n', r"\[card\] approximate is \['int8'\]"),
        (NEW + 'approximate = "int8_tops"\n', r"\[card\] approximate is 'int8_tops'"),
        ("bandwidth_gbs = 3\n", r"'bandwidth_gbs' is not a table"),
    ],
)
def test_a_malformed_table_is_refused_with_file_and_key(table, text, complaint):
    path = table(text)
    with pytest.raises(UsageError, match=complaint) as caught:
        find_gpu_spec("card", path)
    assert str(path) in caught.value.message


def test_a_table_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml"):
        find_gpu_spec("t4", tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "cut.toml").write_text("[card\n")
    for name in ("binary.toml", "cut.toml"):
        with pytest.raises(UntrustedArtifact, match=f"{name} is not valid TOML"):
            find_gpu_spec("t4", tmp_path / name)


def test_it_goes_into_json():
    found = encode(find_gpu_spec("t4"))
    assert (found["target"], found["tf32_tflops"], found["approximate"]) == ("sm_75", None, [])
