"""Text that somebody else chose, made fit to be shown: in a terminal, a log or an answer."""

MOST_SHOWN_CHARACTERS = 300


def printable(text: str) -> str:
    """``text`` without characters that a terminal obeys, line ends among them: each becomes a dot."""
    return "".join(character if character.isprintable() else "·" for character in text)


def shown(text: str) -> str:
    """The beginning of ``text``, ``printable``."""
    return printable(text[:MOST_SHOWN_CHARACTERS])
