"""The two ways in which a run ends early, each with a line for the person who started it."""

from scvae_cli.visible import visible


class ToldError(Exception):
    """An error that is told in lines, its arguments; names in them are made visible."""

    def __str__(self) -> str:
        """The lines."""
        return "\n".join(map(visible, self.args))


class InputError(ToldError):
    """What was asked for cannot be done: names the key or file, its value and the way out."""


class RunError(ToldError):
    """The run went wrong on the way: says where, what was seen and what may help."""
