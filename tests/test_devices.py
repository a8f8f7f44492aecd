"""On a GPU models, trainings and whole runs do what they do on the CPU."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, SMALL, options_of, representative
from graphs import Graph, record
from scipy.sparse import csr_array
from test_models import OPTIONS, TRAINED

import scvae_cli
from scvae_cli.covariates import covariates
from scvae_cli.errors import Kind
from scvae_cli.models import batches, likelihoods, negative_binomial, replay
from scvae_cli.models.batches import OnCard, OnHost, place
from scvae_cli.models.checkpoint import unpack
from scvae_cli.models.ensemble import Ensemble
from scvae_cli.models.registry import MODELS, build
from scvae_cli.models.solve import solve
from scvae_cli.models.together import Together
from scvae_cli.models.train import train
from scvae_cli.models.validation import HeldOutCells, HeldOutMolecules

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
CUDA = pytest.param("cuda", marks=needs_cuda)
LIKELIHOODS = ["gaussian", "poisson", "nb", "zinb"]
HOW = {"batch_size": 16, "lr": 0.01, "batch_seed": 1, "noise_seed": 2,
       "on_epoch": lambda row: None}  # fmt: skip
NARROW = {"encoder": [8], "decoder": [8]}


@pytest.fixture
def counts():
    x = np.random.default_rng(0).poisson(0.12, (90, 30)).astype(np.float32)
    x[3] = 0  # a cell without a count
    return csr_array(x)


@pytest.fixture
def same_noise(monkeypatch):
    """Draws of the CPU's generator on every device."""
    for name in ("rand", "randn"):
        draw = getattr(torch, name)

        def on_cpu(*size, draw=draw, device=None, **how):
            return draw(*size, **how).to(device)

        monkeypatch.setattr(torch, name, on_cpu)


@pytest.fixture(params=["cpu", CUDA])
def card(request, monkeypatch):
    """A GPU, or the CPU in its role: cells as they lie on a card, and graphs of operations."""
    device = torch.device(request.param)
    if device.type == "cpu":
        monkeypatch.setattr("torch.cuda.CUDAGraph", Graph)
        monkeypatch.setattr("torch.cuda.graph", record)
        monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
        for module in (likelihoods, negative_binomial):
            monkeypatch.setattr(module, "may_look", lambda x: False)
        for name in ("train", "together"):
            path = f"scvae_cli.models.{name}.place"
            monkeypatch.setattr(path, lambda *cells, **_: OnCard(*cells))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the members of an ensemble have
    yield device
    torch.set_num_threads(threads)


def model_of(name, likelihood="gaussian", **changes):
    changed = {"likelihood": likelihood} if name in TRAINED else {}
    return build(name, 30, 3, seed=0, **{**OPTIONS[name], **changed, **changes})


def noise(device=CPU):
    return torch.Generator(device).manual_seed(0)


def logs(counts):
    return csr_array(counts.log1p())


def check_same(first, second):
    """Check that histories and weights are the same to the bit."""
    if first[0] is not None:
        one, two = (history.drop(columns="seconds") for history, _ in (first, second))
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    one, two = (model.state_dict() for _, model in (first, second))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


# Where cells lie.


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("form", ["sparse", "dense", "other places"])
def test_rows_on_a_card_are_the_rows(counts, device, form):
    device = torch.device(device)
    x = logs(counts)
    if form == "other places":
        counts = csr_array(counts[::-1])
    card = OnCard(x.toarray() if form == "dense" else x, counts, None, device)
    index = torch.tensor([5, 3, 89, 0, 5], device=device)
    batch = card.take(index)
    np.testing.assert_array_equal(batch.x.cpu(), x.toarray()[index.cpu()])
    np.testing.assert_array_equal(batch.counts.cpu(), counts.toarray()[index.cpu()])
    whole = torch.cat([batch.x for batch in card.in_order(16)])
    np.testing.assert_array_equal(whole.cpu(), x.toarray())
    nothing = OnCard(csr_array((4, 30), dtype=np.float32), None, None, device)
    assert not nothing.take(torch.arange(4, device=device)).x.any()


@needs_cuda
def test_cells_that_do_not_fit_stay_on_the_host(counts, monkeypatch):
    device, x = torch.device("cuda"), logs(counts)
    assert isinstance(place(x, counts, None, device), OnCard)
    assert isinstance(place(x, counts, None, CPU), OnHost)
    runs = []
    for share in (batches.SHARE, 0.0):
        monkeypatch.setattr(batches, "SHARE", share)
        model = model_of("vae", "nb").to(device)
        history = train(model, x, counts=counts, device=device, epochs=3, **HOW)
        runs.append((history, model))
    assert isinstance(place(x, counts, None, device), OnHost)
    check_same(*runs)


# Models.


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", TRAINED)
def test_losses_and_gradients_of_cells_on_a_card(counts, same_noise, name, likelihood, device):
    """Those of the same cells on the host, which are sparse there."""
    x, index = logs(counts), torch.arange(40)
    found = []
    for cells in (OnHost(x, counts, None, CPU), OnCard(x, counts, None, torch.device(device))):
        model = model_of(name, likelihood).to(cells.device)
        batch = cells.take(index.to(cells.device))
        loss = model.loss(batch.x, noise(), batch.counts, 0.5)
        loss.total.backward()
        found.append([*(term.detach() for term in loss), *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*found, strict=True):
        scale = float(ours.abs().max()) if ours.numel() else 0.0
        torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-3, atol=1e-4 * (scale + 1e-3))


def test_a_gpus_negative_binomial_is_the_cpus(monkeypatch):
    """For every dispersion and count, though nothing is left out."""
    x = torch.tensor([0.0, 1, 2, 7, 300, 100_000], dtype=torch.float64)[:, None].repeat(1, 40)
    log_mu = torch.linspace(-8, 8, 6, dtype=torch.float64)[:, None].repeat(1, 40)
    found = []
    for may_look in (True, False):
        monkeypatch.setattr(negative_binomial, "may_look", lambda x, answer=may_look: answer)
        leaves = [log_mu.clone(), torch.linspace(-29, 29, 40, dtype=torch.float64)]
        value = negative_binomial.log_nb(x, *(leaf.requires_grad_() for leaf in leaves))
        weights = torch.linspace(0.5, 2, value.numel(), dtype=torch.float64).view_as(value)
        found.append((value.detach(), *torch.autograd.grad((value * weights).sum(), leaves)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", TRAINED)
def test_a_step_on_a_card_reads_nothing_back(counts, same_noise, name, likelihood):
    """So that a graph can hold it: tensors without values refuse to be read."""
    meta = torch.device("meta")
    model = model_of(name, likelihood).to(meta)
    batch = OnCard(logs(counts), counts, None, meta).take(torch.arange(40, device=meta))
    loss = model.loss(batch.x, noise(), batch.counts, 0.5).with_kl_weighted(0.5)
    loss.total.backward()
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(RuntimeError):
        float(loss.total.detach())


@pytest.mark.parametrize("device", ["cpu", "meta", CUDA])
@pytest.mark.parametrize("likelihood", ["gaussian", "nb", "zinb"])
@pytest.mark.parametrize("dispersion", ["gene", "gene-batch"])
def test_cells_of_batches_on_a_card(
    counts, same_noise, monkeypatch, device, likelihood, dispersion
):
    """Losses and gradients as on the host; where tensors have no values, none are read."""
    rng = np.random.default_rng(0)
    told = covariates({"plate": rng.choice(["a", "b", "c"], 90)}, {"age": rng.normal(size=90)})
    options = {"covariates": told, "batch_embedding": 3, "encode_covariates": True}
    x, index = logs(counts), torch.arange(40)
    found = []
    for cells in (OnHost(x, counts, told, CPU), OnCard(x, counts, told, torch.device(device))):
        if isinstance(cells, OnCard):
            for module in (likelihoods, negative_binomial):
                monkeypatch.setattr(module, "may_look", lambda x: False)
        model = model_of("vae", likelihood, dispersion=dispersion, **options).to(cells.device)
        batch = cells.take(index.to(cells.device))
        loss = model.loss(batch.x, noise(), batch.counts, 0.5, batch.covariates)
        loss.total.backward()
        found.append([loss.total.detach(), *(p.grad for p in model.parameters())])
    if device == "meta":
        return
    np.testing.assert_array_equal(batch.covariates.cpu(), told.rows(np.arange(40)))
    for ours, theirs in zip(*found, strict=True):
        scale = float(ours.abs().max())
        torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-3, atol=1e-4 * (scale + 1e-3))


@needs_cuda
@pytest.mark.parametrize("name", MODELS)
def test_embedding_and_decoding(counts, same_noise, name):
    x = logs(counts)
    found = []
    for device in (CPU, torch.device("cuda")):
        model = model_of(name).to(device)
        if model.is_solved:
            solve(model, x, batch_size=16, seed=0, device=device)
        batch = place(x, None, None, device).take(torch.arange(90, device=device))
        with torch.no_grad():
            places = [model.embed(batch.x, kind, noise()) for kind in ("mean", "mu", "sample")]
            gates = model.gates(batch.x) if model.has_gates else ()
            found.append([*places, model.decode(places[0], None), *gates])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-3, atol=1e-4)


# Trainings.


@needs_cuda
@pytest.mark.parametrize("likelihood", ["gaussian", "poisson", "nb", "zinb"])
def test_a_training_without_noise_is_the_cpus(counts, likelihood):
    """Histories and validation losses of 40 epochs, most of which are replayed."""
    x = logs(counts)
    histories = []
    for device in (CPU, torch.device("cuda")):
        model = model_of("ae", likelihood, **NARROW).to(device)
        validate = HeldOutCells(x[:20], counts[:20], batch_size=16, seed=0, device=device)
        histories.append(
            train(model, x[20:], counts=counts[20:], validate=validate, device=device, epochs=40,
                  **HOW).drop(columns="seconds")
        )  # fmt: skip
    np.testing.assert_allclose(*histories, rtol=2e-3)


@needs_cuda
def test_predictions_of_molecules_are_the_cpus(counts):
    rest, held = counts.minimum(1), counts - counts.minimum(1)
    x = csr_array((rest / rest.sum(1).clip(1)[:, None] * 100).log1p().astype(np.float32))
    model, how = model_of("ae", "nb"), {"target_sum": 100.0, "batch_size": 16}
    ours = HeldOutMolecules(x, csr_array(held), device=CPU, **how)(model)
    device = torch.device("cuda")
    theirs = HeldOutMolecules(x, csr_array(held), device=device, **how)(model.to(device))
    assert theirs == pytest.approx(ours, rel=1e-4)


@pytest.mark.parametrize("likelihood", representative(["zinb", "nb", "poisson", "gaussian"]))
@pytest.mark.parametrize("name", TRAINED)
def test_replayed_steps_are_the_steps(counts, monkeypatch, card, name, likelihood):
    """To the bit, with the noise of each step, the KL's warm-up and the slab's."""
    x, device = logs(counts), card
    changes = {"spike_warmup": 0.3, "c_end": 80.0} if name == "vsc" else {}
    runs = []
    for eager in (replay.EAGER, 10**9):
        monkeypatch.setattr(replay, "EAGER", eager)
        model = model_of(name, likelihood, **changes).to(device)
        history = train(model, x, counts=counts, device=device, epochs=12, kl_warmup=0.5, **HOW)
        runs.append((history, model))
    check_same(*runs)


@pytest.mark.parametrize(
    "length", [{"epochs": 6}, {"epochs": None, "updates": 130}, {"epochs": 8, "kl_warmup": 0.5}]
)
def test_from_every_checkpoint_the_end_is_the_same(counts, card, length):
    device, x = card, logs(counts)
    how = {**HOW, "lr": 0.1, "patience": 3, "device": device, **length}
    validate = HeldOutCells(x[:10], None, batch_size=4, seed=0, device=device)
    kept = []
    keep = lambda done, step, take: kept.append(take().pack())  # noqa: E731
    first = model_of("vsc").to(device)
    history = train(first, x[10:], validate=validate, keep=keep, **how)
    for contents in kept[::7]:
        other = model_of("vsc", alpha=0.2).to(device)
        other.alpha = first.alpha
        again = train(other, x[10:], validate=validate, start=unpack(contents), **how)
        check_same((history, first), (again, other))


def test_members_of_an_ensemble_are_single_trainings(counts, card):
    device, x = card, logs(counts)
    seeds = [{"batch_seed": i, "noise_seed": 10 + i} for i in range(3)]
    settings = [{"epochs": 9, "batch_size": 16, "lr": 0.01, **own} for own in seeds]
    model = build("vae", 30, 3, seed=4, others=(5, 6), **OPTIONS["vae"]).to(device)
    assert isinstance(model, Ensemble)
    together = Together(model.models, x, device=device, settings=settings)
    together.train(3, on_round=lambda row: None, interrupted=lambda: False)
    for seed, own, member in zip((4, 5, 6), settings, model.models, strict=True):
        single = build("vae", 30, 3, seed=seed, **OPTIONS["vae"]).to(device)
        train(single, x, device=device, on_epoch=lambda row: None, **own)
        check_same((None, single), (None, member))
    latents = [np.random.default_rng(i).normal(size=(90, 3)).astype(np.float32) for i in range(3)]
    ours = build("vae", 30, 3, seed=4, others=(5, 6), **OPTIONS["vae"])
    for ensemble in (ours, model):
        ensemble.standardise(latents)
    torch.testing.assert_close(model.centre.cpu(), ours.centre)
    torch.testing.assert_close(model.scale.cpu(), ours.scale)


# Runs.


def run_of(scvae, folder, *settings):
    result = scvae("train", *settings, f"hydra.run.dir={folder}")
    assert result.code == 0, result.err
    return scvae_cli.load(folder)


@needs_cuda
@pytest.mark.parametrize(
    "settings",
    [
        ["model=vae", "likelihood=nb", "beta=1", "validation=cells"],
        ["model=vsc", "validation=molecules"],
        ["model=vae", "ensemble=3"],
        ["model=vae", "data.scale=10"],
        ["model=pca"],
        ["experiment=batches", "data.n_batches=2", "epochs=null", "updates=40"],
    ],
)
def test_a_run_moves_between_devices(scvae, settings):
    """Trained on the one, embedded on the other: the same latent space; and a run is repeated."""
    for here, there in (("cuda", "cpu"), ("cpu", "cuda")):
        trained = run_of(scvae, f"on-{here}", *FAST, *settings, f"device={here}")
        assert trained.record["device"] == here
        moved = run_of(
            scvae, f"to-{there}", *FAST, *settings, f"device={there}", f"trained=on-{here}"
        )
        assert moved.record["device"] == there
        ours, theirs = (run.latent.to_numpy() for run in (trained, moved))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(ours).max())
    result = scvae("verify", "on-cuda")
    assert (result.code, result.out.count("different")) == (0, 0), result.out


@needs_cuda
@pytest.mark.parametrize("likelihood", ["gaussian", "nb"])
def test_a_model_trained_on_a_gpu_finds_the_types(scvae, likelihood):
    settings = [
        *SMALL, "model=vae", f"likelihood={likelihood}", "beta=1", "model.encoder=[64]",
        "model.decoder=[64]", "model.first_activation=relu", "device=cuda",
    ]  # fmt: skip
    trained = run_of(scvae, "trained", *settings, "epochs=60")
    untrained = run_of(scvae, "untrained", *settings, "epochs=1", "lr=1e-9")
    assert trained.scores["latent"]["ari"] > 0.9 > untrained.scores["latent"]["ari"] + 0.2


def fails_on_cuda(monkeypatch, words):
    """There is a GPU, and what is asked of it fails."""
    ones = torch.ones

    def on_other_devices(*size, device="cpu", **how):
        if str(device) == "cuda":
            raise RuntimeError(f"{words}\nMore of it: compile with TORCH_USE_CUDA_DSA.")
        return ones(*size, device=device, **how)

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.ones", on_other_devices)


def test_a_run_is_resumed_where_it_began(scvae, monkeypatch):
    """A training's noise is its device's: elsewhere it would not be the same."""
    assert scvae("train", *FAST, "model=pca", "hydra.run.dir=r").code == 0
    record = json.loads(Path("r/run.json").read_text())
    assert record["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    Path("r/run.json").write_text(json.dumps({**record, "status": "running", "device": "cuda"}))
    Path("r/latent.csv").unlink()
    fails_on_cuda(monkeypatch, "Found no NVIDIA driver on your system")
    result = scvae("train", "resume=r")
    result.refused(Kind.UNAVAILABLE, "resume")
    assert not Path("r/latent.csv").exists()


def test_auto_takes_no_gpu_that_does_not_compute(scvae, monkeypatch):
    words = "CUDA error: no kernel image is available for execution on the device"
    fails_on_cuda(monkeypatch, words)
    run = run_of(scvae, "r", *FAST, "model=pca", "device=auto")
    assert run.record["device"] == "cpu"
    (warning,) = (text for text in run.record["warnings"] if "GPU" in text)
    assert words in warning
    assert "TORCH_USE_CUDA_DSA" not in warning
    result = scvae("train", *FAST, "model=pca", "device=cuda", "hydra.run.dir=other")
    result.refused(Kind.UNAVAILABLE, "device")
    assert words in result.err
    assert not Path("other/latent.csv").exists()


def test_auto_says_of_a_driver_that_is_too_old(scvae, monkeypatch):
    """Where PyTorch finds a GPU and no way to it, it warns, and says that there is none."""

    def is_available():
        warnings.warn("CUDA initialization: The NVIDIA driver is too old", stacklevel=2)
        return False

    monkeypatch.setattr("torch.cuda.is_available", is_available)
    run = run_of(scvae, "r", *FAST, "model=pca")
    assert run.record["device"] == "cpu"
    assert any("driver is too old" in text for text in run.record["warnings"])


@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch has CUDA")
def test_a_pytorch_without_cuda_is_told_of(scvae):
    result = scvae("train", *FAST, "model=pca", "device=cuda", "hydra.run.dir=r")
    result.refused(Kind.UNAVAILABLE, "device")
    assert "Torch not compiled with CUDA enabled" in result.err


def test_auto_leaves_mps_to_those_who_ask(scvae, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert run_of(scvae, "r", *FAST, "model=pca").record["device"] == "cpu"


def refuse(words):
    raise torch.OutOfMemoryError(words)


@pytest.mark.parametrize(
    ("take", "said"),
    [
        (lambda: refuse("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
         "the GPU's memory is full (Tried to allocate 2.00 GiB. GPU 0 has); a smaller batch_size"),
        (lambda: np.empty((2**60,), np.int8),
         "the memory is full (Unable to allocate 1.00 EiB for an array"),
        (lambda: torch.empty(2**60, dtype=torch.int8), "the memory is full ("),
    ],
)  # fmt: skip
def test_a_memory_that_is_full_is_told_in_a_line(scvae, monkeypatch, take, said):
    """By the errors that NumPy and PyTorch raise, where there is no GPU but its words."""
    monkeypatch.setattr("scvae_cli.models.training.Training._loss", lambda *_: take())
    result = scvae("train", *FAST, "model=vae", "hydra.run.dir=r")
    assert result.code == 1
    assert f"scvae: {said}" in result.err
    assert said in json.loads(Path("r/run.json").read_text())["reason"]


@needs_cuda
def test_an_unfinished_run_is_resumed_on_its_gpu(scvae, monkeypatch):
    settings = [*FAST, "model=vae", "epochs=8", "device=cuda",
                "checkpoint.every=3"]  # fmt: skip
    whole = run_of(scvae, "whole", *settings)
    ends = []

    def stop(training):
        ends.append(1)
        if len(ends) == 5:
            raise KeyboardInterrupt
        return of_a_round(training)

    from scvae_cli.models.training import Training

    of_a_round = Training.end_round
    with monkeypatch.context() as patched:
        patched.setattr(Training, "end_round", stop)
        assert scvae("train", *settings, "hydra.run.dir=r").code == 130
    assert Path("r/checkpoint.safetensors").exists()
    result = scvae("train", "resume=r")
    assert result.code == 0, result.err
    check_same((None, whole.model), (None, scvae_cli.load("r").model))


def test_options_are_those_of_conf():
    assert {*OPTIONS} == {*MODELS}
    assert options_of("vae")["beta"] == 2.0
