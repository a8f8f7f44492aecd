"use strict";

// Draws the points of a map and lets a reader move, turn and zoom it: by WebGL, or without it on a
// plain canvas. Places lie around 0, the longest side of the map being 1.

const MARKS = "\u25cf\u25a0\u25c6\u271a\u2716\u25cb\u25a1\u25c7"; // markers, as in a legend
const FADED = 28; // opacity, of 255, of what is not pointed at
const BEND = 0.5; // how much nearer points of a 3-D map are larger
const MANY = 4000; // cells beyond which a plain canvas is in a hurry
const MARGIN = 22; // pixels around a map
const START = [[0.8, 0.6, 0], [-0.25, 0.33, 0.91], [0.55, -0.73, 0.41]]; // a view from above
const FLAT = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];

const VERTEX = `#version 300 es
in vec3 place; in vec4 colour; in float mark;
uniform mat3 turn; uniform vec2 size, pan; uniform float scale, bend, point;
out vec4 ink; flat out float shape; flat out float radius;
void main() {
  vec3 at = turn * place;
  float near = 1.0 / (1.0 - bend * at.z);
  gl_Position = vec4(2.0 * (pan + scale * near * at.xy) / size, -at.z * 0.8, 1.0);
  gl_PointSize = point * near + 2.0;
  radius = 0.5 * gl_PointSize; ink = colour; shape = mark;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 ink; flat in float shape; flat in float radius; uniform float least;
out vec4 colour;
float cross_(vec2 p) { p = abs(p); return max(min(p.x, p.y) - 0.3, max(p.x, p.y) - 0.95); }
void main() {
  vec2 p = (gl_PointCoord * 2.0 - 1.0) * radius / (radius - 1.0);
  float solid = mod(shape, 5.0);
  float d = solid < 0.5 ? length(p) - 0.9
    : solid < 1.5 ? max(abs(p.x), abs(p.y)) - 0.8
    : solid < 2.5 ? abs(p.x) + abs(p.y) - 1.0
    : solid < 3.5 ? cross_(p) : cross_(vec2(p.x + p.y, p.x - p.y) * 0.7071);
  if (shape > 4.5) d = abs(d + 0.18) - 0.18;
  float alpha = ink.a * clamp(0.5 - d * (radius - 1.0), 0.0, 1.0);
  if (alpha < least * ink.a || alpha == 0.0) discard;
  colour = vec4(ink.rgb * alpha, alpha);
}`;

function compiled(gl) {
  const program = gl.createProgram();
  for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

// The shape of a marker as a path on a plain canvas, as FRAGMENT has it.
function markPath(context, mark, x, y, r) {
  const solid = mark % 5;
  const [a, b] = [0.3 * r, 0.95 * r];
  if (solid === 0) context.arc(x, y, 0.9 * r, 0, 7);
  else if (solid === 1) context.rect(x - 0.8 * r, y - 0.8 * r, 1.6 * r, 1.6 * r);
  else {
    const corners = solid === 2 ? [[0, -r], [r, 0], [0, r], [-r, 0]]
      : [[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a], [a, b], [-a, b], [-a, a], [-b, a],
        [-b, -a], [-a, -a]];
    const c = solid === 4 ? Math.SQRT1_2 : 1; // a cross, turned
    corners.forEach(([p, q], i) => {
      const [u, v] = solid === 4 ? [c * (p - q), c * (p + q)] : [p, q];
      if (i) context.lineTo(x + u, y + v);
      else context.moveTo(x + u, y + v);
    });
    context.closePath();
  }
}

class PointMap {
  // box: an element to draw in. hover(cell) is called with the cell that is pointed at, or -1.
  // over(context, map) draws above the points.
  constructor(box, deep, { hover, over }) {
    Object.assign(this, { box, deep, hover, over, n: 0, order: new Uint32Array(0), frames: 0 });
    [this.points, this.above] = ["points", "above"].map((name) => {
      const canvas = document.createElement("canvas");
      canvas.className = name;
      box.append(canvas);
      return canvas;
    });
    this.points.setAttribute("aria-hidden", "true");
    this.above.tabIndex = 0;
    this.above.setAttribute("role", "application");
    this.begin();
    this.points.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.points.addEventListener("webglcontextrestored", () => { this.begin(); this.send(); });
    new ResizeObserver(() => this.ask()).observe(box);
    steer(this);
    this.reset();
  }

  begin() {
    this.gl = this.points.getContext("webgl2", { antialias: false });
    this.program = this.gl && compiled(this.gl);
    if (!this.program) {
      this.gl = null;
      return;
    }
    this.uniforms = {};
    this.buffers = {};
    for (const name of ["place", "colour", "mark"]) this.buffers[name] = this.gl.createBuffer();
  }

  reset() {
    Object.assign(this, { turn: (this.deep ? START : FLAT).map((row) => [...row]), zoom: 1 });
    this.pan = [0, 0];
    this.ask();
  }

  // places: (n, axes) between -0.5 and 0.5, NaN where a cell is not on the map.
  place(places, axes) {
    Object.assign(this, { places, axes, n: places.length / axes });
    this.reach = [0, 0, 0];
    let far = 0;
    for (let i = 0; i < this.n; i++) {
      let sum = 0;
      for (let k = 0; k < axes; k++) {
        const value = Math.abs(places[i * axes + k]) || 0;
        this.reach[k] = Math.max(this.reach[k], value);
        sum += value * value;
      }
      far = Math.max(far, sum);
    }
    this.far = Math.sqrt(far) || 1;
    this.order = new Uint32Array(0);
    this.ask();
  }

  // order: the cells to draw, the last one on top. colours: (n, 4) bytes. marks: (n,) markers.
  paint(order, colours, marks, size) {
    Object.assign(this, { order, colours, marks, size });
    this.send();
  }

  send() {
    this.ask();
    const { gl, order, axes } = this;
    if (!gl || gl.isContextLost() || !order.length) return;
    const [place, colour, mark] = [new Float32Array(order.length * 3),
      new Uint8Array(order.length * 4), new Uint8Array(order.length)];
    order.forEach((cell, at) => {
      for (let k = 0; k < axes; k++) place[at * 3 + k] = this.places[cell * axes + k];
      for (let k = 0; k < 4; k++) colour[at * 4 + k] = this.colours[cell * 4 + k];
      mark[at] = this.marks[cell];
    });
    const arrays = { place: [place, 3, gl.FLOAT], colour: [colour, 4, gl.UNSIGNED_BYTE],
      mark: [mark, 1, gl.UNSIGNED_BYTE] };
    for (const [name, [array, width, type]] of Object.entries(arrays)) {
      const where = gl.getAttribLocation(this.program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(where);
      gl.vertexAttribPointer(where, width, type, name === "colour", 0, 0);
    }
  }

  ask() {
    if (!this.asked) this.asked = requestAnimationFrame(() => { this.asked = 0; this.draw(); });
  }

  // Pixels that the longest side of the map takes when all of it is seen.
  fit(width, height) {
    if (this.deep) return (0.62 * (Math.min(width, height) - MARGIN)) / (this.far || 1);
    const [x, y] = this.reach ?? [0.5, 0.5];
    return Math.min((width / 2 - MARGIN) / (x || 0.5), (height / 2 - MARGIN) / (y || 0.5));
  }

  view(width = this.box.clientWidth, height = this.box.clientHeight) {
    const fit = this.fit(width, height);
    return { width, height, turn: this.turn, scale: fit * this.zoom,
      pan: this.pan.map((p) => p * fit), bend: this.deep ? BEND / (this.far || 1) : 0,
      point: this.size * Math.min(3, Math.sqrt(Math.max(this.zoom, 0.5))) };
  }

  // Where a cell is: x, y, how near it is, and how large.
  project(cell, view = this.view()) {
    const { turn, scale, pan, bend, width, height } = view;
    const [a, b, c = 0] = this.places.subarray(cell * this.axes, (cell + 1) * this.axes);
    const [x, y, z] = turn.map((row) => row[0] * a + row[1] * b + row[2] * c);
    const near = 1 / (1 - bend * z);
    return [width / 2 + pan[0] + scale * near * x, height / 2 - pan[1] - scale * near * y, z, near];
  }

  // The cell at a point, -1 where there is none: the nearest one of those not faded.
  at(x, y) {
    const { turn, scale, pan, bend, width, height, point } = this.view();
    const [p, q, r] = turn;
    const { places, axes } = this;
    let [best, least] = [-1, Math.max(6, point / 2 + 2) ** 2];
    for (const cell of this.order) {
      if (this.colours[cell * 4 + 3] <= FADED) continue;
      const [a, b, c] = [places[cell * axes], places[cell * axes + 1], axes > 2 ? places[cell * axes + 2] : 0];
      const size = scale / (1 - bend * (r[0] * a + r[1] * b + r[2] * c));
      const u = width / 2 + pan[0] + size * (p[0] * a + p[1] * b + p[2] * c) - x;
      const v = height / 2 - pan[1] - size * (q[0] * a + q[1] * b + q[2] * c) - y;
      const distance = u * u + v * v;
      if (distance <= least) [best, least] = [cell, distance];
    }
    return best;
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width || !height) return; // hidden
    const ratio = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.points, this.above]) {
      const size = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    }
    if (this.gl) this.drawFast(ratio);
    else {
      const context = this.points.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      this.drawPlain(context, this.view(), this.order.length > MANY);
    }
    const context = this.above.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.over(context, this);
    this.frames += 1;
  }

  drawFast(ratio) {
    const { gl, program } = this;
    const { width, height, turn, pan, scale, bend, point } = this.view();
    const uniform = (name) => (this.uniforms[name] ??= gl.getUniformLocation(program, name));
    gl.viewport(0, 0, this.points.width, this.points.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!this.order.length) return;
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    if (this.deep) gl.enable(gl.DEPTH_TEST);
    gl.uniformMatrix3fv(uniform("turn"), true, turn.flat());
    gl.uniform2f(uniform("size"), width, height);
    gl.uniform2fv(uniform("pan"), pan);
    gl.uniform1f(uniform("scale"), scale);
    gl.uniform1f(uniform("bend"), bend);
    gl.uniform1f(uniform("point"), point * ratio);
    gl.uniform1f(uniform("least"), this.deep ? 0.4 : 0);
    gl.drawArrays(gl.POINTS, 0, this.order.length);
  }

  // Draws on a plain canvas; in a hurry, points are squares.
  drawPlain(context, view, hurry = false) {
    const places = Array.from(this.order, (cell) => [cell, ...this.project(cell, view)]);
    if (this.deep) places.sort((a, b) => a[3] - b[3]);
    for (const [cell, x, y, , near] of places) {
      const [red, green, blue, alpha] = this.colours.subarray(cell * 4, cell * 4 + 4);
      context.fillStyle = context.strokeStyle = `rgba(${red},${green},${blue},${alpha / 255})`;
      const size = view.point * near * 0.9;
      if (hurry) {
        context.fillRect(x - size / 2, y - size / 2, size, size);
        continue;
      }
      context.beginPath();
      markPath(context, this.marks[cell], x, y, (view.point * near) / 2);
      if (this.marks[cell] < 5) context.fill();
      else context.stroke();
    }
  }
}
