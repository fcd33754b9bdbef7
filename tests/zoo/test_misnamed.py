"""What stands in the place of MODEL and is none: each is told apart, with what to give in its place."""

from pathlib import Path

import pytest

from deploykit.errors import UnknownName, UsageError
from deploykit.spec import ModelSpec
from deploykit.zoo.factory import find_factory
from deploykit.zoo.misnamed import missing_file, not_a_model
from deploykit.zoo.registry import card_of

NETS = """
raise SystemExit("parsed, never run")

def small(width=4): ...

class Large: ...

def _hidden(): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "net.pth",
        "net.engine",
        "net.h5",
        "net.tflite",
        "net.pt2",
        "net",
        "graphs/net.onnx",
        "hub/model.safetensors",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.pth", "net.pth is a checkpoint: weights without a network; name the network .* --weights net.pth"),
        ("gone.safetensors", "is a checkpoint: weights without a network; there is no such file; name the network"),
        ("net.engine", "is a compiled engine; .*`deploykit inspect net.engine`"),
        ("net.h5", "is a Keras model; convert it to ONNX first, with tf2onnx"),
        ("net.tflite", "is a TensorFlow Lite model; .*--tflite net.tflite"),
        ("net.pt2", "is a traced program of PyTorch; name the function"),
        ("net", "the name net does not end in .onnx; rename it if it is an ONNX file"),
        (
            "nets.py",
            "nets.py is a Python file, not a network; name what returns the network: nets:small or nets:Large, ",
        ),
        ("nowhere.py", "nowhere.py is a Python file, not a network; name a function in it .*: nowhere:FUNCTION"),
        ("graphs", "graphs is a folder; name the file in it: graphs/net.onnx"),
        ("hub/", "is a folder; it holds weights without a network: .* --weights hub/model.safetensors"),
        ("saved", "is a folder; it holds a TensorFlow SavedModel: convert it to ONNX first"),
        ("package", "is a folder; it is a Python package: name a function in it, package:FUNCTION"),
        ("empty", "empty is a folder; give a name of `deploykit list`"),
        ("nets.small", "a function is named with a colon: nets:small --input-shape"),
        ("nets/small", "a function is named with a colon: nets:small"),
        ("torchvision.models.resnet18", "with a colon: torchvision.models:resnet18"),
        ("efficientnet_b0", "torchvision has it: torchvision.models:efficientnet_b0 --input-shape"),
        (
            "efficientformer_l1",
            """timm has it: timm:create_model --factory-args '{"model_name": "efficientformer_l1"}'""",
        ),
        ("timm/resnet50", "nothing is downloaded; did you mean resnet50"),
        ("somebody/resnet-50", "nothing is downloaded; did you mean resnet50"),
        ("ResNet-50", r"unknown model 'ResNet-50'; did you mean resnet50\?$"),
        (" vgg16 ", r"did you mean vgg16\?$"),
        ("yolov8n", "`deploykit list` shows the zoo; a network of yours is an .onnx file or module:function"),
        ("", "`deploykit list` shows the zoo"),
        ("x" * 5000, "`deploykit list` shows the zoo"),
        ("a\0b", "`deploykit list` shows the zoo"),
    ],
)
def test_what_is_no_model_says_what_to_give(name: str, words: str):
    with pytest.raises(UsageError, match=words) as caught:
        card_of(ModelSpec(name))
    assert len(str(caught.value)) < 500


def test_a_python_file_is_not_run(folder):
    assert "nets:small" in str(not_a_model("nets.py", []))
    (folder / "broken.py").write_text("def (")
    assert "broken:FUNCTION" in str(not_a_model("broken.py", []))


def test_a_missing_onnx_file_may_be_in_the_zoo_or_beside():
    assert str(missing_file("resnet50.onnx", ["resnet50"])) == (
        "there is no file resnet50.onnx; the zoo has a network resnet50: leave out .onnx, or check the path"
    )
    assert str(missing_file("graphs/nett.onnx", [])) == "there is no file graphs/nett.onnx; graphs has net.onnx"
    assert str(missing_file("no/net.onnx", [])).endswith("there is no folder no either: check the path")


def test_a_factory_is_named_as_python_imports_it():
    with pytest.raises(UsageError, match=r"nets\.py is the name of a file; write it as Python imports it: nets:small"):
        find_factory("nets.py:small")
    with pytest.raises(UsageError, match=r"imports it: package\.nets:small"):
        find_factory("./package/nets.py:small")


def test_a_slip_of_the_hand_is_an_unknown_name():
    with pytest.raises(UnknownName, match="did you mean resnet50"):
        card_of(ModelSpec("resnet51"))
