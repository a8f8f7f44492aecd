"""Check what run.json, scores.json and sweep.json hold, whoever has written them."""

import shlex
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from scvae_cli.columns import OWN
from scvae_cli.measures import MEASURES


def _inside(name: str) -> str:
    """Return a file's name if it stays in the run's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("is not a file of the run's folder")
    return name


def _command(text: str) -> str:
    """Return a command if a shell would take it."""
    shlex.split(text)
    return text


def _not_own(column: str) -> str:
    """Return the name of a column of cells.csv if the column can have been kept."""
    if column in OWN:
        raise ValueError("is a column of scvae's own")
    return column


Command = Annotated[str, AfterValidator(_command)]


class _Part(BaseModel):
    """The keys that scvae reads; there may be more. Nothing is converted."""

    model_config = ConfigDict(strict=True, extra="allow")


class Git(_Part):
    """The commit of the code."""

    commit: str
    dirty: bool = False


class Code(_Part):
    """The code that computed."""

    versions: dict[str, str]
    git: Git | None = None


class Resumed(Code):
    """When a run was resumed, and by what code."""

    when: str


class Exported(_Part):
    """When a copy without folders was made, and what differs in it from the run."""

    when: str
    changed: list[str]
    left_out: list[str]


class Data(_Part):
    """The cells."""

    name: str
    fingerprint: str
    n_cells: Annotated[int, Field(ge=0)]
    n_genes: Annotated[int, Field(ge=0)]
    cell_types: dict[str, int]
    values: str = "logged"
    target_sum: Annotated[float, Field(gt=0)] | None = None
    natural: Annotated[float, Field(gt=0)] | None = None  # older runs left logarithms as they were
    total: Annotated[float, Field(gt=0)] | None = None
    sure: bool = True
    kept: dict[Annotated[str, AfterValidator(_not_own)], Literal["text", "number"]] = {}


class Run(Code):
    """run.json."""

    format: Annotated[int, Field(ge=1)] = 1  # runs of before the first release lack it
    status: Literal["running", "done", "failed"]
    reason: str | None = None
    stage: str = "start"
    progress: str | None = None
    command: Command
    overrides: list[str] = []
    cwd: str = "."
    started: str = ""
    seconds: dict[str, float] = {}
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    warnings: list[str] = []
    data: Data | None = None
    files: dict[Annotated[str, AfterValidator(_inside)], str] = {}
    resumed: list[str | Resumed] = []
    exported: Exported | None = None


class Scores(_Part):
    """scores.json."""

    tsne: dict[Literal[MEASURES], float]  # type: ignore[valid-type]
    latent: dict[Literal[MEASURES], float]  # type: ignore[valid-type]


class Job(_Part):
    """A job of a sweep."""

    folder: str
    overrides: list[str]


class Sweep(Code):
    """sweep.json."""

    format: Annotated[int, Field(ge=1)] = 1
    command: Command
    jobs: list[Job]
    data: dict[str, str] = {}
    started: list[str] = []
    exported: Exported | None = None


KINDS: dict[str, type[_Part]] = {"run": Run, "scores": Scores, "sweep": Sweep}


def fault(name: str, contents: Any) -> str | None:
    """Return what is wrong with the contents of NAME.json, in a line; None if nothing is."""
    if not isinstance(contents, dict):
        return "it holds something else"
    try:
        KINDS[name].model_validate(contents)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        return f"{'.'.join(map(str, first['loc']))}: {what}"
    return None
