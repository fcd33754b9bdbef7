"""ONNX files on disk, with their weights inside or beside them."""

import pytest
from onnx import TensorProto, parser
from onnx_files import DATA, TEXT


@pytest.fixture
def save(tmp_path):
    def save(text_or_model, name="net.onnx"):
        is_text = isinstance(text_or_model, str)
        model = parser.parse_model(text_or_model) if is_text else text_or_model
        (tmp_path / name).write_bytes(model.SerializeToString())
        return tmp_path / name

    return save


@pytest.fixture
def external(tmp_path):
    """A model whose weight lies in weights.bin; keyword arguments replace the entries that say where."""

    def external(data=DATA, **told):
        model = parser.parse_model(TEXT)
        weight = model.graph.initializer[0]
        weight.Clear()
        weight.name, weight.data_type, weight.data_location = "w", TensorProto.FLOAT, TensorProto.EXTERNAL
        weight.dims.append(4)
        for key, value in {"location": "weights.bin", "offset": "0", "length": "16", **told}.items():
            if value is not None:
                weight.external_data.add(key=key, value=value)
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights.bin").write_bytes(data)
        (tmp_path / "model" / "net.onnx").write_bytes(model.SerializeToString())
        return tmp_path / "model" / "net.onnx"

    return external
