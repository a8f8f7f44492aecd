"""Figures, read off what matplotlib draws: nothing collides, is cut, or stands empty."""

from io import BytesIO
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Annotation, Text

from scvae_cli.results.colours import COLOURS, ON_DARK
from scvae_cli.results.figures.losses import loss_terms
from scvae_cli.results.figures.many_maps import map_table
from scvae_cli.results.figures.maps import map_2d, map_3d
from scvae_cli.results.figures.scores import score_lines
from scvae_cli.results.figures.style import COLUMN, DPI, PAGE, render

RNG = np.random.default_rng(0)
LONG = "naive thymus-derived CD4-positive, alpha-beta T cell of peripheral blood, activated, "
# Machado et al. (2009), severity 1, for linear RGB.
VISION = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
OKLAB = np.array([  # Ottosson (2020): linear RGB to cones, cones to L, a, b
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]],
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]],
])  # fmt: skip


def oklab(colours, vision):
    """OKLab (n, 3) of colours as somebody with this vision sees them."""
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1)
    return np.cbrt(seen @ OKLAB[0].T) @ OKLAB[1].T


@pytest.mark.parametrize("paper", ["white", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_colours_can_be_told_apart_with_any_colour_vision(vision, paper):
    colours = COLOURS if paper == "white" else [ON_DARK.get(c, c) for c in COLOURS]
    places = oklab(colours, vision)
    apart = {pair: np.linalg.norm(places[pair[0]] - places[pair[1]])
             for pair in combinations(range(30), 2)}  # fmt: skip
    assert len(COLOURS) == 30
    assert min(apart.values()) > (0.08 if vision == "usual" else 0.05)
    assert min(d for pair, d in apart.items() if max(pair) < 10) > 0.06
    lightness = oklab(colours, "usual")[:, 0]
    assert lightness.max() < 0.91 if paper == "white" else lightness.min() > 0.43


def blobs(n_cells, n_types, n_dims=2):
    """Places and types; each type has two cells or more."""
    labels = np.arange(n_cells) % n_types
    middles = RNG.normal(size=(n_types, n_dims)) * 20
    return middles[labels] + RNG.normal(size=(n_cells, n_dims)) * 4, labels


def one_map(n_types, name="type {}"):
    places, labels = blobs(20 * n_types, n_types)
    names = [name.format(i) for i in range(n_types)]
    centroids = np.array([places[labels == i].mean(0) for i in range(n_types)])
    return map_2d(
        places, labels, names, labels, centroids, "vsc on some cells", "t-SNE", "NMI 0.5"
    )


def boxes(figure: Figure):
    """Texts on the maps of a figure, and where they are, by axes."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        texts = [t for t in axes.texts if isinstance(t, Annotation)]
        yield axes, [(t.get_text(), Text.get_window_extent(t)) for t in texts]


@pytest.mark.parametrize(("n_types", "name"), [(2, "T{}"), (9, "CD{} T"), (25, LONG + "{}"),
                                               (60, "type {}")])  # fmt: skip
def test_no_text_on_a_map_is_on_another_or_outside(n_types, name):
    figure = one_map(n_types, name)
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axes, texts in boxes(figure):
        assert len({text for text, _ in texts}) == n_types
        for (_, one), (_, other) in combinations(texts, 2):
            assert one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 \
                or other.y1 <= one.y0  # fmt: skip
        edge = axes.get_window_extent()
        assert all(edge.x0 <= b.x0 and b.x1 <= edge.x1 and edge.y0 <= b.y0 and b.y1 <= edge.y1
                   for _, b in texts)  # fmt: skip
        for text, _ in texts:  # a name, or what stands before the name in the legend
            assert any(text == label.split("  ")[0] or f"{text} (" in label for label in legends)
    canvas = figure.bbox
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert canvas.x0 <= box.x0
        assert box.x1 <= canvas.x1
    first, second = (legend.get_window_extent() for legend in figure.legends)
    assert first.x1 <= second.x0


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_a_figure_is_as_wide_as_a_page_and_the_same_again(form):
    figures = []
    for _ in range(2):
        RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state
        figures.append(render(one_map(4), form))
    assert figures[0] == figures[1]
    start = {
        "png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml",
    }  # fmt: skip
    assert figures[0].startswith(start[form])
    if form == "png":
        assert imread(BytesIO(figures[0])).shape[1] == round(180 / 25.4 * DPI)
    elif form == "pdf":
        assert b"/MediaBox [ 0 0 510.23" in figures[0]
        assert b"Date" not in figures[0]
    else:
        assert b"<image" in figures[0]  # the points
        assert b'width="510.23' in figures[0]
        assert len(figures[0]) < 300_000


def test_the_maps_fill_the_figure():
    places, labels = blobs(300, 6, 3)
    figure = map_3d(places, labels, [f"t{i}" for i in range(6)], labels, "vsc", "t-SNE")
    picture = imread(BytesIO(render(figure)))[:, :, :3].min(2) < 1
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    assert np.diff(rows).max() < 0.1 * len(picture)
    assert np.diff(columns).max() < 0.1 * picture.shape[1]
    areas = [np.prod(axes.get_position().size) for axes in figure.axes]
    assert sum(areas) > 0.7
    bad = places.copy()
    bad[:, 2] = 0  # flat
    render(map_3d(bad, labels, [f"t{i}" for i in range(6)], labels, "vsc", "t-SNE"))


@pytest.mark.parametrize("n_maps", [1, 2, 5, 7, 10])
def test_a_table_of_maps_has_no_empty_cell(n_maps):
    maps = {}
    for i in range(n_maps):
        places, labels = blobs(60, 3)
        maps[f"model=vae experiment=report/vae beta={i}"] = pd.DataFrame(
            {"cell_type": np.array(["A", "B", LONG])[labels], "cluster": labels,
             "tsne_1": places[:, 0], "tsne_2": places[:, 1]}
        )  # fmt: skip
    figure = map_table(maps)
    assert len(figure.axes) == n_maps
    assert figure.get_figwidth() == (COLUMN if n_maps == 1 else PAGE)
    titles = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert all(title in titles for title in maps)


def lines(low):
    return pd.DataFrame({"mean": [0.5, 0.6], "low": low, "high": [0.6, 0.7]}, index=[1.0, 2.0])


def test_scores_against_a_setting_say_what_they_show():
    panels = {
        (score, space): {"vae": lines([0.4, 0.5]) - 0.2 * (space == "latent space")}
        for score in ("NMI", "ARI") for space in ("2-D map", "latent space")
    }  # fmt: skip
    figure = score_lines(panels, "beta", {})
    grid = np.array(figure.axes).reshape(2, 2)
    assert [row[0].get_ylabel() for row in grid] == ["NMI", "ARI"]
    assert all(row[0].get_ylim() == row[1].get_ylim() for row in grid)
    assert "95 % intervals" in figure.texts[-1].get_text()
    few = score_lines({key: {"vae": lines(np.nan)} for key in panels}, "beta", {})
    assert "95 %" not in few.texts[-1].get_text()
    assert "three at least" in few.texts[-1].get_text()


def test_no_two_panels_of_the_loss_are_alike():
    epochs = np.arange(1, 101)
    loss = 100 * np.exp(-epochs / 5) + 5
    history = pd.DataFrame(
        {"epoch": epochs, "total": loss + 2, "reconstruction": loss, "kl": 1.0, "kl_z1": 0.9,
         "kl_z2": 0.1}
    )  # fmt: skip
    whole, half, kl = loss_terms(history, 2.0).axes
    assert np.diff(half.get_ylim()) < np.diff(whole.get_ylim()) / 100
    assert len(kl.lines) == 3
    assert len(loss_terms(history[["epoch", "total", "reconstruction", "kl"]][:2], None).axes) == 1
    assert len(loss_terms(history.assign(validation=loss), 2.0).axes) == 3
