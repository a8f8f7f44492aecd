"""Sparse cells give what dense ones give: values, gradients and whole trainings."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, random_array
from test_models import OPTIONS

from scvae_cli.models import batches, sparse
from scvae_cli.models.batches import OnHost
from scvae_cli.models.registry import build
from scvae_cli.models.sparse import GeneLinear, SparseRows, dense, reconstruction_error
from scvae_cli.models.train import train

CPU = torch.device("cpu")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def cells(n_cells=60, n_genes=300, dtype=np.float64, density=0.06):
    rng = np.random.default_rng(0)
    x = random_array((n_cells, n_genes), density=density, rng=rng, dtype=dtype).toarray()
    x[3] = 0  # a cell without a count
    return csr_array(x)


def close(ours, theirs, dtype):
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def both(dtype, compute, *tensors):
    """The value of `compute` on sparse and on dense cells, with gradients of all tensors."""
    x = SparseRows(cells(dtype=torch.empty(0, dtype=dtype).numpy().dtype))
    results = []
    for form in (x, x.dense()):
        leaves = [t.detach().clone().requires_grad_() for t in tensors]
        value = compute(form, *leaves)
        weights = torch.linspace(0.5, 2, value.numel(), dtype=dtype).reshape(value.shape)
        results.append([value.detach(), *torch.autograd.grad((value * weights).sum(), leaves)])
    return results


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_first_layer(dtype):
    generator = torch.Generator().manual_seed(0)
    layer = GeneLinear(300, 16).to(dtype)
    weight = torch.randn(300, 16, generator=generator, dtype=dtype)
    bias = torch.randn(16, generator=generator, dtype=dtype)

    def compute(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    for ours, theirs in zip(*both(dtype, compute, weight, bias), strict=True):
        close(ours, theirs, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [16, 200])  # the Gram form, and the dense one
def test_squared_error_of_the_output(dtype, width):
    generator = torch.Generator().manual_seed(0)
    h, weight = (
        torch.randn(n, width, generator=generator, dtype=dtype) / width**0.5 for n in (60, 300)
    )
    bias = torch.randn(300, generator=generator, dtype=dtype)

    def compute(x, h, weight, bias):
        output = torch.nn.Linear(width, 300).to(dtype)
        del output.weight, output.bias
        output.weight, output.bias = weight, bias  # leaves of the caller
        return reconstruction_error(x, h, output)

    for ours, theirs in zip(*both(dtype, compute, h, weight, bias), strict=True):
        close(ours, theirs, dtype)


def test_gradients_match_finite_differences():
    x = SparseRows(cells(n_cells=8, n_genes=12, density=0.3))
    generator = torch.Generator().manual_seed(0)
    sizes = [(8, 3), (12, 3), (12,)]
    leaves = [
        torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_()
        for size in sizes
    ]
    assert torch.autograd.gradcheck(lambda *t: sparse._GramError.apply(x, *t), leaves)
    leaves = [leaves[1], torch.randn(3, dtype=torch.float64).requires_grad_()]
    assert torch.autograd.gradcheck(lambda *t: sparse._SparseLinear.apply(x, *t), leaves)


def test_cells_stay_sparse_where_that_pays():
    index = torch.arange(5)
    for x, form in (
        (cells(), SparseRows),
        (cells(density=0.5), torch.Tensor),
        (cells().toarray(), torch.Tensor),
    ):
        assert isinstance(OnHost(x, None, None, CPU).take(index).x, form)
    rows = dense(OnHost(cells(), None, None, CPU).take(index.flip(0)).x).numpy()
    np.testing.assert_array_equal(rows, cells().toarray()[:5][::-1])


@pytest.mark.parametrize("name", ["ae", "vae", "vsc"])
def test_the_same_training(name, monkeypatch):
    """20 epochs, sparse and dense, from the same weights: the same losses and weights."""
    x = cells(n_cells=300, dtype=np.float32)
    results = []
    for limit in (1.0, 0.0):
        monkeypatch.setattr(batches, "MAX_DENSITY", limit)
        model = build(name, 300, 6, seed=0, **OPTIONS[name])
        history = train(
            model, x, epochs=20, batch_size=128, lr=1e-3, batch_seed=1, noise_seed=2,
            device=CPU, on_epoch=lambda row: None,
        )  # fmt: skip
        results.append((history, model.state_dict()))
    (losses, ours), (dense_losses, theirs) = results
    np.testing.assert_allclose(losses["total"], dense_losses["total"], rtol=1e-4)
    assert losses["total"].tolist() != dense_losses["total"].tolist(), "the same path twice"
    for key, weights in theirs.items():
        torch.testing.assert_close(ours[key], weights, rtol=1e-2, atol=1e-3)
