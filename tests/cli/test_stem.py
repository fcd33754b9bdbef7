"""`export --stem uint8`: a graph for bytes, checked against the network on the same bytes."""

import json

import numpy as np
import onnx
import onnxruntime
from one_line import complaint


def test_a_graph_for_bytes_answers_as_the_one_for_normalized_images(run, tmp_path):
    plain = json.loads(run("export", "test_convnet", "--json").stdout)
    done = run("export", "test_convnet", "--stem", "uint8", "--output", tmp_path / "bytes.onnx", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["check"]["verdict"] == "pass"
    pixels = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    images = ((pixels.transpose(0, 3, 1, 2) / 255 - mean) / std).astype(np.float32)
    found, wanted = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"images": feed})[0]
        for path, feed in ((str(tmp_path / "bytes.onnx"), pixels), (plain["onnx"], images))
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_it_is_asked_for_a_network_with_a_card(run, tmp_path):
    graph = (
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) { y = Relu (x) }'
    )
    onnx.save(onnx.parser.parse_model(graph), tmp_path / "net.onnx")
    done = run("export", tmp_path / "net.onnx", "--stem", "uint8")
    assert done.returncode == 2
    assert "are normalized is not known" in complaint(done)
