"""Foreign text on its way out: names of tensors, files and keys, as a terminal, a page or a log may have them.

A name is somebody else's, so it may hold escape sequences that steer a terminal, marks that turn the direction of the
text around it, or ten million characters. `printable` shows every such character as its escape; `quoted` also leaves
out the middle of what is too long, and is what errors and warnings are made with.
"""

import re

LONGEST_WORD = 200  # characters of a name, or of anything else without a blank in it
LONGEST_QUOTE = 4000  # characters of a message; a hint that lists 80 names has a third of it
LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")
BREAKS = re.compile(r"[\t\n\v\f\r]+")


def printable(text: object) -> str:
    """The text with every control character written as its escape, so that it cannot steer a terminal."""
    said = str(text)
    if said.isprintable():
        return said
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in said)


def quoted(text: object) -> str:
    """`printable` in one line, without the middle of long words and of a long text."""
    said = shortened(_without_long_words(str(text)), LONGEST_QUOTE)
    return shortened(_without_long_words(printable(BREAKS.sub(" ", said))), LONGEST_QUOTE)


def _without_long_words(text: str) -> str:
    return LONG_WORD.sub(lambda found: shortened(found[0], LONGEST_WORD), text)


def shown(text: object) -> str:
    """`printable` of a cell or a line of a result, without the middle of one that has no end."""
    return printable(shortened(str(text), LONGEST_QUOTE))


def shortened(text: str, longest: int) -> str:
    """A text of at most `longest` characters: texts of libraries begin with where and end with what went wrong."""
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2]} ... {text[5 - longest // 2 :]}"
