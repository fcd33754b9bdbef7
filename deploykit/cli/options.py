"""Options that several commands share, and how their text becomes values of `deploykit.spec`."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from deploykit.errors import UsageError
from deploykit.spec import (
    CALIBRATION_METHODS,
    POLICY_TERMS,
    REPAIRS,
    BatchRange,
    BuilderOptions,
    Calibration,
    DataSource,
    Fusions,
    ModelSpec,
    Precision,
    PreprocessRequest,
    QuantizationPolicy,
    Repair,
    Synthetic,
    Target,
    parse_factory_args,
    parse_input_range,
    parse_input_shape,
)

Command = Callable[..., Any]
FILE = click.Path(path_type=Path)
DEFAULT_TARGET = Target(8, 9)


MODEL_OPTIONS = (
    click.argument("model"),
    click.option(
        "--weights",
        help="A checkpoint, `torchvision` for its published one, or `seeded` for random ones. Default: those that a "
        "function returns, random ones for a network of the zoo.",
    ),
    click.option("--weights-key", help="The table of the checkpoint that is meant, where several fit (model_ema)."),
    click.option(
        "--num-classes", type=int, help="Of a zoo network. Default: the checkpoint's, else the network's own."
    ),
    click.option("--in-channels", type=int, help="Of a zoo network's images. Default: as for --num-classes."),
    click.option("--init-from", help="VGG: take layers over from net A (vgg11); --weights is then a checkpoint of it."),
    click.option("--image-size", type=int, help="Side of the square input, pixels. Default: the network's own."),
    click.option("--width-mult", type=float, help="MobileNet's width multiplier. Default: 1."),
    click.option(
        "--input-shape",
        "input_shapes",
        multiple=True,
        help="channels,height,width of the images (3,224,224), or name=1x3x224x224 for each input of a factory or an "
        ".onnx file, repeatable; a free batch is -1, a free size a range [224:320:640].",
    ),
    click.option(
        "--input-range",
        "input_ranges",
        multiple=True,
        help="Numbers that an input holds: ids=0:30000 (30000 left out), mask=false:true; repeatable.",
    ),
    click.option(
        "--preprocess",
        help="How images are prepared: imagenet, unit ([0, 1]), minus-one-one, bytes, or mean=0.5/0.5/0.5,"
        "std=0.2/0.2/0.2,order=bgr,layout=nhwc,resize=letterbox|stretch|crop|PIXELS,interpolation=bicubic,pad=114.",
    ),
    click.option("--factory-args", help="JSON object of keyword arguments that the network's function is called with."),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of random weights and of crops."),
)
TORCHVISION, SEEDED, AUTO = "torchvision", "seeded", "auto"


def model_options(command: Command) -> Command:
    """MODEL and what changes it; `command` gets all of it as one `ModelSpec` named `model`."""

    @wraps(command)
    def with_model(
        model: str,
        weights: str | None,
        weights_key: str | None,
        num_classes: int | None,
        in_channels: int | None,
        init_from: str | None,
        image_size: int | None,
        width_mult: float | None,
        input_shapes: tuple[str, ...],
        input_ranges: tuple[str, ...],
        preprocess: str | None,
        factory_args: str | None,
        seed: int,
        **others: Any,
    ) -> Any:
        spec = ModelSpec(
            name=model,
            image_size=image_size,
            width_mult=width_mult,
            weights=Path(weights) if weights and weights != SEEDED else None,
            weights_key=weights_key,
            seeded=weights == SEEDED,
            num_classes=num_classes,
            in_channels=in_channels,
            seed=seed,
            input_shape=tuple(map(parse_input_shape, input_shapes)),
            factory_args=parse_factory_args(factory_args) if factory_args else (),
            init_from=init_from,
            preprocess=None if preprocess is None else PreprocessRequest.parse(preprocess),
            input_ranges=tuple(map(parse_input_range, input_ranges)),
        )
        if spec.is_onnx and not Path(model).is_file():
            from deploykit.zoo.misnamed import missing_file
            from deploykit.zoo.registry import cards

            raise missing_file(model, cards())
        if weights == TORCHVISION:
            from deploykit.weights import published_checkpoint

            if spec.is_factory:
                raise UsageError(f"torchvision has no weights of {model}", hint="give --weights FILE")

            spec = replace(spec, weights=published_checkpoint(init_from or model), published=True)
        return command(model=spec, **others)

    return _decorated(with_model, MODEL_OPTIONS)


BUILDER_OPTIONS = (
    click.option(
        "--max-aux-streams",
        default=str(BuilderOptions().max_aux_streams),
        show_default=True,
        help="Further streams that branches may run on beside each other, 0 to 7; auto leaves it to TensorRT.",
    ),
    click.option(
        "--optimization-level", type=int, help="How long TensorRT searches for kernels, 0 to 5. Default: TensorRT's."
    ),
    click.option("--workspace-mb", type=int, help="Limit of the builder's scratch memory. Default: TensorRT's."),
)


BUILDER = ("max_aux_streams", "optimization_level", "workspace_mb")


def builder_options(command: Command) -> Command:
    """What the builder is told; `command` gets it as one `BuilderOptions` named `options`."""

    @wraps(command)
    def with_options(
        max_aux_streams: str, optimization_level: int | None, workspace_mb: int | None, **others: Any
    ) -> Any:
        if max_aux_streams != AUTO and not max_aux_streams.isdecimal():
            raise UsageError(f"--max-aux-streams is {max_aux_streams!r}", hint="give a number from 0 to 7, or auto")
        options = BuilderOptions(
            max_aux_streams=None if max_aux_streams == AUTO else int(max_aux_streams),
            optimization_level=optimization_level,
            workspace_bytes=None if workspace_mb is None else workspace_mb * 10**6,
        )
        return command(options=options, **others)

    return _decorated(with_options, BUILDER_OPTIONS)


TARGET_OPTIONS = (
    click.option(
        "--target",
        "targets",
        multiple=True,
        help="What TensorRT-RTX compiles for: a compute capability (sm_89) or a GPU (rtx4090); may be given several "
        "times. Default: the GPU here, else sm_89.",
    ),
    click.option("--gpu-table", type=FILE, help="TOML file with peak rates and bandwidth of GPUs that --target names."),
)
TARGETS = ("targets", "gpu_table")


def target_options(command: Command) -> Command:
    """What is compiled for: `command` gets `targets`, and as `gpu` the first of them where it is a GPU by name.

    Its roofline prices plans. Without --target, the target is the GPU that is here, or sm_89 where there is none.
    """

    @wraps(command)
    def with_targets(targets: tuple[str, ...], gpu_table: Path | None, **others: Any) -> Any:
        if not targets:
            if gpu_table is not None:
                raise UsageError("--gpu-table describes the GPU that --target names", hint="add --target NAME")
            from deploykit.backends.device import find_gpu

            here = find_gpu()
            return command(targets=(here.capability if here else DEFAULT_TARGET,), gpu=None, **others)
        from deploykit.plan.gpus import gpu_for

        found = [gpu_for(text, gpu_table) for text in targets]
        return command(targets=tuple(dict.fromkeys(target for target, _ in found)), gpu=found[0][1], **others)

    return _decorated(with_targets, TARGET_OPTIONS)


def _decorated(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """`command` with the options in this order."""
    for decorate in reversed(options):
        command = decorate(command)
    return command


store_option = click.option(
    "--store", type=FILE, envvar="DEPLOYKIT_STORE", help="Artifact folder [env: DEPLOYKIT_STORE]. Default: engines."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
data_option = click.option(
    "--data",
    callback=lambda _context, _parameter, text: parse_data(text),
    help="Images: a folder, an .npz (of images, or of arrays by input), MNIST's idx files, a recipe .toml, or noise. "
    "Default: demo images.",
)
INT8_OPTIONS = (
    click.option(
        "--calibration-images",
        type=click.IntRange(1, 1_000_000),
        default=Calibration().images,
        show_default=True,
        help="How many images INT8 is calibrated on.",
    ),
    click.option(
        "--calibration-method",
        default=Calibration().method,
        show_default=True,
        help=f"What cuts ranges off: {', '.join(CALIBRATION_METHODS)}.",
    ),
    click.option(
        "--percentile", type=float, default=Calibration().percentile, show_default=True, help="For that method."
    ),
    click.option("--table", type=FILE, help="Calibration table of `deploykit calibrate`, in place of images."),
    click.option(
        "--int8-policy",
        default="all",
        show_default=True,
        help=f"Layers in INT8: terms with commas between, of {', '.join(POLICY_TERMS)}. plan: what TensorRT-RTX's plan "
        "favors.",
    ),
    click.option(
        "--int8-repair",
        default="none",
        show_default=True,
        help=f"What is done for accuracy: none, all, or of {', '.join(REPAIRS)}.",
    ),
    click.option("--int8-leave", multiple=True, metavar="NODE", help="A weighted layer that INT8 leaves; repeatable."),
)
CALIBRATION = ("calibration_images", "calibration_method", "percentile", "table")
INT8 = (*CALIBRATION, "int8_policy", "int8_repair", "int8_leave")


def int8_options(command: Command) -> Command:
    """Where INT8's ranges come from and which layers have it; `command` gets `calibration`, `policy`, `repair`."""

    @wraps(command)
    def with_int8(
        calibration_images: int,
        calibration_method: str,
        percentile: float,
        table: Path | None,
        int8_policy: str,
        int8_repair: str,
        int8_leave: tuple[str, ...],
        **others: Any,
    ) -> Any:
        if table is not None:
            refuse(CALIBRATION[:-1], "has no meaning with --table", hint="the table has its ranges: leave it out")
        if calibration_method != "percentile":
            refuse({"percentile"}, "has a meaning with the method percentile only", hint="leave it out")
        calibration = Calibration(
            images=calibration_images, method=calibration_method, percentile=percentile, table=table
        )
        policy = QuantizationPolicy.parse(int8_policy, exclude=int8_leave)
        return command(calibration=calibration, policy=policy, repair=Repair.parse(int8_repair), **others)

    return _decorated(with_int8, INT8_OPTIONS)


def defaults(*, unasked: Collection[str] = ()) -> dict[str, str]:
    """Option -> value of what the running command chose because nobody did; `unasked` have no meaning this time."""
    context = click.get_current_context()
    found = {}
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        chosen = context.get_parameter_source(name) is ParameterSource.DEFAULT and value not in (None, (), "", False)
        if chosen and isinstance(parameter, click.Option) and name not in unasked:
            found[parameter.opts[0]] = "" if value is True else str(value)
    return found


def given(names: Collection[str]) -> str:
    """Those parameters of the running command that stand on its command line, as a user writes them."""
    context = click.get_current_context()
    found = [
        "/".join((*parameter.opts, *parameter.secondary_opts))
        for parameter in context.command.params
        if parameter.name in names and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    return ", ".join(found)


def refuse(names: Collection[str], why: str, *, hint: str) -> None:
    """Raises UsageError for those of the options that were given."""
    if idle := given(names):
        raise UsageError(f"{idle} {why}", hint=hint)


fuse_option = click.option(
    "--fuse",
    "fusions",
    default="safe",
    show_default=True,
    callback=lambda _context, _parameter, text: Fusions.parse(text),
    help="Rewrites of the graph: none, safe, auto (those that pay, by price), or names with commas between.",
)
budget_option = click.option(
    "--fuse-budget",
    type=float,
    default=120.0,
    show_default=True,
    help="Seconds that --fuse auto may search; what it finds is kept in the store.",
)
io_option = click.option(
    "--keep-io/--half-io", default=True, help="FP16: float32 inputs and outputs (default), or FP16 ones."
)
keep_option = click.option(
    "--keep-fp32",
    multiple=True,
    metavar="NODE|op=TYPE",
    help="What FP16 leaves in float32: a node, a module, a glob of either, or an operator (op=Pow); repeatable.",
)
strict_option = click.option(
    "--strict-backend", is_flag=True, help="Never let TensorRT-RTX compile in place of TensorRT."
)


def parse_data(text: str | None) -> DataSource:
    """A place, or noise; a folder of that name is written ./noise."""
    if text is None:
        return None
    return Synthetic.NOISE if text == Synthetic.NOISE else Path(text)


def parse_batch(text: str) -> BatchRange:
    """The value of the running command's --batch, which gives way to the network's where it is the default."""
    return replace(BatchRange.parse(text), asked=bool(given({"batch"})))


def parse_precisions(text: str) -> tuple[Precision, ...]:
    return tuple(dict.fromkeys(Precision.parse(part) for part in _parts(text, "--precision")))


def parse_backends(text: str) -> tuple[str, ...]:
    """Names, checked to exist before any work starts."""
    from deploykit.backends import get_backend

    names = tuple(dict.fromkeys(_parts(text, "--backends")))
    for name in names:
        get_backend(name)
    return names


def check_output(output: Path | None) -> None:
    """Refuse a place that cannot be written to before any work is done for it."""
    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError(f"cannot write {output}: {output.parent} is no folder", hint="create it, or give another -o")


def _parts(text: str, option: str) -> list[str]:
    parts = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{option} is empty", hint="give one or more names, separated by commas")
    return parts
