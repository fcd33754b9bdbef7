"""The reference pages that are written from the code: networks from the zoo's cards, exit codes from the error classes,
limits from the one list of them.

python docs/generate.py    (or `make docs-pages`; a test fails when a page is out of date)
"""

from collections.abc import Callable
from pathlib import Path

from deploykit import errors
from deploykit.limits import LIMITS
from deploykit.zoo.registry import Card, cards

REFERENCE = Path(__file__).parent / "reference"
NOTICE = "<!-- Written by docs/generate.py; `make docs-pages` writes it again. -->"

ZOO = """# Networks

Every network that deploykit ships, as `deploykit list` prints it. Parameters follow PyTorch's convention. MACs are the
multiply-accumulates of convolutions and linear layers for one image of the stated size. Auxiliary heads exist in
training only and count in neither. A test counts every figure on the network itself.

*Top-1* is the published ImageNet accuracy of the weights or the paper named on the network's card
(`deploykit list --json`); deploykit has not measured it.

{table}

## Where a network deviates from its paper

{deviations}
"""

EXIT_CODES = """# Exit codes

Every command answers with one of these. An error is one line on stderr that says what is wrong, where, and how to fix
it; `DEPLOYKIT_DEBUG=1` adds the traceback.

| code | meaning | errors |
|---:|---|---|
| 0 | success | |
{rows}
| 130 | interrupted (Ctrl-C) | |
| 143 | terminated (SIGTERM) | |

`bench` and `verify` exit with 1 when a row failed, else with 3 when a parity limit does not hold, parity is
`inconclusive` or a weight overflows float16, else with 4 when every requested row is unavailable, else with 0.
`evaluate` exits with 3 when a row exceeds `--max-drop` or no row could be held to it, `export` when its check fails,
and `calibrate --sensitivity` when its limit cannot be reached.

`compare` exits with 3 when a limit of `--fail-on` does not hold or a row is lost, else with 0: a change that is
undecided, or that could not be compared, does not fail.

`store verify` exits with 5 when something was corrupt, or is not sealed with `DEPLOYKIT_STORE_KEY` while that is set.

In Python the same errors are exceptions: every class above is exported by `deploykit`, derives from
`deploykit.DeploykitError` and carries its code as `exit_code`.
"""

LIMITS_PAGE = """# Limits

How much of a file from elsewhere is believed, beside what the file's own format allows. No sound file of a
convolutional network comes near; for one that does, set the environment variable to a larger number. A file beyond a
limit is rejected in one line that names the variable, with exit code 5.

| variable | default | of what |
|---|---:|---|
{rows}

Graphs have limits of their own, which no variable changes: 2 GB for the file and for each tensor, 4 GB for all
initializers, 100,000 nodes once functions are inlined.
"""

MEANINGS = {
    1: "failure: an export, a build, a run or the store failed; an internal error also ends with 1, and says so",
    2: "usage: the request is wrong (an unknown name, a checkpoint that does not fit, a graph without the precision)",
    3: "a gate failed: parity, accuracy, or a weight outside float16's range",
    4: "a library or a device that the request requires is missing",
    5: "a file is malformed, corrupt, or not trusted",
}


def networks() -> str:
    shown = [card for card in cards().values() if not card.is_miniature]
    head = "| network | parameters | MACs | input | top-1 % | paper |\n|---|---:|---:|---|---:|---|\n"
    same: dict[tuple[str, ...], list[str]] = {}
    for card in shown:
        same.setdefault(card.deviations, []).append(card.name)
    deviations = (
        "\n".join([f"**{', '.join(names)}**\n", *(f"- {line}" for line in lines), ""])
        for lines, names in same.items()
        if lines
    )
    return ZOO.format(table=head + "\n".join(map(_network, shown)), deviations="\n".join(deviations).rstrip())


def _network(card: Card) -> str:
    paper = f"[arXiv {card.arxiv}](https://arxiv.org/abs/{card.arxiv})" if card.arxiv else f"{card.paper}, {card.year}"
    side = card.image_size
    top1 = card.top1 or ""
    return f"| {card.name} | {card.params:,} | {card.macs:,} | {card.channels}x{side}x{side} | {top1} | {paper} |"


def exit_codes() -> str:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DeploykitError)
    ]
    rows = []
    for code, meaning in MEANINGS.items():
        names = ", ".join(f"`{kind.__name__}`" for kind in kinds if kind.exit_code == code)
        rows.append(f"| {code} | {meaning} | {names} |")
    return EXIT_CODES.format(rows="\n".join(rows))


def limits() -> str:
    rows = (f"| `{each.variable}` | {each.default:,} | {each.what} |" for each in LIMITS)
    return LIMITS_PAGE.format(rows="\n".join(rows))


PAGES: dict[str, Callable[[], str]] = {"zoo.md": networks, "exit-codes.md": exit_codes, "limits.md": limits}


def text_of(name: str) -> str:
    title, _, body = PAGES[name]().partition("\n")
    return f"{title}\n\n{NOTICE}\n{body}"


if __name__ == "__main__":
    for page in PAGES:
        (REFERENCE / page).write_text(text_of(page))
