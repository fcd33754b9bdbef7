"""Which of a checkpoint's tensors are a network's: found by names and shapes, never by order.

A network with the tensors `conv.weight` and `fc.weight` fits wherever both stand behind one prefix:

    state_dict.model.conv.weight, state_dict.model.fc.weight        prefix `state_dict.model.`

A prefix is the keys of the tables on the way, what DataParallel, Lightning or torch.compile put before a name, or both.
Wrappers also stand inside names (`backbone.module.conv`, `features._orig_mod.0`), so names are compared as they are
and, where nothing fits so, without the wrappers' components. Several prefixes may fit: a training's raw weights and an
average of them; two networks of one file.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from deploykit.io.checkpoint.tensors import StoredTensor, storage_key

Shape = tuple[int, ...]

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
AVERAGED = {"ema", "swa", "avg", "average", "averaged", "shadow", "polyak", "teacher"}
OPTIMIZER = {"optim", "optimizer", "optimizers", "exp", "momentum", "grad", "grads", "gradient", "gradients"}
USUAL = ("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights")  # keys of raw ones
COUNTED = re.compile(r"(^|\.)(total_ops|total_params|n_averaged)$")  # left by thop and by torch's AveragedModel
LOSS = re.compile(r"^(\w*criterion|\w*loss(_\w+)?|pos_weight|class_weights?|\w*metrics?|(\w+_)?acc(uracy)?)$")
MAX_PIECES = 4  # prefixes that a network is put together from
MAX_PARTS = 64  # of a name; a network's own have a dozen
LONGEST_PART = 100  # characters of a part that may name a loss
MAX_PREFIXES = 64  # that are looked at, those with the most names of the network first
TOP = "."  # how `--weights-key` calls the top of the file


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tensors of a network by name; those that a file may lack; those that it may have beside them.

    `optional` are counters that inference does not read, and auxiliary heads. `aliases` maps the name of a tensor that
    shares its memory with others (tied weights) to all their names: a file needs one of them. Names that begin with
    one of `unread` are auxiliary heads that this form of the network does not have.
    """

    shapes: Mapping[str, Shape]
    optional: Collection[str] = ()
    aliases: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PrefixMatch:
    """The tensors behind one prefix that have names of the network's.

    `matched` maps names of the network to full names in the file, whatever their shapes. `beside` lies in the same
    tables and is known not to be the network's; `extra` may be a part that the network lacks.
    """

    prefix: str  # without the last dot
    container: str
    matched: Mapping[str, str]
    misshapen: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    beside: tuple[str, ...]
    averaged: bool = False
    pieces: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return not (self.misshapen or self.missing or self.extra)

    @property
    def right(self) -> int:
        """How many tensors have both name and shape."""
        return len(self.matched) - len(self.misshapen)

    @property
    def for_training(self) -> bool:
        """Whether it is an optimizer's state, which has names and shapes of weights and is none."""
        return bool(_words(self.prefix) & OPTIMIZER)

    @property
    def where(self) -> str:
        """What `--weights-key` calls it: the state dict, or the prefix of one of several networks in one state dict."""
        return self.prefix or self.container or TOP


def candidates(stored: Mapping[str, StoredTensor], wanted: Wanted) -> list[PrefixMatch]:
    """Every prefix behind which all of the network lies, in the order of the file; else the closest one, or nothing.

    The closest is that with the most tensors of the right name and shape, then of the right name.
    """
    all_of_them: list[PrefixMatch] = []
    for wrappers in (set(), WRAPPERS):
        all_of_them += _behind_prefixes(stored, wanted, wrappers)
        fitting = _distinct([one for one in all_of_them if one.fits], stored)
        if fitting:
            return fitting
    closest = max(all_of_them, key=lambda one: (one.right, len(one.matched), -len(one.extra)), default=None)
    if closest is None:
        return []
    return [_put_together(stored, wanted, closest) or closest]


def _behind_prefixes(
    stored: Mapping[str, StoredTensor], wanted: Wanted, wrappers: Collection[str]
) -> Iterator[PrefixMatch]:
    """One candidate for each prefix with as many names as the network needs, and for the one with the most."""
    plain = {_without(name, wrappers): name for name in wanted.shapes}
    names = {full: _without(full, wrappers) for full in stored}
    if len(plain) < len(wanted.shapes):
        return
    for own in _own_prefixes(plain):
        ours = {name.removeprefix(own): original for name, original in plain.items()}
        behind: dict[str, dict[str, str]] = defaultdict(dict)
        for full, name in names.items():
            for prefix, rest in _splits(name):
                if rest in ours:
                    behind[prefix].setdefault(ours[rest], full)
        needed = sum(name not in wanted.optional and name not in wanted.aliases for name in wanted.shapes)
        likely = sorted(behind, key=lambda prefix: -len(behind[prefix]))[:MAX_PREFIXES]
        looked_at = {*likely[:1], *(prefix for prefix in likely if len(behind[prefix]) >= needed)}
        for prefix, matched in behind.items():
            if prefix in looked_at:
                yield _candidate(stored, wanted, prefix=prefix, matched=matched, names=names)


def _candidate(
    stored: Mapping[str, StoredTensor],
    wanted: Wanted,
    *,
    prefix: str,
    matched: Mapping[str, str],
    names: Mapping[str, str],
) -> PrefixMatch:
    tables = {stored[full].container for full in matched.values()}
    taken = set(matched.values())
    left = [full for full, item in stored.items() if item.container in tables and full not in taken]
    behind = [full for full in left if not prefix or names[full].startswith(f"{prefix}.")]
    own_parts = {name.partition(".")[0] for name in wanted.shapes}
    extra = [full for full in behind if not _known(_after(names[full], prefix), wanted, own_parts)]
    own_order = [name for name in wanted.shapes if name in matched]
    missing = [
        name
        for name in wanted.shapes
        if name not in matched
        and name not in wanted.optional
        and not wanted.aliases.get(name, frozenset()) & set(matched)
    ]
    return PrefixMatch(
        prefix=_original_prefix(matched, prefix),
        container=tables.pop() if len(tables) == 1 else "",
        matched=matched,
        misshapen=tuple(name for name in own_order if stored[matched[name]].shape != wanted.shapes[name]),
        missing=tuple(missing),
        extra=tuple(extra),
        beside=tuple(full for full in left if full not in extra and not _is_head(_after(names[full], prefix), wanted)),
        averaged=bool(_words(prefix) & AVERAGED) or any(full.endswith("n_averaged") for full in left),
    )


def _put_together(stored: Mapping[str, StoredTensor], wanted: Wanted, closest: PrefixMatch) -> PrefixMatch | None:
    """The network from several prefixes of one table: `backbone.conv.weight` and `head.fc.weight` for conv and fc.

    What `closest` lacks must lie behind one further prefix each time, with the right shapes, and behind no other.
    """
    matched, missing = dict(closest.matched), set(closest.missing)
    pieces = [closest.prefix]
    left = [full for full in closest.beside if stored[full].container == closest.container]
    while missing and len(pieces) < MAX_PIECES:
        behind: dict[str, dict[str, str]] = defaultdict(dict)
        for full in left:
            for prefix, rest in _splits(full):
                if rest in missing and wanted.shapes[rest] == stored[full].shape:
                    behind[prefix][rest] = full
        most = max(map(len, behind.values()), default=0)
        best = [prefix for prefix, names in behind.items() if len(names) == most]
        if len(best) != 1:
            return None
        pieces.append(best[0])
        matched |= behind[best[0]]
        missing -= set(behind[best[0]])
    if missing or closest.misshapen or closest.extra:
        return None
    return replace(
        closest,
        prefix=closest.container,
        matched=matched,
        missing=(),
        beside=tuple(full for full in left if full not in set(matched.values())),
        pieces=tuple(_after(piece, closest.container) for piece in pieces),
    )


def nothing(wanted: Wanted, stored: Mapping[str, StoredTensor]) -> PrefixMatch:
    """The match that stands in for the closest table where no name is the network's."""
    missing = tuple(name for name in wanted.shapes if name not in wanted.optional)
    return PrefixMatch(
        prefix="", container="", matched={}, misshapen=(), missing=missing, extra=tuple(stored), beside=()
    )


def preferred(fitting: Iterable[PrefixMatch]) -> PrefixMatch:
    """The raw weights, those under the most usual key first; averaged ones where there are no others."""

    def rank(one: PrefixMatch) -> tuple[bool, bool, int]:
        last = one.where.rpartition(".")[2]
        usual = -1 if one.where == TOP else USUAL.index(last) if last in USUAL else len(USUAL)
        return one.for_training, one.averaged, usual

    return min(fitting, key=rank)


def named(fitting: Iterable[PrefixMatch], key: str) -> list[PrefixMatch]:
    """Those that `key` names: by their place, by their table, or by a table above them."""
    listed = list(fitting)
    exact = [one for one in listed if one.where == key]
    in_table = [one for one in listed if one.container == key]
    return exact or in_table or [one for one in listed if one.where.startswith(f"{key}.")]


def _distinct(fitting: Iterable[PrefixMatch], stored: Mapping[str, StoredTensor]) -> list[PrefixMatch]:
    """One of those that are the same tensors: a table under two keys, a prefix in two readings."""
    kept: dict[frozenset[object], PrefixMatch] = {}
    for one in fitting:
        kept.setdefault(frozenset(_identity(stored[full]) for full in one.matched.values()), one)
    return list(kept.values())


def _identity(item: StoredTensor) -> object:
    return storage_key(item.value)


def _own_prefixes(names: Iterable[str]) -> list[str]:
    """ "" and, where all of a network's names begin alike (`net.`), what they begin with."""
    listed = [name.split(".")[:-1] for name in names]
    own, depth = [""], 0
    while listed and all(len(parts) > depth and parts[depth] == listed[0][depth] for parts in listed):
        depth += 1
        own.append(".".join(listed[0][:depth]) + ".")
    return own


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """("", whole), then every way to cut a name at one of its first dots."""
    yield "", name
    place = name.find(".")
    for _ in range(MAX_PARTS):
        if place < 0:
            return
        yield name[:place], name[place + 1 :]
        place = name.find(".", place + 1)


def _known(name: str, wanted: Wanted, own_parts: Collection[str]) -> bool:
    """Whether a tensor that the network lacks is bookkeeping, a loss's or a head that only training has."""
    if COUNTED.search(name) or _is_head(name, wanted):
        return True
    first = name.partition(".")[0]
    return len(first) <= LONGEST_PART and LOSS.match(first) is not None and first not in own_parts


def _is_head(name: str, wanted: Wanted) -> bool:
    return name.startswith(wanted.unread) if wanted.unread else False


def _original_prefix(matched: Mapping[str, str], prefix: str) -> str:
    """The prefix as the file spells it, wrappers included; `prefix` where wrappers stand inside the names."""
    own, full = next(iter(matched.items()))
    return full[: -len(own)].rstrip(".") if full == own or full.endswith(f".{own}") else prefix


def _after(name: str, prefix: str) -> str:
    return name[len(prefix) + 1 :] if prefix and name.startswith(f"{prefix}.") else name


def _without(name: str, wrappers: Collection[str]) -> str:
    return ".".join(part for part in name.split(".") if part not in wrappers) if wrappers else name


def _words(prefix: str) -> set[str]:
    """`model_ema.stateDict` -> model, ema, state, dict."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", prefix)}
