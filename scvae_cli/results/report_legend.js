"use strict";

// The legend of a map, its colour bar, the small maps of other runs, and all controls.

const GENE = "gene "; // begins the keys of ways to colour by a gene
const GENE_STEPS = 255; // values of a gene that differ

Object.assign(Maps.prototype, {
  // Offers all ways to colour that the run has, and the genes that one can type; chooses one.
  offer(key) {
    const { by, gene } = this.form;
    const { ways, genes } = this.now;
    const of = (kind) => [...ways].filter(([, way]) => (way.kind ?? "") === kind)
      .map(([name, way]) => new Option(clip(way.title), name));
    by.replaceChildren(...of(""));
    for (const kind of ["kept columns", "genes"]) {
      const group = document.createElement("optgroup");
      group.label = kind;
      group.append(...of(kind));
      if (group.children.length) by.append(group);
    }
    by.value = key;
    gene.parentElement.hidden = !genes.names.length;
    document.getElementById("genes").replaceChildren(...genes.names.map((name) => new Option(name)));
  },

  // Adds the way to colour by a gene, if the key is of one that this run has and shows not yet.
  express(key) {
    const { ways, genes, names } = this.now;
    const at = key.startsWith(GENE) ? genes.names.indexOf(key.slice(GENE.length)) : -1;
    if (at < 0 || ways.has(key)) return;
    this.expression ??= new Map(); // by the genes that runs on the same cells share
    if (!this.expression.has(genes)) this.expression.set(genes, unpack(genes.steps));
    const steps = this.expression.get(genes).subarray(at * names.length, (at + 1) * names.length);
    const top = genes.tops[at];
    ways.set(key, { title: genes.names[at], kind: "genes", range: [0, top],
      numbers: Float32Array.from(steps, (step) => (step / GENE_STEPS) * top) });
  },

  // Colours by the gene that was typed; says so where the page has no such gene.
  gene(text) {
    const { names } = this.now.genes;
    const same = (a, b) => a.localeCompare(b, "en", { sensitivity: "accent" }) === 0;
    const name = names.find((n) => n === text) ?? names.find((n) => same(n, text));
    this.status.textContent = "";
    if (name) {
      this.express(GENE + name);
      this.offer(GENE + name);
      this.colour();
    } else if (text && !names.some((n) => n.toLowerCase().startsWith(text.toLowerCase()))) {
      this.status.textContent = `This page knows the ${names.length} genes that vary most, not ${clip(text)}. `
        + `Where cells come from a file, data.keep=[auto,${clip(text)}] adds it to a run's page.`;
    }
  },

  // One legend for both maps, or a bar where colours are numbers.
  entries() {
    const { numbers, range, title } = this.way;
    this.bar.hidden = !numbers;
    if (numbers) {
      const [low, high, name] = this.bar.querySelectorAll("span, b");
      this.bar.querySelector("i").style.background = `linear-gradient(90deg, ${this.look.scale.join(", ")})`;
      [low.textContent, high.textContent, name.textContent] = [told(range[0]), told(range[1]), title];
    }
    this.legend.hidden = Boolean(numbers) && this.groups.length < 2;
    this.section.querySelector(".switches").hidden = this.groups.length < 3;
    this.legend.replaceChildren(...this.groups.map((group, i) => {
      const [mark, button, item] = ["i", "button", "li"].map((tag) => document.createElement(tag));
      mark.textContent = [...MARKS][group.mark];
      mark.style.color = group.colour;
      mark.setAttribute("aria-hidden", "true");
      button.append(mark, group.name);
      button.type = "button";
      button.addEventListener("click", (event) => {
        if (event.shiftKey) this.only(i);
        else this.hide(this.hidden.has(i) ? [...this.hidden].filter((g) => g !== i) : [...this.hidden, i]);
      });
      button.addEventListener("dblclick", () => this.only(i));
      for (const [name, lit] of [["pointerenter", i], ["focus", i], ["pointerleave", -1], ["blur", -1]]) {
        button.addEventListener(name, (event) => {
          if (event.pointerType === "touch" || (name === "focus" && !button.matches(":focus-visible"))) return;
          this.light(lit);
        });
      }
      item.append(button);
      return item;
    }));
    this.hide([]);
  },

  // Shows one group alone, or all again where it is.
  only(group) {
    const others = this.groups.map((_, i) => i).filter((i) => i !== group);
    const alone = !this.hidden.has(group) && others.every((i) => this.hidden.has(i));
    this.hide(alone ? [] : others);
  },

  hide(groups) {
    this.hidden = new Set(groups);
    if (this.hidden.has(this.lit)) this.lit = -1;
    [...this.legend.querySelectorAll("button")].forEach((button, i) =>
      button.setAttribute("aria-pressed", !this.hidden.has(i)));
    this.paint();
  },

  // Fades all groups but one; -1 fades none.
  light(group) {
    const next = this.hidden.has(group) ? -1 : group;
    if (next === this.lit) return;
    this.lit = next;
    this.paint();
  },

  // A button with a small map for each run, where there are several.
  gallery(box) {
    const options = [...this.form.run.options];
    const canvases = options.map((option) => {
      const [button, canvas, name] = ["button", "canvas", "span"].map((tag) => document.createElement(tag));
      button.type = "button";
      name.textContent = option.textContent;
      canvas.setAttribute("aria-hidden", "true");
      button.append(canvas, name);
      button.addEventListener("click", () => {
        this.form.run.value = option.value;
        this.choose();
        this.section.scrollIntoView({ block: "nearest" });
      });
      box.append(button);
      return canvas;
    });
    this.small = () => {
      clearTimeout(this.later);
      [...box.children].forEach((button, i) =>
        button.setAttribute("aria-pressed", options[i].value === this.form.run.value));
      if (this.lit < 0) this.later = setTimeout(() => canvases.forEach((canvas, i) => this.drawOf(canvas, i)), 150);
    };
    this.small();
  },

  // Draws a run by the colours that are chosen, by its first ones if it has no such.
  drawOf(canvas, number) {
    const run = this.run(number);
    const { numbers, range, codes, looks } = run.ways.get(this.form.by.value) ?? [...run.ways.values()][0];
    const { scale } = this.look;
    drawSmall(canvas, run.flat, (cell) => {
      const step = numbers && Math.round(((numbers[cell] - range[0]) / (range[1] - range[0])) * (scale.length - 1));
      return numbers ? scale[step] ?? css("--muted") : looks[codes[cell]]?.[this.dark.matches ? 1 : 0];
    });
  },

  listen() {
    const { form, section } = this;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.run.addEventListener("change", () => this.choose());
    form.by.addEventListener("change", () => this.colour());
    form.view.addEventListener("change", () => { this.point(this.panes.flat, -1); this.paint(); });
    form.names.addEventListener("change", () => this.shown.forEach((map) => map.ask()));
    form.gene.addEventListener("input", () => this.gene(form.gene.value.trim()));
    form.find.addEventListener("input", () => this.find(form.find.value.trim()));
    const zoom = (factor) => () => this.shown.forEach((map) => zoomAt(map, factor));
    form.elements.in.addEventListener("click", zoom(1.4));
    form.elements.out.addEventListener("click", zoom(1 / 1.4));
    form.elements.reset.addEventListener("click", () => this.shown.forEach((map) => map.reset()));
    form.elements.save.addEventListener("click", () => save(this.picture()));
    section.querySelector("[name=all]").addEventListener("click", () => this.hide([]));
    section.querySelector("[name=none]").addEventListener("click", () =>
      this.hide(this.groups.map((_, i) => i)));
    this.dark.addEventListener("change", () => this.colour());
    section.addEventListener("keydown", (event) => { if (event.key === "Escape") this.point(this.panes.flat, -1); });
  },

  // The maps that are shown, with title and legend, as a canvas.
  picture() {
    const { numbers, range, title } = this.way;
    const scale = numbers && { colours: this.look.scale, name: title, low: told(range[0]), high: told(range[1]) };
    const entries = this.groups.filter((_, i) => !this.hidden.has(i));
    const name = `${this.form.run.selectedOptions[0].textContent}, by ${title}`;
    return picture(this.shown, name, entries, scale);
  },
});

const section = document.getElementById("maps");
section.maps = new Maps(section);
const gallery = document.getElementById("gallery");
if (gallery) section.maps.gallery(gallery);
