"""`deploykit inspect` as a user meets it: networks, engines, comparisons, the page, and files that are no engines."""

import json
import shutil

import pytest
from one_line import complaint

USAGE, UNTRUSTED = 2, 5
RTX = ("--backend", "trt-rtx")


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def engine(run, tmp_path_factory):
    """An engine of this store, copied to where a user keeps it."""
    path = tmp_path_factory.mktemp("kept") / "resnet.engine"
    built = run("build", "test_resnet", "--precision", "fp16", *RTX, "-o", path, "--json")
    assert built.returncode == 0, built.stderr
    return path


@pytest.fixture(scope="module")
def integer(run, image_folder):
    return answer(
        run("inspect", "test_resnet", "--precision", "int8", "--target", "rtx4090", "--data", image_folder, "--json")
    )


def test_the_totals_are_those_of_build_and_of_the_layers(run, integer, image_folder):
    built = answer(
        run(
            "build", "test_resnet", "--precision", "int8", "--target", "rtx4090", "--data", image_folder, *RTX, "--json"
        )
    )
    assert integer["summary"] == built["plan"]
    assert sum(layer["bytes_moved"] for layer in integer["layers"]) == integer["summary"]["bytes_moved"]
    assert sum(row["kernels"] for row in integer["kernels_by_type"]) == integer["summary"]["kernels"]
    assert len(integer["layers"]) == integer["summary"]["kernels"]


def test_the_bound_of_each_layer_is_the_greater_of_its_two(integer):
    gpu = integer["roofline"]["gpu"]
    for layer in integer["layers"]:
        memory = layer["bytes_moved"] / (gpu["bandwidth_gbs"] * 1e3)
        peak = {"Int8": gpu["int8_tops"], "Half": gpu["fp16_tflops"], "Float": gpu["fp32_tflops"]}[layer["reads"]]
        assert layer["us"] == pytest.approx(max(memory, 2 * layer["macs"] / (peak * 1e6)))
    assert integer["roofline"]["lower_bound_us"] == pytest.approx(sum(layer["us"] for layer in integer["layers"]))


def test_int8_is_audited_and_set_beside_fp16(integer):
    assert all(node["as_wanted"] or node["reason"] for node in integer["audit"]["nodes"])
    first = integer["diagnoses"][0]
    assert (first["level"], first["topic"]) == ("warning", "bytes")
    assert "times the bytes of FP16" in first["text"]
    assert "tensorrt-rtx" in first["text"]
    assert first["text"].endswith("Full TensorRT was not measured.")


def test_the_text_has_every_part(run, image_folder):
    done = run("inspect", "test_resnet", "--precision", "int8", "--data", image_folder, "--diff", "fp16", "--top", "3")
    assert done.returncode == 0, done.stderr
    for part in (
        "test_resnet, int8",
        "Kernels by kind and type read",
        "The 3 of ",
        "Precision audit: ",
        "requantize",
        "test_resnet, fp16 (a) and test_resnet, int8 (b)",
        "Parts that differ",
    ):
        assert part in done.stdout
    assert "us >=" not in done.stdout  # no GPU was named, so nothing is bounded


def test_an_engine_is_known_by_its_content(run, engine):
    found = answer(run("inspect", engine, "--json"))
    assert found["title"] == "test_resnet, fp16"
    assert found["summary"] == answer(run("build", "test_resnet", "--precision", "fp16", *RTX, "--json"))["plan"]


def test_two_plans_are_compared_in_the_order_they_are_named(run, engine, image_folder):
    asked = ["test_resnet", "--precision", "int8", "--data", image_folder, "--json"]
    found = answer(run("inspect", "--diff", engine, *asked))
    assert (found["diff"]["a"]["precision"], found["diff"]["b"]["precision"]) == ("fp16", "int8")
    assert found["diff"]["ratios"]["bytes_moved"] == pytest.approx(
        found["summary"]["bytes_moved"] / found["diff"]["a"]["bytes_moved"]
    )
    same = answer(run("inspect", engine, "--diff", engine, "--json"))["diff"]
    assert (same["changed"], same["only_a"], same["only_b"]) == ([], [], [])
    assert same["same"] > 0


def test_an_onnx_file_of_the_users(run, tmp_path):
    path = tmp_path / "mine.onnx"
    assert run("export", "test_mobilenet", "--no-check", "-o", path).returncode == 0
    found = answer(run("inspect", path, "--precision", "fp16", "--json"))
    assert found["title"] == "mine, fp16"
    assert found["summary"]["weighted_matched"] == found["summary"]["weighted_nodes"] > 0


def test_the_page_is_written_whole(run, engine, tmp_path):
    page = tmp_path / "plan.html"
    assert run("inspect", engine, "--target", "rtx4090", "--html", page).returncode == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    assert "test_resnet, fp16" in text
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("content", [b"", b"root:x:0:0", b"ftrt" + bytes(2000)], ids=["empty", "text", "like one"])
def test_a_foreign_engine_is_not_opened(run, tmp_path, content):
    path = tmp_path / "foreign.plan"
    path.write_bytes(content)
    done = run("inspect", path)
    assert done.returncode == UNTRUSTED
    said = complaint(done)
    assert "no stored plan" in said
    assert str(path) in said


def test_a_truncated_engine_is_foreign_even_beside_its_original(run, engine, tmp_path):
    path = tmp_path / "cut.engine"
    path.write_bytes(engine.read_bytes()[:-1])
    assert run("inspect", path).returncode == UNTRUSTED


def test_a_corrupt_engine_in_the_store_is_called_that(run, tmp_path):
    store = tmp_path / "store"
    built = answer(run("build", "test_resnet", "--precision", "fp16", *RTX, "--json", store=store))
    with open(built["engine"], "r+b") as file:  # noqa: PTH123 - a path in JSON
        file.seek(100)
        file.write(b"damaged")
    done = run("inspect", built["engine"], store=store)
    assert done.returncode == UNTRUSTED
    assert "corrupt" in complaint(done)


def test_an_engine_of_another_store_is_foreign_without_its_record(run, engine, tmp_path):
    assert "test_resnet, fp16" in run("inspect", engine, store=tmp_path / "other").stdout
    alone = shutil.copy(engine, tmp_path / "alone.engine")
    done = run("inspect", alone, store=tmp_path / "other")
    assert done.returncode == UNTRUSTED
    assert "--store" in complaint(done)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--backend", "trt"], "--backend cannot change the engine"),
        (["--max-aux-streams", "1"], "--max-aux-streams cannot change the engine"),
        (["--diff", "fp16"], "has one precision"),
        (["--gpu-table", "x.toml"], "--target"),
        (["--html", "no/such/folder/x.html"], "no/such/folder is not a folder"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(run, engine, options, said):
    done = run("inspect", engine, *options)
    assert done.returncode == USAGE
    assert said in complaint(done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.engine"], "there is no engine missing.engine"),
        (["test_resnet", "--diff", "test_resnot"], "did you mean"),
        (["test_resnet", "--fuse", "auto"], "inspect does not take fusions (--fuse) auto"),
        (["test_resnet", "--target", "rtx4091"], "did you mean rtx4090"),
    ],
)
def test_a_wrong_request_names_the_fix(run, arguments, said):
    done = run("inspect", *arguments)
    assert done.returncode == USAGE
    assert said in complaint(done)


def test_plans_of_two_batches_do_not_compare(run, engine):
    done = run("inspect", "test_resnet", "--precision", "fp16", "--batch", "4", "--diff", engine)
    assert done.returncode == USAGE
    assert "batch 8, the other for 4" in complaint(done)
