"use strict";

// What moves a map: the pointer, two fingers, the wheel and keys.

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 24; // pixels that a key moves
const CLICK = 4; // pixels that a click may move

function zoomAt(map, factor, x = map.box.clientWidth / 2, y = map.box.clientHeight / 2) {
  const next = Math.min(80, Math.max(0.4, map.zoom * factor));
  const { fit, done } = { fit: map.fit(map.box.clientWidth, map.box.clientHeight), done: next / map.zoom };
  const at = [(x - map.box.clientWidth / 2) / fit, (map.box.clientHeight / 2 - y) / fit];
  map.pan = map.pan.map((p, i) => at[i] - (at[i] - p) * done);
  map.zoom = next;
  map.ask();
}

function moveBy(map, dx, dy) {
  const fit = map.fit(map.box.clientWidth, map.box.clientHeight);
  map.pan = [map.pan[0] + dx / fit, map.pan[1] - dy / fit];
  map.ask();
}

function turnBy(map, dx, dy) {
  const [a, b] = [dx, dy].map((pixels) => (pixels / Math.min(map.box.clientWidth, 500)) * Math.PI);
  const times = (m, n) => m.map((row) => n[0].map((_, k) => row.reduce((s, v, i) => s + v * n[i][k], 0)));
  const about = [[Math.cos(a), 0, Math.sin(a)], [0, 1, 0], [-Math.sin(a), 0, Math.cos(a)]];
  const over = [[1, 0, 0], [0, Math.cos(b), -Math.sin(b)], [0, Math.sin(b), Math.cos(b)]];
  map.turn = times(over, times(about, map.turn));
  map.ask();
}

// Zooms a 2-D map into what lies between two points.
function zoomInto(map, [x, y], [u, v]) {
  const [width, height] = [map.box.clientWidth, map.box.clientHeight];
  if (Math.abs(x - u) < CLICK || Math.abs(y - v) < CLICK) return;
  moveBy(map, width / 2 - (x + u) / 2, height / 2 - (y + v) / 2);
  zoomAt(map, Math.min(width / Math.abs(x - u), height / Math.abs(y - v)));
}

function steer(map) {
  const canvas = map.above;
  const held = new Map(); // pointers that are down, and where
  let [from, how] = [null, ""];
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0 && event.pointerType === "mouse") return;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, place(event));
    from = place(event);
    const plain = map.deep ? "turn" : "move";
    how = event.shiftKey ? (map.deep ? "move" : "box") : plain;
    event.preventDefault();
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = held.get(event.pointerId);
    if (!before) {
      map.hover(map.at(...now));
      return;
    }
    const others = [...held].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    held.set(event.pointerId, now);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (others.length) {
      const gap = ([x, y]) => Math.hypot(x - others[0][0], y - others[0][1]) || 1;
      zoomAt(map, gap(now) / gap(before), (now[0] + others[0][0]) / 2, (now[1] + others[0][1]) / 2);
      if (!map.deep) moveBy(map, dx / 2, dy / 2);
    } else if (how === "turn") turnBy(map, dx, dy);
    else if (how === "move") moveBy(map, dx, dy);
    else {
      map.chosen = [from, now];
      map.ask();
    }
    if (Math.hypot(now[0] - from[0], now[1] - from[1]) > CLICK) map.hover(-1);
  });

  const release = (event) => {
    if (!held.delete(event.pointerId)) return;
    const now = place(event);
    if (map.chosen) zoomInto(map, ...map.chosen);
    map.chosen = null;
    const still = Math.hypot(now[0] - from[0], now[1] - from[1]) <= CLICK;
    if (event.type === "pointerup" && still) map.hover(map.at(...now));
    map.ask();
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && !held.size) map.hover(-1);
  });
  canvas.addEventListener("dblclick", () => map.reset());

  // A wheel over a map that nobody has chosen scrolls the page.
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoomAt(map, Math.exp(-Math.sign(event.deltaY) * Math.min(0.3, Math.abs(event.deltaY) / 300)), ...place(event));
  }, { passive: false });

  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const way = KEYS[event.key];
    if (way && map.deep && !event.shiftKey) turnBy(map, way[0] * STEP, way[1] * STEP);
    else if (way) moveBy(map, way[0] * STEP, way[1] * STEP);
    else if (event.key === "+" || event.key === "=") zoomAt(map, 1.25);
    else if (event.key === "-") zoomAt(map, 0.8);
    else if (event.key === "0") map.reset();
    else return;
    event.preventDefault();
  });
}
