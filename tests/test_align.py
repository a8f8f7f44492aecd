"""What is left of batches, taken out cluster by cluster: against what was put in."""

import numpy as np
import pandas as pd
import pytest

from scvae_cli.analysis.align import ROUNDS, STAYING, Shifts, find_shifts, shift

NAMES = ["a", "b", "c"]


def cells(n=900, seed=0):
    """Cells of three types in three batches: type 2 in batch 0 only, places, and shifts put in."""
    rng = np.random.default_rng(seed)
    kind, batch = rng.integers(0, 3, n), rng.integers(0, 3, n)
    batch[kind == 2] = 0
    centres = np.array([[9.0, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0]])
    clean = centres[kind] + rng.normal(size=(n, 4))
    put = rng.normal(size=(3, 3, 4)) * 0.5
    return clean, (clean + put[kind, batch]).astype(np.float32), kind, batch


def gaps(z, kind, batch):
    """Return the largest distance between means of two batches of a type, of types in several."""
    means = pd.DataFrame(z).groupby([kind, batch]).mean()
    return max(np.ptp(means.loc[k].to_numpy(), axis=0).max() for k in (0, 1))


def test_batches_of_each_type_come_together():
    """Shifts of their own in each type; a type of one batch stays, and so do distances in one."""
    clean, z, kind, batch = cells()
    moved = shift(z, batch, find_shifts(z, batch, NAMES, seed=0))
    assert moved.dtype == np.float32
    assert gaps(z, kind, batch) > 1
    assert gaps(moved, kind, batch) < 0.2 * gaps(z, kind, batch)
    alone = kind == 2
    assert np.abs(moved[alone] - z[alone]).max() < 0.05
    for k, b in ((0, 0), (1, 2)):
        some = (kind == k) & (batch == b)
        before, after = (np.linalg.norm(v[some] - v[some].mean(0), axis=1) for v in (clean, moved))
        assert np.corrcoef(before, after)[0, 1] > 0.8


def test_one_cluster_is_centred_by_batch():
    """Too few cells for two clusters: each batch goes to the mean, as far as its size allows."""
    rng = np.random.default_rng(1)
    z, batch = rng.normal(size=(40, 3)).astype(np.float32), np.repeat([0, 1], [10, 30])
    shifts = find_shifts(z, batch, NAMES[:2], seed=0)
    assert shifts.steps.shape == (ROUNDS, 1, 2, 3)
    table = pd.DataFrame(z.astype(float))
    theirs = (table.groupby(batch).mean() - table.mean()).to_numpy()
    theirs *= (np.array([10, 30]) / (np.array([10, 30]) + STAYING))[:, None]
    np.testing.assert_allclose(shifts.steps[0, 0], theirs, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 31])
def test_few_cells_and_the_origin(n):
    z = np.zeros((n, 2), np.float32)
    z[: n // 2, 0] = 1
    batch = np.arange(n) % 2
    moved = shift(z, batch, find_shifts(z, batch, NAMES[:2], seed=2**32 - 1))
    assert np.isfinite(moved).all()


def test_cells_of_no_batch_stay_and_others_move_one_by_one():
    _, z, _, batch = cells()
    shifts = find_shifts(z, batch, NAMES, seed=0)
    moved = shift(z, batch, shifts)
    np.testing.assert_array_equal(shift(z, np.full(len(z), -1), shifts), z)
    np.testing.assert_allclose(shift(z[7:9], batch[7:9], shifts), moved[7:9], atol=1e-5)


def test_shifts_are_read_as_they_were_written(tmp_path):
    _, z, _, batch = cells()
    shifts = find_shifts(z, batch, ["1", "2, x", ""], seed=3)
    shifts.table().to_csv(tmp_path / "s.csv", index=False)
    table = pd.read_csv(tmp_path / "s.csv", dtype={"batch": str}, keep_default_na=False)
    again = Shifts.of(table, 4)
    assert list(again.batches) == ["1", "2, x", ""]
    for ours, theirs in zip(again[1:], shifts[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for damaged in (table[1:], table[::-1], table.assign(z1=np.nan), table.assign(round=0)):
        with pytest.raises((ValueError, ArithmeticError)):
            Shifts.of(damaged, 4)
