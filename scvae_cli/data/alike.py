"""Prepares the values of other cells as those of a run's own cells were prepared."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from scvae_cli.data.matching import arrange, match_genes
from scvae_cli.data.preprocess import log_normalize, logarithm, scale_alike
from scvae_cli.data.selection import select
from scvae_cli.data.values import Values, doubt, recognise
from scvae_cli.data.wording import PYTHON, Wording
from scvae_cli.errors import Given, InputError, Kind
from scvae_cli.options import DataConfig, FileConfig
from scvae_cli.untrusted import free_memory

KINDS = ("counts", "normalized", "logged")
SAME = 1e-4  # relative difference of totals that is rounding of logarithms


def prepare_alike(
    adata: anndata.AnnData,
    genes: pd.DataFrame,
    theirs: Mapping[str, Any],
    own: DataConfig,
    *,
    layer: str | None = None,
    raw: bool | None = None,
    gene_names: str | None = None,
    values: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    wording: Wording = PYTHON,
) -> csr_array | np.ndarray:
    """Return the values (n_cells, n_genes) as the model had those of its own cells.

    Args:
        adata: (n_cells, any genes).
        genes: the run's genes.csv.
        theirs: what run.json says of the run's cells: `values`, `target_sum`, `natural`, ...
        own: settings of the run's cells.
        layer: see `_part`.
        raw: see `_part`.
        gene_names: see `selection.select`; None to look at all names (`match_genes`).
        values: `counts`, `normalized`, `logged`, or `auto` to look; None as the run was told.
        say: called with a line about the genes, and one about the values.
        wording: what errors call the cells and the settings.

    Raises:
        InputError: genes are missing, a cell has none, or the model takes no such values.
    """
    layer, raw = _part(own, adata, layer, raw)
    values = values or (own.values if isinstance(own, FileConfig) else "auto")
    cells = select(adata, wording, layer=layer, raw=raw, gene_names=gene_names)
    rows = match_genes(cells, genes, named=gene_names is not None, say=say, wording=wording)
    x = arrange(cells.X, rows, len(genes))
    seen = recognise(cells.X, like=theirs)
    kind = _kind(seen, values, say, wording)
    if values == "logged" or (theirs["values"] == "logged" and theirs.get("natural") is None):
        seen = seen._replace(natural=1.0, total=None)  # as they are said to be
    _check_full(x, cells, wording)
    used = genes["used"].to_numpy(dtype=bool)
    x = csr_array(_logged(x, kind, seen, theirs, say, wording)[:, np.flatnonzero(used)])
    return x if own.scale is None else _scaled(x, genes[used], own.scale)


def _scaled(x: csr_array, genes: pd.DataFrame, clip: float) -> np.ndarray:
    """Return z-scores (n_cells, n_genes) by the means and deviations of the run's own cells."""
    mean, sd = genes[["mean", "sd"]].to_numpy(dtype=float).T
    return scale_alike(x, mean=mean, sd=sd, clip=clip)


def _part(
    own: DataConfig, adata: anndata.AnnData, layer: str | None, raw: bool | None
) -> tuple[str | None, bool]:
    """Return the layer to take, None for X, and whether to take raw.

    Args:
        own: settings of the run's cells.
        adata: the cells.
        layer: of `adata`, or `X`; None for the run's own, or X where `adata` lacks that: where the
            run's counts were in a layer, those of other cells may be in X.
        raw: whether to take `.raw`; None as the run did, where `adata` has it.
    """
    if layer is None and raw is None and isinstance(own, FileConfig):
        layer = own.layer if own.layer in adata.layers else None
        raw = own.raw and adata.raw is not None
    elif layer == "X" and "X" not in adata.layers:
        layer = None
    return layer, bool(raw)


def positions(names: Sequence[str] | str | None, genes: pd.DataFrame, n_cells: int) -> np.ndarray:
    """Return where genes of these names, or of this one, or all are among those of a model.

    Args:
        names: of the genes; None for all.
        genes: the run's genes.csv.
        n_cells: for which each is to have a value.

    Raises:
        InputError: the model has no such gene, or the values of all cells need more memory than
            is left.
    """
    index = pd.Index(genes.loc[genes["used"], "gene"])
    names = [names] if isinstance(names, str) else names
    n_genes = len(index if names is None else names)
    if (needed := 4.0 * n_cells * n_genes) > (left := free_memory()):
        what = f"{n_cells:,} cells x {n_genes:,} genes need {needed / 1e9:,.1f} GB"
        reason = f"{what}, and {left / 1e9:,.1f} GB of memory are left"
        raise InputError(
            Kind.MEMORY, "genes", reason, "name fewer genes, or give some of the cells"
        )
    if names is None:
        return np.arange(n_genes)
    if absent := [name for name in names if name not in index]:
        given = Given("genes", absent[0])
        if absent[0] in set(genes["gene"]):
            reason = "is not one of the genes that the model was given"
            raise InputError(Kind.MISSING, given, reason, "train with more data.genes")
        near = get_close_matches(str(absent[0]), index.astype(str), n=1)
        fix = f"did you mean {near[0]}?" if near else "genes.csv of the run names those used"
        raise InputError(Kind.UNKNOWN, given, "no such gene in the model", fix)
    return np.asarray(index.get_indexer_for(list(names)))


def _check_full(x: csr_array, cells: anndata.AnnData, wording: Wording) -> None:
    """Refuse cells (InputError) of which x (n_cells, n_genes), in the run's genes, has nothing."""
    none = np.diff(x.indptr) == 0
    if not none.any():
        return
    fix = f"leave them out ({wording.filter_empty} does)"
    if cells.X.getnnz(axis=1)[none].any():
        fix = "remove them: they have counts in other genes only"
    some = f"{none.sum()} of {cells.n_obs} cells, such as {cells.obs_names[none][0]}"
    raise InputError(Kind.CONTENT, wording.cells, f"{some}, have nothing in the run's genes", fix)


def _kind(seen: Values, values: str, say: Callable[[str], None], wording: Wording) -> str:
    """Return what values are: what `values` says, or what they look like if it is `auto`.

    Raises:
        InputError: `values` is no kind of values.
    """
    if values == "auto":
        if text := doubt(seen, seen.kind, wording):
            say(f"warning: {text}")
        return seen.kind
    if values not in KINDS:
        setting = wording.setting("values", values)
        raise InputError(
            Kind.VALUE, setting, f"is not auto, {', '.join(KINDS[:-1])} or {KINDS[-1]}"
        )
    return values


def _logged(
    x: csr_array,
    kind: str,
    seen: Values,
    run: Mapping[str, Any],
    say: Callable[[str], None],
    wording: Wording,
) -> csr_array:
    """Return logarithms (n_cells, n_counted) of values of this kind, and say how.

    Raises:
        InputError: the run does not tell how to treat such values.
    """
    theirs = run.get("values", "logged")
    target_sum = run.get("target_sum")
    if (kind == "counts" and target_sum is None) or (kind == "normalized" and theirs == "logged"):
        raise InputError(
            Kind.CONFLICT,
            wording.cells,
            f"values are {kind}, and the run's were {theirs}",
            f"treat them as those were ({wording.setting('values', 'logged')} takes them as they "
            "are)",
        )
    # The total that the run's own cells had before the logarithm, and so these are to have.
    wanted = target_sum or run.get("total")
    factor = _factor(seen, kind, wanted)
    brought = [f"brought from {seen.total:,g} to {wanted:,g}"] if factor != 1 else []
    natural = ["made natural logarithms"] if seen.natural != 1 else []
    logged = " and ".join([*natural, *brought])
    done = {
        "counts": f"normalized to {target_sum:,g} and logged here" if target_sum else "",
        "normalized": f"{' and '.join([*brought, 'logged'])} here",
        "logged": f"{logged} here" if logged else "left as they are",
    }[kind]
    other = "" if kind == theirs else f" (the run's were {theirs})"
    why = f" ({seen.why})" if seen.kind == kind else ""
    say(f"values are {kind}{why}, {done}{other}")
    if kind == "counts":
        assert target_sum is not None
        return log_normalize(x, target_sum=target_sum)
    if kind == "normalized":
        return logarithm(x, factor=factor)
    x = x if seen.natural == 1 else csr_array(x * np.float32(seen.natural))
    return x if factor == 1 else logarithm(x.expm1(), factor=factor)


def _factor(seen: Values, kind: str, wanted: float | None) -> float:
    """Return what brings values, before the logarithm if they have one, to the total wanted."""
    if not wanted or not seen.total or seen.kind != kind:
        return 1.0
    factor = wanted / seen.total
    return 1.0 if kind == "logged" and abs(factor - 1) < SAME else factor
