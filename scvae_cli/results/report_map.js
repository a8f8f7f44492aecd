"use strict";

// What a reader can do with the maps: choose a run, colours and groups, point at cells, find one.

const [MAX_HOVER, MAX_ROWS, MAX_NAME] = [60, 14, 26]; // characters, rows, characters on a map
const N_STEPS = 256; // colours of a scale
const MISSED = 65535; // place of a cell that is not on the map
const READERS = { i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, f4: Float32Array,
  f8: Float64Array };

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const clip = (text, most = MAX_HOVER) => (text.length > most ? middleOut(text, most) : text);
const told = (number) => `${Number(number.toPrecision(6))}`;

function unpack({ type, base64 }) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new READERS[type](bytes.buffer);
}

// Places around 0, of steps; null where the run has no such map.
function placesOf(packed, axes) {
  if (!packed) return null;
  const steps = unpack(packed);
  const most = new Array(axes).fill(0);
  steps.forEach((step, i) => { if (step !== MISSED) most[i % axes] = Math.max(most[i % axes], step); });
  return Float32Array.from(steps, (step, i) =>
    (step === MISSED ? NaN : (step - most[i % axes] / 2) / (MISSED - 1)));
}

// The run's cells, maps, and ways to colour them: codes and groups, or numbers.
function opened(number, look) {
  const run = read(`run-${number}`);
  const cells = read(`cells-${run.cells}`);
  const ways = new Map();
  const counted = (names) => (code, n) => `${names[code]} (${n})`;
  const types = unpack(cells.types);
  if (look.names.length) {
    ways.set("type", { title: "cell type", codes: types, looks: look.looks, names: look.names,
      legend: counted(look.names) });
  }
  for (const [title, { codes, names, titles, looks }] of Object.entries(run.clusterings)) {
    ways.set(title, { title, codes: unpack(codes), looks, names, legend: (code) => titles[code] });
  }
  for (const column of cells.columns) {
    const { name, names, looks, range } = column;
    const way = names ? { codes: unpack(column.codes), looks, names, legend: counted(names) }
      : { numbers: unpack(column.numbers), range };
    ways.set(`column ${name}`, { title: name, kind: "kept columns", ...way });
  }
  return { names: cells.names, genes: cells.genes, ways, link: run.link, flat: placesOf(run.flat, 2),
    deep: placesOf(run.deep, 3) };
}

// What a way to colour says of a cell; nothing where it has no value.
function saidBy({ numbers, codes, names }, cell) {
  if (numbers) return Number.isNaN(numbers[cell]) ? "" : told(numbers[cell]);
  return names[codes[cell]] ?? "";
}

function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

class Maps {
  constructor(section) {
    this.section = section;
    this.look = read("look");
    this.form = section.querySelector("form");
    for (const id of ["status", "own", "bar", "legend"]) this[id] = document.getElementById(id);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.runs = new Map();
    this.tip = section.querySelector(".maps").appendChild(document.createElement("div"));
    this.tip.className = "tip";
    this.panes = Object.fromEntries(["flat", "deep"].map((id) => {
      const call = { hover: (cell) => this.point(this.panes[id], cell),
        over: (context, map) => this.over(context, map) };
      return [id, new PointMap(document.getElementById(id), id === "deep", call)];
    }));
    [this.hidden, this.lit, this.cell] = [new Set(), -1, -1];
    this.listen();
    this.choose();
  }

  run(number = this.form.run.value) {
    if (!this.runs.has(`${number}`)) this.runs.set(`${number}`, opened(number, this.look));
    return this.runs.get(`${number}`);
  }

  get way() { return this.now.ways.get(this.form.by.value); }

  get shown() { return Object.values(this.panes).filter((map) => !map.box.hidden); }

  // Shows the run that is chosen; views and colours stay where it has them too.
  choose() {
    this.now = this.run();
    const { ways, flat, deep, link } = this.now;
    const { by, view } = this.form;
    const chosen = by.value;
    this.express(chosen);
    this.offer(ways.has(chosen) ? chosen : [...ways.keys()][0]);
    view.parentElement.hidden = !deep;
    if (!deep) view.value = "flat";
    this.panes.flat.place(flat, 2);
    if (deep) this.panes.deep.place(deep, 3);
    this.own.hidden = !link;
    this.own.firstChild.href = link || "#maps";
    this.point(this.panes.flat, -1);
    this.colour();
  }

  // Groups cells by the chosen colours: of[cell] is the number of its group, -1 if not on the map.
  colour() {
    const { codes, numbers, looks, names, legend, title } = this.way;
    const others = looks?.length;
    const code = numbers ? (cell) => (Number.isNaN(numbers[cell]) ? -1 : 0)
      : (cell) => Math.min(codes[cell], others);
    const found = new Map();
    this.now.names.forEach((_, cell) => {
      if (Number.isNaN(this.now.flat[2 * cell])) return;
      const key = code(cell);
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(cell);
    });
    const last = (key) => (key < 0 ? Infinity : key);
    this.groups = [...found].sort(([a], [b]) => last(a) - last(b)).map(([key, cells]) => {
      const group = { cells, colour: css("--muted"), mark: 4, short: "" };
      if (key < 0) return { ...group, name: `no value (${cells.length})` };
      if (numbers) return { ...group, name: `${title} (${cells.length})`, mark: 0, numbers: true };
      if (key === others) return { ...group, name: `${names.length - others} other values (${cells.length})` };
      const [light, dark, mark] = looks[key];
      return { cells, name: legend(key, cells.length), short: clip(names[key], MAX_NAME), mark,
        colour: this.dark.matches ? dark : light };
    });
    for (const group of this.groups) {
      group.own = rgb(group.colour);
      if (group.numbers) group.cells.sort((a, b) => numbers[a] - numbers[b]); // the largest on top
    }
    this.of = new Int32Array(this.now.names.length).fill(-1);
    this.groups.forEach(({ cells }, group) => { for (const cell of cells) this.of[cell] = group; });
    [this.hidden, this.lit] = [new Set(), -1];
    this.entries();
  }

  // The colours of numbers, from the least to the largest: red, green and blue of each step.
  get steps() {
    const stops = this.look.scale.map(rgb);
    return Array.from({ length: N_STEPS }, (_, i) => {
      const at = (i / (N_STEPS - 1)) * (stops.length - 1);
      const [a, b] = [stops[Math.floor(at)], stops[Math.ceil(at)]];
      return a.map((part, k) => Math.round(part + (b[k] - part) * (at % 1)));
    });
  }

  // Returns the colour of a cell by its number.
  scaled() {
    const { numbers, range: [low, high] } = this.way;
    const { steps } = this;
    return (cell) => {
      const at = (numbers[cell] / 2 - low / 2) / (high / 2 - low / 2); // the whole may be infinite
      return steps[Math.round(Math.min(1, Math.max(0, at)) * (N_STEPS - 1))];
    };
  }

  // Colours the points: the largest group lies below, what is pointed at above all.
  paint() {
    const n = this.now.names.length;
    const [colours, marks, order] = [new Uint8Array(4 * n), new Uint8Array(n), []];
    const seen = this.groups.map((group, i) => [i, group]).filter(([i]) => !this.hidden.has(i));
    const apart = ([, group]) => (group.short || group.numbers ? 1 : 0);
    seen.sort((a, b) => (a[0] === this.lit) - (b[0] === this.lit) || apart(a) - apart(b) || a[0] - b[0]);
    for (const [i, group] of seen) {
      const alpha = this.lit < 0 || this.lit === i ? 255 : FADED;
      const colourOf = group.numbers ? this.scaled() : () => group.own;
      for (const cell of group.cells) {
        const [red, green, blue] = colourOf(cell);
        [colours[4 * cell], colours[4 * cell + 1], colours[4 * cell + 2]] = [red, green, blue];
        colours[4 * cell + 3] = alpha;
        marks[cell] = group.mark;
        order.push(cell);
      }
    }
    const size = Math.min(9, Math.max(3.2, 220 / Math.sqrt(n)));
    const title = this.form.run.selectedOptions[0].textContent;
    for (const [id, map] of Object.entries(this.panes)) {
      map.box.hidden = !(id === this.form.view.value || this.form.view.value === "both");
      const what = `${id === "flat" ? "2-D" : "3-D"} map of ${title}, by ${this.way.title}`;
      map.above.setAttribute("aria-label", `${what}; arrows move or turn it, + and - zoom, 0 shows all`);
      if (map.box.hidden) continue;
      map.paint(order, colours, marks, id === "deep" ? size * 0.8 : size);
      map.names = this.named(map);
    }
    this.small?.();
  }

  // Where the names of groups stand: at the cell nearest to the median of each.
  named({ places, axes }) {
    return this.groups.map(({ cells, short }, i) => {
      if (!short || this.hidden.has(i)) return null;
      const middle = Array.from({ length: axes }, (_, k) =>
        cells.map((cell) => places[cell * axes + k]).sort((a, b) => a - b)[cells.length >> 1]);
      const far = (cell) => middle.reduce((sum, m, k) => sum + (places[cell * axes + k] - m) ** 2, 0);
      const at = cells.reduce(([best, least], cell) => (far(cell) < least ? [cell, far(cell)] : [best, least]),
        [cells[0], Infinity])[0];
      return { text: short, cell: at, group: i };
    }).filter(Boolean);
  }

  // Above the points: names that do not overlap, the cell that is pointed at, a part to zoom into.
  over(context, map) {
    if (!map.order.length && !map.chosen) return;
    this.beside(map);
    const view = map.view();
    context.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
    [context.textAlign, context.textBaseline, context.lineJoin] = ["center", "middle", "round"];
    const taken = [];
    for (const { text, cell, group } of this.form.names.checked ? map.names ?? [] : []) {
      if (this.lit >= 0 && this.lit !== group) continue;
      const [u, y] = map.project(cell, view);
      const half = context.measureText(text).width / 2 + 3;
      if (u < 0 || y < 0 || u > view.width || y > view.height) continue;
      const x = Math.min(view.width - half, Math.max(half, u));
      if (taken.some(([p, q, r]) => Math.abs(p - x) < half + r && Math.abs(q - y) < 17)) continue;
      taken.push([x, y, half]);
      [context.lineWidth, context.strokeStyle, context.fillStyle] = [3.5, css("--paper"), css("--ink")];
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    }
    [context.textAlign, context.textBaseline] = ["start", "alphabetic"];
    [context.lineWidth, context.strokeStyle] = [2, css("--ink")];
    context.beginPath();
    if (this.cell >= 0 && this.of[this.cell] >= 0) {
      const [x, y] = map.project(this.cell, view);
      context.arc(x, y, view.point / 2 + 4, 0, 7);
    }
    if (map.chosen) {
      const [[x, y], [u, v]] = map.chosen;
      context.rect(x, y, u - x, v - y);
    }
    context.stroke();
  }

  // What is known of a cell, a text a row.
  facts(cell) {
    const ways = [...this.now.ways.values()].filter((way) => way !== this.way);
    const rows = [this.way, ...ways].map((way) => [way.title, saidBy(way, cell)]).filter(([, text]) => text)
      .map(([title, text]) => `${clip(title)}: ${clip(text)}`);
    const more = rows.length - MAX_ROWS;
    return [clip(this.now.names[cell]), ...rows.slice(0, MAX_ROWS), ...(more > 0 ? [`and ${more} more`] : [])];
  }

  // Shows what is known of a cell beside it; -1 hides it.
  point(map, cell) {
    this.pointed = map;
    if (cell !== this.cell) {
      this.cell = cell;
      const rows = cell < 0 ? [] : this.facts(cell);
      this.tip.replaceChildren(...rows.map((text, i) => {
        const row = document.createElement(i ? "span" : "b");
        row.textContent = text;
        return row;
      }));
      for (const pane of this.shown) pane.ask();
    }
    map.above.style.cursor = cell < 0 ? "grab" : "default";
    this.tip.hidden = cell < 0;
    this.beside(map);
  }

  // Moves what is known of a cell to where the map has it now.
  beside(map) {
    if (this.cell < 0 || map !== this.pointed) return;
    const [x, y] = map.project(this.cell);
    const [left, top] = [map.box.offsetLeft + x, map.box.offsetTop + y];
    const room = this.tip.parentElement.clientWidth;
    this.tip.style.left = `${Math.max(0, Math.min(left + 14, room - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${top + 16}px`;
  }

  find(text) {
    const { names } = this.now;
    const tests = [(name) => name === text, (name) => name.startsWith(text), (name) => name.includes(text)];
    const on = (name, cell, test) => this.of[cell] >= 0 && test(name);
    const cell = text ? tests.reduce((found, test) => (found < 0 ? names.findIndex((name, i) => on(name, i, test)) : found), -1) : -1;
    const [map] = this.shown;
    this.point(map, cell);
    this.status.textContent = cell >= 0 ? this.facts(cell).join(", ") : text && `No cell on the map is called ${clip(text)}.`;
  }
}
