"use strict";

// Pictures of maps that stand still: what "Save PNG" writes, and small maps of many runs.

const SHARP = 2; // pixels of a saved picture for each of the screen
const [TITLE, LINE, COLUMN] = [36, 22, 260]; // pixels of a saved picture
const SMALL = 132; // pixels of a small map

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Keeps so many characters of both ends: names of types often begin alike.
function middleOut(text, most) {
  const letters = [...text];
  const end = Math.floor(most / 2);
  return `${letters.slice(0, most - end).join("")}\u2026${letters.slice(letters.length - end).join("")}`;
}

function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let n = text.length;
  while (n > 2 && context.measureText(middleOut(text, n)).width > width) n -= 1;
  return middleOut(text, n);
}

// Draws maps beside each other with their title and legend, and returns the canvas.
function picture(maps, title, entries, scale) {
  const width = Math.max(COLUMN, maps.reduce((sum, map) => sum + map.box.clientWidth, 0));
  const columns = Math.max(1, Math.floor(width / COLUMN));
  const high = Math.max(...maps.map((map) => map.box.clientHeight));
  const rows = scale ? 2 : Math.ceil(entries.length / columns);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width * SHARP, (TITLE + high + (rows + 1) * LINE) * SHARP];
  const context = canvas.getContext("2d");
  context.scale(SHARP, SHARP);
  context.fillStyle = css("--paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.font = `600 15px ${getComputedStyle(document.body).fontFamily}`;
  context.fillStyle = css("--ink");
  context.fillText(shortened(context, title, width - 24), 12, 24);
  let left = 0;
  for (const map of maps) {
    context.save();
    context.translate(left, TITLE);
    context.beginPath();
    context.rect(0, 0, map.box.clientWidth, map.box.clientHeight);
    context.clip();
    map.drawPlain(context, map.view());
    map.over(context, map);
    context.restore();
    left += map.box.clientWidth;
  }
  context.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  const top = TITLE + high + LINE;
  if (scale) {
    const fill = context.createLinearGradient(12, 0, 252, 0);
    scale.colours.forEach((colour, i) => fill.addColorStop(i / (scale.colours.length - 1), colour));
    context.fillStyle = fill;
    context.fillRect(12, top - 10, 240, 12);
    context.fillStyle = css("--ink");
    context.fillText(`${scale.low} to ${scale.high}: ${scale.name}`, 12, top + LINE - 4);
    return canvas;
  }
  entries.forEach(({ name, colour, mark }, i) => {
    const [x, y] = [12 + (i % columns) * COLUMN, top + Math.floor(i / columns) * LINE];
    context.fillStyle = context.strokeStyle = colour;
    context.beginPath();
    markPath(context, mark, x + 5, y - 4, 6);
    if (mark < 5) context.fill();
    else context.stroke();
    context.fillStyle = css("--ink");
    context.fillText(shortened(context, name, COLUMN - 32), x + 18, y);
  });
  return canvas;
}

function save(canvas) {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "map.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

// A small map of a run on a canvas, its cells in these colours: text by cell, "" for those hidden.
function drawSmall(canvas, places, colourOf) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  canvas.width = canvas.height = SMALL * ratio;
  const context = canvas.getContext("2d");
  const dot = Math.max(1.2, 34 / Math.sqrt(places.length / 2)) * ratio;
  const length = (SMALL - 8) * ratio;
  for (let cell = 0; cell < places.length / 2; cell++) {
    const colour = colourOf(cell);
    if (!colour || Number.isNaN(places[2 * cell])) continue;
    context.fillStyle = colour;
    context.fillRect(canvas.width / 2 + places[2 * cell] * length - dot / 2,
      canvas.width / 2 - places[2 * cell + 1] * length - dot / 2, dot, dot);
  }
}
