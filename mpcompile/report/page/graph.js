// The graph: coordinates for what `layout.py` has put in rows, and the drawing.

// --- the graph: coordinates ---

const GAP = 34, BESIDE = 22, PAD = 14;
const pen = document.createElement("canvas").getContext("2d");
function textWidth(text, font) { pen.font = font; return pen.measureText(text).width; }
function clipped(text, font, width) {
  if (textWidth(text, font) <= width) return text;
  let n = text.length;
  while (n > 1 && textWidth(`${text.slice(0, n)}…`, font) > width) n--;
  return `${text.slice(0, n)}…`;
}
const SANS = "600 13px system-ui, sans-serif", MONO = "11px monospace", WIDEST = 190;

const closed = new Set(data.boxes.flatMap((b, i) => (b.repeats ? [i] : [])));
const foldName = (b) => (b.repeats ? `× ${b.repeats} more` : b.title);
const foldArguments = (b) => (b.repeats ? `${b.title}(${b.arguments})` : b.arguments);

function label(title, args, tall) {
  const text = clipped(args, MONO, WIDEST);
  return { title, args: text, w: Math.max(tall ? 72 : 44, textWidth(title, SANS) + 30, textWidth(text, MONO) + 26), h: text ? 42 : tall ? 30 : 26 };
}

/** Sizes and places of everything in a box, with what is folded as it is now. */
function measure(index) {
  const box = data.boxes[index];
  const items = box.items.map(([kind, ref, name]) => {
    if (kind === "cell") {
      const cell = data.cells[ref];
      return { kind, ref, ...label(cell.title, cell.kind === "glue" ? "" : cell.arguments, cell.kind === "layer") };
    }
    if (kind === "box" && closed.has(ref)) {
      const b = data.boxes[ref];
      return { kind: "fold", ref, ...label(foldName(b), foldArguments(b), true), h: 46 };
    }
    if (kind === "box") return { kind, ...measure(ref), ref };
    if (kind === "result") return { kind, ref, ...label(name, "", false) };
    return { kind, ref, w: 4, h: 0 };
  });
  const into = items.map(() => []), from = items.map(() => []);
  for (const [a, b, value] of box.links) {
    if (!from[a].includes(value)) from[a].push(value);
    if (!into[b].includes(value)) into[b].push(value);
  }
  // Values stand along the edge of an item in the order of what they go to, or come from.
  const across = new Map(box.rows.flatMap((row) => row.map((i, k) => [i, k / row.length])));
  const far = (i, value, own, other) => {
    const ends = box.links.filter((l) => l[own] === i && l[2] === value).map((l) => across.get(l[other]));
    return ends.reduce((a, b) => a + b, 0) / ends.length;
  };
  from.forEach((values, i) => values.length > 1 && values.sort((p, q) => far(i, p, 0, 1) - far(i, q, 0, 1)));
  into.forEach((values, i) => values.length > 1 && values.sort((p, q) => far(i, p, 1, 0) - far(i, q, 1, 0)));
  const attach = (i, value, list, ports) => {
    const item = items[i];
    if (item.kind === "box") return item[ports].get(value) ?? item.w / 2;
    return (item.w * (list[i].indexOf(value) + 1)) / (list[i].length + 1);
  };
  const enter = (i, v) => attach(i, v, into, "ins"), leave = (i, v) => attach(i, v, from, "outs");
  place(box, items, enter, leave);
  let y = index ? 0 : PAD;
  box.rows.forEach((row, r) => {
    const height = Math.max(...row.map((i) => items[i].h));
    const ports = row.every((i) => items[i].kind === "in");
    if (r > 0 || (index && !ports)) y += GAP;
    for (const i of row) Object.assign(items[i], { y, bottom: y + height, h: items[i].kind === "via" ? height : items[i].h });
    y += height;
  });
  const left = Math.min(...items.map((i) => i.x)), right = Math.max(...items.map((i) => i.x + i.w));
  const title = index ? 2 * textWidth(box.title, SANS) + 56 : 0; // so that a line to the middle passes beside it
  const w = Math.max(right - left + 2 * PAD, title);
  const shift = (w - (right - left)) / 2 - left;
  for (const item of items) item.x += shift;
  const port = (kind) => new Map(items.filter((i) => i.kind === kind).map((i) => [i.ref, i.x + 2]));
  return { w, h: y + (items.some((i) => i.kind === "out") ? 0 : PAD), items, links: box.links, enter, leave, ins: port("in"), outs: port("out") };
}

/** x of every item: each sweep puts a row as near as its order allows to what it is linked with. */
function place(box, items, enter, leave) {
  const up = items.map(() => []), down = items.map(() => []);
  for (const [a, b, v] of box.links) { up[b].push([a, leave(a, v), enter(b, v)]); down[a].push([b, enter(b, v), leave(a, v)]); }
  for (const row of box.rows) { let x = 0; for (const i of row) { items[i].x = x; x += items[i].w + BESIDE; } }
  for (let sweep = 0; sweep < 10; sweep++) {
    const rows = sweep % 2 ? [...box.rows].reverse() : box.rows;
    for (const row of rows) {
      const wanted = row.map((i) => {
        const near = sweep > 7 ? [...up[i], ...down[i]] : sweep % 2 ? down[i] : up[i];
        return near.length ? near.reduce((t, [j, theirs, own]) => t + items[j].x + theirs - own, 0) / near.length : items[i].x;
      });
      settle(row.map((i) => items[i]), wanted);
    }
  }
}

/** Least squares under the order of a row: pool neighbours that would overlap (isotonic regression). */
function settle(row, wanted) {
  const offsets = []; let sum = 0;
  for (const item of row) { offsets.push(sum); sum += item.w + BESIDE; }
  const pools = [];
  row.forEach((item, k) => {
    let pool = { mean: wanted[k] - offsets[k], weight: item.kind === "via" ? 4 : 1, count: 1 };
    while (pools.length && pools.at(-1).mean >= pool.mean) {
      const p = pools.pop(), weight = p.weight + pool.weight;
      pool = { mean: (p.mean * p.weight + pool.mean * pool.weight) / weight, weight, count: p.count + pool.count };
    }
    pools.push(pool);
  });
  let k = 0;
  for (const pool of pools) for (let n = 0; n < pool.count; n++, k++) row[k].x = pool.mean + offsets[k];
}

// --- the graph: drawing ---

const hotCells = new Set(data.findings.flatMap((f) => f.walk.cells));
const hotValues = new Set(data.findings.flatMap((f) => f.walk.values));
const within = (box, test) => { for (let i = box.cells[0]; i <= box.cells[1]; i++) if (test.has(i)) return true; return false; };
const isHot = (item) => {
  if (item.kind === "cell") return hotCells.has(item.ref);
  if (item.kind === "box" || item.kind === "fold") return within(data.boxes[item.ref], hotCells);
  return hotValues.has(item.ref);
};
const shown = new Map(); // cell -> the element that stands for it

function drawItem(item) {
  const at = { transform: `translate(${item.x} ${item.y})` };
  const face = (args) => [
    s("rect", { width: item.w, height: item.h, rx: 7 }), ...args,
    s("text", { class: "title", x: item.w / 2, y: item.args ? 18 : item.h / 2 + 4.5, "text-anchor": "middle" }, item.title),
    item.args ? s("text", { class: "args", x: item.w / 2, y: 33, "text-anchor": "middle" }, item.args) : null];
  if (item.kind === "result") return s("g", { class: hotValues.has(item.ref) ? "result hot" : "result", ...at }, face([]));
  if (item.kind === "fold") {
    const box = data.boxes[item.ref];
    const open = () => { closed.delete(item.ref); draw(item.ref); };
    const g = s("g", { class: `fold${isHot(item) ? " hot" : ""}`, ...at, "data-box": item.ref, tabindex: 0, role: "button", "aria-label": `unfold ${box.name}`, onclick: open, onkeydown: pressed(open) },
      [6, 3].map((d) => s("rect", { x: d, y: d, width: item.w, height: item.h, rx: 7 })), face([]), s("title", {}, `${box.name}: click to unfold`));
    for (let i = box.cells[0]; i <= box.cells[1]; i++) shown.set(i, g);
    return g;
  }
  if (item.kind === "box") {
    const box = data.boxes[item.ref];
    const fold = () => { closed.add(item.ref); draw(item.ref); };
    return s("g", { class: "box", ...at }, s("rect", { width: item.w, height: item.h, rx: 9 }), drawInside(item),
      s("g", { class: "handle", "data-box": item.ref, tabindex: 0, role: "button", "aria-label": `fold ${box.name}`, onclick: fold, onkeydown: pressed(fold) },
        s("text", { x: 10, y: 17 }, `▾ ${box.title}`), s("title", {}, `${box.name}: click to fold`)));
  }
  if (item.kind !== "cell") return null;
  const cell = data.cells[item.ref];
  const plain = cell.kind === "layer" && !cell.parameters.length && !cell.masks.length;
  const choose = () => update({ cell: item.ref });
  const g = s("g", { class: `cell ${cell.kind}${plain ? " plain" : ""}${hotCells.has(item.ref) ? " hot" : ""}`, ...at, tabindex: 0, role: "button",
    "aria-label": `${cell.name}, ${cell.title} ${cell.arguments}, gives ${shapeText(cell.shape)}`, onclick: choose, onkeydown: pressed(choose),
    onmouseenter: () => update({ over: [item.ref] }), onmouseleave: () => update({ over: [] }) },
  face(cell.masks.length ? [s("rect", { class: "tab", x: 0, y: 7, width: 4, height: item.h - 14, rx: 2 })] : []),
  s("title", {}, `${cell.name}${cell.arguments ? `\n${cell.title}(${cell.arguments})` : ""}\n${cell.shape}`));
  shown.set(item.ref, g);
  return g;
}

function drawInside(area) {
  const { items, links, enter, leave } = area;
  const lines = [], named = new Set(), sizes = [];
  for (const item of items) if (item.kind === "via" && item.h) lines.push(line(isHot(item), `M${item.x + 2} ${item.y}V${item.y + item.h}`));
  for (const [a, b, value] of links) {
    const from = items[a], to = items[b];
    const x1 = from.x + leave(a, value), y1 = from.y + from.h, x2 = to.x + enter(b, value), y2 = to.y, turn = from.bottom;
    const hot = hotValues.has(value) && isHot(from) && isHot(to) || hotValues.has(value) && isHot(from) && to.kind === "result";
    const tip = ["cell", "fold", "result"].includes(to.kind);
    const end = tip ? y2 - 5 : y2, middle = (turn + end) / 2;
    lines.push(line(hot, `M${x1} ${y1}V${turn}C${x1} ${middle} ${x2} ${middle} ${x2} ${end}`));
    if (tip) lines.push(s("path", { class: hot ? "tip hot" : "tip", d: `M${x2 - 4} ${y2 - 7}h8L${x2} ${y2}z` }));
    if (["cell", "fold"].includes(from.kind) && !named.has(value)) {
      // On the side away from where the line turns; two values of one cell stand on either side of it.
      const targets = links.filter((l) => l[0] === a && l[2] === value).map((l) => items[l[1]].x + enter(l[1], value));
      const off = x1 - (from.x + from.w / 2);
      const left = Math.abs(off) > 2 ? off < 0 : targets.every((x) => x > x1 + 4);
      sizes.push(s("text", { class: "size", x: x1 + (left ? -6 : 6), y: y1 + 15, "text-anchor": left ? "end" : "start" }, shapeText(data.values[value])));
      named.add(value);
    }
  }
  const order = (l) => (l.classList.contains("hot") ? 1 : 0);
  return s("g", {}, lines.sort((p, q) => order(p) - order(q)), items.map(drawItem), sizes);
}
const line = (hot, d) => s("path", { class: hot ? "link hot" : "link", d });

const view = { zoom: 0 };
function draw(focused) {
  shown.clear();
  const area = measure(0);
  const svg = s("svg", { viewBox: `0 0 ${area.w} ${area.h}`, role: "group", "aria-label": `Layers of ${data.program}` }, drawInside(area));
  Object.assign(view, { width: area.w, height: area.h });
  if (!view.zoom) view.zoom = Math.max(0.55, Math.min(1.1, ($("canvas").clientWidth - 24) / area.w));
  $("canvas").replaceChildren(svg);
  zoomTo(view.zoom);
  mark();
  $("canvas").querySelector(`[data-box="${focused}"]`)?.focus({ preventScroll: true });
}
function zoomTo(zoom) {
  view.zoom = Math.max(0.15, Math.min(3, zoom));
  const svg = $("canvas").firstChild;
  svg.setAttribute("width", view.width * view.zoom);
  svg.setAttribute("height", view.height * view.zoom);
}
function mark() {
  for (const node of shown.values()) node.classList.remove("chosen", "linked");
  for (const i of state.over) shown.get(i)?.classList.add("linked");
  if (state.cell !== null) shown.get(state.cell)?.classList.add("chosen");
}

function graph() {
  const buttons = [["−", "zoom out", () => zoomTo(view.zoom / 1.2)], ["+", "zoom in", () => zoomTo(view.zoom * 1.2)],
    ["fit", "fit to the pane", () => zoomTo(Math.min(($("canvas").clientWidth - 8) / view.width, ($("canvas").clientHeight - 8) / view.height))],
    ["fold", "fold every block", () => { data.boxes.forEach((b, i) => i && closed.add(i)); draw(); }],
    ["unfold", "unfold every block", () => { closed.clear(); draw(); }]];
  const marks = [data.masks.length && ["tab", "masked"], hotCells.size && ["hot", "on the witness path"]].filter(Boolean);
  const canvas = h("div", { class: "scroll", id: "canvas", tabindex: 0, "aria-label": "Graph; arrow keys scroll, + and - zoom" });
  $("graph").append(h("div", { class: "bar" }, h("b", {}, data.program), h("span", { class: "note" }, "edges carry the shape of one example"),
    h("span", { class: "push" }), buttons.filter(([t]) => data.boxes.length > 1 || !t.includes("fold"))
      .map(([text, title, act]) => h("button", { title, "aria-label": title, onclick: act }, text))), canvas,
  marks.length ? h("div", { class: "bar under" }, legend(...marks)) : "");
  canvas.addEventListener("wheel", (e) => { if (e.ctrlKey || e.metaKey) { e.preventDefault(); zoomTo(view.zoom * Math.exp(-e.deltaY / 300)); } }, { passive: false });
  canvas.addEventListener("keydown", (e) => { if (e.key === "+" || e.key === "-") zoomTo(view.zoom * (e.key === "+" ? 1.2 : 1 / 1.2)); });
  let grip = null;
  canvas.addEventListener("pointerdown", (e) => { if (e.pointerType === "mouse" && !e.target.closest(".cell,.fold,.handle")) grip = [e.clientX + canvas.scrollLeft, e.clientY + canvas.scrollTop]; });
  window.addEventListener("pointermove", (e) => {
    if (!grip) return;
    canvas.classList.add("dragging");
    canvas.scrollTo(grip[0] - e.clientX, grip[1] - e.clientY);
  });
  window.addEventListener("pointerup", () => { grip = null; canvas.classList.remove("dragging"); });
  draw();
  listeners.push((change) => {
    mark();
    if (change.reveal) shown.get(state.cell)?.scrollIntoView({ block: "center", inline: "nearest" });
  });
}
