"""Choose where models compute."""

import warnings
from pathlib import Path
from textwrap import shorten

import torch

from scvae_cli.errors import Given, InputError, Kind


def device_of(name: str, began: str | None, path: Path) -> tuple[torch.device, str | None]:
    """Return the device that a run computes on.

    `auto` takes CUDA where a GPU computes, and the CPU elsewhere: a GPU may be too old for
    PyTorch, or another process may have it for itself. It leaves Apple's GPUs (mps) to those who
    ask for them: nobody has tried this code there, and small networks are quick on a CPU.

    Args:
        name: what `device` says.
        began: the device that a run which is resumed began on: elsewhere its seeds give other
            numbers.
        path: of that run.

    Returns:
        The device, and why it is not the GPU that there is, if it is not.

    Raises:
        InputError: PyTorch cannot use the device on this machine.
    """
    if began is not None:
        if fault := _fault(began):
            reason = f"began on {began}: {fault}"
            fix = f"resume it where {began} computes, or start a new run"
            raise InputError(Kind.UNAVAILABLE, Given("resume", path), reason, fix)
        return torch.device(began), None
    if name != "auto":
        if fault := _fault(name):
            fix = "use device=cpu or auto"
            raise InputError(Kind.UNAVAILABLE, Given("device", name), fault, fix)
        return torch.device(name), None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if not (there or heard):
        return torch.device("cpu"), None
    if fault := _fault("cuda") if there else _fault_in(heard[0].message):
        return torch.device("cpu"), f"device=auto takes the CPU: there is a GPU, but {fault}"
    return torch.device("cuda"), None


def _fault(name: str) -> str | None:
    """Say why a device does not compute, or return None where it does."""
    try:
        torch.ones(1, device=name).sum().item()
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch has no CUDA
        return _fault_in(error)
    return None


def _fault_in(words: object) -> str:
    """Put what PyTorch says, which may be many lines, into a part of one."""
    return f"PyTorch cannot use it here ({shorten(str(words).splitlines()[0], 110)})"
