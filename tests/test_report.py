"""The report: read as HTML, and used in a browser as a person would, with nothing to load."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.image import imread

from scvae_cli.results import map_data, report, some_cells
from scvae_cli.results.by_type import types_and_clusters
from scvae_cli.results.colours import VIRIDIS
from scvae_cli.results.curves import Curve, Panel
from scvae_cli.results.figures.style import by_cluster, by_type
from scvae_cli.results.html_tables import Shown

NONE = "\N{EN DASH}"
VOID = {"meta", "img", "input"}
SCRIPT = "</script><script>window.hacked = 1</script>"
IMAGE = "\"><img src=x onerror='hacked = 1'>"
BOLD = "<b>a</b> &lt;"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def cells(types, *, seed=0, deep=True, n=60):
    """As a run's cells.csv; the last five were not mapped."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"cell": [f"cell {i}" for i in range(n)]})
    table["cell_type"] = [types[min(i % 7, len(types) - 1)] for i in range(n)]
    table["cluster"] = rng.integers(0, 3, n)
    for column in ["tsne_1", "tsne_2", *(["tsne3d_1", "tsne3d_2", "tsne3d_3"] if deep else [])]:
        table[column] = rng.normal(0, 30, n)
    table["latent_cluster"] = 0
    table.loc[n - 5 :, table.columns[2:]] = np.nan
    return table


TABLE = pd.DataFrame(
    {
        "folder": ["run-0", "run-1", "run-2", "run-3", "run-4"],
        "NMI": [0.1234567, 0.1231, np.nan, -2.0, -1.0],
        "cells": [9, 10, 100, 1, 2],
        "epochs": [200, None, 1000, 30, 40],
        "lr": [1e-4, 5e-4, 0.01, 0.5, 1.0],
        "reason": ["x" * 50, None, "", "the loss is not finite", None],
    }
)


LINE = Curve("run", "vae", "0,1 9,2", "#123456", "#abcdef", "4 3", "0.5")


def with_columns(table, *, name="protocol", value="Drop-seq"):
    """The same cells with columns that were kept: texts and numbers, some of them missing."""
    n = len(table)
    return table.assign(
        **{name: [value if i % 3 else "CEL-seq2" for i in range(n)]},
        age=[np.nan if i == 7 else 20 + i / 4 for i in range(n)],
        note=[None if i % 2 else f"w{i}" for i in range(n)],
    )


def expression(*names, n=60):
    """As a run's expression.csv: logarithms of genes, none of them in the first cell."""
    rng = np.random.default_rng(3)
    values = {name: np.append(0.0, rng.uniform(0, 4, n - 1).round(2)) for name in (*names, "CD3D")}
    return pd.DataFrame({"cell": [f"cell {i}" for i in range(n)], **values})


def page(**parts):
    empty = {"title": "Runs", "lead": [], "tables": {}, "figures": {}, "maps": {}}
    return report.html(**{**empty, "provenance": {}, **parts})


def full(one, other):
    """A page with everything, where these two texts come from data."""
    types = [one, other, "C", "D"]
    return page(
        title=one,
        lead=["What this is.", other],
        tables={
            one: Shown(TABLE, few=["folder", "cells"], filters=["lr", "folder"]),
            "All runs": Shown(
                pd.DataFrame({one: [other], "wide" * 60: [1]}), note=one, links={other: "a"}
            ),
            other: Shown(pd.DataFrame({one: [other], "n": [1], other: [3]}), shaded=True),
            "beside": Shown(TABLE, beside=True, folded=True),
        },
        figures={one: PNG, other: PNG},
        maps={
            one: with_columns(cells(types), name=one, value=other),
            other: cells(types, seed=1, deep=False),
            "third": cells(types, seed=2).assign(cell=[BOLD, one, other] * 20),
        },
        provenance={one: other, "command": "scvae " + "x" * 200},
        command=other,
        warnings=[one, other, "three", one],
        genes={one: expression(one, other), other: None, "third": None},
        links={other: "../a%20run/report.html"},
        curves=[
            Panel(one, [LINE._replace(name=one)], [LINE._replace(setting=other)], 9, "1", "2")
        ],
    )


def unpacked(array):
    """The numbers of an array in a page."""
    return np.frombuffer(base64.b64decode(array["base64"]), f"<{array['type']}")


class Reader(HTMLParser):
    """What a page holds, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.scripts, self.data = [], [], [], [], {}
        self.rows = []
        self.open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script" and "id" in attributes:
            assert not set("<>&") & set(data)
            self.data[attributes["id"]] = json.loads(data)
        elif tag == "script":
            self.scripts.append(data)
        else:
            self.texts.append(data)
            if tag in ("td", "button") and self.rows:
                self.rows[-1][-1] += data


def test_the_page_is_whole_and_names_no_other_file():
    text = full("one", "other")
    read = Reader(text)
    assert not read.open
    links = [value for key, value in read.attributes if key == "href"]
    assert links == ["#maps", "a"]
    assert read.data["run-1"]["link"] == "../a%20run/report.html"
    for key, value in read.attributes:
        if key in ("src", "srcset", "action", "data", "poster"):
            assert value.startswith("data:image/png;base64,")
        assert not key.startswith("on")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "link" not in read.tags
    assert "iframe" not in read.tags


def test_texts_from_data_stay_texts():
    tame, wild = Reader(full("one", "other")), Reader(full(SCRIPT, IMAGE))
    assert wild.tags == tame.tags
    assert [key for key, _ in wild.attributes] == [key for key, _ in tame.attributes]
    assert {*wild.data["look"]["names"]} == {SCRIPT, IMAGE, "C", "D"}
    assert wild.data["cells-0"]["columns"][0]["name"] == SCRIPT
    assert wild.data["cells-0"]["columns"][0]["names"][0] == IMAGE
    assert wild.data["cells-2"]["names"][1:3] == [SCRIPT, IMAGE]
    # Titles, warnings, headings of tables and columns, notes, settings of curves, ...
    was, now = ([text.strip() for text in read.texts] for read in (tame, wild))
    assert now.count(SCRIPT) == was.count("one") >= 11
    assert now.count(IMAGE) == was.count("other") >= 9
    assert "\u2028" not in page(maps={"run": cells(["a\u2028b"])})


def test_only_its_own_scripts_may_run():
    text = full("one", "other")
    [content] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    allowed = dict(part.split(maxsplit=1) for part in content.split("; "))
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in Reader(text).scripts
    ]
    assert len(hashes) == 1 + len(report.OF_MAPS)
    assert allowed["script-src"].split() == hashes
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data: blob:"


def test_what_matters_most_comes_first():
    headings = ["Warning:", "Map", "beside", "Command", "Second", "Figures", "Provenance"]
    text = page(
        tables={"Second": TABLE, "beside": Shown(TABLE, beside=True)},
        figures={"a figure": PNG},
        maps={"run": cells(["A"])},
        provenance={"a": "b"},
        command="scvae train",
        warnings=["careful"],
    )
    in_order = [t.strip() for t in Reader(text.replace("<label>Map", "Map<label>")).texts]
    assert [t for t in in_order if t in headings] == headings


def test_what_is_not_given_is_not_there():
    text = page(lead=["Nothing yet."])
    assert len(text) < 20_000  # so without the scripts of maps
    assert not {"table", "figure", "select", "details", "img"} & set(Reader(text).tags)


def test_numbers_are_shown_as_what_they_are():
    rows = Reader(page(tables={"Runs": TABLE})).rows
    assert rows == [
        ["folder", "NMI", "cells", "epochs", "lr", "reason"],
        ["run-0", "0.123", "9", "200", "0.0001", "x" * 50],
        ["run-1", "0.123", "10", NONE, "0.0005", NONE],
        ["run-2", NONE, "100", "1000", "0.010", ""],
        ["run-3", "-2.000", "1", "30", "0.500", "the loss is not finite"],
        ["run-4", "-1.000", "2", "40", "1.000", NONE],
    ]


def test_a_type_has_the_colour_it_has_in_the_figures():
    names = [f"type {i}" for i in range(13)]
    sizes = [3, 50, 4, 9, 1, 9, 30, 2, 5, 6, 7, 8, 20]
    table = cells(["A"], n=sum(sizes)).assign(cell_type=np.repeat(names, sizes))
    read = Reader(page(maps={"run": table, "again": table})).data
    codes, types = pd.factorize(table["cell_type"], sort=True)
    styles = dict(zip(types, by_type(codes, list(types)).styles, strict=True))
    look = read["look"]
    assert [own[0] for own in look["looks"]] == [styles[n].colour for n in look["names"]]
    assert look["names"][:2] == ["type 1", "type 6"]  # the largest come first
    shown = np.array(look["names"])[unpacked(read["cells-0"]["types"])]
    assert list(shown) == list(table["cell_type"])


def test_a_cluster_has_the_colour_it_has_in_the_figures():
    table = cells(["A", "B", "unlabelled"], n=80).dropna()
    run = Reader(page(maps={"run": table})).data["run-0"]["clusterings"]["cluster"]
    codes, types = pd.factorize(table["cell_type"], sort=True)
    clusters = table["cluster"].to_numpy(int)
    styles = by_cluster(codes, list(types), clusters).styles
    assert [own[0] for own in run["looks"]] == [style.colour for style in styles]
    assert len({(dark, mark) for _, dark, mark in run["looks"]}) == len(styles) == 3
    for title, style in zip(run["titles"], styles, strict=True):
        assert style.name == title.split()[1]


def test_clusters_without_types_have_colours_of_their_own():
    table = cells(["unlabelled"], n=80).dropna()
    data = Reader(page(maps={"run": table})).data
    run = data["run-0"]["clusterings"]["cluster"]
    assert len({own[0] for own in run["looks"]}) == 3
    sizes = table["cluster"].value_counts(sort=False).sort_index()
    assert run["titles"] == [f"{i} ({n})" for i, n in enumerate(sizes)]
    assert data["look"]["names"] == []  # so no colours by type
    some = table.assign(cell_type=np.where(table["cluster"] == 0, "unlabelled", "A"))
    data = Reader(page(maps={"run": some})).data
    run = data["run-0"]["clusterings"]["cluster"]
    of_types = {own[0] for own in data["look"]["looks"]}
    assert run["looks"][0][0] not in of_types
    assert run["looks"][1][0] in of_types


def test_kept_columns_are_in_the_page_as_small_as_they_can_be():
    """The most frequent value first, as in the figures; numbers to five digits of their range."""
    table = with_columns(cells(["A", "B"], n=6001), value="<b>\u202e")
    numbers = {"total": 10**6 + np.arange(6001), "small": np.arange(6001) * 1e-9, "one": 3,
               "odd": [np.inf, -np.inf, *[1e308, -1e308] * 2999, 0.0], "none": np.nan,
               "late": 1.7e9 + np.arange(6001) / 8}  # fmt: skip
    table = table.assign(**numbers, empty=None, tsne_3="x")
    columns = Reader(page(maps={"run": table})).data["cells-0"]["columns"]
    texts = {c["name"]: c for c in columns if "codes" in c}
    told = {c["name"]: unpacked(c["numbers"]) for c in columns if "numbers" in c}
    kinds = {c["name"]: c["numbers"]["type"] for c in columns if "numbers" in c}
    assert [c["name"] for c in columns] == ["protocol", "age", "note", *numbers, "empty", "tsne_3"]
    protocol = texts["protocol"]
    assert protocol["names"] == ["<b>\\u202e", "CEL-seq2"]
    assert list(unpacked(protocol["codes"])[:4]) == [1, 0, 0, 1]
    codes, names = pd.factorize(table["protocol"], sort=True)
    in_figure = {s.name: s.colour for s in by_type(codes, list(names)).styles}
    assert in_figure["CEL-seq2"] == protocol["looks"][1][0] != protocol["looks"][0][0]
    assert len(texts["note"]["names"]) == 3001
    assert len(texts["note"]["looks"]) == map_data.MOST_VALUES
    assert unpacked(texts["note"]["codes"])[1] == -1
    assert set(unpacked(texts["empty"]["codes"])) == {-1}
    np.testing.assert_equal(told["age"][6:9], [21.5, np.nan, 22])
    assert kinds == {"age": "f4", "total": "i4", "small": "f4", "one": "i1", "odd": "f8",
                     "none": "f4", "late": "f8"}  # fmt: skip
    for name in ("total", "small", "late"):
        known = np.asarray(numbers[name], dtype=float)
        np.testing.assert_allclose(told[name], known, rtol=0, atol=1e-5 * np.ptp(known))
    ranges = {c["name"]: c["range"] for c in columns if "numbers" in c}
    assert (ranges["age"], ranges["one"]) == ([20, 20 + 6000 / 4], [3, 4])
    assert np.isnan(told["odd"][:2]).all()
    assert told["odd"][2] == 1e308


def test_the_scale_is_matplotlibs():
    steps = np.linspace(0, 1, len(VIRIDIS))
    assert [to_hex(colormaps["viridis"](step)) for step in steps] == VIRIDIS


def test_maps_are_small_and_as_precise_as_a_screen():
    table = cells(["A", "B"], n=20_000)
    text = page(maps={"one": table, "two": table.assign(tsne_1=0.0)})
    assert len(text) < 2.5e6
    data = Reader(text).data
    assert {key for key in data if key.startswith("cells")} == {"cells-0"}
    flat = unpacked(data["run-0"]["flat"]).reshape(-1, 2)
    assert (flat[-5:] == map_data.UNMAPPED).all()
    assert set(unpacked(data["run-0"]["clusterings"]["cluster"]["codes"])[-5:]) == {-1}
    places = table[["tsne_1", "tsne_2"]].to_numpy()[:-5]
    step = np.ptp(places, 0).max() / map_data.STEPS
    np.testing.assert_allclose(flat[:-5] * step + places.min(0), places, atol=step)
    assert set(unpacked(data["run-1"]["flat"]).reshape(-1, 2)[:-5, 0]) == {0}
    assert data["run-1"]["deep"] == data["run-0"]["deep"]


def test_of_many_cells_a_page_draws_some_of_those_with_a_place(monkeypatch):
    monkeypatch.setattr(some_cells, "MOST_DRAWN", 100)
    table = cells(["A", "B"], n=300)
    genes = pd.DataFrame({"cell": table["cell"], "CD3D": np.arange(300.0)})
    shown, of_shown, said = some_cells.drawn(table, genes)
    assert list(of_shown["cell"]) == list(shown["cell"])
    assert len(shown) == 100
    assert shown["tsne_1"].notna().all()
    assert set(shown["cell"]) <= set(table["cell"])
    assert said == "This map shows 100 of 300 cells; cells.csv has all."
    again, none, _ = some_cells.drawn(table.assign(cluster=0), None)
    assert none is None
    assert list(again["cell"]) == list(shown["cell"])  # so that runs on the same cells share them
    unpacked(Reader(page(maps={"one": shown})).data["run-0"]["flat"])
    few, _, said = some_cells.drawn(table.head(90), None)
    assert (len(few), said) == (90, "")


def test_types_and_clusters_are_counted():
    table = pd.DataFrame(
        {"cell_type": ["B", "A", "A", "A", "B", None, "A"], "cluster": [1, 0, 0, 2, 1, 1, np.nan]}
    )
    where, counts = types_and_clusters(table)
    assert where.to_numpy().tolist() == [["A", 3, "0", 67, 100], ["B", 2, "1", 100, 100]]
    assert [*counts] == ["cell type", "0", "2", "1"]
    assert counts.to_numpy().tolist() == [["A", 2, 1, 0], ["B", 0, 0, 2]]
    assert types_and_clusters(table.assign(cell_type=None)) is None


# ---- in a browser


def start(*flags):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    for name, path in found.items():
        if path is None:
            pytest.skip(f"{name} is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", *flags):
        options.add_argument(flag)
    options.add_argument("--window-size=1280,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, Service(executable_path=found["chromedriver"]))


@pytest.fixture(scope="module")
def driver():
    driver = start("--enable-unsafe-swiftshader")
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(full(SCRIPT, IMAGE), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def browser(driver, url):
    """The page, just opened; nothing may have gone wrong or out by the end."""
    driver.get(url)
    yield driver
    assert not errors(driver)
    sent = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"
    ]
    assert url in urls
    assert [u for u in urls if not u.startswith(("file:", "data:", "blob:"))] == []
    assert [u for u in urls if u.startswith("file:") and u != url] == []
    assert driver.execute_script("return window.hacked") is None


def errors(driver):
    return [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def find(driver, selector):
    return driver.find_elements("css selector", selector)


def ask(driver, expression):
    """What a script says: `m` is the page's `Maps`, `flat` and `deep` are its maps."""
    names = "const m = document.getElementById('maps').maps, {flat, deep} = m.panes;"
    return driver.execute_script(f"{names} return {expression}")


def drawn(driver, name, colour=None):
    """The share of a map's pixels that are not paper, or that have this colour."""
    ask(driver, "(m.form.names.checked && m.form.names.click(), 0)")
    picture = imread(BytesIO(find(driver, f"#{name}")[0].screenshot_as_png))[4:-4, 4:-4, :3]
    if colour is None:
        return float((np.abs(picture - picture[0, 0]).max(2) > 0.2).mean())
    wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return float((np.abs(picture - wanted).max(2) < 0.1).mean())


def legend(driver):
    return [
        button.get_property("lastChild")["textContent"]
        for button in find(driver, "#legend button")
    ]


def test_names_that_begin_alike_can_be_told_apart(browser):
    names = [f"CD8-positive, alpha-beta T cell of the lamina, subset {i}" for i in range(25)]
    short = [browser.execute_script("return clip(arguments[0], 26)", name) for name in names]
    assert len({*short}) == 25
    assert {len(name) for name in short} == {27}  # and the dots
    assert browser.execute_script("return clip('short', 26)") == "short"


def choose(driver, name, text):
    """Choose from a list of the map's form, by what it says or by its place."""
    from selenium.webdriver.support.ui import Select

    [select] = find(driver, f"#maps select[name={name}]")
    chosen = Select(select)
    chosen.select_by_index(text) if isinstance(text, int) else chosen.select_by_visible_text(text)
    return select


def actions(driver):
    from selenium.webdriver import ActionChains

    return ActionChains(driver, duration=50)


def drag(driver, name, x, y, *, shift=False):
    [element] = find(driver, f"#{name} .above")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    chain = actions(driver).move_to_element(element)
    chain = chain.key_down("\ue008") if shift else chain
    chain.click_and_hold().move_by_offset(x, y).release().key_up("\ue008").perform()


def seen(driver, name):
    """The groups of cells that a map shows, each by its number of cells."""
    numbers = f"[...{name}.order].map(cell => m.of[cell])"
    return np.bincount(np.array(ask(driver, numbers), dtype=int)).tolist()


def test_maps_are_drawn(browser):
    assert ask(browser, "[flat.order.length, Boolean(flat.gl), Boolean(deep.gl)]") == [
        55, True, True
    ]  # fmt: skip
    assert 0.002 < drawn(browser, "flat") < 0.2
    [colour] = ask(browser, "[m.groups[0].colour]")
    assert drawn(browser, "flat", colour) > 0.001
    assert not find(browser, "#deep")[0].is_displayed()
    choose(browser, "view", "both")
    assert 0.002 < drawn(browser, "deep") < 0.2
    assert seen(browser, "deep") == seen(browser, "flat") == [31, 8, 8, 8]
    choose(browser, "view", "3-D")
    assert not find(browser, "#flat")[0].is_displayed()


def test_another_run_has_another_map(browser):
    places = "[...flat.places].slice(0, 4)"
    before = ask(browser, places)
    choose(browser, "view", "3-D")
    assert not find(browser, "#own")[0].is_displayed()
    choose(browser, "run", 1)
    assert ask(browser, places) != before
    assert not find(browser, "#deep")[0].is_displayed()  # it has no 3-D map
    assert find(browser, "#own a")[0].get_property("href").endswith("/a%20run/report.html")
    small = find(browser, "#gallery button")
    assert [button.get_attribute("aria-pressed") for button in small] == ["false", "true", "false"]
    small[0].click()
    assert ask(browser, places) == before
    assert find(browser, "#maps select[name=run]")[0].get_property("value") == "0"


def test_colours_by_cluster(browser):
    choose(browser, "by", "cluster")
    names = legend(browser)
    clusters = cells([SCRIPT, IMAGE, "C", "D"])["cluster"].dropna().astype(int)
    assert seen(browser, "flat") == list(np.bincount(clusters))
    # All are mostly of the largest type, so have its colour in three shades and markers.
    assert [re.match(r"(\d): D \(", name)[1] for name in names] == ["0", "1", "2"]
    for look in ("colour", "mark"):
        assert len(set(ask(browser, f"m.groups.map(g => g.{look})"))) == 3
    choose(browser, "by", "cell type")
    assert len(find(browser, "#legend button")) == 4


def test_colours_by_a_gene_that_is_typed(browser):
    [box] = find(browser, "#maps input[name=gene]")
    assert [o.get_attribute("value") for o in find(browser, "#genes option")] == [
        SCRIPT, IMAGE, "CD3D"
    ]  # fmt: skip
    box.send_keys("cd3d")
    want = expression(SCRIPT, IMAGE)["CD3D"]
    shown = ask(browser, "[...m.way.numbers]")
    assert np.abs(shown - want).max() <= want.max() / 255 / 2 + 1e-6
    assert find(browser, "#bar")[0].text.split()[-1] == "CD3D"
    assert find(browser, "#maps select[name=by] option:checked")[0].text == "CD3D"
    box.clear()
    box.send_keys("GNLY")
    assert "3 genes that vary most, not GNLY" in find(browser, "#status")[0].text
    assert "data.keep=[auto,GNLY]" in find(browser, "#status")[0].text
    assert find(browser, "#bar")[0].text.split()[-1] == "CD3D"
    choose(browser, "run", 1)  # which has no genes
    assert not box.is_displayed()
    assert find(browser, "#maps select[name=by] option:checked")[0].text == "cell type"
    choose(browser, "run", 0)
    choose(browser, "by", "CD3D")
    assert legend(browser) == ["CD3D (55)"]


def test_colours_by_what_was_kept(browser):
    """Texts have a legend, numbers a scale; each run offers the columns that it has."""
    choose(browser, "by", SCRIPT)
    assert [name.rsplit(" (", 1) for name in legend(browser)] == [
        [IMAGE, "36)"], ["CEL-seq2", "19)"]
    ]  # fmt: skip
    assert len(set(ask(browser, "m.groups.map(g => g.colour)"))) == 2
    assert not find(browser, "#bar")[0].is_displayed()
    select = choose(browser, "by", "age")
    assert legend(browser) == ["age (54)", "no value (1)"]
    assert find(browser, "#bar")[0].text.split() == ["20", "34.75", "age"]
    colours = "[...flat.colours].slice(0, 4 * 55).map(c => c.toString(16).padStart(2, '0'))"
    parts = ask(browser, colours)
    found = ["#" + "".join(parts[i : i + 3]) for i in range(0, len(parts), 4)]
    ages = np.array([20 + i / 4 for i in range(55)])
    scale = colormaps["viridis"](np.round((ages - 20) / 14.75 * 255).astype(int))
    known = np.arange(55) != 7
    apart = [
        np.abs(np.array([int(have[i : i + 2], 16) for i in (1, 3, 5)]) - 255 * want[:3]).max()
        for have, want in zip(np.array(found)[known], scale[known], strict=True)
    ]
    assert max(apart) < 12  # eleven stops, and what lies between them
    assert drawn(browser, "flat", found[-1]) > 0
    choose(browser, "by", "note")
    assert legend(browser)[-1] == "no value (27)"
    select.send_keys("a")  # by the keyboard alone
    assert legend(browser)[0] == "age (54)"
    choose(browser, "run", 1)  # which has none
    assert not find(browser, "#maps optgroup")
    assert select.get_property("value") == "type"
    choose(browser, "run", 0)
    assert len(find(browser, "#maps optgroup option")) == 3


def test_the_legend_hides_isolates_and_points_out(browser):
    buttons = find(browser, "#legend button")
    faded = "m.groups.map(g => flat.colours[4 * g.cells[0] + 3] % 255 > 0)"
    buttons[1].click()
    assert buttons[1].get_attribute("aria-pressed") == "false"
    assert seen(browser, "flat") == [31, 0, 8, 8]
    assert ask(browser, faded) == [False] * 4  # though the pointer is still on a group
    actions(browser).double_click(buttons[2]).perform()
    assert seen(browser, "flat") == [0, 0, 8]
    actions(browser).double_click(buttons[2]).perform()
    assert seen(browser, "flat") == [31, 8, 8, 8]
    actions(browser).move_to_element(buttons[3]).perform()
    assert ask(browser, faded) == [True, True, True, False]
    find(browser, "[name=none]")[0].send_keys("\ue007")  # Enter
    assert seen(browser, "flat") == []
    buttons[0].send_keys("\ue007")
    assert seen(browser, "flat") == [31]
    find(browser, "[name=all]")[0].click()
    assert seen(browser, "flat") == [31, 8, 8, 8]


def test_the_map_tells_cells(browser):
    choose(browser, "run", 2)
    [tip] = find(browser, ".tip")
    assert not tip.is_displayed()
    [above] = find(browser, "#flat .above")
    order = ask(browser, "[...flat.order].reverse()")
    x, y, *_ = ask(browser, f"flat.project({order[0]})")
    width, height = ask(browser, "[flat.box.clientWidth, flat.box.clientHeight]")
    move = actions(browser).move_to_element_with_offset(above, x - width / 2, y - height / 2)
    move.perform()
    told = tip.text.split("\n")
    assert told[0] == [BOLD, SCRIPT, IMAGE][order[0] % 3]
    assert re.fullmatch(r"cluster: \d", told[2])
    [search] = find(browser, "[name=find]")
    search.send_keys(BOLD)
    assert tip.text.split("\n")[0] == BOLD
    assert find(browser, "#status")[0].text.startswith(f"{BOLD}, cell type: ")
    search.send_keys("?")
    assert not tip.is_displayed()
    assert "No cell" in find(browser, "#status")[0].text
    choose(browser, "run", 0)
    search.clear()
    search.send_keys("cell 6")
    told = tip.text.split("\n")
    assert told[0] == "cell 6"
    assert told[-3:] == [f"{SCRIPT}: CEL-seq2", "age: 21.5", "note: w6"]
    at = tip.location
    find(browser, "#flat .above")[0].send_keys("\ue015" * 3)  # down
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 5).until(lambda _: tip.location["y"] == at["y"] + 72)


def test_the_flat_map_zooms_and_moves(browser):
    [above] = find(browser, "#flat .above")
    drag(browser, "flat", 80, 60, shift=True)
    assert ask(browser, "flat.zoom") > 3
    drag(browser, "flat", 0, 0)
    actions(browser).double_click(above).perform()
    assert ask(browser, "[flat.zoom, ...flat.pan]") == [1, 0, 0]
    at = "flat.project(flat.order[0]).slice(0, 2)"
    before = np.array(ask(browser, at))
    drag(browser, "flat", 30, -20)
    np.testing.assert_allclose(ask(browser, at) - before, [30, -20], atol=1.5)
    above.send_keys("\ue012")  # to the left
    np.testing.assert_allclose(ask(browser, at) - before, [6, -20], atol=1.5)
    above.send_keys("++")
    assert ask(browser, "flat.zoom") == pytest.approx(1.25**2)
    above.send_keys("0")
    np.testing.assert_allclose(ask(browser, at), before)
    find(browser, "[name=in]")[0].click()
    assert ask(browser, "flat.zoom") == pytest.approx(1.4)
    find(browser, "[name=reset]")[0].click()
    wheel = "flat.above.dispatchEvent(new WheelEvent('wheel', {deltaY: -90, cancelable: true}))"
    above.send_keys("0")
    assert ask(browser, f"[{wheel}, flat.zoom > 1.2]") == [False, True]  # it has the focus
    find(browser, "[name=find]")[0].click()
    zoom = ask(browser, "flat.zoom")
    assert ask(browser, f"[{wheel}, flat.zoom]") == [True, zoom]  # the page scrolls


def test_the_deep_map_turns_and_stays_turned(browser):
    choose(browser, "view", "3-D")
    before = np.array(ask(browser, "deep.turn"))
    drag(browser, "deep", 80, 20)
    after = np.array(ask(browser, "deep.turn"))
    assert np.abs(before - after).max() > 0.1
    np.testing.assert_allclose(after @ after.T, np.eye(3), atol=0.01)
    choose(browser, "by", "cluster")
    np.testing.assert_allclose(ask(browser, "deep.turn"), after)
    find(browser, "#deep .above")[0].send_keys("\ue014")  # to the right
    assert np.abs(after - ask(browser, "deep.turn")).max() > 0.05


def test_maps_can_be_saved(browser):
    choose(browser, "view", "both")
    for by in ("cell type", "age"):
        choose(browser, "by", by)
        url = ask(browser, "m.picture().toDataURL()")
        picture = imread(BytesIO(base64.b64decode(url.partition(",")[2])))
        assert picture.shape[1] > 2 * ask(browser, "flat.box.clientWidth")
        [colour] = ask(browser, "[[...flat.colours].slice(0, 3)]") if by == "age" else [None]
        if colour:
            assert (np.abs(picture[..., :3] * 255 - colour).max(2) < 3).any()
    browser.execute_script(
        "HTMLAnchorElement.prototype.click = function () { window.saved = this.download; }"
    )
    find(browser, "[name=save]")[0].click()
    from selenium.webdriver.support.ui import WebDriverWait

    saved = WebDriverWait(browser, 10).until(lambda d: d.execute_script("return window.saved"))
    assert saved == "map.png"


def test_tables_sort_filter_and_unfold(browser):
    [table] = find(browser, "[data-few]")

    def column(at):
        cells = table.find_elements("css selector", f"tr:not([hidden]) td:nth-child({at})")
        return [cell.text for cell in cells]

    def state():
        heads = table.find_elements("css selector", "th")
        return [head.get_attribute("aria-sort") for head in heads]

    heads = table.find_elements("css selector", "th button")
    assert [head.is_displayed() for head in heads] == [True, True, False, False, False, False]
    assert state() == ["none"] * 6
    [unfold] = find(browser, ".scroll:has([data-few]) + .unfold button")
    unfold.send_keys("\ue007")  # Enter
    assert all(head.is_displayed() for head in heads)
    heads[2].click()  # the NMI: by value, where two look the same
    assert column(1) == ["run-3", "run-4", "run-1", "run-0", "run-2"]
    assert column(3) == ["-2.000", "-1.000", "0.123", "0.123", NONE]
    assert state() == ["none", "none", "ascending", "none", "none", "none"]
    heads[2].click()
    assert column(1) == ["run-0", "run-1", "run-4", "run-3", "run-2"]
    heads[1].send_keys("\ue007")
    assert column(2) == ["1", "2", "9", "10", "100"]
    assert state() == ["none", "ascending", "none", "none", "none", "none"]
    heads[5].click()
    assert column(6)[:2] == ["the loss is not finite", "x" * 50]
    from selenium.webdriver.support.ui import Select

    [form] = find(browser, ".filters")
    [by_rate, by_folder] = form.find_elements("css selector", "select")
    Select(by_rate).select_by_visible_text("0.500")
    assert column(1) == ["run-3"]
    assert "1 of 5 rows" in form.text
    Select(by_rate).select_by_index(0)
    form.find_elements("css selector", "input")[0].send_keys("FINITE")
    assert column(1) == ["run-3"]
    Select(by_folder).select_by_visible_text("run-1")
    assert column(1) == []


def test_hostile_names_are_shown_as_they_are(browser):
    names = legend(browser)
    assert {name.rsplit(" (", 1)[0] for name in names} == {SCRIPT, IMAGE, "C", "D"}
    assert browser.title == SCRIPT
    assert find(browser, "h1")[0].text == SCRIPT
    assert len(find(browser, "img")) == 2
    assert find(browser, "#maps [name=run] option")[0].text == SCRIPT


def emulate(driver, command, **options):
    driver.execute_cdp_cmd(f"Emulation.{command}", options)


@pytest.fixture
def dark_phone(browser):
    emulate(browser, "setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1,
            mobile=True)  # fmt: skip
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    emulate(browser, "setEmulatedMedia", features=dark)
    browser.refresh()
    browser.execute_script(
        "for (const part of document.querySelectorAll('details')) part.open = true"
    )
    yield browser
    emulate(browser, "clearDeviceMetricsOverride")
    emulate(browser, "setEmulatedMedia", features=[])


def test_it_fits_a_phone_and_the_dark(dark_phone):
    size = "[document.documentElement.scrollWidth, innerWidth, flat.box.clientWidth <= 350]"
    assert ask(dark_phone, size) == [390, 390, True]
    assert ask(dark_phone, "getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    top = ask(dark_phone, "flat.box.getBoundingClientRect().top")
    assert top < 700  # in the first screen, below two screens' worth of hostile title
    assert drawn(dark_phone, "flat") > 0.002
    fits = "boxes.map(box => box.scrollWidth <= box.clientWidth)"
    boxes = "[...document.querySelectorAll('.scroll:has(tr:nth-child(5))')]"
    assert ask(dark_phone, fits.replace("boxes", boxes)) == [True, True]
    hidden = "[...document.querySelectorAll('.beside th')].map(head => head.hidden)"
    assert ask(dark_phone, hidden)[::5] == [False, True]
    find(dark_phone, ".beside .unfold button")[0].click()
    assert not any(ask(dark_phone, hidden))


def axe(driver):
    """What axe-core has to say against a page."""
    path = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        pytest.skip("axe-core is not installed (npm install --no-save axe-core)")
    driver.execute_script(path.read_text(encoding="utf-8"))
    result = driver.execute_async_script("axe.run(document).then(arguments[0])")
    return [
        (wrong["id"], [node["html"][:200] for node in wrong["nodes"]])
        for wrong in result["violations"]
    ]


def test_everybody_can_read_it(browser):
    choose(browser, "view", "both")
    browser.execute_script(
        "for (const part of document.querySelectorAll('details')) part.open = true"
    )
    assert axe(browser) == []


def test_everybody_can_read_it_in_the_dark(dark_phone):
    assert axe(dark_phone) == []


def test_many_cells_are_drawn_by_the_graphics_card(driver, tmp_path):
    path = tmp_path / "large.html"
    path.write_text(page(maps={"run": cells(["A", "B"], n=20_000)}), encoding="utf-8")
    driver.get(path.as_uri())
    assert ask(driver, "[flat.order.length, Boolean(flat.gl)]") == [19_995, True]
    assert drawn(driver, "flat") > 0.05
    assert not find(driver, "select[name=run]")[0].is_displayed()
    assert not errors(driver)


def test_without_webgl_there_are_maps_too(url):
    driver = start("--disable-3d-apis")
    try:
        driver.get(url)
        choose(driver, "view", "both")
        assert ask(driver, "[Boolean(flat.gl), Boolean(deep.gl)]") == [False, False]
        for name in ("flat", "deep"):
            assert 0.002 < drawn(driver, name) < 0.2
        assert not errors(driver)
    finally:
        driver.quit()
