"""`deploykit store ls|verify|prune|clear`: what the artifact store holds, whether it is sound, and what to remove."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.command import CommandGroup, output
from deploykit.cli.options import JSON_OPTION, STORE_OPTION
from deploykit.quote import printable

if TYPE_CHECKING:
    from deploykit.api import StoredEntry, StoreRemoval

SHORT_KEY = 12  # characters, as messages have them
AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
DRY_RUN = output("--dry-run", is_flag=True, common=True, help="Only show what would be removed.")


@click.group("store", cls=CommandGroup)
def command() -> None:
    """List, verify, prune and clear the artifact store. Each command takes --store and --json."""


@command.command("ls")
@STORE_OPTION
@JSON_OPTION
def store_ls(store: Path | None, as_json: bool) -> None:
    """List what the store holds: kind, size, time since it was last used, what it was made from, its state.

    Files are looked at and not read: content that has changed shows in `deploykit store verify`.
    """
    from deploykit.api import store_entries

    found = store_entries(store=store)
    if as_json:
        click.echo(found.to_json())
        return
    _print_entries(found.entries)
    count = f"{len(found.entries)} entries" if len(found.entries) != 1 else "1 entry"
    parts = [f"{count} in {found.store}", f"{_size(found.object_bytes)} of files"]
    if found.unreferenced_bytes:
        parts.append(f"{_size(found.unreferenced_bytes)} that no entry refers to")
    if found.quarantine_bytes:
        parts.append(f"{_size(found.quarantine_bytes)} in quarantine")
    click.echo(printable(", ".join(parts)))


@command.command("verify")
@STORE_OPTION
@JSON_OPTION
def store_verify(store: Path | None, as_json: bool) -> None:
    """Read every byte of the store and move what is corrupt to its quarantine; builds make it again.

    Exit code 5 when something was corrupt, or is not sealed with the key in DEPLOYKIT_STORE_KEY.
    """
    from deploykit.api import verify_store

    found = verify_store(store=store)
    if as_json:
        click.echo(found.to_json())
    else:
        for item in found.quarantined:
            where = f"moved to {', '.join(item.moved_to)}" if item.moved_to else "not moved"
            click.echo(printable(f"corrupt: {item.what}: {item.fault}; {where}"))
        _print_entries(found.unused)
        click.echo(printable(f"{found.entries} sound in {found.store}, {_size(found.bytes)} of files"))
    click.get_current_context().exit(found.failure.exit_code if found.failure else 0)


@command.command("prune")
@output(
    "--older-than",
    metavar="AGE",
    common=True,
    help="Also remove entries not used for this long, such as 30d or 12h, and files that were in quarantine as long.",
)
@output(
    "--max-size",
    metavar="SIZE",
    common=True,
    help="Also remove the least recently used entries until the files of the others take no more, such as 20GB.",
)
@DRY_RUN
@STORE_OPTION
@JSON_OPTION
def store_prune(older_than: str | None, max_size: str | None, dry_run: bool, store: Path | None, as_json: bool) -> None:
    """Remove what nothing refers to, what cannot be used here, and what is too old or too much.

    Without options: files of no entry, the work of builds that were killed, and entries that are corrupt, written by an
    older deploykit, or not sealed with the key in DEPLOYKIT_STORE_KEY. Nothing goes that a process is building.
    """
    from deploykit.api import prune_store

    _print_removal(prune_store(older_than=older_than, max_size=max_size, dry_run=dry_run, store=store), as_json=as_json)


@command.command("clear")
@DRY_RUN
@STORE_OPTION
@JSON_OPTION
def store_clear(dry_run: bool, store: Path | None, as_json: bool) -> None:
    """Remove every entry, and all that lies in quarantine; what a process is building stays."""
    from deploykit.api import clear_store

    _print_removal(clear_store(dry_run=dry_run, store=store), as_json=as_json)


def _print_removal(found: "StoreRemoval", *, as_json: bool) -> None:
    if as_json:
        click.echo(found.to_json())
        return
    _print_entries(found.removed)
    verb = "would remove" if found.dry_run else "removed"
    click.echo(printable(f"{verb} {len(found.removed)} from {found.store}, {_size(found.bytes)} of files"))
    if found.kept:
        click.echo(f"kept {len(found.kept)} that another process is building")


def _print_entries(entries: "Iterable[StoredEntry]") -> None:
    """One line each, without rich: it takes a second for a thousand of them."""
    lines = [
        [
            each.kind,
            each.key[:SHORT_KEY],
            _size(each.bytes),
            _age(each.age_seconds),
            each.made_from,
            each.state if each.state == "ok" else f"{each.state}: {each.fault}",
        ]
        for each in entries
    ]
    if lines:
        click.echo(_columns([["kind", "key", "size", "used", "made from", "state"], *lines], right={2, 3}))


def _columns(lines: Sequence[Sequence[str]], *, right: set[int]) -> str:
    cells = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.2f} MB"


def _age(seconds: float) -> str:
    """`3 d`: in the largest unit that it has one of."""
    return next((f"{seconds / unit:.0f} {name}" for unit, name in AGES if seconds >= unit), f"{seconds:.0f} s")
