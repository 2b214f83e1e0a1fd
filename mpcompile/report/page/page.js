// The sections of the page, and its start.

// --- header ---

function header() {
  document.title = `${data.model} · mpcompile inspect`;
  const facts = [[data.spec.name, ""], [data.spec.sha256.slice(0, 12), "sha256 "], [number(data.parameters), "", " parameters"],
    ...Object.entries(data.set).map(([k, v]) => [String(v), `${k} = `])];
  const badge = (v) => h("div", { class: `badge ${v.status}`, title: Object.entries(v.detail).map((d) => d.join(": ")).join("\n") },
    h("span", {}, h("b", {}, v.claim), ` ${v.word}${v.stated ? "" : " (implied)"}`), h("small", {}, v.how));
  $("head").append(
    h("div", {}, h("h1", {}, data.model), h("div", { class: "facts" },
      facts.map(([value, before, after]) => h("span", { title: before === "sha256 " ? data.spec.sha256 : null }, before, h("b", {}, value), after ?? "")))),
    h("div", { class: "badges" }, data.verdicts.length ? data.verdicts.map(badge) : h("div", { class: "badge none" }, "nothing is claimed, nothing had to be proved")),
    h("nav", { "aria-label": "Sections" }, [["dependence", "Dependence"], ["masks", "Masks"], ["flow", "Jacobians"], ["tables", "Layers"]]
      .filter(([id]) => $(id).children.length).map(([id, text]) => h("a", { href: `#${id}` }, text))));
}

// --- the spec ---

const WORDS = /^(model|input|target|condition|block|on|yield|repeat|in|density|params|masks|nets|check|train|latent|prior|objective|allow|because|claims)$/;

/** A stretch of code as nodes, with comments, numbers and words of the language told apart. */
function painted(text) {
  return text.split(/(#.*$|\b\d[\d_.e-]*\b|[A-Za-z_]\w*)/).filter(Boolean).map((t) => {
    const kind = t[0] === "#" ? "comment" : /^\d/.test(t) ? "number" : WORDS.test(t) ? "word" : null;
    return kind ? h("span", { class: kind }, t) : t;
  });
}

function spec() {
  const spans = new Map();
  data.cells.forEach((cell, i) => {
    if (!cell.span || cell.kind === "glue" || cell.span[0] !== cell.span[2]) return;
    const key = cell.span.join();
    if (!spans.has(key)) spans.set(key, { span: cell.span, cells: [], nodes: [] });
    spans.get(key).cells.push(i);
  });
  const rows = new Map();
  const code = h("div", { class: "code" });
  data.spec.lines.forEach((text, n) => {
    const line = Array.from(text); // columns count characters, not UTF-16 units
    const here = [...spans.values()].filter((x) => x.span[0] === n + 1);
    const cuts = [...new Set([0, line.length, ...here.flatMap((x) => [x.span[1] - 1, x.span[3] - 1])])]
      .filter((c) => c <= line.length).sort((a, b) => a - b);
    const pre = h("pre", {});
    cuts.forEach((start, i) => {
      const stop = cuts[i + 1] ?? line.length;
      if (stop === start) return;
      const inside = here.filter((x) => x.span[1] - 1 <= start && stop <= x.span[3] - 1)
        .sort((a, b) => a.span[3] - a.span[1] - (b.span[3] - b.span[1]));
      const piece = painted(line.slice(start, stop).join(""));
      if (!inside.length) { pre.append(...piece); return; }
      const segment = h("span", { class: "seg", onmouseenter: () => update({ over: inside[0].cells }),
        onmouseleave: () => update({ over: [] }), onclick: () => update({ cell: inside[0].cells[0], reveal: true }) }, piece);
      for (const x of inside) x.nodes.push(segment);
      pre.append(segment);
    });
    const findings = data.findings.filter((f) => f.line === n + 1);
    rows.set(n + 1, h("div", { class: findings.length ? `row ${findings[0].severity}` : "row" }, h("i", {}, String(n + 1)), pre));
    code.append(rows.get(n + 1), ...findings.map(finding));
  });
  code.append(...data.findings.filter((f) => !rows.has(f.line)).map(finding));
  $("spec").append(h("div", { class: "bar" }, h("b", {}, data.spec.name),
    h("span", { class: "push" }, data.findings.length ? `${data.findings.length} finding${data.findings.length > 1 ? "s" : ""}` : "no findings")),
  h("div", { class: "scroll", tabindex: 0, "aria-label": "Specification" }, code));
  listeners.push(() => {
    const on = new Set([...state.over, state.cell].filter((i) => i !== null));
    for (const row of rows.values()) row.classList.remove("on");
    for (const x of spans.values()) {
      const hit = x.cells.some((i) => on.has(i));
      for (const node of x.nodes) node.classList.toggle("on", hit);
    }
    for (const i of on) if (data.cells[i].span) rows.get(data.cells[i].span[0])?.classList.add("on");
  });
}

function finding(f) {
  return h("div", { class: `finding ${f.severity}` }, h("b", {}, `${f.code} `), f.message, f.label ? h("div", { class: "note" }, f.label) : null,
    f.notes.map((n) => h("div", { class: /^[#oX.]+$/.test(n) ? "note mono" : "note" }, n)), f.help ? h("div", { class: "note" }, `help: ${f.help}`) : null,
    f.path.length ? h("ol", { "aria-label": "Witness path" }, f.path.map(([text, line], k) => {
      const cell = f.walk.at[k];
      const go = cell === null ? {} : { onclick: () => update({ cell, reveal: true }), onmouseenter: () => update({ over: [cell] }), onmouseleave: () => update({ over: [] }) };
      return h("li", {}, h("button", go, text), h("span", {}, `line ${line}`));
    })) : null);
}

// --- one layer ---

function layer() {
  const pane = $("layer");
  const show = () => {
    const cell = data.cells[state.cell];
    if (!cell) { pane.replaceChildren(h("div", { class: "bar" }, "Choose a layer in the graph.")); return; }
    const total = cell.parameters.reduce((t, p) => t + (p[3] ? p[2] : 0), 0);
    const body = h("div", { class: "scroll" });
    if (cell.arguments && cell.kind === "layer") body.append(h("code", {}, `${cell.title}(${cell.arguments})`));
    if (cell.about) body.append(h("p", { class: "dim about" }, cell.about.split("`").map((t, i) => (i % 2 ? h("code", {}, t) : t))));
    body.append(h("dl", {}, h("dt", {}, "gives"), h("dd", {}, h("code", {}, cell.shape)),
      cell.span ? [h("dt", {}, "written in"), h("dd", {}, `line ${cell.span[0]}`)] : [],
      h("dt", {}, "parameters"), h("dd", {}, number(total)),
      cell.parameters.flatMap(([name, shape, count, trained]) => [h("dt", {}), h("dd", { title: name }, h("code", {}, `${name.split(".").at(-1)} ${shape.join("×")}`), h("span", { class: "dim" }, ` ${number(count)}${trained ? "" : ", not trained"}`))])));
    if (cell.formula.length) body.append(h("h2", { class: "minor" }, "In primitives ", h("small", { class: "dim" }, "without their attributes")), h("pre", { class: "formula", tabindex: 0 }, cell.formula.join("\n")));
    for (const m of cell.masks) body.append(h("h2", { class: "minor" }, "Mask"), maskPicture(data.masks[m], 300), h("p", { class: "dim" }, maskText(data.masks[m])));
    if (cell.reach) body.append(h("h2", { class: "minor" }, "Receptive field"), receptive(cell));
    pane.replaceChildren(h("div", { class: "bar" }, h("b", {}, cell.title), h("span", { class: "push mono clip", title: cell.name }, cell.name)), body);
  };
  listeners.push((change) => { if ("cell" in change) show(); });
  show();
}

function receptive(cell) {
  const count = product(cell.reach.shape), inputs = product(data.source.shape), get = bits(cell.reach.blob);
  const { rows, columns } = arrangement(cell.reach.shape);
  let at = cell.reach.shape.length > 1 ? Math.floor(rows / 2) * columns + Math.floor(columns / 2) : Math.floor(count / 2);
  const say = h("p", { class: "dim" });
  const own = elements(cell.reach.shape, 250, "places of this layer", (i) => colour(i === at ? "own" : "field"), (i) => { at = i; refresh(); });
  const read = elements(data.source.shape, 250, "inputs that this place reads", (i) => (get(at * inputs + i) ? colour("reads") : colour("field")));
  const refresh = () => {
    own.redraw(at); read.redraw();
    let n = 0;
    for (let i = 0; i < inputs; i++) n += get(at * inputs + i);
    say.textContent = `This place reads ${number(n)} of ${number(inputs)} elements of ${data.source.name}${data.at ? ` at ${data.at}` : ""}.`;
  };
  refresh();
  return h("div", {}, h("p", { class: "dim" }, "Choose a place of the layer:"), own, h("p", { class: "dim" }, `What it reads of ${data.source.name}:`), read, say);
}

// --- dependence ---

const indexText = (i, shape) => {
  const out = [];
  for (let k = shape.length - 1; k >= 0; k--) { out.unshift(i % shape[k]); i = Math.floor(i / shape[k]); }
  return `[${out.join(", ")}]`;
};

function dependence() {
  if (!data.dependence.length) {
    if (data.why_not) $("dependence").append(h("h2", {}, "Dependence"), h("p", { class: "lead" }, `Not drawn: ${data.why_not}.`));
    return;
  }
  $("dependence").append(h("h2", {}, "Dependence"), h("p", { class: "lead" },
    `Which elements of the input each output can read, for generic weights: exact sets, derived from the graph of ${data.program}${data.at ? ` at ${data.at}` : ""}.`));
  for (const d of data.dependence) $("dependence").append(support(d));
}

function support(d) {
  const get = bits(d.blob), n = product(d.inputs), m = product(d.outputs);
  const sorted = [...Array(n).keys()];
  if (d.ranks) sorted.sort((a, b) => d.ranks[a] - d.ranks[b] || a - b);
  const rows = d.ranks ? sorted : [...Array(m).keys()];
  const may = (o, i) => !d.ranks || d.ranks[o] > d.ranks[i];
  const tints = Object.fromEntries(["reads", "field", "blind", "leak", "own"].map((k) => [k, colour(k)]));
  const kindOf = (o, i) => (get(o * n + i) ? (may(o, i) ? "reads" : "leak") : d.ranks && may(o, i) ? "blind" : "field");
  const counts = rows.map(() => ({ reads: 0, leak: 0, blind: 0, field: 0 }));
  for (let o = 0; o < m; o++) for (let i = 0; i < n; i++) counts[o][kindOf(o, i)]++;
  const all = { reads: 0, leak: 0, blind: 0 };
  for (const c of counts) for (const k in all) all[k] += c[k];
  const worst = (key) => counts.reduce((b, c, o) => (c[key] > (counts[b]?.[key] ?? 0) ? o : b), -1);
  const { rows: high, columns } = arrangement(d.outputs);
  let at = worst("leak") >= 0 ? worst("leak") : worst("blind") >= 0 ? worst("blind") : Math.min(m - 1, Math.floor(high / 2) * columns + Math.floor(columns / 2));

  const size = Math.max(1, Math.floor(380 / Math.max(n, m)));
  const matrix = squares(m, n, size, (r, k) => {
    const o = rows[r], i = sorted[k], kind = kindOf(o, i);
    return d.ranks && o === i && kind === "field" ? `color-mix(in srgb, ${tints.own} 45%, ${tints.field})` : tints[kind];
  }, size >= 8 ? 1 : 0);
  const tall = Math.min(m * size, (400 * m) / Math.max(n, m)); // a large matrix is scaled down
  matrix.style.width = `${(tall * n) / m}px`;
  matrix.style.height = `${tall}px`;
  const chosen = h("i", { class: "chosen-row" });
  matrix.setAttribute("role", "img");
  matrix.setAttribute("aria-label", `support matrix, ${m} outputs by ${n} inputs`);
  const shade = (o) => (o === at ? tints.own : counts[o].leak ? tints.leak : counts[o].blind ? `color-mix(in srgb, ${tints.blind} ${30 + Math.round((70 * counts[o].blind) / (counts[o].blind + counts[o].reads))}%, ${tints.field})` : tints.field);
  const say = h("p", { class: "say" });
  const outputs = elements(d.outputs, 320, "outputs", shade, (i) => { at = i; refresh(); });
  const inputs = elements(d.inputs, 320, "inputs that this output reads", (i) => {
    const kind = kindOf(at, i);
    return d.ranks && i === at && kind !== "leak" ? tints.own : tints[kind];
  });
  const refresh = () => {
    outputs.redraw(at); inputs.redraw();
    chosen.style.top = `${((rows.indexOf(at) + 0.5) * tall) / m}px`;
    chosen.style.height = `${Math.max(5, tall / m + 2)}px`;
    const own = counts[at], place = indexText(at, d.outputs);
    const parts = [`${d.ranks ? d.source : d.output}${place}`, d.ranks ? ` is number ${d.ranks[at] + 1} of ${m} in the order. It reads ` : " reads ",
      d.ranks ? `${own.reads} of the ${own.reads + own.blind} elements before it` : `${own.reads} of ${n} elements of ${d.source}`];
    if (d.ranks) parts.push(own.blind ? `; ${own.blind} are in its blind spot` : ", so it has no blind spot", own.leak ? `. It also reads ${own.leak} that it must not: a leak.` : ", and nothing else.");
    else parts.push(".");
    say.textContent = parts.join("");
  };
  refresh();
  const totals = d.ranks
    ? `${number(all.reads)} of ${number(all.reads + all.blind)} allowed dependencies are there${all.leak ? `, and ${number(all.leak)} that the order forbids` : ""}.`
    : `${number(all.reads)} of ${number(n * m)} entries (${percent(all.reads / (n * m))}).`;
  const keys = d.ranks ? [["reads", "reads"], ["field", "must not read, and does not"], ["blind", "may read, but does not (blind spot)"], ["leak", "reads, but must not (leak)"], ["own", "the element itself"]]
    : [["reads", "reads"], ["field", "does not read"]];
  return h("div", { class: "card duo", tabindex: 0, role: "region", "aria-label": "Dependence of the output on the input" },
    h("figure", {}, h("figcaption", {}, h("b", {}, d.ranks ? "In the order of generation" : `${d.output} by ${d.source}`), `rows: outputs, columns: ${d.source}. ${totals}`), h("div", { class: "matrix" }, matrix, chosen)),
    h("div", {}, h("div", { class: "pickers" },
      h("figure", {}, h("figcaption", {}, h("b", {}, "Choose an output"), d.output), outputs),
      h("figure", {}, h("figcaption", {}, h("b", {}, "What it reads"), `${d.source} ${d.inputs.join("×")}`), inputs)), say, legend(...keys)));
}

// --- masks ---

let byFill = true;
function maskPicture(mask, width) {
  const title = `mask ${mask.shape.join(" by ")}`;
  if (mask.kind === "data" && mask.shape.length > 1 && mask.raster.depth === 1) {
    const get = bits(mask.raster.blob);
    return elements(mask.shape, width, title, (i) => (get(i) ? "#ffffff" : colour("field")));
  }
  if (!mask.taps) {
    const r = mask.raster;
    let rowOrder, columnOrder;
    if (byFill && r.depth === 1) {
      const get = bits(r.blob), of = (count, at) => [...Array(count).keys()].map((i) => [at(i), i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((x) => x[1]);
      const sum = (count, at) => { let t = 0; for (let k = 0; k < count; k++) t += get(at(k)); return t; };
      rowOrder = of(r.rows, (i) => sum(r.columns, (k) => i * r.columns + k));
      columnOrder = of(r.columns, (k) => -sum(r.rows, (i) => i * r.columns + k));
    }
    return raster(r, width, title, rowOrder, columnOrder);
  }
  const [rows, columns] = mask.taps, get = bits(mask.raster.blob);
  const size = Math.max(4, Math.min(26, Math.floor(width / mask.ins.length / (columns + 0.6))));
  return h("div", { role: "img", "aria-label": title }, mask.outs.map((_, o) => h("div", { class: "panels" }, mask.ins.map((_, i) =>
    squares(rows, columns, size, (r, k) => {
      const on = get(((o * mask.ins.length + i) * rows + r) * columns + k);
      return on ? "#ffffff" : colour("field");
    })))));
}
function maskText(mask) {
  const kind = { weight: "of a weight", data: "of the data", attention: "of attention" }[mask.kind];
  const parts = [`${mask.shape.join("×")} ${kind}, ${percent(mask.fill)} open`];
  if (mask.taps) {
    const apart = mask.outs.length * mask.ins.length > 1;
    parts.push(apart ? `taps by class of channels: rows are outputs (${mask.outs.join(", ")} channels), columns inputs (${mask.ins.join(", ")})` : "the same taps for every pair of channels");
  } else if (mask.raster.depth === 8) parts.push(`averaged to ${mask.raster.rows}×${mask.raster.columns} pixels`);
  else if (byFill && mask.kind === "weight") parts.push("sorted by how much rows and columns let through");
  return `${parts.join("; ")}.`;
}

function masks() {
  if (!data.masks.length) return;
  const alike = new Map();
  for (const m of data.masks) {
    const { kind, title } = data.cells[m.cell];
    const key = JSON.stringify([m.kind, m.shape, m.raster, kind === "layer" ? title : ""]);
    alike.set(key, [...(alike.get(key) ?? []), m]);
  }
  const grid = h("div", { class: "cards" });
  const refresh = () => grid.replaceChildren(...[...alike.values()].map((group) => {
    const cell = data.cells[group[0].cell];
    const owner = (c) => c.name.split(".").slice(-2).join(".");
    return h("div", { class: "card" }, h("h3", { title: cell.name }, cell.kind === "glue" ? owner(cell) : cell.title), h("code", { class: "mono dim", title: cell.arguments }, cell.kind === "glue" ? "" : cell.arguments),
      maskPicture(group[0], 208), h("p", { class: "foot" }, maskText(group[0])),
      h("p", { class: "foot", title: group.map((m) => data.cells[m.cell].name).join("\n") }, group.length > 1 ? h("b", {}, `the same in ${group.length} places: `) : null,
        owner(cell), group.length > 1 ? ` to ${owner(data.cells[group.at(-1).cell])}` : ""));
  }));
  const dense = data.masks.some((m) => !m.taps && m.kind === "weight" && m.raster.depth === 1);
  $("masks").append(h("h2", {}, "Masks"), h("p", { class: "lead" }, "White lets through, dark is zero whatever the weights are. Rows are outputs, columns inputs."));
  if (dense) $("masks").append(h("label", {}, h("input", { type: "checkbox", checked: true, onchange: (e) => { byFill = e.target.checked; refresh(); update({ cell: state.cell }); } }), "sort rows and columns by how much they let through"));
  $("masks").append(grid);
  refresh();
}

// --- flows ---

function flow() {
  if (!data.flow.length) return;
  const cards = data.flow.map((p) => h("div", { class: "card" },
    p.kind ? h("span", { class: `kind ${p.kind}` }, `${p.kind}, ${p.cost}`) : null,
    h("h3", {}, p.name), h("code", { class: "mono dim", title: p.label }, p.label),
    p.why ? h("p", { class: "dim" }, `Not drawn: ${p.why}.`) : h("div", { class: "pair" },
      h("figure", {}, h("figcaption", {}, "as in memory"), raster(p.natural, p.peeled ? 96 : 128, `support of ${p.name}`)),
      p.peeled ? h("figure", {}, h("figcaption", {}, p.kind === "diagonal" ? "permuted" : "peeled"), raster(p.peeled, 96, `support of ${p.name} in its triangular order`)) : null),
    p.size ? h("p", { class: "foot" }, `${p.size.join("×")}, ${number(p.entries)} entries, line ${p.line}`) : null));
  $("flow").append(h("h2", {}, "Jacobians, bijector by bijector"), h("p", { class: "lead" },
    "Support of each Jacobian (rows: outputs). Peeling rows with a single open column finds the order in which it is triangular; then the log-determinant is the sum of a diagonal, O(D). A dense one costs O(D^3)."),
  h("div", { class: "cards" }, cards));
}

// --- tables ---

function tables() {
  const most = Math.max(1, ...data.layers.map((r) => r.parameters));
  const cellOf = new Map(data.cells.map((c, i) => [c.name, i]));
  const rows = data.layers.map((r) => h("tr", {}, h("td", {}, cellOf.has(r.name) ? h("a", { href: "#work", onclick: () => update({ cell: cellOf.get(r.name), reveal: true }) }, r.name) : r.name),
    h("td", {}, h("span", { class: "mono" }, r.layer)), h("td", { class: "num" }, String(r.line)), h("td", {}, h("span", { class: "mono" }, r.shape)),
    h("td", { class: "num" }, number(r.parameters), meter(r.parameters / most)), h("td", { class: "num" }, number(r.flops_example), meter(r.share))));
  const axis = (a) => (a.size === a.name ? a.name : a.name + ": " + a.size) + (a.role === a.name ? "" : " (" + a.role + ")");
  const variables = data.variables.map((v) => h("tr", {}, h("td", {}, v.name), h("td", {}, v.role), h("td", {}, v.kind), h("td", {}, v.axes.map(axis).join(", ") || "one number"), h("td", { class: "num" }, String(v.line))));
  const programs = Object.entries(data.programs).map(([name, p]) => h("tr", {}, h("td", {}, name),
    ...[p.inputs, p.outputs].map((side) => h("td", {}, h("span", { class: "mono" }, Object.entries(side).map((x) => x.join(": ")).join(", ")))), h("td", { class: "num" }, number(p.primitives))));
  const lead = [`${number(data.parameters)} parameters${data.stored === data.parameters ? "" : `; masks remove ${number(data.stored - data.parameters)} more`}`,
    `${number(data.flops.example)} operations forward for one example`,
    ...Object.entries(data.sampling).map(([name, x]) => x.refused.length
      ? `a sample of ${name} takes ${x.steps} passes of the network`
      : `a sample of ${name} takes ${x.steps} steps, the work of ${x.work.toFixed(2)} passes`)];
  $("tables").append(h("h2", {}, "Layers of the loss"), h("p", { class: "lead" }, `${lead.join("; ")}.`), table(["layer", "written as", "line*", "gives", "parameters*", "operations*"], rows),
    h("h2", {}, h("br"), "Variables"), table(["variable", "is", "type", "axes", "line*"], variables),
    h("h2", {}, h("br"), "Programs"), table(["program", "inputs", "outputs", "primitives*"], programs),
    h("p", { class: "dim" }, h("br"), `mpcompile ${data.mpcompile}. One file, nothing is fetched. sha256 of the spec: `, h("code", {}, data.spec.sha256)));
}
function meter(share) {
  const inner = h("i", {});
  inner.style.width = `${100 * share}%`;
  return h("span", { class: "meter" }, inner);
}
const table = (heads, rows) => h("div", { class: "card table", tabindex: 0, role: "region", "aria-label": `Table by ${heads[0]}` }, h("table", {},
  h("thead", {}, h("tr", {}, heads.map((t) => h("th", { class: t.endsWith("*") ? "num" : null, scope: "col" }, t.replace("*", ""))))), h("tbody", {}, rows)));

// --- all of it ---

spec();
graph();
layer();
dependence();
masks();
flow();
tables();
header();
const culprit = data.findings.map((f) => f.walk.at.find((c) => c !== null && data.cells[c].span?.[0] === f.line && data.cells[c].kind === "layer")).find((c) => c !== undefined);
const first = (test) => { const i = data.cells.findIndex(test); return i < 0 ? undefined : i; };
update({ cell: culprit ?? first((c) => c.kind === "layer" && c.masks.length) ?? first((c) => c.masks.length) ?? first((c) => c.parameters.length) ?? 0 });
