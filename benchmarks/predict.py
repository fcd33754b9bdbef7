"""How near `predict` comes to the network alone: both sides by one session, in turns, and what memory is used.

    python benchmarks/predict.py [--network resnet50] [--precision int8] [--threads 1,2] [--images 256] [--rounds 5]
    python benchmarks/predict.py --made 100000

The network alone runs on images that are prepared already. `predict` starts from JPEG files of 500 x 375 pixels (crops
of the demo images, in the page cache) and ends with rows in a file. Rounds take turns, in an order that is reversed
from one to the next; the median of each side and of the rounds' ratios is printed, with the least and the most.

`--made` sends so many images through a miniature, each made when it is read, and prints the most memory that the
process had.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import deploykit as dk
from deploykit.bench import fingerprint
from deploykit.data.dataset import demo_images
from deploykit.data.sources import Source
from deploykit.host import peak_memory_bytes, usable_cores
from deploykit.spec import silent
from deploykit.workflow.calibrate import Shard
from deploykit.workflow.predict import naming_of
from deploykit.workflow.predict import predict as predict_sources

SIZE = (500, 375)  # width and height of the files, pixels: the mean of ImageNet's
DIFFERENT = 64  # files; names beyond them are links


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", default="", help="of the network, one setting after the other")
    parser.add_argument("--images", type=int, default=256, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--made", type=int, default=0, help="images for the memory, in place of the comparison")
    options = parser.parse_args()
    cores = usable_cores()
    cpu = fingerprint(threads=cores, seed=0, tf32=False).cpu
    print(f"{cpu.model}, {cpu.cores} cores")
    if options.made:
        memory(options.made)
        return
    engine = dk.build(options.network, precision=options.precision, backend="ort", batch=options.batch)
    print(
        f"{options.network} {options.precision}, {engine.flavour}, batch {options.batch}, digest {engine.digest[:12]}"
    )
    with TemporaryDirectory() as place:
        files = write_files(Path(place) / "images", options.images)
        for threads in map(int, options.threads.split(",")) if options.threads else {max(1, cores // 2), cores}:
            compare(engine, files, Path(place), threads=threads, rounds=options.rounds)


def write_files(folder: Path, count: int) -> list[Path]:
    """JPEG files, all of them warm."""
    folder.mkdir()
    random = np.random.default_rng(0)
    photographs = [raw.read() for raw in demo_images()]
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number >= DIFFERENT:
            path.symlink_to(paths[number % DIFFERENT])
            continue
        photograph = photographs[number % len(photographs)]
        share = random.uniform(0.5, 1)
        left, top = (random.uniform(0, 1 - share) * side for side in photograph.size)
        box = (left, top, left + share * photograph.width, top + share * photograph.height)
        photograph.resize(SIZE, Image.Resampling.BICUBIC, box=box).save(path, quality=90)
    return paths


def compare(engine: dk.BuiltEngine, files: Sequence[Path], place: Path, *, threads: int, rounds: int) -> None:
    with dk.Predictor(engine, threads=threads) as predictor:
        session, batch = predictor.session, predictor.batch
        one_by_one, opened = time.perf_counter(), [Image.open(path).convert("RGB") for path in files[:DIFFERENT]]
        prepared = np.stack([session.prepare(image) for image in opened])
        preparing = (time.perf_counter() - one_by_one) / len(opened)

        def alone() -> int:
            """The same images, whole batches."""
            for at in range(0, len(files), batch):
                session.classify(prepared[np.arange(at, min(at + batch, len(files))) % len(prepared)])
            return len(files)

        def whole() -> int:
            output = place / "rows.jsonl"
            output.unlink(missing_ok=True)
            return dk.predict(predictor, images=place / "images", output=output).images

        sides = (alone, whole)
        for side in sides:
            side()
        rates: dict[Callable[[], int], list[float]] = {side: [] for side in sides}
        for number in range(rounds):
            for side in sides if number % 2 else reversed(sides):
                began = time.perf_counter()
                images = side()
                rates[side].append(images / (time.perf_counter() - began))
    shares = [mine / theirs for mine, theirs in zip(rates[whole], rates[alone], strict=True)]
    print(
        f"\n{threads} threads for the network, {usable_cores()} to decode, {len(files)} images a round, {rounds} rounds"
    )
    print(f"  decode and prepare, one thread   {1e3 * preparing:.2f} ms an image")
    print(f"  the network alone                {spread(rates[alone])} images/s")
    print(f"  predict, from files to rows      {spread(rates[whole])} images/s")
    print(f"  share                            {spread([100 * share for share in shares])} %")


def spread(values: Sequence[float]) -> str:
    return f"{median(values):7.1f} [{min(values):.1f}, {max(values):.1f}]"


@dataclass(frozen=True)
class Made:
    """An image that is made when it is read."""

    name: str
    seed: int

    def read(self) -> Image.Image:
        pixels = np.random.default_rng(self.seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        return Image.fromarray(pixels).resize((320, 240))


@dataclass(frozen=True)
class MadeImages:
    """So many of them."""

    count: int

    def __len__(self) -> int:
        return self.count

    def names(self) -> Iterator[str]:
        return (f"made {number}" for number in range(self.count))

    def at(self, places: Sequence[int]) -> Iterator[Source]:
        return (Made(f"made {place}", place) for place in places)


def memory(count: int) -> None:
    engine = dk.build("test_resnet", backend="ort", batch=64)
    with dk.Predictor(engine) as predictor, TemporaryDirectory() as place:
        before, began = peak_memory_bytes(), time.perf_counter()
        naming, output = naming_of(predictor.session, None), Path(place) / "rows.jsonl"
        tally = predict_sources(
            predictor.session, MadeImages(count), output, naming=naming, shard=Shard(), decoders=usable_cores(),
            progress=silent,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        size = output.stat().st_size
    print(f"{tally.rows} images made on the fly, {tally.errors} errors, {seconds:.0f} s, {size / 1e6:.0f} MB of rows")
    print(f"  memory at most {(peak_memory_bytes() or 0) / 1e6:.0f} MB, before them {(before or 0) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
