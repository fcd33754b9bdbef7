"""`deploykit predict MODEL IMAGES...`: classes of many images, in a file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.answers import answer
from deploykit.cli.answers import warn as warn_of
from deploykit.cli.command import Argument, Command, backend, data, measurement, output, precision
from deploykit.cli.given import refuse, require
from deploykit.cli.idle import note, require_rows
from deploykit.cli.options import ANSWER_OPTIONS, BUILDER, DATA_KINDS, INT8, STRICT_OPTIONS, TARGETS
from deploykit.cli.requests import BATCH, ENGINE, TF32, build_spec, keywords, precision_group, with_options
from deploykit.cli.types import FILE, ONE_BACKEND, PRECISION, ROWS
from deploykit.spec import BuildSpec, Precision

if TYPE_CHECKING:
    from deploykit.api import BuiltEngine, Gpu

TEXTS = {"data": f"Images for INT8 calibration: {DATA_KINDS} Default: the demo images."}
OF_BUILDS = {
    *("weights", "weights_key", "num_classes", "in_channels", "init_from", "image_size", "width_mult", "factory_args"),
    *("seed", "input_shapes", "input_ranges", "preprocess", "fusions", "precision", "backend", "batch", "keep_io"),
    *("keep_fp32", "tf32", "data", "strict_backend", *INT8, *BUILDER, *TARGETS),
}


@click.command("predict", cls=Command, texts=TEXTS)
@build_spec(
    precision_group(
        precision(
            "--precision",
            type=PRECISION,
            default="fp32",
            show_default=True,
            common=True,
            help="Precision of the engine.",
        )
    ),
    BATCH,
    *ENGINE,
    TF32,
    search=False,
)
@with_options(
    click.argument(
        "images",
        cls=Argument,
        nargs=-1,
        required=True,
        type=FILE,
        text="Image files, folders, .npz or .toml lists, or Parquet files with a column `image` of bytes or `path`.",
    ),
    backend(
        "--backend",
        type=ONE_BACKEND,
        default="ort",
        show_default=True,
        common=True,
        help="What runs the network: ort is ONNX Runtime, trt TensorRT, which requires a GPU.",
    ),
    *STRICT_OPTIONS,
    backend(
        "--trust-engine",
        is_flag=True,
        help="Open an engine file that this store did not build. An engine is native code: open only what you trust.",
    ),
    measurement(
        "--threads", type=click.IntRange(min=0), default=0, metavar="N", help="CPU threads. Default: one per core."
    ),
    measurement(
        "--decode-threads",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Threads that read and prepare images. Default: one per core.",
    ),
    data(
        "--labels",
        type=FILE,
        metavar="PATH",
        common=True,
        help="Names of the classes: a file with a name a line, in order, or a folder with one subfolder per class.",
    ),
    data(
        "--shard",
        default="1/1",
        metavar="I/N",
        common=True,
        help="Classify part I of N only. The files of all parts, in order, have the rows of one run.",
    ),
    output(
        "-o",
        "--out",
        "output",
        type=ROWS,
        required=True,
        common=True,
        help="File of a row per image: .jsonl, .csv or .parquet. Images that have a row already are skipped.",
    ),
    output(
        "--top",
        type=click.IntRange(1, 1000),
        default=5,
        show_default=True,
        metavar="N",
        help="Classes of an image, the likeliest first, with their probabilities.",
    ),
    *ANSWER_OPTIONS,
)
def command(
    spec: BuildSpec,
    gpu: "Gpu | None",
    images: tuple[Path, ...],
    backend: str,
    strict_backend: bool,
    trust_engine: bool,
    threads: int,
    decode_threads: int,
    labels: Path | None,
    shard: str,
    output: Path,
    top: int,
    store: Path | None,
    as_json: bool,
) -> None:
    """Classify IMAGES with MODEL, or an engine file of `build -o`, into a file with a row for each.

    Images are prepared as the network requires (--preprocess), by threads while a batch runs. A broken image is a row
    with its error. A run that was interrupted goes on where it stopped when it is run again, and the file is then the
    same as that of one run.

    Exits 0 unless no image at all could be classified.
    """
    from deploykit.api import Predictor, predict
    from deploykit.api.predictions import require_places
    from deploykit.api.predictor import saved_engine
    from deploykit.report.predictions import describe_predictions

    require_places(images)
    artifact: BuiltEngine | Path | None = saved_engine(spec.model.name)
    if artifact is None:
        require({"trust_engine"}, "an engine file", hint="leave it out, or name an engine file")
        artifact = _built(spec, gpu, store, backend=backend, strict=strict_backend)
    else:
        hint = "leave it out, or name a network"
        refuse(OF_BUILDS, f"cannot change the engine {artifact}, which is built", hint=hint)
    with Predictor(
        artifact, labels=labels, top=top, threads=threads, trust_engine=trust_engine, store=store
    ) as predictor:
        progress = keywords(spec, gpu, store)["progress"]
        found = predict(
            predictor, images=images, output=output, shard=shard, decode_threads=decode_threads, progress=progress
        )
    if found.errors:
        warn_of(f"{found.errors} of {found.images} images have an error and no class: see the column `error`")
    answer(found, describe_predictions, as_json=as_json)
    click.get_current_context().exit(found.failure.exit_code if found.failure else 0)


def _built(spec: BuildSpec, gpu: "Gpu | None", store: Path | None, *, backend: str, strict: bool) -> "BuiltEngine":
    from deploykit.api import build

    require_rows(spec, (spec.precision,), (backend,))
    if spec.precision is Precision.FP32:
        note({"data"}, "nothing is calibrated at --precision fp32")
    return build(
        spec.model,
        precision=spec.precision,
        backend=backend,
        data=spec.data,
        **keywords(spec, gpu, store),
        tf32=spec.tf32,
        strict=strict,
    )
