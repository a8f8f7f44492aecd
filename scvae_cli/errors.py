"""The two ways in which a run ends early, each with one line for the person who started it."""


class InputError(Exception):
    """What was asked for cannot be done: names the key or file, its value and the way out."""


class RunError(Exception):
    """The run went wrong on the way: says where, what was seen and what may help."""
