"""`scvae embed RUN FILE`: the model of a run on other cells."""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import anndata
import pandas as pd
import torch

from scvae_cli.atomic import write_file
from scvae_cli.commands import labels
from scvae_cli.commands.arguments import Parser, add_quiet
from scvae_cli.console import Console
from scvae_cli.data.dataset_h5ad import write_h5ad
from scvae_cli.data.files import read
from scvae_cli.data.selection import elements, select
from scvae_cli.data.wording import command_line
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.launch.compose import compose
from scvae_cli.launch.places import at_home, quoted
from scvae_cli.options import FileConfig
from scvae_cli.runs.files import csv_of
from scvae_cli.saved import load
from scvae_cli.threads import available

# Of the settings of data=file, those that other cells can be read with.
READING = ["layer", "raw", "gene_names", "transpose", "genome", "values", "min_genes"]

EXAMPLES = {
    "outputs/latest new.h5ad": "latent.csv, a row a cell",
    "reference new.h5ad --h5ad out.h5ad": "the cells too, for scanpy",
    "reference new.h5ad --labels": "each cell's type, and how sure it is",
    "reference new.h5ad data.gene_names=gene_ids": "genes by this column of var",
}


def embed(arguments: list[str]) -> None:
    """Run `scvae embed` with these arguments.

    Raises:
        InputError: they are not allowed, the run or the cells cannot be read, or do not fit.
    """
    asked = _parse(arguments)
    _check_new(asked)
    console = Console(quiet=asked.quiet, live=not asked.quiet)
    with console.busy("loading the run"):
        run = load(asked.run)
    options = _reading(run.config.data, asked.file, asked.settings)
    labels.check(asked, options.label_key)
    torch.set_num_threads(run.config.threads or available())
    remarks: list[str] = []  # shown once it is known that the cells fit
    with console.busy("loading cells"):
        cells = _read_cells(asked.file, options, whole=asked.h5ad is not None, say=remarks.append)
        if asked.h5ad is not None:
            _check_writes(cells, asked.h5ad)
    with console.busy("embedding"):
        latent = run.embed(
            cells, **{**_parts(options), "layer": options.layer or "X"}, values=options.values,
            wording=command_line(asked.file),
            say=lambda text: remarks.append(f"{asked.file.name}: {text}"),
        )  # fmt: skip
        predicted = labels.predict(run, latent, asked)
    for remark in remarks:
        console.line(remark)
    columns = {f"z{i}": column for i, column in enumerate(latent.T, start=1)}
    table = pd.DataFrame({"cell": cells.obs_names, **labels.columns(predicted), **columns})
    labels.show(console, cells, predicted, run=run, label_key=options.label_key, file=asked.file)
    _check_new(asked)
    if asked.h5ad is not None:  # first: where it is killed, the same command may be given again
        cells.obsm["X_scvae"] = latent
        cells.uns["scvae"] = run.provenance() | labels.mark(cells, predicted, asked)
        _write_cells(cells, asked.h5ad)
    write_file(asked.to, csv_of(table))
    console.line(f"{len(latent):,} cells in {latent.shape[1]} latent features")
    for path in filter(None, (asked.to, asked.h5ad)):
        console.folder(path)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "scvae embed",
        description="Puts other cells into a run's latent space, treated as its own cells were.",
        epilog=f"Settings are data.{', data.'.join(READING)}; a run of data=file has its own. "
        "With --labels, data.label_key=COLUMN names types that the cells have, to compare with.",
        examples=EXAMPLES,
    )
    parser.add_argument("run", metavar="RUN", type=at_home, help="folder of a run")
    parser.add_argument("file", metavar="FILE", type=at_home, help="a file or folder of cells")
    parser.add_argument("settings", nargs="*", metavar="data.KEY=VALUE", help="how to read it")
    parser.add_argument(
        "--to",
        metavar="CSV",
        type=at_home,
        default="latent.csv",
        help="what to write (%(default)s)",
    )
    parser.add_argument(
        "--h5ad", metavar="OUT", type=at_home, help="write the cells too, with obsm['X_scvae']"
    )
    add_quiet(parser)
    labels.add_options(parser)
    return parser.parse_intermixed_args(arguments)


def _check_new(asked: argparse.Namespace) -> None:
    """Refuse to write over what is there, to where nothing can be, or under a name that misleads.

    Raises:
        InputError: a file exists already, its folder does not, its ending is of another format,
            or both files are one.
    """
    if asked.h5ad is not None:
        if asked.h5ad.suffix.lower() != ".h5ad":
            raise InputError(Kind.FORMAT, Given("--h5ad", asked.h5ad), "must end in .h5ad")
        if asked.h5ad.resolve() == asked.to.resolve():
            given = Given("--to", asked.to)
            raise InputError(Kind.CONFLICT, given, "is the file of --h5ad too", "give another")
    if asked.to.suffix.lower() in (".gz", ".bz2", ".xz", ".zip"):
        raise InputError(
            Kind.FORMAT, Given("--to", asked.to), "is not packed", f"give {asked.to.stem}"
        )
    for flag, path in (("--to", asked.to), ("--h5ad", asked.h5ad)):
        if path is None:
            continue
        if path.exists():
            raise InputError(Kind.EXISTS, path, "exists already", f"give another file with {flag}")
        if not path.absolute().parent.is_dir():
            raise InputError(
                Kind.MISSING, path, f"there is no folder {path.absolute().parent}", "make it first"
            )
    if asked.to.suffix.lower() in (".h5ad", ".h5", ".zarr"):
        fix = f"give --h5ad {asked.to.with_suffix('.h5ad')} for the cells"
        raise InputError(Kind.FORMAT, Given("--to", asked.to), "is a table (CSV)", fix)


def _reading(theirs: object, file: Path, settings: list[str]) -> FileConfig:
    """Return how to read the file: as asked, else as the run read its own, else as by default.

    Args:
        theirs: settings of the run's own cells.
        file: with the other cells.
        settings: what was asked for, as `data.KEY=VALUE`.

    Raises:
        InputError: a setting is not one of `READING`, or has a wrong value.
    """
    for setting in settings:
        key, equals, value = setting.lstrip("+").partition("=")
        if not equals:
            fix = f"the file is {file}" if str(file) != setting else "give one file"
            raise InputError(Kind.VALUE, Given("", setting), "is not data.KEY=VALUE", fix)
        if key not in [f"data.{name}" for name in (*READING, "label_key")]:
            raise InputError(
                Kind.UNKNOWN,
                Given(key, value),
                "no such setting here",
                f"there are data.{', data.'.join(READING)}",
            )
    own = []
    if isinstance(theirs, FileConfig):
        values = theirs.model_dump(include=set(READING), mode="json")
        own = [
            f"data.{key}={quoted(value) if isinstance(value, str) else json.dumps(value)}"
            for key, value in values.items()
        ]
    config = compose(["data=file", f"data.path={quoted(file)}", *own, *settings]).data
    assert isinstance(config, FileConfig)
    return config


def _parts(options: FileConfig) -> dict[str, Any]:
    """Return which parts of the file have the values and the names of the genes."""
    return {key: getattr(options, key) for key in ("layer", "raw", "gene_names")}


def _read_cells(
    file: Path, options: FileConfig, *, whole: bool, say: Callable[[str], None]
) -> anndata.AnnData:
    """Read the cells of a file that have genes enough.

    Args:
        file: a file or folder of cells.
        options: how to read it.
        whole: whether to read what no model looks at, too.
        say: gets what was found out about the file.

    Raises:
        InputError: it cannot be read.
    """
    parts = _parts(options)
    cells = read(
        file,
        transpose=options.transpose,
        genome=options.genome,
        needed=elements(**parts, obs=[options.label_key]),
        whole=whole,
        say=say,
    )
    few = select(cells, command_line(file), **parts).X.getnnz(axis=1) < options.min_genes
    if few.any():
        n_genes = options.min_genes
        say(f"{file.name}: {few.sum():,} cells of fewer than {n_genes} genes are left out")
        cells = cells[~few].copy()
    return cells


def _check_writes(cells: anndata.AnnData, path: Path) -> None:
    """Write one of the cells to a folder that is removed, before the work rather than after it.

    Raises:
        InputError: the cells cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            _write_cells(cells[:1].copy(), Path(folder) / "one.h5ad", named=path)
        except InputError as error:
            if not isinstance(error.__cause__, OSError):  # which tells of that folder's disk
                raise


def _write_cells(cells: anndata.AnnData, path: Path, *, named: Path | None = None) -> None:
    """Write cells that came from a file, whose tables may have names that anndata does not write.

    Args:
        cells: whose tables are changed.
        path: of the new file.
        named: what an error calls it, if not by its path.

    Raises:
        InputError: they cannot be written.
    """
    raw = [] if cells.raw is None else [cells.raw.var]
    for table in _tables([cells.obs, cells.var, *raw, cells.obsm, cells.varm, cells.uns]):
        if "_index" in table:  # as SeuratDisk calls the names of genes in raw
            taken = {*table, table.index.name}
            free = next(name for i in count() if (name := "index" + "_" * i) not in taken)
            table.rename(columns={"_index": free}, inplace=True)
    try:
        write_h5ad(cells, path)
    except Exception as error:  # anndata raises all kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            Kind.CONTENT, named or path, f"the cells cannot be written: {reason}"
        ) from error


def _tables(parts: Iterable[Any]) -> Iterator[pd.DataFrame]:
    """Yield the tables among parts of an AnnData, and those in its mappings."""
    for part in parts:
        if isinstance(part, pd.DataFrame):
            yield part
        elif isinstance(part, Mapping):
            yield from _tables(part.values())
