"""A name of the language with one edit is found, and its finding has a fix, in both syntaxes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.diagnostics import Diagnostic, Source, SpecError
from mpcompile.diagnostics.nearest import nearest, one_edit
from mpcompile.frontend import Syntax, format_model, parse_text
from mpcompile.frontend.editing import Edit, edited, offsets
from mpcompile.frontend.tokens import HEADS
from mpcompile.frontend.yamlform import KEYS
from mpcompile.lowering import lower
from mpcompile.reference import KINDS

NAMES = {name for kind in KINDS.values() for name in kind.rows()}


def typo_of(name: str) -> str:
    """The name with one edit: which one depends on its length, so that a table has all kinds."""
    i = len(name) // 2
    made = [
        name[:i] + name[i + 1 :],
        name[:i] + "q" + name[i:],
        name[:i] + "q" + name[i + 1 :],
        name[:i] + name[i + 1 : i + 2] + name[i] + name[i + 2 :],
    ]
    fit = [t for t in made if t not in NAMES | {name, ""}]
    return fit[len(name) % len(fit)]


def found(text: str, syntax: Syntax) -> tuple[Diagnostic, ...]:
    """The findings of reading a spec, and its warnings."""
    path = f"t.{syntax}"
    try:
        module = lower(parse_text(text, path, syntax), Source(path, text))
    except SpecError as problem:
        return problem.diagnostics
    return tuple(api.warnings(module))


def mended(text: str, syntax: Syntax, old: str) -> Iterator[str]:
    """The spec with each fix of a finding about a name, applied."""
    for d in found(text, syntax):
        if d.fix is not None and d.fix.old == old:
            start, end = offsets(text, d.fix.span)
            assert text[start:end] == old, "the fix stands where the name stands"
            yield edited(Source(f"t.{syntax}", text), syntax, [Edit(start, end, d.fix.new)])


def in_both(spec: str) -> Iterator[tuple[Syntax, str]]:
    yield "mp", spec
    yield "yaml", format_model(parse_text(spec), "yaml")


@pytest.mark.parametrize("title", KINDS)
def test_a_misspelt_name_has_a_fix(title: str) -> None:
    kind = KINDS[title]
    for name in kind.rows():
        typo, example = typo_of(name), kind.example(name)
        syntax: Syntax = "mp" if len(name) % 2 else "yaml"
        text = format_model(parse_text(example), "yaml") if example and syntax == "yaml" else example
        if not re.search(rf"\b{name}\b", text):
            continue  # a list has no name: `order = [2, 0, 1]`
        wrong = re.sub(rf"\b{name}\b", typo, text)
        fixes = list(mended(wrong, syntax, typo))
        assert fixes and wrong not in fixes, (name, typo, syntax)


_X = "model m\ninput x: real[channel: 4]\ntarget y: real[1]\n"
_Y = "y ~ normal(x -> dense(1), 1)\n"
_FLOW = "model m\ninput x: real[4]\nx ~ flow { § }\n"
#: A spec for each kind of name, with § where one belongs; settings of other codes than MP110 say the same.
PLACES = {
    "layers": _X + "y ~ normal(x -> § -> dense(1), 1)\n",
    "functions": _X + "y ~ normal(§(x) -> dense(1), 1)\n",
    "losses": _X + _Y + "minimise §(x, x)\n",
    "distributions": _X + "y ~ §(x -> dense(1))\n",
    "bijectors": _FLOW,
    "coupling_laws": _FLOW.replace("§", "coupling(mask = checkerboard, law = §, net = dense(4))"),
    "posteriors": "model m\ninput x: real[4]\nlatent k: category(3) ~ § prior categorical(logits = 0)\n"
    "x ~ normal(k -> onehot -> dense(8))\n",
    "masks": _X + "y ~ normal(x -> dense(1, mask = §), 1)\n",
    "relations": _X + "y ~ normal(softmax(x, over = channel, mask = §) -> dense(1), 1)\n",
    "orders": "model m\ninput x: binary[4]\nx ~ autoregressive(order = §) { nade(4) }\n",
    "starts": _X + "weight w: real[channel: 4] = §\ny ~ normal(x * w -> dense(1), 1)\n",
    "claims": _X + _Y + "check { §(y) }\n",
    "optimizers": _X + _Y + "train { optimizer: §(0.1) }\n",
    "augmentations": _X + _Y + "train { augment: [§(x)] }\n",
    "schedules": _X + _Y + "train { schedule: § }\n",
    "settings": _X + _Y + "train { §: 3 }\n",
    "data_sets": _X + _Y + "train { data: § }\n",
    "types": _X + "input z: §[3]\n" + _Y,
    "warnings": _X + _Y + 'check { allow § because "so" }\n',
}
#: Names that one place takes of several kinds.
_ALSO = {"layers": ("functions",), "functions": ("layers",), "losses": ("layers", "functions"),
         "distributions": ("posteriors",), "posteriors": ("distributions",), "warnings": ("claims",)}  # fmt: skip


@pytest.mark.parametrize("title", KINDS)
def test_a_name_of_another_kind_is_no_misspelt_one(title: str) -> None:
    """It is said which kind it is of and where it belongs, and no other name is offered: pairs of kinds, in turn."""
    at = list(KINDS).index(title)
    taken = {n for t in (title, *_ALSO.get(title, ())) for n in KINDS[t].rows()}
    for other in list(KINDS.values())[(at + 1) % 2 :: 2]:
        name = next((n for n in [*other.rows()][at:] if n not in taken), "")
        for d in found(PLACES[title].replace("§", name), "mp") if name else ():
            if d.code != "MP324":
                assert d.fix is None, (name, d.message)
                if title != "orders":
                    assert other.noun in d.message and name in d.help, (name, d.message, d.help)


SPEC = """\
model m

input x: real[4]
target y: real[1]

net f = dense(8) -> relu
net unused = dense(8) -> tanh

y ~ normal(x -> f -> dense(1, init = normal), scale = 1)

check { parameters <= 1000 }
"""


def test_other_words_have_fixes() -> None:
    """Types, statements, keys of YAML, choices, arguments, variables, data, settings, and nets that nothing uses."""
    cases = [("real", "rael"), ("relu", "rleu"), ("tanh", "tnah"), ("init", "intt")]
    for syntax, text in in_both(SPEC):
        for word, typo in cases:
            assert list(mended(re.sub(rf"\b{word}\b", typo, text, count=1), syntax, typo)), (word, syntax)
        assert list(mended(text.replace("init = normal", "init = nromal"), syntax, "nromal"))
    assert list(mended(SPEC.replace("x -> f", "x -> ff"), "mp", "ff"))
    assert list(mended(SPEC.replace("x -> f", "xs -> f"), "mp", "xs"))
    fixed = list(mended(f"{SPEC}\ntrain {{ data: dgiits }}\n", "mp", "dgiits"))
    assert fixed == [f"{SPEC}\ntrain {{ data: digits }}\n"]
    for head in sorted(HEADS - {"model", "carry"}):
        assert list(mended(f"model m\n\n{typo_of(head)} x: real[4]\n", "mp", typo_of(head))), head
    for key in KEYS:
        assert list(mended(f"model: m\n{typo_of(key)}: 1\n", "yaml", typo_of(key))), key


def test_a_path_is_no_misspelt_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mons").mkdir()
    for data in ("mons", '"moon.s"', '"a/moons"', "elsewhere"):
        assert not [d for d in found(f"{SPEC}\ntrain {{ data: {data} }}\n", "mp") if d.code == "MP501"], data


def test_one_edit_is_the_distance_of_damerau() -> None:
    assert all(one_edit("adam", t) for t in ("adma", "adm", "adaam", "adxm", "dam", "adamw", "daam"))
    assert not any(one_edit("adam", t) for t in ("adam", "damx", "ad", "madam1", "daxm", ""))
    assert nearest("at", ["at", "add", "cat"]) == "cat"
    assert nearest("q", ["e", "x"]) is None, "names of one letter are not alike"
