"""A claim and a warning are one function and one row: one of each is defined here, stated, allowed, and answered.

Also that no claim of a form that means nothing is let through, swept over the registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.analysis.claims import KINDS, Kind
from mpcompile.analysis.findings import FINDINGS
from mpcompile.analysis.verdict import Proof, Status, Verdict, scope_of
from mpcompile.diagnostics import Diagnostic, Severity, SpecError
from mpcompile.diagnostics.codes import CODES, Code
from mpcompile.diagnostics.report import Property
from mpcompile.ir import Claim, Module

FLOW = "model m\ninput x: real[4]\nx ~ flow { affine }\n"
ORDERED = "model m\ninput x: real[4]\nx ~ autoregressive { dense(8, mask = strict(degrees)) }\n"


def weights(module: Module, claim: Claim) -> Verdict:
    """`weights <= n`: how many trained arrays there are."""
    count = len([p for p in module.parameters.values() if p.trainable])
    if claim.limit.holds(count):
        scope = scope_of(*module.programs.values(), covers="lengths")
        return Verdict.proved(claim, Proof(scope, "counted"), {"weights": count})
    finding = Diagnostic("MP304", f"the model has {count} weights, claimed {claim.limit}", claim.span)
    return Verdict.refuted(claim, "counted", {}, [finding])


def short_names(module: Module) -> Iterator[Diagnostic]:
    for field in module.fields.values():
        if len(field.name) == 1:
            yield Diagnostic("MP399", f"`{field.name}` is a short name", field.span, Severity.WARNING)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind("weights", about="the model", number="always", allowable=True, rule=weights)
    monkeypatch.setitem(KINDS, "weights", kind)
    monkeypatch.setitem(
        CODES, "MP399", Code("MP399", "short-name", "Reports a short name.", "It says little.", "x", "pixel")
    )
    monkeypatch.setitem(FINDINGS, "MP399", short_names)  # type: ignore[attr-defined]


def load(path: Path, text: str) -> Module:
    (path / "m.mp").write_text(text)
    return api.load(path / "m.mp")


def last(module: Module, name: str) -> Property:
    return next(p for p in api.properties(module) if p.name.startswith(name))


@pytest.mark.usefixtures("registered")
def test_a_claim_from_outside(tmp_path: Path) -> None:
    assert last(load(tmp_path, FLOW + "check { weights <= 2 }"), "weights").status == "proved"
    refuted = last(load(tmp_path, FLOW + "check { weights < 2 }"), "weights")
    assert (
        refuted.status == "refuted"
        and refuted.diagnostics[0].message == "the model has 2 weights, claimed < 2"
    )
    allowed = FLOW + 'check { weights < 2; allow weights because "it is a study" }'
    assert last(load(tmp_path, allowed), "weights").status == "allowed"
    assert api.build(load(tmp_path, FLOW + "check { weights <= 2 }"), "torch", tmp_path / "out")
    with pytest.raises(SpecError, match="MP304"):
        api.build(load(tmp_path, FLOW + "check { weights < 2 }"), "torch", tmp_path / "out")
    with pytest.raises(SpecError, match="MP123 `weights` says nothing without a number"):
        load(tmp_path, FLOW + "check { weights }")


@pytest.mark.usefixtures("registered")
def test_a_warning_from_outside(tmp_path: Path) -> None:
    (found,) = [d for d in api.warnings(load(tmp_path, FLOW)) if d.code == "MP399"]
    assert found.span.line == 2
    silent = load(tmp_path, FLOW + 'check { allow short_name because "it is a study" }')
    assert "MP399" not in [d.code for d in api.warnings(silent)]


STATED = [kind for kind in KINDS.values() if not kind.promised]


def usage(kind: Kind) -> str:
    return FLOW if "flow" in kind.laws else ORDERED


@pytest.mark.parametrize("kind", STATED, ids=lambda k: k.name)
def test_every_form_of_a_claim_is_answered_or_refused_in_its_place(tmp_path: Path, kind: Kind) -> None:
    """None ends in an internal error, and none is proved of which a part was not read."""
    bare = kind.usage.split(" <= ")[0]
    behind = ["", " <= 8", " == 0", " > 3", " is dense", " is nothing", " is 3"]
    forms = [f"{bare}{said}" for said in behind] + [f"{bare}; {bare}", f"{bare} < 9; {bare} < 9"]
    forms += [kind.name, f"{kind.name}(y)", f"{kind.name}(x, x)"]
    for form in forms:
        try:
            m = load(tmp_path, usage(kind) + f"check {{ {form} }}")
        except SpecError as refused:
            assert all(d.span.line == 4 for d in refused.diagnostics), form
            continue
        answers = [v for v in api.verdicts(m) if v.claim.kind == kind.name and v.claim.stated]
        written = form.split("; ")
        assert [str(v.claim) for v in answers] == written, form
        found = [d for p in api.properties(m) for d in p.diagnostics]
        assert len(set(found)) == len(found), form


def test_a_refuted_claim_that_is_stated_twice_has_its_finding_once(tmp_path: Path) -> None:
    m = load(
        tmp_path,
        ORDERED.replace(", mask = strict(degrees)", "") + "check { autoregressive(x); autoregressive(x) }",
    )
    answers = [v for v in api.verdicts(m) if v.claim.kind == "autoregressive"]
    assert [v.status for v in answers] == [Status.REFUTED] * 2
    assert [d.code for d in api.check(m) if d.code == "MP301"] == ["MP301"]
    assert [len(p.diagnostics) for p in api.properties(m)][:2] == [1, 0]


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("complete(x) <= 3", "MP133 `complete` is compared with no number"),
        ("parameters is dense", "MP133 `parameters` says nothing of a structure"),
        ("jacobian(x) is diagnal", "MP110 unknown structure `diagnal`"),
        ("path_length(x)", "MP123 `path_length` says nothing without a number"),
        ("receptive_field >= 3", "MP123 `receptive_field` is a claim about a variable, and names none"),
        ("parameters(x) <= 3", "MP128 `parameters` is a claim about the whole model"),
        ("complete(x, x)", "MP128 `complete` is a claim about one variable"),
    ],
)
def test_a_claim_of_another_form(tmp_path: Path, claim: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, FLOW + f"check {{ {claim} }}")
    (found,) = caught.value.diagnostics
    assert f"{found.code} {found.message}" == message and found.help
