"""`verify --from-bytes`: pipelines from image files to the input, with planted faults."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

PREPARING = """
import numpy as np
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

def pixels(path, size=32, how=Image.Resampling.BILINEAR):
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    width, height = (size if length == short else int(size * length / short) for length in image.size)
    left, top = round((width - 32) / 2), round((height - 32) / 2)
    return np.asarray(image.resize((width, height), how), np.float32)[top : top + 32, left : left + 32]

def good(path):
    return ((pixels(path) / 255 - MEAN) / STD).transpose(2, 0, 1)

def batched(path):
    return good(path)[None]

def bgr(path):
    return ((pixels(path)[..., ::-1] / 255 - MEAN) / STD).transpose(2, 0, 1)

def unnormalized(path):
    return (pixels(path) / 255).transpose(2, 0, 1)

def aliased(path):
    import torch
    planes = torch.from_numpy(np.array(Image.open(path).convert("RGB"), np.float32)).permute(2, 0, 1)[None]
    short = min(planes.shape[2:])
    height, width = (32 if side == short else int(32 * side / short) for side in planes.shape[2:])
    found = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0].numpy()
    left, top = round((width - 32) / 2), round((height - 32) / 2)
    found = found[:, top : top + 32, left : left + 32].transpose(1, 2, 0)
    return ((found / 255 - MEAN) / STD).transpose(2, 0, 1)

def last(path):
    return good(path).transpose(1, 2, 0)

def failing(path):
    raise KeyError("no such image")
"""
MODEL = "test_convnet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images with detail, one file that is none, and the module `preparing`."""
    found = tmp_path_factory.mktemp("from_bytes")
    (found / "preparing.py").write_text(PREPARING)
    (found / "images").mkdir()
    random = np.random.default_rng(3)
    for number in range(6):
        coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((200, 160), Image.Resampling.BICUBIC), np.float32)
        detailed = smooth * 0.6 + random.uniform(0, 100, smooth.shape)
        Image.fromarray(detailed.astype(np.uint8)).save(found / "images" / f"{number}.jpg", quality=95)
    (found / "images" / "broken.jpg").write_bytes(b"no image")
    return found


@pytest.fixture
def verify(run, folder):
    def start(*arguments):
        return run("verify", MODEL, "--from-bytes", "--data", folder / "images", *arguments, path=folder)

    return start


def pipelines(*names):
    return [part for name in names for part in ("--pipeline", f"preparing:{name}")]


def test_the_ways_of_one_s_own_agree(verify, folder):
    done = verify("--images", "6", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    conditions = found["environment"]["conditions"]
    assert (conditions["files"], len(conditions["images"])) == (7, 6)
    assert [text.partition(":")[0] for text in conditions["undecodable"]] == ["broken.jpg"]
    pillow, torchvision, stem = found["rows"]
    assert [row["pipeline"] for row in found["rows"]] == ["Pillow", "torchvision", "uint8 stem"]
    assert pillow["input"]["max"] < 1e-3
    assert stem["input"]["max"] < 1e-3
    assert stem["output"]["sqnr_db"] > 100
    assert (pillow["output"]["same_class"], stem["output"]["same_class"]) == (6, 6)
    assert torchvision["state"] in ("measured", "unavailable")
    if torchvision["state"] == "measured":
        assert torchvision["input"]["mean"] <= 1
        assert {step["step"] for step in torchvision["steps"]} <= {"decode", "resize"}


def test_what_usual_faults_would_cost_stands_below(verify):
    faults = {fault["said"]: fault for fault in json.loads(verify("--json").stdout)["faults"]}
    assert faults["BGR for RGB"]["input"]["mean"] > 10
    assert faults["bilinear without antialias"]["step"] == "resize"
    assert faults["missing: pixel / 255, neither mean nor deviation"]["output"]["sqnr_db"] < 20
    assert all(fault["output"]["images"] == 6 for fault in faults.values())


@pytest.mark.parametrize(
    ("name", "step", "said"),
    [
        ("bgr", "color", "BGR for RGB"),
        ("unnormalized", "normalize", "missing: pixel / 255, neither mean nor deviation"),
        ("aliased", "resize", "bilinear without antialias"),
    ],
)
def test_a_planted_fault_is_named_and_fails(verify, name, step, said):
    done = verify(*pipelines(name), "--json")
    assert done.returncode == 3, done.stderr
    row = json.loads(done.stdout)["rows"][-1]
    assert (row["pipeline"], row["verdict"]) == (f"preparing:{name}", "fail")
    assert [(cost["step"], cost["said"]) for cost in row["steps"]] == [(step, said)]
    assert row["reason"].endswith(f"of 255 on average ({step}: {said})")
    assert row["steps"][0]["input"]["mean"] == pytest.approx(row["input"]["mean"], rel=0.1)


def test_a_right_one_passes_with_or_without_a_batch_of_one(verify):
    done = verify(*pipelines("good", "batched"), "--json")
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["rows"][-2:]:
        assert (row["verdict"], row["steps"], row["output"]["same_class"]) == ("pass", [], 6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("last", "it gives float64[32, 32, 3] for "),
        ("failing", "KeyError: 'no such image'"),
    ],
)
def test_one_that_breaks_is_a_row_with_its_reason(verify, name, reason):
    done = verify(*pipelines(name, "good"))
    assert done.returncode == 1
    assert f"preparing:{name}: {reason}" in done.stdout
    assert any(line.split()[:1] == ["preparing:good"] and line.endswith("pass") for line in done.stdout.splitlines())


def test_the_table_says_the_reference_the_limit_and_the_cost_of_faults(verify):
    said = verify(*pipelines("bgr")).stdout
    assert "reference    short side to 32, middle of 32 by 32 pixels (bilinear), RGB" in said
    assert "not decoded  broken.jpg: cannot read image" in said
    assert "color: BGR for RGB" in said
    assert "Limit: 1 of 255 on average." in said
    assert "What usual faults would cost this network:" in said


def test_without_torchvision_its_row_says_so(verify, monkeypatch):
    from deploykit.workflow import from_bytes

    monkeypatch.setattr(from_bytes, "find_spec", lambda name: None)
    done = verify()
    assert done.returncode == 0, done.stderr
    assert "torchvision: torchvision is not installed; pip install torchvision" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backends", "ort"), "--backends cannot be combined with --from-bytes"),
        (("--precision", "int8"), "--precision cannot be combined with --from-bytes"),
        (("--pipeline", "preparing"), "pipeline 'preparing' names no function"),
        (("--pipeline", "preparing:bad"), "function of preparing"),
        (("--pipeline", "absent:good"), "cannot import absent"),
    ],
)
def test_a_wrong_request_is_one_line(verify, arguments, message):
    done = verify(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]


def test_a_pipeline_needs_the_comparison_and_the_comparison_needs_files(run, folder, tmp_path):
    done = run("verify", MODEL, "--pipeline", "preparing:good", path=folder)
    assert (done.returncode, "--pipeline requires --from-bytes" in done.stderr) == (2, True)
    done = run("verify", MODEL, "--images", "4")
    assert (done.returncode, "--images requires --from-bytes" in done.stderr) == (2, True)
    np.savez(tmp_path / "pixels.npz", images=np.zeros((8, 32, 32, 3), np.uint8))
    done = run("verify", MODEL, "--from-bytes", "--data", tmp_path / "pixels.npz")
    assert (done.returncode, "holds pixels, not image files" in done.stderr) == (2, True)
    shutil.copytree(folder / "images", tmp_path / "none", ignore=shutil.ignore_patterns("[0-9].jpg"))
    done = run("verify", MODEL, "--from-bytes", "--data", tmp_path / "none")
    assert (done.returncode, "none of 1 image files can be decoded" in done.stderr) == (2, True)


def test_from_python_pipelines_are_functions_by_name(folder, shared_store):
    import deploykit as dk

    found = dk.verify_from_bytes(
        MODEL,
        data=folder / "images",
        pipelines={"noise": lambda path: np.random.default_rng(0).normal(size=(3, 32, 32))},
        images=3,
        store=shared_store,
    )
    assert len(found.conditions.images) == 3
    assert (found.rows[-1].pipeline, found.rows[-1].verdict) == ("noise", "fail")
    with pytest.raises(dk.GateFailed, match="no usual fault explains it"):
        found.raise_if_failed()
    with pytest.raises(dk.UsageError, match="pipeline 'Pillow' is the name of one of ours"):
        dk.verify_from_bytes(MODEL, pipelines={"Pillow": print}, store=shared_store)
    with pytest.raises(dk.UsageError, match="images is 0"):
        dk.verify_from_bytes(MODEL, images=0, store=shared_store)
