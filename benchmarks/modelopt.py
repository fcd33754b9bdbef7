"""INT8 plans of TensorRT-RTX from deploykit's Q/DQ scheme and from NVIDIA ModelOpt's, side by side.

    python benchmarks/modelopt.py --python OTHER/bin/python [--networks resnet50,googlenet]

ModelOpt wants other versions of onnx than deploykit, so it runs in an environment of its own, which OTHER is:
`python -m venv OTHER && OTHER/bin/pip install 'nvidia-modelopt[onnx]' torchvision`. Both quantize the same optimized
float graph with the same images, min-max, and TensorRT-RTX compiles both for sm_89 at batch 8. Kernels / MB of
memory traffic.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from int8_zoo import BATCH, CALIBRATED, compiled, figures

from deploykit.backends import get_backend
from deploykit.data.inputs import calibration_inputs, joined_feeds
from deploykit.spec import BuildSpec, Calibration, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.engine import build
from deploykit.workflow.workspace import Workspace

CHILD = """
import sys
import numpy as np
from modelopt.onnx.quantization import quantize
source, images, output = sys.argv[1:]
quantize(source, quantize_mode="int8", calibration_data=np.load(images), calibration_method="max", output_path=output,
         calibration_eps=["cpu"], high_precision_dtype="fp32", log_level="ERROR")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="of the environment that has nvidia-modelopt")
    parser.add_argument("--networks", default="resnet50,mobilenet,googlenet,inception_v3")
    options = parser.parse_args()
    print("| network | deploykit | ModelOpt |\n|---|---:|---:|", flush=True)
    for name in options.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            print(f"| {name} | {' | '.join(plans(name, Path(folder), options.python))} |", flush=True)


def plans(name: str, folder: Path, python: str) -> tuple[str, str]:
    """The plan of deploykit's graph and of ModelOpt's."""
    workspace = Workspace(Store.open(folder / "store"))
    spec = BuildSpec(ModelSpec(name), Precision.INT8, batch=BATCH, calibration=Calibration(images=CALIBRATED))
    built = build(workspace, spec, get_backend("trt-rtx"))
    feeds = list(calibration_inputs(built.exported, spec).feeds())
    (images,) = joined_feeds(feeds).values()
    np.save(folder / "images.npy", images)
    # ModelOpt writes beside what it reads, and the store is not its to write to.
    (folder / "float.onnx").write_bytes(built.exported.path.read_bytes())
    files = [str(folder / file) for file in ("float.onnx", "images.npy", "int8.onnx")]
    subprocess.run([python, "-c", CHILD, *files], check=True, capture_output=True)
    return str(figures(built.engine.plan)), str(compiled(folder / "int8.onnx", spec, built.exported) or "rejected")


if __name__ == "__main__":
    main()
