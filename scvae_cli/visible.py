"""Escape characters of names that cannot be seen, for the terminal, logs, figures and pages.

Names come from files, and may hold control sequences that a terminal obeys, line ends, and
characters that reverse the direction of a line. Tables, JSON and h5ad keep them as they are.
"""

import logging

UNLABELLED = "unlabelled"  # shown where the type of a cell is not known


def visible(text: object) -> str:
    r"""Return the text with unprintable characters escaped as Python does: `\x1b`, `\u202e`.

    These are control characters, line ends, characters that set the direction of text, spaces
    other than the usual one, and surrogates, which no encoding can hold.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )


class Lines(logging.Formatter):
    """Log formatter that escapes unprintable characters in each line of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; a traceback has several lines."""
        return "\n".join(map(visible, super().format(record).split("\n")))
