"""What another release of TensorRT-RTX makes of the same typed graphs: kernels, traffic, engine size, failures.

    python benchmarks/rtx_releases.py [--base 1.6.1.120] [--new 1.7.1.116] [--networks lenet5,...] [--output FILE]

A release that is not installed here is put into a folder of its own by `pip install --target`, and builds in processes
that find it there first; everything else, the typed graphs too, is the same. Then `deploykit compare` judges each pair.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sources import PAGES, digest, footer

import deploykit as dk
from deploykit.host import cpu_facts, installed_version
from deploykit.plan.diff import PlanDiff, diff
from deploykit.plan.model import EnginePlan
from deploykit.results.gate import Check, GateReport

WORDS = {"kernels": ("fewer", "more"), "mb": ("lower", "higher"), "engine_mb": ("smaller", "larger")}
NETWORKS = (
    "lenet5,alexnet,vgg16,googlenet,bn_inception,inception_v2,inception_v3,inception_v4,inception_resnet_v2,resnet50,"
    "resnext50_32x4d,xception,mobilenet"
)
PRECISIONS = ("fp32", "fp16", "int8")
BATCH, TARGET, IMAGES = 8, "sm_89", 8
LIMITS = "kernels>0,mb>0%,engine_mb>1%"
FAILURE = "failure"
TEXT = """# TensorRT-RTX {base} and {new}

Printed by `{command}`
on {machine}: target {target}, batch {batch} (profile 1:{batch}:{batch}), weights random, INT8 calibrated
on {images} demo images. {graphs}

Both releases are compilers of PyPI's `tensorrt-rtx`, run ahead of time without a GPU. Kernels and traffic (megabytes
that the kernels read and write for one batch) are those of the compiled plan; they are no time. A pair "fails" where
the newer release has more kernels, moves more bytes, or makes an engine larger by over 1 %:
`deploykit compare BASE.json NEW.json --fail-on '{limits}'` on what `deploykit build --json` prints.
"Parts that differ": layers of both plans that share ONNX nodes form a part (`deploykit inspect --diff`). A part differs
where the kernels, their types or their bytes are not the same; "in one only" counts layers that only one plan has.

{summary}

{table}

## What could not be built

{failures}

## Kernels by kind

Sums over all pairs that both releases built; only kinds whose number changed.

{kinds}"""


@dataclass(frozen=True, slots=True)
class Side:
    """What one release made of a typed graph: a plan, or why there is none."""

    plan: EnginePlan | None
    failure: str

    @property
    def cells(self) -> tuple[str, str, str]:
        """Kernels, traffic and engine size."""
        if self.plan is None:
            return "failed", "", ""
        return str(len(self.plan.kernels)), f"{self.plan.bytes_moved / 1e6:.1f}", f"{self.plan.engine_bytes / 1e6:.1f}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One network at one precision under both releases; `report` and `plans` where both built it."""

    name: str
    precision: str
    sides: tuple[Side, Side]
    report: GateReport | None
    plans: PlanDiff | None

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}"

    @property
    def checks(self) -> dict[str, Check]:
        return {check.figure: check for row in self.report.rows for check in row.checks} if self.report else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="1.6.1.120")
    parser.add_argument("--new", default="1.7.1.116")
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--folder", type=Path, default=Path("build/rtx-releases"), help="where wheels and engines go")
    parser.add_argument("--output", type=Path, help="Markdown file to write; default: stdout")
    parser.add_argument("--build", help=argparse.SUPPRESS)  # NAME: what a child does
    options = parser.parse_args()
    if options.build:
        build(options.build, options.folder)
        return
    names, pairs = options.networks.split(","), []
    for release in (options.base, options.new):
        install(release, options.folder.absolute() / release / "site")
    for name in names:
        with tempfile.TemporaryDirectory() as store:  # one for both, so that the typed graphs are the same
            for release in (options.base, options.new):
                built_by(release, name, options.folder.absolute(), store)
        pairs += [pair(name, precision, options.folder, options.base, options.new) for precision in PRECISIONS]
        print(*map(line, pairs[-len(PRECISIONS) :]), sep="\n", flush=True)
    chosen = f" --networks {options.networks}" if options.networks != NETWORKS else ""
    command = f"python benchmarks/rtx_releases.py --base {options.base} --new {options.new}{chosen}"
    text = page(pairs, options.base, options.new, command)
    if options.output:
        options.output.write_text(text + footer("rtx-releases.md"))
    else:
        print(text)


def install(release: str, site: Path) -> None:
    """The release that is installed already needs no folder of its own."""
    if not site.exists() and installed_version("tensorrt-rtx") != release:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), f"tensorrt-rtx=={release}"]
        subprocess.run(pip, check=True)


def built_by(release: str, name: str, folder: Path, store: str) -> None:
    """Build one network in a process of its own, so that a compiler that crashes ends nothing else."""
    place = engines(folder, release)
    if all(
        any((place / f"{name}-{precision}.{end}").exists() for end in ("json", FAILURE)) for precision in PRECISIONS
    ):
        return
    place.mkdir(parents=True, exist_ok=True)
    paths = [str(folder / release / "site"), str(Path(dk.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "DEPLOYKIT_STORE": store}
    command = [sys.executable, __file__, "--build", name, "--folder", str(place)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    for precision in PRECISIONS:
        if done.returncode and not any(place.glob(f"{name}-{precision}.*")):
            said = done.stderr.strip().splitlines()[-1:] or [""]
            (place / f"{name}-{precision}.{FAILURE}").write_text(f"exit code {done.returncode} {said[0]}")


def build(name: str, place: Path) -> None:
    for precision in PRECISIONS:
        path = place / f"{name}-{precision}"
        try:
            calibration = dk.Calibration(images=IMAGES) if precision == "int8" else None
            engine = dk.build(
                name, precision=precision, backend="trt-rtx", batch=BATCH, target=TARGET, calibration=calibration
            )
        except dk.DeploykitError as error:
            path.with_suffix(f".{FAILURE}").write_text(str(error))
            continue
        assert engine.plan is not None
        path.with_suffix(".plan").write_text(engine.plan.to_json())
        path.with_suffix(".json").write_text(engine.to_json())


def pair(name: str, precision: str, folder: Path, base: str, new: str) -> Pair:
    paths = [engines(folder, release) / f"{name}-{precision}.json" for release in (base, new)]
    before, after = (side(path) for path in paths)
    if before.plan is None or after.plan is None:
        return Pair(name, precision, (before, after), None, None)
    report = dk.compare(*paths, fail_on=LIMITS)
    return Pair(name, precision, (before, after), report, diff(before.plan, after.plan))


def engines(folder: Path, release: str) -> Path:
    """What was built by today's code: a run that was interrupted goes on, and takes nothing over from other code."""
    return folder / release / digest(PAGES["rtx-releases.md"])


def side(path: Path) -> Side:
    failure = path.with_suffix(f".{FAILURE}")
    if failure.exists():
        return Side(None, failure.read_text())
    return Side(EnginePlan.from_json(path.with_suffix(".plan").read_text()), "")


def page(pairs: Sequence[Pair], base: str, new: str, command: str) -> str:
    return TEXT.format(
        base=base,
        new=new,
        command=command,
        target=TARGET,
        batch=BATCH,
        images=IMAGES,
        machine=f"{cpu_facts().get('model name', 'a CPU')} without a GPU",
        limits=LIMITS,
        graphs=graphs(pairs),
        summary="\n".join(summary(pairs, base, new)),
        table="\n".join(table(pairs, base, new)),
        failures="\n".join(failures(pairs, (base, new))),
        kinds="\n".join(kinds(pairs, base, new)),
    )


def graphs(pairs: Sequence[Pair]) -> str:
    """Whether both compiled one and the same typed graph: `compare` would list what is not alike."""
    compared = [each.report for each in pairs if each.report]
    other = [each for report in compared for each in report.differences if each.what.startswith("typed graph")]
    same = len(compared) - len(other)
    return f"Both releases compiled the same typed graph, byte for byte, in {same} of {len(compared)} pairs."


def summary(pairs: Sequence[Pair], base: str, new: str) -> Iterator[str]:
    built = [each for each in pairs if each.report]
    for number, release in enumerate((base, new)):
        failed = sum(each.sides[number].plan is None for each in pairs)
        yield f"- {release} built {len(pairs) - failed} of {len(pairs)}."
    for figure, word in (("kernels", "Kernels"), ("mb", "Traffic"), ("engine_mb", "Engine size")):
        changes = [each.checks[figure].change or 0 for each in built]
        less, more = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
        equal = len(changes) - less - more
        down, up = WORDS[figure]
        counts = f"{down} in {less}, equal in {equal}, {up} in {more}"
        yield f"- {word}: {counts} of the {len(changes)} pairs that both built."
    failed = sum(each.report.verdict == "fails" for each in built if each.report)
    yield f"- The gate fails for {failed} of these {len(built)}."


def failures(pairs: Sequence[Pair], releases: tuple[str, str]) -> Iterator[str]:
    """What each release could not build, those that failed for one reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in pairs:
        for release, made in zip(releases, each.sides, strict=True):
            if made.failure:
                why = re.sub(r" graph [0-9a-f]{12}", " graph", made.failure)
                found.setdefault((release, why), []).append(each.label)
    for (release, why), labels in found.items():
        yield f"- {release}, {', '.join(labels)}: `{why.replace('`', chr(39))}`"
    if not found:
        yield "None."


def table(pairs: Sequence[Pair], base: str, new: str) -> Iterator[str]:
    yield (
        f"| network | precision | kernels {base} | {new} | MB {base} | {new} | change | engine MB {base} | {new} | "
        "parts that differ | gate |"
    )
    yield "|---|---|" + "---:|" * 8 + "---|"
    yield from map(line, pairs)


def line(each: Pair) -> str:
    before, after = (made.cells for made in each.sides)
    change = parts = verdict = ""
    if each.report and each.plans:
        change = f"{each.checks['mb'].change:+.1f} %"
        alone = len(each.plans.only_a) + len(each.plans.only_b)
        parts = f"{len(each.plans.changed)} of {len(each.plans.changed) + each.plans.same}"
        parts += f", {alone} in one only" if alone else ""
        verdict = each.report.verdict
    cells = (before[0], after[0], before[1], after[1], change, before[2], after[2], parts, verdict)
    return f"| {each.name} | {each.precision} | {' | '.join(cells)} |"


def kinds(pairs: Sequence[Pair], base: str, new: str) -> Iterator[str]:
    before, after = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for each in pairs:
        for count in each.plans.kinds if each.plans else ():
            before[each.precision, count.kind, count.reads] += count.a
            after[each.precision, count.kind, count.reads] += count.b
    yield f"| precision | kind | reads | {base} | {new} |"
    yield "|---|---|---|---:|---:|"
    for key in sorted(before | after):
        if before[key] != after[key]:
            yield f"| {' | '.join(key)} | {before[key]} | {after[key]} |"
    if before == after:
        yield "| | | none changed | | |"


if __name__ == "__main__":
    main()
