"""Options that several commands share; `deploykit.cli.requests` reads them into a `BuildSpec`."""

import click

from deploykit.cli.command import Argument, backend, data, graph, int8, measurement, model, output, precision
from deploykit.cli.types import (
    BACKENDS,
    DATA,
    FILE,
    FIXED_FUSIONS,
    FUSIONS,
    GPU,
    INPUT_RANGE,
    INPUT_SHAPE,
    METHOD,
    PAGE,
    PREPROCESSING,
    REPAIR,
    STREAMS,
    WEIGHTS,
    ModelName,
)
from deploykit.spec import SAFE_FUSIONS, BuilderOptions, Calibration

MODEL_HELP = (
    "A name from `deploykit list`, an .onnx file, or package.module:function, a function that returns an nn.Module."
)
COMPILER_HELP = "Compiler: trt is TensorRT, for which TensorRT-RTX stands in without a GPU; trt-rtx is TensorRT-RTX."
MODEL_OPTIONS = (
    click.argument("model", cls=Argument, type=ModelName(), text=MODEL_HELP),
    model(
        "--weights",
        type=WEIGHTS,
        common=True,
        help="Checkpoint, `torchvision` (downloads its published weights) or `seeded` (random). Default: the weights "
        "that the function returns, random ones for a zoo network.",
    ),
    model(
        "--weights-key",
        metavar="KEY",
        help="State dict of the checkpoint to load where several fit, such as model_ema.",
    ),
    model(
        "--num-classes",
        type=int,
        metavar="N",
        help="Classes of a zoo network. Default: the checkpoint's, else the network's own.",
    ),
    model(
        "--in-channels",
        type=int,
        metavar="N",
        help="Input channels of a zoo network. Default: the checkpoint's, else the network's own.",
    ),
    model(
        "--init-from",
        metavar="NAME",
        help="VGG: initialize layers from this shallower VGG, such as vgg11, whose checkpoint is --weights.",
    ),
    model("--image-size", type=int, metavar="PIXELS", help="Side of a zoo network's square input. Default: its own."),
    model("--width-mult", type=float, metavar="FACTOR", help="Width multiplier of MobileNet. Default: 1."),
    model(
        "--input-shape",
        "input_shapes",
        type=INPUT_SHAPE,
        multiple=True,
        common=True,
        help="Image size as 3,224,224, or NAME=1x3x224x224 for each input of a function or .onnx file; repeatable. "
        "A dynamic batch is -1, a dynamic size [224:320:640] (min:opt:max).",
    ),
    model(
        "--input-range",
        "input_ranges",
        type=INPUT_RANGE,
        multiple=True,
        help="Values that an input takes: ids=0:30000 (30000 excluded), mask=false:true; repeatable.",
    ),
    model("--factory-args", metavar="JSON", help="Keyword arguments of the function that makes the network."),
    model(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        metavar="N",
        help="Seed of random weights, image crops, noise inputs and the images that evaluate --limit draws.",
    ),
    data(
        "--preprocess",
        type=PREPROCESSING,
        help="Image preprocessing: imagenet, unit ([0, 1]), minus-one-one ([-1, 1]), bytes (0 to 255), or "
        "comma-separated settings of scale=255 (pixels are divided by it), mean=0.5/0.5/0.5, std=0.2/0.2/0.2, "
        "order=bgr, layout=nhwc, resize=crop|stretch|letterbox|PIXELS, interpolation=bicubic, pad=114. Default: that "
        "of the network's card or file; else ImageNet's is assumed, or [-1, 1] for one channel, with a warning.",
    ),
)
REWRITES = f"{', '.join(SAFE_FUSIONS[:2])}, ..."
FUSE_OPTIONS = (
    graph(
        "--fuse",
        "fusions",
        type=FUSIONS,
        default="safe",
        show_default=True,
        help="Graph rewrites: none, safe (equal but for rounding, never adds a kernel or a byte), auto (cost-based "
        f"search), or names with commas between: {REWRITES}",
    ),
)
FIXED_FUSE_OPTIONS = (
    graph(
        "--fuse",
        "fusions",
        type=FIXED_FUSIONS,
        default="safe",
        show_default=True,
        help="Graph rewrites: none, safe (equal but for rounding, never adds a kernel or a byte), or names with commas "
        f"between: {REWRITES}",
    ),
)
FUSE_BUDGET_OPTIONS = (
    graph(
        "--fuse-budget",
        type=click.FloatRange(min=0, min_open=True),
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="Time limit of the search of --fuse auto. Its result is stored.",
    ),
)
TARGET_OPTIONS = (
    backend(
        "--target",
        "targets",
        type=GPU,
        multiple=True,
        common=True,
        help="Compute capability (sm_89) or GPU (rtx4090) to compile for; repeatable. Default: the GPU of this "
        "machine, else sm_89.",
    ),
    backend("--gpu-table", type=FILE, metavar="FILE", help="TOML file with peak rates of further GPUs for --target."),
)
TARGETS = ("targets", "gpu_table")
BUILDER_OPTIONS = (
    backend(
        "--max-aux-streams",
        type=STREAMS,
        default=str(BuilderOptions().max_aux_streams),
        show_default=True,
        help="Auxiliary streams that parallel branches may run on; auto leaves it to TensorRT.",
    ),
    backend(
        "--optimization-level",
        type=click.IntRange(0, 5),
        metavar="[0-5]",
        help="TensorRT's builder optimization level: higher searches longer for kernels. Default: TensorRT's.",
    ),
    backend(
        "--workspace-mb",
        type=click.IntRange(min=1),
        metavar="MB",
        help="Limit of TensorRT's scratch memory. Default: TensorRT's.",
    ),
)
BUILDER = ("max_aux_streams", "optimization_level", "workspace_mb")
BATCH_OPTIONS = (
    backend(
        "--batch",
        default="8",
        show_default=True,
        common=True,
        metavar="N|MIN:OPT:MAX",
        help="Batch sizes that the engine takes: the largest, or min:opt:max (1:8:32). A network of one fixed batch "
        "sets it.",
    ),
)
TYPE_OPTIONS = (
    precision(
        "--keep-fp32",
        multiple=True,
        metavar="NODE|op=TYPE",
        help="FP16, and INT8 with rest=fp16: keep a node, a module (globs work) or an operator type (op=Pow) in FP32; "
        "repeatable.",
    ),
    precision(
        "--keep-io/--half-io",
        default=True,
        help="FP16, and INT8 with rest=fp16: inputs and outputs stay FP32 (default), or become FP16.",
    ),
)
TF32_OPTIONS = (precision("--tf32", is_flag=True, help="FP32: allow TF32 in convolutions and matrix products."),)
PERCENTILE = int8(
    "--percentile",
    type=click.FloatRange(50, 100, min_open=True),
    default=Calibration().percentile,
    show_default=True,
    metavar="PERCENT",
    help="Share of the values that the percentile method keeps.",
)
TABLE_OPTIONS = (
    int8(
        "--table",
        type=FILE,
        common=True,
        metavar="FILE",
        help="Calibration table from `deploykit calibrate`. Default: calibrate on images of --data that no test sees.",
    ),
    int8(
        "--calibration-images",
        type=click.IntRange(min=1),
        default=Calibration().images,
        show_default=True,
        metavar="N",
        help="Number of calibration images.",
    ),
    int8(
        "--calibration-method",
        type=METHOD,
        default=Calibration().method,
        show_default=True,
        help="Calibration algorithm.",
    ),
    PERCENTILE,
)
REPAIR_OPTIONS = (
    int8(
        "--int8-repair",
        type=REPAIR,
        default="none",
        show_default=True,
        help="Accuracy recovery: none, all, or comma-separated: clip (weight clipping), equalize (cross-layer "
        "equalization), bias (bias correction).",
    ),
)
LAYER_OPTIONS = (
    int8(
        "--int8-exclude",
        multiple=True,
        formerly=("--int8-leave",),
        metavar="NODE",
        help="Keep this Conv, Gemm or MatMul in floating point; repeatable. Other layers are never quantized.",
    ),
    int8(
        "--int8-policy",
        default="all",
        show_default=True,
        metavar="all|plan|TERMS",
        help="Layers to quantize: all, plan (build, inspect: chosen by TensorRT-RTX's plan), or terms with commas "
        "between. no-pointwise excludes 1x1 convolutions, no-depthwise depthwise ones, no-spatial convolutions that "
        "are neither 1x1 nor depthwise, no-dense matrix products, no-first/no-last the first/last in graph order; "
        "min-channels=16 excludes convolutions, other than depthwise ones, with fewer input or output channels; "
        "rest=fp16 makes the excluded layers FP16 instead of FP32.",
    ),
)
CALIBRATION = ("calibration_images", "calibration_method", "percentile", "table")
INT8 = (*CALIBRATION, "int8_policy", "int8_repair", "int8_exclude")
DATA_KINDS = "a folder, an .npz (images, or one array per input), MNIST idx files, a .toml list of images, or `noise`."
DATA_OPTIONS = (
    data(
        "--data",
        type=DATA,
        common=True,
        help=f"Images for parity, and others of them for INT8 calibration: {DATA_KINDS} Default: the demo images.",
    ),
)
ROW_OPTIONS = (
    backend(
        "--backends",
        type=BACKENDS,
        default="torch,ort,trt",
        show_default=True,
        common=True,
        help="Backends to compare, in this order; the first row that runs is the baseline. torch has the variants "
        "torch:channels_last and torch:compile.",
    ),
    measurement(
        "--threads",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="CPU threads of each row. Default: one per core.",
    ),
)
STRICT_OPTIONS = (
    backend("--strict-backend", is_flag=True, help="Do not compile with TensorRT-RTX in place of TensorRT."),
)
STORE_OPTION = output(
    "--store",
    type=FILE,
    envvar="DEPLOYKIT_STORE",
    metavar="DIR",
    help="Folder of the artifact store. Default: $DEPLOYKIT_STORE, else ./engines.",
)
HTML_OPTION = output(
    "--html", type=PAGE, common=True, help="Also write the result as a page, one HTML file with tables and charts."
)
JSON_OPTION = output("--json", "as_json", is_flag=True, common=True, help="Print one JSON object on stdout.")
ANSWER_OPTIONS = (STORE_OPTION, JSON_OPTION)
