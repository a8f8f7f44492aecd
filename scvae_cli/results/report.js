"use strict";

// Tables: sorts, filters, and unfolds columns.

const MOST_CHOICES = 40; // values that a list of choices offers; beyond, a text is typed
const LEAST = 2; // columns that are shown, though there be no room

// Sorts a table by a column: numbers as numbers, what is missing last, either way.
function sort(head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  const table = head.closest("table");
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
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

function made(tag, text = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

// Shows the first columns of a table, as many as there is room for, and a button for the others.
function unfold(table) {
  const [box, all] = [table.parentElement, table.rows[0].cells.length];
  const [line, button] = [made("p"), made("button")];
  let [few, open, width] = [all, false, 0];
  const show = (n) => {
    for (const row of table.rows) [...row.cells].forEach((cell, i) => { cell.hidden = i >= n; });
  };
  const tell = () => {
    line.hidden = few === all;
    button.textContent = open ? `Show ${few} columns` : `Show all ${all} columns`;
    button.setAttribute("aria-expanded", open);
  };
  const fit = () => {
    if (!box.clientWidth || box.clientWidth === width) return;
    width = box.clientWidth;
    few = Number(table.dataset.few) || all;
    show(few);
    while (few > LEAST && box.scrollWidth > box.clientWidth) show(few -= 1);
    if (open) show(all);
    tell();
  };
  button.type = "button";
  button.addEventListener("click", () => {
    open = !open;
    show(open ? all : few);
    tell();
  });
  line.className = "unfold";
  line.append(button);
  box.after(line);
  fit();
  new ResizeObserver(fit).observe(box); // also when what holds it is unfolded
}

// Offers to show only some rows: by the values of some columns, and by a text.
function filter(table) {
  const heads = table.tHead.rows[0].cells;
  const rows = [...table.tBodies[0].rows];
  const [form, count] = [made("form"), made("span")];
  form.className = "filters";
  count.setAttribute("role", "status");
  const value = (row, column) => row.cells[column].textContent;
  const choices = table.dataset.filters.split(" ").map(Number).flatMap((column) => {
    const values = [...new Set(rows.map((row) => value(row, column)))];
    if (values.length > MOST_CHOICES) return [];
    values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const [label, select] = [made("label", `${heads[column].textContent} `), made("select")];
    select.append(new Option("any", ""), ...values.map((text) => new Option(text, `=${text}`)));
    label.append(select);
    form.append(label);
    return [[column, select]];
  });
  const [label, text] = [made("label", "Text "), made("input")];
  text.type = "search";
  text.size = 10;
  label.append(text);
  form.append(label, count);
  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of rows) {
      const said = row.textContent.toLowerCase();
      row.hidden = !(words.every((word) => said.includes(word)) &&
        choices.every(([column, select]) => !select.value || `=${value(row, column)}` === select.value));
      n += !row.hidden;
    }
    count.textContent = n < rows.length ? `${n} of ${rows.length} rows` : "";
  };
  for (const kind of ["input", "change"]) form.addEventListener(kind, apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  table.parentElement.before(form);
}

for (const table of document.querySelectorAll("table")) {
  if (!table.classList.contains("shaded")) unfold(table); // a matrix scrolls
  if (table.dataset.filters) filter(table);
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (head) sort(head);
  });
}
