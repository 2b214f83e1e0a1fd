// The page of `mpcompile inspect`: facts come from the JSON block, text of the spec is only ever set as text.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

// --- small helpers ---

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== false));
  return node;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const number = (n) => n.toLocaleString("en");
const percent = (x) => `${(100 * x).toFixed(x > 0 && x < 0.0995 ? 1 : 0)} %`;
const product = (shape) => shape.reduce((a, b) => a * b, 1);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const pressed = (act) => (event) => {
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(event); }
};

const decoded = new Map();
function bytes(blob) {
  if (!decoded.has(blob)) decoded.set(blob, Uint8Array.from(atob(data.blobs[blob]), (c) => c.charCodeAt(0)));
  return decoded.get(blob);
}
function bits(blob) {
  const raw = bytes(blob);
  return (i) => (raw[i >> 3] >> (i & 7)) & 1;
}

/** `float[N, time, 64]` without its batch axis: `time×64`. */
function shapeText(type) {
  const [, kind, axes] = /^(\w+)\[(.*)\]$/.exec(type) ?? [null, "", ""];
  const sizes = axes.split(", ").filter((a) => a && a !== "N");
  return (sizes.length ? sizes.join("×") : "scalar") + (kind && kind !== "float" ? ` (${kind})` : "");
}

// --- what is chosen: one cell, and what the pointer is over ---

const listeners = [];
const state = { cell: null, over: [] };
function update(change) {
  Object.assign(state, change);
  for (const listener of listeners) listener(change);
}

// --- pictures of bits ---

/** A canvas of rows x columns squares; `paint(row, column)` gives a colour. */
function squares(rows, columns, size, paint, gap = size >= 6 ? 1 : 0) {
  const ratio = Math.ceil(window.devicePixelRatio || 1);
  const canvas = h("canvas", { width: (columns * size - gap) * ratio, height: (rows * size - gap) * ratio });
  canvas.style.width = `${columns * size - gap}px`;
  canvas.style.height = `${rows * size - gap}px`;
  canvas.redraw = () => {
    const c = canvas.getContext("2d");
    c.clearRect(0, 0, canvas.width, canvas.height);
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < columns; k++) {
        c.fillStyle = paint(r, k);
        c.fillRect(k * size * ratio, r * size * ratio, (size - gap) * ratio, (size - gap) * ratio);
      }
    }
  };
  canvas.redraw();
  return canvas;
}

/** How elements of a shape lie on canvases: `panels` of rows x columns, an element at each place or none. */
function arrangement(shape) {
  const total = product(shape);
  if (shape.length >= 2) {
    const [rows, columns] = shape.slice(-2);
    return { panels: total / (rows * columns), rows, columns, total };
  }
  const columns = total <= 40 ? total : Math.max(32, Math.ceil(Math.sqrt(total)));
  return { panels: 1, rows: Math.ceil(total / columns), columns, total };
}

/** Canvases of all elements of a shape. `paint(i)` colours element i, `pick(i)` is called for a chosen one. */
function elements(shape, width, label, paint, pick) {
  const { panels, rows, columns, total } = arrangement(shape);
  const shown = Math.min(panels, 12);
  const size = Math.max(3, Math.min(34, Math.floor(width / (columns * Math.min(shown, 3)))));
  const box = h("div", { class: "panels" });
  let current = 0;
  for (let p = 0; p < shown; p++) {
    const at = (r, k) => p * rows * columns + r * columns + k;
    const canvas = squares(rows, columns, size, (r, k) => (at(r, k) < total ? paint(at(r, k)) : "transparent"));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", panels > 1 ? `${label}, channel ${p}` : label);
    if (pick) {
      const choose = (i) => { if (i >= 0 && i < total) { current = i; pick(i); } };
      const locate = (e) => {
        const b = canvas.getBoundingClientRect();
        choose(at(Math.floor((e.clientY - b.top) / size), Math.floor((e.clientX - b.left) / size)));
      };
      canvas.tabIndex = 0;
      canvas.addEventListener("pointerdown", locate);
      canvas.addEventListener("pointermove", (e) => e.buttons && locate(e));
      canvas.addEventListener("keydown", (e) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[e.key];
        if (step) { e.preventDefault(); choose(current + step); }
      });
    }
    box.append(canvas);
  }
  if (panels > shown) box.append(h("span", { class: "dim" }, `and ${panels - shown} more channels`));
  box.redraw = (i) => { if (i !== undefined) current = i; for (const c of box.querySelectorAll("canvas")) c.redraw(); };
  return box;
}

/** A raster made in Python, `width` on its longer side; rows and columns in another order when these are given. */
function raster(r, width, label, rowOrder, columnOrder) {
  const get = r.depth === 1 ? bits(r.blob) : null;
  const raw = r.depth === 8 ? bytes(r.blob) : null;
  const longer = Math.max(r.columns, r.rows), grid = Math.min(20, Math.floor(width / longer));
  const size = grid >= 6 ? grid : Math.ceil(width / longer); // small squares are drawn larger and scaled down
  const ground = colour("field");
  const canvas = squares(r.rows, r.columns, size, (i, k) => {
    const at = (rowOrder ? rowOrder[i] : i) * r.columns + (columnOrder ? columnOrder[k] : k);
    if (get) return get(at) ? "#ffffff" : ground;
    return `color-mix(in srgb, #ffffff ${Math.round(raw[at] / 2.55)}%, ${ground})`;
  }, grid >= 6 ? 1 : 0);
  if (grid < 6) {
    canvas.style.width = `${(r.columns * width) / longer}px`;
    canvas.style.height = `${(r.rows * width) / longer}px`;
  }
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

const legend = (...names) =>
  h("div", { class: "legend" }, names.map(([key, text]) => h("span", {}, h("i", { class: `k-${key}` }), text)));
