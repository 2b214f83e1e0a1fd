"""The page of `inspect --output-format html`: complete for every spec, closed to the outside and to the spec's text."""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specs_under_test import ROOT, SPECS

from mpcompile import api
from mpcompile.cli import main
from mpcompile.diagnostics import SpecError
from mpcompile.ir import Module
from mpcompile.report.page import page

#: Text that would break out of a script, a comment, an attribute or a string.
HOSTILE = "</script><img src=x onerror=document.title='gone'><!--<script>\"'`${1}\u2028&lt;😀"

BROWSER = next((b for n in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(n))), None)


def lowers(path: Path) -> bool:
    try:
        api.load(path)
    except SpecError:
        return False
    return True


INVALID = [
    p for p in sorted((ROOT / "specs" / "invalid").iterdir()) if p.suffix in (".mp", ".yaml") and lowers(p)
]


def html_of(module: Module) -> str:
    named = zip(api.property_names(module), api.verdicts(module), strict=True)
    return page(module, list(named), api.warnings(module))


@cache
def html(path: Path) -> str:
    return html_of(api.load(path))


def data(text: str) -> Any:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]


def bits(facts: Any, blob: int, *shape: int) -> Any:
    raw = np.frombuffer(b64decode(facts["blobs"][blob]), np.uint8)
    return np.unpackbits(raw, bitorder="little")[: int(np.prod(shape))].reshape(shape).astype(bool)


@pytest.mark.parametrize("path", [*SPECS, *INVALID], ids=lambda p: p.stem)
def test_every_spec_has_a_page(path: Path) -> None:
    text = html(path)
    assert len(text) < 2_000_000
    facts = data(text)
    assert facts["spec"]["lines"] == path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    items = [item for box in facts["boxes"] for item in box["items"]]
    assert sorted(r for kind, r, *_ in items if kind == "cell") == list(range(len(facts["cells"])))
    assert sorted(r for kind, r, *_ in items if kind == "box") == list(range(1, len(facts["boxes"])))
    for box in facts["boxes"]:
        row = {i: r for r, members in enumerate(box["rows"]) for i in members}
        assert sorted(row) == list(range(len(box["items"])))
        assert all(row[b] == row[a] + 1 and v < len(facts["values"]) for a, b, v in box["links"])
    total = sum(p[2] for p in {p[0]: p for c in facts["cells"] for p in c["parameters"]}.values() if p[3])
    assert total == facts["parameters"], "every parameter stands in a layer"


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_a_page_asks_for_nothing_and_runs_only_its_own_script(path: Path) -> None:
    text = html(path)
    assert not re.search(r"""(?:src|href|action|data|poster)\s*=\s*["']?\s*(?:https?:)?//""", text)
    assert not re.search(r"@import|url\(|<link|<iframe|<object|fetch\(|XMLHttpRequest|innerHTML", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]  # type: ignore[index]
    assert policy.startswith("default-src 'none';")
    for tag, directive in ((r'<script type="module">', "script-src"), ("<style>", "style-src")):
        body = (
            text.split(tag)[1].split("</")[0]
            if tag == "<style>"
            else text.split(tag)[1].split("</script>")[0]
        )
        digest = b64encode(sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_the_same_module_gives_the_same_bytes() -> None:
    """In one process, where nodes have other numbers the second time, and in another one."""
    path = ROOT / "specs" / "pixelcnn.mp"
    command = [sys.executable, "-m", "mpcompile", "inspect", str(path), "--output-format", "html"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert html_of(api.load(path)) == html(path) == done.stdout.decode()


def hostile(folder: Path) -> Path:
    spec = folder / "hostile.mp"
    spec.write_text(
        f"# {HOSTILE}\nmodel hostile\n\ninput x: binary[9] # {HOSTILE}\n\n"
        "x ~ autoregressive {\n  dense(4, mask = degrees()) -> relu -> dense(9, mask = strict(degrees()))\n}\n"
        "check { allow complete(x) because \"</script><img src=y onerror=document.title='gone'>\" }\n",
        encoding="utf-8",
    )
    return spec


def test_text_of_a_spec_cannot_become_html(tmp_path: Path) -> None:
    path = hostile(tmp_path)
    text, clean = html(path), html(ROOT / "specs" / "made.yaml")
    for token in ("<script", "</script", "<img", "<!--", "&lt;", "\u2028"):
        assert text.count(token) == clean.count(token), token
    assert HOSTILE in data(text)["spec"]["lines"][0]


def numeric_support(module: Module, source: str) -> Any:
    """Which elements of the conditionals change when one element of a binary input does, for random weights."""
    from specs_under_test import weights

    from mpcompile.interpret import interpret

    graph, parameters = module.programs["conditionals"], weights(module, seed=3, spread=1.0)
    size = int(np.prod(graph.inputs[source].type.concrete({"N": 1})))
    shape = graph.inputs[source].type.concrete({"N": 1})[1:]
    x = np.random.default_rng(0).integers(0, 2, (1, size)).astype(float)
    both = np.concatenate([x, np.abs(x - np.eye(size))]).reshape(size + 1, *shape)
    (out,) = interpret(graph, parameters, {source: both}).values()
    out = out.reshape(size + 1, -1)
    return (out[1:] != out[:1]).T


@pytest.mark.parametrize("name", ["pixelcnn_blind_spot.mp", "pixelcnn_mask_b_first.mp", "gated_no_shift.mp"])
def test_the_support_on_the_page_is_what_changes(name: str) -> None:
    """Against the model itself run in numpy: relu kills some paths of one draw, so the numeric set is a subset."""
    path = ROOT / "specs" / "invalid" / name
    facts = data(html(path))
    (d,) = facts["dependence"]
    n = int(np.prod(d["inputs"]))
    drawn = bits(facts, d["blob"], n, n)
    numeric = numeric_support(api.load(path), d["source"])
    assert not (numeric & ~drawn).any()
    assert numeric.sum() > 0.6 * drawn.sum()
    ranks = np.array(d["ranks"])
    leaks = drawn & (ranks[:, None] <= ranks[None, :])
    refuted = {v["claim"].partition("(")[0] for v in facts["verdicts"] if v["status"] == "refuted"}
    assert leaks.any() == ("autoregressive" in refuted)


def test_masks_are_those_of_the_papers() -> None:
    """Type B of van den Oord et al. 2016 (figure 1): all above, the row to the left, the centre."""
    facts = data(html(ROOT / "specs" / "invalid" / "pixelcnn_mask_b_first.mp"))
    mask = facts["masks"][0]
    rows, columns = mask["taps"]
    taps = bits(facts, mask["raster"]["blob"], rows, columns)
    centre = (rows // 2) * columns + columns // 2
    assert (taps.reshape(-1) == (np.arange(rows * columns) <= centre)).all()
    assert mask["fill"] == pytest.approx((centre + 1) / (rows * columns), abs=1e-6)

    facts = data(html(ROOT / "specs" / "made.yaml"))
    first = facts["masks"][0]
    assert first["shape"] == [256, 64]
    matrix = bits(facts, first["raster"]["blob"], 256, 64)
    assert (np.diff(matrix.astype(int), axis=1) <= 0).all(), "a unit of degree d sees the first d variables"
    assert set(matrix.sum(1)) == set(range(1, 64))


def test_attention_and_couplings_have_masks_too() -> None:
    facts = data(html(ROOT / "specs" / "transformer.mp"))
    assert [m["kind"] for m in facts["masks"]] == ["attention", "attention"]
    causal = bits(facts, facts["masks"][0]["raster"]["blob"], 16, 16)
    assert (causal == np.tri(16, dtype=bool)).all()
    facts = data(html(ROOT / "specs" / "realnvp.yaml"))
    board = bits(facts, facts["masks"][0]["raster"]["blob"], 8, 8)
    assert (board == (np.indices((8, 8)).sum(0) % 2 == 0)).all()


def test_a_bijector_hands_on_its_values_not_its_log_determinant() -> None:
    cells = {c["name"]: c for c in data(html(ROOT / "specs" / "realnvp.yaml"))["cells"]}
    assert cells["x.logit_0"]["shape"] == "float[N, 1, 8, 8]"
    assert cells["x.logit_0"]["reach"]["shape"] == [8, 8]


def test_peeled_jacobians_are_triangular() -> None:
    facts = data(html(ROOT / "specs" / "realnvp.yaml"))
    assert len(facts["flow"]) == 16
    for piece in facts["flow"]:
        drawn = piece.get("peeled", piece["natural"])
        matrix = bits(facts, drawn["blob"], *piece["size"])
        assert not np.triu(matrix, 1).any() and matrix.diagonal().all(), piece["name"]
        assert matrix.sum() == piece["entries"]


LEAKS = [p for p in INVALID if any(f["path"] for f in data(html(p))["findings"])]


@pytest.mark.parametrize("path", LEAKS, ids=lambda p: p.stem)
def test_a_witness_is_a_walk_through_the_graph(path: Path) -> None:
    facts = data(html(path))
    cells = facts["cells"]
    finding = next(f for f in facts["findings"] if f["path"])
    walk = finding["walk"]
    *layers, (result, _) = finding["path"]
    assert "\N{COMBINING CIRCUMFLEX ACCENT}" in result and walk["at"][-1] is None
    for (text, line), number in zip(layers, walk["at"], strict=False):
        assert number is not None, text
        assert cells[number]["name"].split(".")[-1] == text.partition("[")[0]
        assert cells[number]["kind"] in ("input", "glue") or cells[number]["span"][0] == line
    assert walk["cells"] == sorted(walk["cells"]) and cells[walk["cells"][0]]["kind"] == "input"
    assert len(walk["values"]) == len(walk["cells"]), "an edge between any two, and the one that leaves"


def test_leaks_are_there_to_be_shown() -> None:
    assert len(LEAKS) >= 9


def test_a_large_mask_is_averaged_and_says_so() -> None:
    facts = data(html_of(api.load(ROOT / "specs" / "made.yaml", {"pixels": 600, "hidden": 520})))
    for mask in facts["masks"]:
        raster = mask["raster"]
        assert raster["depth"] == 8 and max(raster["rows"], raster["columns"]) <= 512
        grey = np.frombuffer(b64decode(facts["blobs"][raster["blob"]]), np.uint8)
        assert grey.size == raster["rows"] * raster["columns"]
        assert grey.mean() / 255 == pytest.approx(mask["fill"], abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--output-format", "full", "-o", "x"), 2), (("--output-format", "pdf"), 2),
     (("--output-format", "html", "-o", "no/such/folder/x.html"), 2)],
)  # fmt: skip
def test_wrong_usage(
    arguments: tuple[str, ...],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # the process goes on after a command
    spec = str(ROOT / "specs" / "mlp.mp")
    monkeypatch.setattr(sys, "argv", ["mpcompile", "inspect", spec, *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code and "error" in capfd.readouterr().err and not list(tmp_path.iterdir())


def rendered(text: str, folder: Path) -> str:
    """The document after its script has run, without network."""
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
               "--virtual-time-budget=5000", "--window-size=1400,1000", "--dump-dom", file.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine; the tests above read the page itself"
)
@pytest.mark.parametrize("name", ["hostile", "wavenet_same_padding", "realnvp"])
def test_a_browser_draws_it(name: str, tmp_path: Path) -> None:
    path = hostile(tmp_path) if name == "hostile" else next(p for p in [*SPECS, *INVALID] if p.stem == name)
    text = html(path)
    dom = rendered(text, tmp_path)
    facts = data(text)
    assert f"<title>{name} · mpcompile inspect</title>" in dom, (
        "the script ran to its end and nothing else did"
    )
    body = re.sub(r"<script.*?</script>", "", dom, flags=re.S)
    assert "<img" not in body
    assert re.search(r'<g class="cell [^"]*chosen', body), (
        "the last thing the script does is to choose a layer"
    )
    assert body.count('class="badge ') == max(1, len(facts["verdicts"]))
    assert body.count("<canvas") >= 2 + len({m["raster"]["blob"] for m in facts["masks"]})
    hot = [c for c in re.findall(r'<g class="([^"]*)"', body) if "hot" in c.split() and "cell" in c.split()]
    assert len(hot) == sum(len(f["walk"]["cells"]) for f in facts["findings"])
