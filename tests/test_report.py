"""The report: read as HTML, and used in a browser as a person would, with nothing to load."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex

from scvae_cli.results import map_data, report
from scvae_cli.results.colours import VIRIDIS
from scvae_cli.results.figures.style import by_cluster, by_type

NONE = "\N{EN DASH}"
VOID = {"meta", "img", "input"}
SCRIPT = "</script><script>window.hacked = 1</script>"
IMAGE = "\"><img src=x onerror='hacked = 1'>"
BOLD = "<b>a</b> &lt;"  # Plotly takes some HTML in texts
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


def with_columns(table, *, name="protocol", value="Drop-seq"):
    """The same cells with columns that were kept: texts and numbers, some of them missing."""
    n = len(table)
    return table.assign(
        **{name: [value if i % 3 else "CEL-seq2" for i in range(n)]},
        age=[np.nan if i == 7 else 20 + i / 4 for i in range(n)],
        note=[None if i % 2 else f"w{i}" for i in range(n)],
    )


def page(**parts):
    empty = {"title": "Runs", "lead": [], "tables": {}, "figures": {}, "maps": {}}
    return report.html(**{**empty, "provenance": {}, **parts})


def full(one, other):
    """A page with everything, where these two texts come from data."""
    types = [one, other, "C", "D"]
    return page(
        title=one,
        lead=["What this is.", other],
        tables={one: TABLE, "All runs": pd.DataFrame({one: [other], "wide" * 60: [1]})},
        figures={one: PNG, other: PNG},
        maps={
            one: with_columns(cells(types), name=one, value=other),
            other: cells(types, seed=1, deep=False),
            "third": cells(types, seed=2).assign(cell=[BOLD, one, other] * 20),
        },
        provenance={one: other, "command": "scvae " + "x" * 200},
    )


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
    for key, value in read.attributes:
        if key in ("src", "href", "srcset", "action", "data", "poster"):
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
    assert wild.data["look"]["types"] == sorted([SCRIPT, IMAGE, "C", "D"])
    assert wild.data["cells-0"]["columns"][0]["name"] == SCRIPT
    assert wild.data["cells-0"]["columns"][0]["values"][0] == IMAGE
    assert wild.data["cells-2"]["names"][1:3] == [SCRIPT, IMAGE]
    # Title of page and body, heading of table and figures, header, ...
    assert wild.texts.count(SCRIPT) == tame.texts.count("one") >= 7
    assert wild.texts.count(IMAGE) == tame.texts.count("other") >= 5
    assert "\u2028" not in page(maps={"run": cells(["a\u2028b"])})


def test_only_its_own_scripts_may_run():
    def policy(text):
        [content] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
        return dict(part.split(maxsplit=1) for part in content.split("; "))

    text = full("one", "other")
    allowed = policy(text)
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in Reader(text).scripts
    ]
    assert len(hashes) == 2
    assert allowed["script-src"].split() == hashes
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data: blob:"
    large = page(maps={"run": cells(["A"], n=map_data.MANY + 1)})
    assert "'unsafe-eval'" in policy(large)["script-src"]


def test_the_first_table_comes_first_and_provenance_last():
    headings = ["First", "Figures", "Maps", "Second", "Third", "Provenance"]
    text = page(
        tables=dict.fromkeys(["First", "Second", "Third"], TABLE),
        figures={"a figure": PNG},
        maps={"run": cells(["A"])},
        provenance={"a": "b"},
    )
    assert [t for t in Reader(text).texts if t in headings] == headings


def test_what_is_not_given_is_not_there():
    text = page(lead=["Nothing yet."])
    assert len(text) < 20_000  # so without Plotly
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
    look = Reader(page(maps={"run": table, "again": table})).data["look"]
    codes, types = pd.factorize(table["cell_type"], sort=True)
    styles = by_type(codes, list(types)).styles
    assert look["types"] == list(types)
    assert [own["colour"] for own in look["looks"]] == [style.colour for style in styles]


def test_a_cluster_has_the_colour_it_has_in_the_figures():
    table = cells(["A", "B", "unlabelled"], n=80).dropna()
    run = Reader(page(maps={"run": table})).data["run-0"]
    codes, types = pd.factorize(table["cell_type"], sort=True)
    clusters = table["cluster"].to_numpy(int)
    styles = by_cluster(codes, list(types), clusters).styles
    assert [own["colour"] for own in run["looks"]] == [style.colour for style in styles]
    assert len({(own["dark"], own["marker"]) for own in run["looks"]}) == len(styles) == 3
    assert [style.name for style in styles] == [types[i] for i in run["mains"]]


def test_kept_columns_are_in_the_page_as_small_as_they_can_be():
    """The most frequent value first, as in the figures; numbers to six digits."""
    table = with_columns(cells(["A", "B"], n=6001), value="<b>\u202e")
    numbers = {"total": 10**6 + np.arange(6001), "small": np.arange(6001) * 1e-9, "one": 3,
               "odd": [np.inf, -np.inf, *[1e308, -1e308] * 2999, 0.0], "none": np.nan}  # fmt: skip
    table = table.assign(**numbers, empty=None, tsne_3="x")
    columns = Reader(page(maps={"run": table})).data["cells-0"]["columns"]
    texts = {c["name"]: c for c in columns if "codes" in c}
    told = {c["name"]: c for c in columns if "numbers" in c}
    assert [c["name"] for c in columns] == ["protocol", "age", "note", *numbers, "empty", "tsne_3"]
    protocol = texts["protocol"]
    assert protocol["values"] == ["<b>\\u202e", "CEL-seq2"]
    assert protocol["codes"][:4] == [1, 0, 0, 1]
    codes, names = pd.factorize(table["protocol"], sort=True)
    in_figure = {s.name: s.colour for s in by_type(codes, list(names)).styles}
    assert (
        in_figure["CEL-seq2"] == protocol["looks"][1]["colour"] != protocol["looks"][0]["colour"]
    )
    assert len(texts["note"]["values"]) == 3001
    assert len(texts["note"]["looks"]) == map_data.MOST_VALUES
    assert texts["note"]["codes"][1] == -1
    assert set(texts["empty"]["codes"]) == {-1}
    assert told["age"]["numbers"][6:9] == [21.5, None, 22]
    assert told["age"]["range"] == [20, 20 + 6000 / 4]
    assert told["total"]["numbers"] == table["total"].tolist()
    np.testing.assert_allclose(told["small"]["numbers"], numbers["small"], atol=1e-10)
    assert max(len(str(number)) for number in told["small"]["numbers"]) <= 12
    assert told["one"]["range"] == [3, 4]
    assert told["odd"]["numbers"][:3] == [None, None, 1e308]
    assert set(told["none"]["numbers"]) == {None}


def test_the_scale_is_matplotlibs():
    steps = np.linspace(0, 1, len(VIRIDIS))
    assert [to_hex(colormaps["viridis"](step)) for step in steps] == VIRIDIS


def test_maps_are_small_and_as_precise_as_a_screen():
    table = cells(["A", "B"])
    data = Reader(page(maps={"one": table, "two": table.assign(tsne_1=0.0)})).data
    assert {key for key in data if key.startswith("cells")} == {"cells-0"}
    first = data["run-0"]
    assert first["flat"][0][-5:] == [None] * 5
    assert first["clusters"][-5:] == [-1] * 5
    assert first["names"] == ["0", "1", "2"]
    np.testing.assert_allclose(first["flat"][0][:-5], table["tsne_1"][:-5], atol=0.05)
    assert max(len(str(x)) for x in first["flat"][0][:-5]) <= 6
    assert data["run-1"]["flat"][0] == [0.0] * 60


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


def plot(driver, name, expression):
    return driver.execute_script(f"const gd = document.getElementById('{name}');"
                                 f"return {expression}")  # fmt: skip


def legend(driver):
    return [
        button.get_property("lastChild")["textContent"]
        for button in find(driver, "#legend button")
    ]


def choose(driver, index):
    from selenium.webdriver.support.ui import Select

    Select(find(driver, "select")[0]).select_by_index(index)


def drag(driver, name, x, y):
    from selenium.webdriver import ActionChains

    [element] = find(driver, f"#{name}")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    chain = ActionChains(driver, duration=50).move_to_element(element).click_and_hold()
    chain.move_by_offset(x, y).release().perform()


def test_maps_are_drawn(browser):
    assert len(find(browser, "#flat .points path")) == 55
    assert find(browser, "#deep canvas")
    assert plot(browser, "deep", "gd.data.map(t => t.x.length)") == [31, 8, 8, 8]
    assert not find(browser, "#lost")[0].is_displayed()


def test_another_run_has_another_map(browser):
    before = plot(browser, "flat", "gd.data[0].x")
    choose(browser, 1)
    assert plot(browser, "flat", "gd.data[0].x") != before
    assert not find(browser, "#deep")[0].is_displayed()
    wide = plot(browser, "flat", "[gd.clientWidth, gd.querySelector('svg').clientWidth]")
    assert wide[0] == wide[1]
    choose(browser, 0)
    assert plot(browser, "flat", "gd.data[0].x") == before
    assert find(browser, "#deep canvas")


def test_colours_by_cluster(browser):
    find(browser, "[value=cluster]")[0].click()
    names = legend(browser)
    clusters = cells([SCRIPT, IMAGE, "C", "D"])["cluster"].dropna().astype(int)
    assert plot(browser, "flat", "gd.data.map(t => t.x.length)") == list(np.bincount(clusters))
    # All are mostly of the largest type, so have its colour in three shades and markers.
    assert [re.match(r"(\d): D \(", name)[1] for name in names] == ["0", "1", "2"]
    for name, look in [("flat", "color"), ("deep", "color"), ("deep", "symbol")]:
        assert len(set(plot(browser, name, f"gd.data.map(t => t.marker.{look})"))) == 3
    find(browser, "[value=type]")[0].click()
    assert len(find(browser, "#legend button")) == 4


def colour_by(driver, name):
    from selenium.webdriver.support.ui import Select

    [select] = find(driver, "select[name=by]")
    Select(select).select_by_visible_text(name)
    return select


def test_colours_by_what_was_kept(browser):
    """Texts have a legend, numbers a scale; each run offers the columns that it has."""
    [label] = [text for text in find(browser, "#maps label") if text.text.startswith("Colour")]
    assert label.find_elements("css selector", "select[name=by]")
    colour_by(browser, SCRIPT)
    assert [name.rsplit(" (", 1) for name in legend(browser)] == [
        [IMAGE, "36)"], ["CEL-seq2", "19)"]
    ]  # fmt: skip
    assert len(set(plot(browser, "flat", "gd.data.map(t => t.marker.color)"))) == 2
    assert plot(browser, "deep", "gd.data.map(t => t.x.length)") == [36, 19]
    colour_by(browser, "age")
    assert legend(browser) == ["age (54)", "no value (1)"]
    ages = [20 + i / 4 for i in range(55) if i != 7]
    for name in ("flat", "deep"):
        assert plot(browser, name, "gd.data[0].marker.color") == ages
    assert len(find(browser, "#flat .colorbar .cbfill")) == 1
    assert not find(browser, "#deep .colorbar")
    fills = "new Set([...gd.querySelectorAll('.points path')].map(p => p.style.fill)).size"
    assert plot(browser, "flat", fills) > 40
    hover = "(Plotly.Fx.hover(gd, [{curveNumber: 0, pointNumber: 6}]), \
              gd.querySelector('.hoverlayer').textContent)"
    text = plot(browser, "flat", hover)
    assert text.startswith("cell 6")
    assert text.endswith(f"{SCRIPT}: CEL-seq2age: 21.5note: w6")
    select = colour_by(browser, "note")
    assert legend(browser)[-1] == "no value (27)"
    select.send_keys("a")  # by the keyboard alone
    assert legend(browser)[0] == "age (54)"
    choose(browser, 1)  # which has none
    assert not [o for o in find(browser, "optgroup option") if o.is_displayed()]
    assert select.get_property("value") == "type"
    assert len(legend(browser)) == 4
    choose(browser, 0)
    assert len(find(browser, "optgroup option")) == 3


def test_the_legend_hides_and_isolates(browser):
    from selenium.webdriver import ActionChains

    def shown():
        return [plot(browser, name, "gd.data.map(t => t.visible)") for name in ("flat", "deep")]

    buttons = find(browser, "#legend button")
    buttons[1].click()
    assert shown() == [[True, False, True, True]] * 2
    assert buttons[1].get_attribute("aria-pressed") == "false"
    ActionChains(browser).double_click(buttons[2]).perform()
    assert shown() == [[False, False, True, False]] * 2
    ActionChains(browser).double_click(buttons[2]).perform()
    assert shown() == [[True] * 4] * 2


def test_the_flat_map_zooms_and_tells_cells(browser):
    reach = "Math.abs(gd._fullLayout.xaxis.range[1] - gd._fullLayout.xaxis.range[0])"
    before = plot(browser, "flat", reach)
    choose(browser, 2)
    label = "(Plotly.Fx.hover(gd, [{curveNumber: 0, pointNumber: 0}]), \
              gd.querySelector('.hoverlayer').textContent)"
    text = plot(browser, "flat", label)
    assert re.fullmatch(re.escape(BOLD) + r"Dcluster \d", text)
    drag(browser, "flat", 80, 80)
    assert plot(browser, "flat", reach) < before / 2


def test_the_deep_map_turns_and_stays_turned(browser):
    eye = "Object.values(gd._fullLayout.scene._scene.getCamera().eye)"
    before = np.array(plot(browser, "deep", eye))
    drag(browser, "deep", 80, 20)
    after = plot(browser, "deep", eye)
    assert np.abs(before - after).max() > 0.1
    find(browser, "[value=cluster]")[0].click()
    np.testing.assert_allclose(plot(browser, "deep", eye), after)


def test_maps_can_be_saved(browser):
    for name in ("flat", "deep"):
        image = browser.execute_async_script(
            "Plotly.toImage(document.getElementById(arguments[0]), {format: 'png'})"
            ".then(arguments[1], (error) => arguments[1](String(error)))", name
        )  # fmt: skip
        assert image.startswith("data:image/png;base64,")


def test_tables_sort_both_ways(browser):
    [table, *_] = find(browser, "table")

    def column(at):
        return [cell.text for cell in table.find_elements("css selector", f"td:nth-child({at})")]

    def state():
        heads = table.find_elements("css selector", "th")
        return [head.get_attribute("aria-sort") for head in heads]

    heads = find(browser, "th button")
    heads[1].click()  # the NMI: by value, where two look the same
    assert column(1) == ["run-3", "run-4", "run-1", "run-0", "run-2"]
    assert column(2) == ["-2.000", "-1.000", "0.123", "0.123", NONE]
    assert state() == [None, "ascending", None, None, None, None]
    heads[1].click()
    assert column(1) == ["run-0", "run-1", "run-4", "run-3", "run-2"]
    assert state() == [None, "descending", None, None, None, None]
    heads[2].send_keys("\ue007")  # Enter
    assert column(3) == ["1", "2", "9", "10", "100"]
    assert state() == [None, None, "ascending", None, None, None]
    heads[5].click()
    assert column(6)[:2] == ["the loss is not finite", "x" * 50]


def test_hostile_names_are_shown_as_they_are(browser):
    names = legend(browser)
    assert {name.rsplit(" (", 1)[0] for name in names} == {SCRIPT, IMAGE, "C", "D"}
    assert browser.title == SCRIPT
    assert find(browser, "h1")[0].text == SCRIPT
    assert len(find(browser, "img")) == 2


def test_it_fits_a_phone_and_the_dark(browser):
    def emulate(command, **options):
        browser.execute_cdp_cmd(f"Emulation.{command}", options)

    ink = plot(browser, "flat", "gd.layout.font.color")
    emulate("setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    emulate("setEmulatedMedia", features=dark)
    try:
        browser.refresh()
        size = "[document.documentElement.scrollWidth, innerWidth]"
        browser.execute_script("document.querySelector('details').open = true")
        assert plot(browser, "flat", size) == [390, 390]
        assert plot(browser, "flat", "gd.querySelector('svg').clientWidth") <= 350
        assert plot(browser, "flat", "gd.layout.font.color") != ink
        assert plot(browser, "flat", "getComputedStyle(document.body).backgroundColor") != (
            "rgb(255, 255, 255)"
        )
    finally:
        emulate("clearDeviceMetricsOverride")
        emulate("setEmulatedMedia", features=[])


def test_many_cells_are_drawn_by_the_graphics_card(driver, tmp_path):
    path = tmp_path / "large.html"
    path.write_text(page(maps={"run": cells(["A", "B"], n=6000)}), encoding="utf-8")
    driver.get(path.as_uri())
    assert plot(driver, "flat", "gd._fullData[0].type") == "scattergl"
    assert find(driver, "#flat canvas")
    assert not find(driver, ".no-webgl")
    assert not find(driver, "select")[0].is_displayed()
    assert not errors(driver)


def test_without_webgl_there_is_still_a_flat_map(url):
    driver = start("--disable-3d-apis")
    try:
        driver.get(url)
        assert len(find(driver, "#flat .points path")) == 55
        assert find(driver, "#lost")[0].is_displayed()
        assert not find(driver, "#deep")[0].is_displayed()
        assert not errors(driver)
    finally:
        driver.quit()
