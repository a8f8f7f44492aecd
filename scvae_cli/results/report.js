"use strict";

// Sorts a table by a column: numbers as numbers, what is missing last, either way.
function sort(head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  const table = head.closest("table");
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => {
    const cell = row.cells[head.cellIndex];
    const text = cell.textContent;
    const missing = "none" in cell.dataset || !text;
    return { row, text, missing, value: parseFloat(cell.dataset.value ?? text) };
  });
  const numeric = rows.every((r) => r.missing || !Number.isNaN(r.value));
  const sign = descending ? -1 : 1;
  rows.sort((a, b) => {
    if (a.missing || b.missing) return a.missing - b.missing;
    const difference = numeric ? Math.sign(a.value - b.value) : 0;
    return sign * (difference || a.text.localeCompare(b.text, "en", { numeric: true }));
  });
  table.tBodies[0].append(...rows.map((r) => r.row));
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.parentElement));
}

// Markers that both kinds of plot have, and what they look like in the legend.
const SYMBOLS = {
  circle: "\u25cf", square: "\u25a0", diamond: "\u25c6", cross: "\u271a", x: "\u2716",
  "circle-open": "\u25cb", "square-open": "\u25a1", "diamond-open": "\u25c7",
};
const MAX_HOVER = 60;
const camera = () => ({ eye: { x: 1.6, y: 1.6, z: 1.2 } });

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// Plotly takes some HTML in texts.
const plain = (text) =>
  (text.length > MAX_HOVER ? `${text.slice(0, MAX_HOVER)}\u2026` : text)
    .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function maps(section) {
  const look = read("look");
  const form = section.querySelector("form");
  const [flat, deep, lost, legend] = ["flat", "deep", "lost", "legend"].map((id) =>
    document.getElementById(id));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const webgl = document.createElement("canvas").getContext("webgl");
  const fast = ["ANGLE_instanced_arrays", "OES_element_index_uint"] // what scattergl needs
    .every((name) => webgl?.getExtension(name));

  // Python decides the colours: see colours.py.
  const drawnAs = (own) => ({
    colour: dark.matches ? own.dark : own.colour,
    symbol: Object.keys(SYMBOLS)[own.marker],
  });

  // The mapped cells in groups: what to call each, how it looks, and its cells by number.
  function byType(run, { types }) {
    const groups = gather(run, types, (a, b) => look.ranks[a] - look.ranks[b]);
    return groups.map(([type, cells]) => ({
      name: `${look.types[type]} (${cells.length})`,
      ...drawnAs(look.looks[type]),
      cells,
    }));
  }

  function byCluster(run, { types }) {
    return gather(run, run.clusters).map(([cluster, cells]) => {
      if (cluster < 0) return { name: "no cluster", ...apart(), cells };
      const main = run.mains[cluster];
      const size = cells.filter((cell) => types[cell] === main).length;
      const share = `${Math.round((100 * size) / cells.length)} % of ${cells.length}`;
      return {
        name: `${run.names[cluster]}: ${look.types[main]} (${share})`,
        ...drawnAs(run.looks[cluster]),
        cells,
      };
    });
  }

  // By a column that was kept. Its values come the most frequent first; the last ones share a group.
  function byValue(run, { values, codes, looks }) {
    const [others, none] = [looks.length, looks.length + 1];
    const groups = gather(run, codes.map((code) => (code < 0 ? none : Math.min(code, others))));
    return groups.map(([code, cells]) => {
      const rest = code === none ? "no value" : `${values.length - others} other values`;
      const name = code < others ? values[code] : rest;
      const drawn = code < others ? drawnAs(looks[code]) : apart();
      return { name: `${name} (${cells.length})`, ...drawn, cells };
    });
  }

  function byNumber(run, column) {
    const groups = gather(run, column.numbers.map((number) => (number === null ? 1 : 0)));
    return groups.map(([none, cells]) => ({
      name: `${none ? "no value" : column.name} (${cells.length})`,
      ...(none ? apart() : { colour: look.scale[5][1], symbol: "circle", column }),
      cells,
    }));
  }

  const apart = () => ({ colour: css("--muted"), symbol: "x" });

  function gather(run, codes, order = (a, b) => a - b) {
    const groups = new Map();
    codes.forEach((code, cell) => {
      if (run.flat[0][cell] === null) return;
      if (!groups.has(code)) groups.set(code, []);
      groups.get(code).push(cell);
    });
    return [...groups].sort(([a], [b]) => order(a, b));
  }

  function traces(groups, places, texts, type, size) {
    return groups.map((group) => {
      const cells = group.cells.filter((cell) => places[0][cell] !== null);
      const trace = {
        type,
        mode: "markers",
        name: plain(group.name),
        hoverinfo: "text",
        hovertext: cells.map((cell) => texts[cell]),
        marker: { color: group.colour, symbol: group.symbol, size, line: { width: 0 } },
      };
      if (group.column) Object.assign(trace.marker, scaled(group.column, cells));
      if (type === "scatter3d") delete trace.marker.colorbar; // that of the flat map is for both
      places.forEach((axis, i) => { trace["xyz"[i]] = cells.map((cell) => axis[cell]); });
      return trace;
    });
  }

  function scaled({ name, numbers, range: [cmin, cmax] }, cells) {
    return {
      color: cells.map((cell) => numbers[cell]),
      colorscale: look.scale,
      cmin,
      cmax,
      colorbar: { title: { text: plain(name), side: "right" }, thickness: 12, outlinewidth: 0 },
    };
  }

  function layout(extra) {
    return {
      autosize: true,
      showlegend: false,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: css("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
      hoverlabel: { bgcolor: css("--paper"), bordercolor: css("--muted"), align: "left",
                    font: { color: css("--ink") } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--muted"), activecolor: css("--ink") },
      uirevision: form.run.value, // a change of colours keeps the view
      ...extra,
    };
  }

  const axis = (n, extra) => ({
    title: { text: `t-SNE ${n}` }, showticklabels: false, ticks: "", showgrid: false,
    zeroline: false, showline: true, mirror: true, linecolor: css("--line"), ...extra,
  });
  const config = (...buttons) => ({
    responsive: true,
    displaylogo: false,
    displayModeBar: true,
    scrollZoom: false, // which would hold on to a page being scrolled
    modeBarButtons: [[...buttons, "toImage"]],
    toImageButtonOptions: { filename: "map", scale: 2 },
  });

  // What a column says of a cell; nothing where it has no value.
  function told({ name, numbers, values, codes }, cell) {
    const value = numbers ? numbers[cell] : values[codes[cell]];
    return value === null || value === undefined ? "" : `${plain(name)}: ${plain(`${value}`)}`;
  }

  // Offers the columns that the run has to colour by; the one chosen stays if it is among them.
  function offer(columns) {
    const chosen = form.by.value;
    const group = form.by.querySelector("optgroup");
    group.replaceChildren(...columns.map(({ name }) => new Option(name, `column ${name}`)));
    group.hidden = !columns.length;
    form.by.value = chosen;
    if (form.by.selectedIndex < 0) form.by.value = "type";
  }

  function grouped(run, cells) {
    if (form.by.value === "type") return byType(run, cells);
    if (form.by.value === "cluster") return byCluster(run, cells);
    const column = cells.columns.find(({ name }) => form.by.value === `column ${name}`);
    return (column.numbers ? byNumber : byValue)(run, column);
  }

  let drawn; // the run
  function draw() {
    const run = read(`run-${form.run.value}`);
    const cells = read(`cells-${run.cells}`);
    if (drawn !== form.run.value) offer(cells.columns);
    const groups = grouped(run, cells);
    const texts = cells.names.map((name, cell) => [
      `<b>${plain(name)}</b>`,
      plain(look.types[cells.types[cell]]),
      run.clusters[cell] < 0 ? "no cluster" : `cluster ${plain(run.names[run.clusters[cell]])}`,
      ...cells.columns.map((column) => told(column, cell)).filter(Boolean),
    ].join("<br>"));
    const size = Math.min(8, Math.max(3, 220 / Math.sqrt(cells.names.length)));
    const title = form.run.selectedOptions[0].textContent;
    const label = `${title}, by ${form.by.selectedOptions[0].textContent}`;

    // uirevision does not keep a camera that started elsewhere than Plotly's.
    const turned = drawn === form.run.value ? deep.layout?.scene?.camera : undefined;
    drawn = form.run.value;
    const there = run.deep.length === 3;
    deep.hidden = !(there && webgl);
    lost.hidden = !there || Boolean(webgl);

    const gl = fast && cells.names.length > look.many;
    Plotly.react(
      flat,
      traces(groups, run.flat, texts, gl ? "scattergl" : "scatter", size),
      layout({
        margin: { l: 28, r: 4, t: 32, b: 28 },
        dragmode: coarse.matches ? false : "zoom", // a finger has to scroll past
        hovermode: "closest",
        xaxis: axis(1, { title: { text: "t-SNE 1", standoff: 6 } }),
        yaxis: axis(2, { title: { text: "t-SNE 2", standoff: 6 }, scaleanchor: "x" }),
      }),
      config("zoom2d", "pan2d", "resetScale2d"),
    );
    flat.setAttribute("aria-label", `2-D map of ${label}`);

    if (deep.hidden) Plotly.purge(deep);
    else {
      const side = (n) => axis(n, {
        showbackground: false, showgrid: true, gridcolor: css("--line"), showspikes: false,
      });
      Plotly.react(
        deep,
        traces(groups, run.deep, texts, "scatter3d", Math.max(2, size * 0.6)),
        layout({
          margin: { l: 0, r: 0, t: 32, b: 0 },
          scene: { xaxis: side(1), yaxis: side(2), zaxis: side(3), aspectmode: "data",
                   dragmode: "orbit", camera: turned ?? camera() },
        }),
        config("orbitRotation", "zoom3d", "pan3d", {
          name: "reset",
          title: "Reset view",
          icon: Plotly.Icons.home,
          click: () => Plotly.relayout(deep, { "scene.camera": camera() }),
        }),
      );
      deep.setAttribute("aria-label", `3-D map of ${label}`);
    }
    legend.replaceChildren(...groups.map(entry));
  }

  // One legend for both maps.
  function entry(group) {
    const mark = document.createElement("i");
    mark.textContent = SYMBOLS[group.symbol];
    mark.style.color = group.colour;
    const button = document.createElement("button");
    button.append(mark, group.name);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => show((other, on) => (other === button ? !on : on)));
    button.addEventListener("dblclick", () => {
      const alone = [...legend.querySelectorAll("[aria-pressed=true]")].every((b) => b === button);
      show((other) => alone || other === button);
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }

  function show(wanted) {
    const visible = [...legend.querySelectorAll("button")].map((button) => {
      const on = wanted(button, button.getAttribute("aria-pressed") === "true");
      button.setAttribute("aria-pressed", on);
      return on;
    });
    for (const plot of [flat, deep]) if (!plot.hidden) Plotly.restyle(plot, { visible });
  }

  form.addEventListener("change", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  dark.addEventListener("change", draw);
  draw();
}

const section = document.getElementById("maps");
if (section) maps(section);
