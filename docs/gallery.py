"""The gallery: a page for each spec, with its picture, its figures on real data and its text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from mpcompile import api
from mpcompile.ir import Graph, Input, Module
from mpcompile.report.page.cells import Box, Cell, cells_of, edges, gather
from mpcompile.report.page.drawing import written
from mpcompile.report.page.layout import layered
from mpcompile.report.page.reach import chosen

ROOT = Path(__file__).parents[1]
#: Rows of benchmarks/README.md that are named for their data.
ROWS = {
    "digits": "cnn", "mnist": "cnn", "linear": "linear_autoencoder", "adding": "lstm_stacked", "text": "char_lstm",
    "strokes": "cvrnn",
}  # fmt: skip
#: Pixels: height of a box, gaps between rows and beside, width of a letter.
TALL, GAP, BESIDE, LETTER, WIDEST = 34, 30, 18, 7.4, 34
#: A name in a narrow column may go on in the next line behind an underline.
BREAK = "_\u200b"
#: Layers in a picture, beyond which blocks stay closed.
LARGEST = 20


def specs() -> list[Path]:
    """Return every spec of the repository that is meant to be sound."""
    return sorted(
        p for p in (ROOT / "specs").rglob("*") if p.suffix in (".mp", ".yaml") and p.parent.name != "invalid"
    )


def pages(chosen_specs: Sequence[Path]) -> dict[str, str]:
    """Return the pages of these specs and their index, by file name."""
    found, told = figures(), models()
    made = {f"{spec.stem}.md": page(spec, found.get(spec.stem, []), told) for spec in chosen_specs}
    index = [
        "# Gallery",
        "",
        f"{len(chosen_specs)} specs of this repository: each with a picture of its program, its figures on real data,",
        "and its text. `mpcompile inspect SPEC --output-format html -o page.html` makes a page of each with every mask,",
        "receptive field and verdict.",
        "",
        "| spec | model | a figure |",
        "| --- | --- | --- |",
    ]
    for spec in chosen_specs:
        rows = found.get(spec.stem, [])
        index.append(
            f"| [{spec.stem.replace('_', BREAK)}]({spec.stem}.md) | {about(spec, told)} | {rows[0][1] if rows else ''} |"
        )
    return made | {"index.md": "\n".join(index) + "\n"}


def page(spec: Path, found: Sequence[tuple[str, str, str]], told: dict[str, tuple[str, str]]) -> str:
    """Return the page of one spec."""
    module, name = api.load(spec), str(spec.relative_to(ROOT))
    count = sum(p.live for p in module.parameters.values())
    lines = [f"# {spec.stem}", "", about(spec, told), ""]
    lines += [f"- {count:,} parameters, as it is"]
    lines += [f"- proven: {proven}"] if (proven := told.get(spec.name, ("", ""))[1]) else []
    lines += [f"- file: `{name}`", "", *drawing(module), ""]
    if found:
        lines += [
            "| trained on | figure | beside |",
            "| --- | --- | --- |",
            *(f"| {' | '.join(row)} |" for row in found),
        ]
        lines += [
            "",
            "Sizes and settings may differ from the spec below; [benchmarks](../project/benchmarks.md) has them.",
            "",
        ]
    syntax = spec.suffix[1:]
    text = spec.read_text(encoding="utf-8").rstrip()
    lines += ["## The spec", "", f"```{syntax}", text, "```", "", "```sh", f"mpcompile check {name}"]
    lines += [f"mpcompile train {name} --out runs/{module.name}"] if module.train.data else []
    return "\n".join([*lines, "```", ""])


def about(spec: Path, told: dict[str, tuple[str, str]]) -> str:
    """Return what README says of a spec, else its own first comment."""
    first = re.match(r"# (.*)", spec.read_text(encoding="utf-8"))
    return told[spec.name][0] if spec.name in told else first[1] if first else spec.stem


def models() -> dict[str, tuple[str, str]]:
    """Return the model and what is proven of it, by spec, from README's table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return {
        name: (model, proven)
        for name, model, proven in re.findall(r"^\| `([\w/.]+)` \| ([^|]*?) \| ([^|]*?) ?\|$", text, re.M)
    }


def figures() -> dict[str, list[tuple[str, str, str]]]:
    """Return (data, figure, what stands beside it) by spec, from the tables of benchmarks/README.md."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    found: dict[str, list[tuple[str, str, str]]] = {}
    for sizes, row, value, error, unit, beside in re.findall(
        r"^(?:\$ .*--sizes (\S+).*\n)?(\w+/\w+) +([\d.]+) \+- ([\d.]+) (\S+) +([\d.]+|-)", text, re.M
    ):
        model, data = row.split("/")
        data += f", {sizes.replace(',', ', ')}" if sizes else ""
        published = "" if beside == "-" else f"published {beside}"
        found.setdefault(ROWS.get(model, model), []).append((data, f"{value} +- {error} {unit}", published))
    tables = re.findall(
        r"^\| row, set \| seconds \| figure \| beside \|\n\|[ |-]+\|\n((?:\|.*\n)+)", text, re.M
    )
    for cells in re.findall(r"^\| (.+) \|$", "".join(tables), re.M):
        row, *rest = re.split(r" *(?<!\\)\| *", cells)
        model, _, data = row.partition(", ")
        found.setdefault(ROWS.get(model, model), []).append((data or model, rest[1], rest[2]))
    return found


# --- the picture ---


def drawing(module: Module) -> list[str]:
    """Return the program that the page of `inspect` draws, as SVG in a frame that scrolls."""
    name = chosen(module)
    picture = svg(module, module.programs[name])
    label = escape(f"The program {name} of {module.name}")
    return [
        f'<div class="picture" role="region" aria-label="{label}" tabindex="0">',
        picture,
        "</div>",
        "",
        f"The program `{name}`.",
    ]


def svg(module: Module, graph: Graph) -> str:
    """Draw the outermost layers of a program, from its inputs down to its results."""
    children = opened(gather(graph))
    results = list(graph.outputs.items())
    count = len(children)
    place = {n.id: i for i, child in enumerate(children) for c in cells_of(child) for n in c.nodes}
    links = [
        *edges(graph, children),
        *((place[v.node], count + i, v) for i, (_, v) in enumerate(results) if v.node in place),
    ]
    drawn = layered(count + len(results), links, (), range(count, count + len(results)))
    titles = [*(_title(child, module) for child in children), *(name for name, _ in results)]
    kinds = [*map(_kind, children), *("result" for _ in results)]
    wide = [LETTER * len(t) + 24 for t in titles] + [4.0] * len(drawn.dummies)
    total = max(sum(wide[i] for i in row) + BESIDE * (len(row) - 1) for row in drawn.rows) + 4
    at: dict[int, tuple[float, float]] = {}
    for r, row in enumerate(drawn.rows):
        x = (total - sum(wide[i] for i in row) - BESIDE * (len(row) - 1)) / 2
        for i in row:
            at[i] = (x + wide[i] / 2, 2 + r * (TALL + GAP))
            x += wide[i] + BESIDE
    high = len(drawn.rows) * (TALL + GAP) - GAP + 4
    parts = [f'<svg viewBox="0 0 {total:.0f} {high}" width="{total:.0f}" height="{high}" aria-hidden="true">']
    parts += [f'<path d="{_curve(at, a, b, count + len(results))}"/>' for a, b, _ in drawn.links]
    for i, (title, kind) in enumerate(zip(titles, kinds, strict=True)):
        x, y = at[i]
        parts.append(
            f'<g class="{kind}"><rect x="{x - wide[i] / 2:.1f}" y="{y}" width="{wide[i]:.1f}" height="{TALL}" rx="6"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="{y + 22}">{escape(title)}</text></g>')
    return "\n".join([*parts, "</svg>"])


def opened(root: Box) -> list[Cell | Box]:
    """Return what a box holds, with the boxes in it opened level by level while the picture stays small."""
    children = root.children
    while True:
        inner = [c.children if isinstance(c, Box) and not c.repeats else [c] for c in children]
        deeper = [child for each in inner for child in each]
        if len(deeper) == len(children) or len(deeper) > LARGEST:
            return children
        children = deeper


def _curve(at: dict[int, tuple[float, float]], a: int, b: int, real: int) -> str:
    (x, y), (u, v) = at[a], at[b]
    y += TALL
    through = f" V {v + TALL}" if b >= real else ""  # a long edge runs straight through its row
    return f"M {x:.1f} {y} C {x:.1f} {y + GAP / 2} {u:.1f} {v - GAP / 2} {u:.1f} {v}{through}"


def _title(child: Cell | Box, module: Module) -> str:
    if isinstance(child, Box):
        title = f"{written(child.frame, module.source)[0]} ..." if child.frame else child.name
        return _short(f"{child.repeats} more" if child.repeats else title)
    first = child.nodes[0].op
    if isinstance(first, Input):
        return _short(f"{child.name} {child.nodes[0].outputs[0].type}")
    if child.glue or child.frame is None:
        return _short(" ".join(_few([n.op.name for n in child.nodes])))
    title, arguments = written(child.frame, module.source)
    return _short(f"{title}({arguments})" if arguments else title)


def _few(names: Sequence[str]) -> Iterator[str]:
    yield from names if len(names) <= 3 else (names[0], "…", names[-1])


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _kind(child: Cell | Box) -> str:
    if isinstance(child, Box):
        return "box"
    return "input" if isinstance(child.nodes[0].op, Input) else "glue" if child.glue else "layer"


__all__ = ["pages", "specs"]
