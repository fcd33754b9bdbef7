"""What a stage says of the graph that it made."""

import onnx
import pytest

from deploykit.workflow.transforms import type_float16

HALF = "<ir_version: 10, opset_import: ['' : 20]> g (float16[n, 2] x) => (float16[n, 2] y) { y = Relu(x) }"
FLOAT = "<ir_version: 10, opset_import: ['' : 20]> g (float[n, 2] x) => (float[n, 2] y) { y = Relu(x) }"


@pytest.mark.parametrize(("text", "note"), [(HALF, "float16 by its author"), (FLOAT, "")])
def test_float16_is_the_author_s_where_the_file_came_in_it(tmp_path, text, note):
    path = tmp_path / "net.onnx"
    onnx.save(onnx.parser.parse_model(text.replace("'", '"')), path)
    _, facts = type_float16(path, keep_io=True, keep=())
    assert facts.note == note
