"""Which networks there are, for lists of them."""

from collections.abc import Callable
from fnmatch import fnmatch

from deploykit.errors import UnknownName, UsageError
from deploykit.zoo.registry import Card, cards, find_card, foreign_names


def list_cards(pattern: str, *, miniatures: bool, warn: Callable[[str], None]) -> tuple[Card, ...]:
    """The cards of the zoo and of installed plug-ins whose name contains `pattern`, or matches it by wildcards.

    `miniatures` has the `test_*` networks too. A plug-in without a sound card is warned of and left out. Raises
    UnknownName where no name matches.
    """
    listed = list(cards().values())
    for name in foreign_names():
        try:
            listed.append(find_card(name))
        except UsageError as error:
            warn(str(error))
    found = [card for card in listed if miniatures or not card.is_miniature]
    wanted = pattern.lower()
    kept = tuple(card for card in found if wanted in card.name or fnmatch(card.name, wanted))
    if not kept:
        raise UnknownName("model or pattern", pattern, [card.name for card in found])
    return kept
