"""Names as a person sees them: on the terminal, in logs, figures and pages.

Names come from files, and may hold what a terminal obeys, what turns a line around and what ends
it. In tables, JSON and h5ad they stay as they are.
"""

import logging

UNLABELLED = "unlabelled"  # what a person sees where the type of a cell is not known


def visible(text: object) -> str:
    r"""The text with what has no shape of its own written as Python writes it: `\x1b`, `\u202e`.

    That is control characters, line ends, what sets the direction of text, spaces other than the
    usual one, and halves of characters, which no encoding can hold.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )


class Lines(logging.Formatter):
    """Lines of a log, in which names are visible; a traceback has several."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of this record."""
        return "\n".join(map(visible, super().format(record).split("\n")))
