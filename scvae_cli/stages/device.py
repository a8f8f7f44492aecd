"""Choose where models compute."""

import torch

from scvae_cli.errors import Given, InputError, Kind


def device_of(name: str, began: str | None, path: object) -> tuple[torch.device, str | None]:
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
        InputError: this machine has no such device, or it does not compute.
    """
    if began is not None:
        if fault := _fault(began):
            reason = f"began on {began}, and {fault}"
            fix = f"resume it where {began} computes, or start a new run"
            raise InputError(Kind.UNAVAILABLE, Given("resume", path), reason, fix)
        return torch.device(began), None
    if name != "auto":
        if fault := _fault(name):
            fix = "use device=cpu or auto"
            raise InputError(Kind.UNAVAILABLE, Given("device", name), fault, fix)
        return torch.device(name), None
    fault = _fault("cuda")
    if fault and torch.cuda.is_available():
        doubt = f"device=auto computes on the CPU: there is a GPU, but {fault}"
        return torch.device("cpu"), doubt
    return torch.device("cpu" if fault else "cuda"), None


def _fault(name: str) -> str | None:
    """Say why a device does not compute, or return None where it does."""
    if name == "cpu":
        return None
    if not (torch.cuda if name == "cuda" else torch.backends.mps).is_available():
        return "there is none on this machine"
    try:
        torch.ones(1, device=name).sum().item()
    except RuntimeError as error:  # torch.AcceleratorError and torch.OutOfMemoryError among them
        return f"it does not compute ({str(error).splitlines()[0]})"
    return None
