"""Certificates of proofs: the same bytes for the same specs, and every difference found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import typer
from specs_under_test import ROOT
from typer.testing import CliRunner, Result

from mpcompile import certificate
from mpcompile.cli.check import check
from mpcompile.frontend import parse
from mpcompile.frontend.reads import named

NAMES = ("made.yaml", "mlp.mp")


def small(name: str) -> str:
    """A spec of the repository, with few pixels, so that proofs take no time."""
    return (ROOT / "specs" / name).read_text().replace("pixels: 64, hidden: 256", "pixels: 8, hidden: 32")


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def proofs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of the specs in `specs` below the current folder."""
    (tmp_path / "specs").mkdir()
    for name in NAMES:
        (tmp_path / "specs" / name).write_text(small(name))
    monkeypatch.chdir(tmp_path)
    done = run("specs", "--certificate", "proofs.json")
    assert done.exit_code == 0, done.output
    return tmp_path / "proofs.json"


def found(path: str = "proofs.json") -> list[tuple[str, str]]:
    """(code, file) of each finding of a verification, whose exit code must agree."""
    done = run("--verify-certificate", path, "--output-format", "json")
    findings = [(d["code"], d["filename"]) for d in json.loads(done.stdout)]
    assert done.exit_code == (1 if findings else 0), done.output
    return findings


def test_a_certificate_says_what_was_proved_of_which_text(proofs: Path) -> None:
    body = json.loads(proofs.read_text())
    assert [entry["path"] for entry in body["specs"]] == [f"specs/{name}" for name in NAMES]
    made = body["specs"][0]
    assert made["sha256"] == sha256(Path("specs/made.yaml").read_bytes()).hexdigest()
    assert made["parameters"] == {"hidden": 32, "pixels": 8, "seed": 0} and made["variables"] == {
        "x": "binary[8]"
    }
    assert {p["name"]: p["status"] for p in made["properties"]} == {
        "autoregressive(x)": "proved",
        "complete(x)": "proved",
        "independent": "proved",
    }
    assert [p["name"] for p in body["specs"][1]["properties"]] == ["independent"]
    kept = {key: value for key, value in body.items() if key != "digest"}
    compact = json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()
    assert body["digest"] == sha256(compact).hexdigest()


def test_the_same_specs_give_the_same_bytes_wherever_they_are(proofs: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere"
    shutil.copytree("specs", again / "specs")
    paths = [str(again / "specs" / name) for name in reversed(NAMES)]
    assert run(*paths, "--certificate", str(again / "proofs.json")).exit_code == 0
    assert (again / "proofs.json").read_bytes() == proofs.read_bytes()
    assert str(tmp_path) not in proofs.read_text()


def test_verifies_from_any_folder(proofs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found() == []
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert found(str(proofs)) == found("../proofs.json") == []


def test_settings_are_part_of_it(proofs: Path) -> None:
    assert run("specs/made.yaml", "--set", "hidden=16", "--certificate", "small.json").exit_code == 0
    body = json.loads(Path("small.json").read_text())
    assert body["set"] == {"hidden": "16"} and body["specs"][0]["parameters"]["hidden"] == 16
    assert found("small.json") == []


def test_a_changed_text_and_a_changed_answer_are_told_apart(proofs: Path) -> None:
    spec = Path("specs/made.yaml")
    spec.write_text(spec.read_text() + "# a comment\n")
    assert found() == [("MP603", "specs/made.yaml")]
    spec.write_text(spec.read_text().replace("strict(up)", "up"))
    codes = {code for code, _ in found()}
    assert codes == {"MP301", "MP302", "MP603", "MP604"}
    text = run("--verify-certificate", "proofs.json", "--output-format", "concise").stdout
    assert "autoregressive(x) was certified proved" in text and "now refuted" in text


def test_a_missing_spec_is_named(proofs: Path) -> None:
    Path("specs/mlp.mp").unlink()
    assert found() == [("MP001", "specs/mlp.mp")]


def test_a_lost_claim_is_named(proofs: Path) -> None:
    spec = Path("specs/made.yaml")
    spec.write_text(spec.read_text().replace("  - complete(x)\n", ""))
    assert found() == [("MP603", "specs/made.yaml"), ("MP604", "specs/made.yaml")]
    assert "is now gone" in run("--verify-certificate", "proofs.json").stdout


Edit = Callable[[dict[str, Any]], Any]
EDITS: dict[str, tuple[Edit, str]] = {
    "status": (lambda b: b["specs"][0]["properties"][1].update(status="allowed"), "MP604"),
    "invented": (
        lambda b: b["specs"][1]["properties"].append(
            {"name": "a", "status": "proved", "scope": "", "method": "", "assumptions": []}
        ),
        "MP604",
    ),
    "parameters": (lambda b: b["specs"][0]["parameters"].update(hidden=1), "MP604"),
    "kind of a number": (lambda b: b["specs"][0]["parameters"].update(seed=False), "MP604"),
    "variables": (lambda b: b["specs"][0]["variables"].update(x="binary[4]"), "MP604"),
    "hash": (lambda b: b["specs"][1].update(sha256="0" * 64), "MP603"),
    "reads": (lambda b: b["specs"][1]["reads"].update({"specs/a.npy": "0" * 64}), "MP603"),
    "version": (lambda b: b.update(mpcompile="0.0.1"), "MP602"),
    "set": (lambda b: b["set"].update(seed="1"), "MP110"),  # mlp has no `seed`
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_certificate_is_found_out_with_and_without_a_new_digest(name: str, proofs: Path) -> None:
    edit, code = EDITS[name]
    body = json.loads(proofs.read_text())
    edit(body)
    proofs.write_text(json.dumps(body))
    assert {"MP601", code} <= {c for c, _ in found()}
    proofs.write_text(json.dumps(body | {"digest": certificate.digest(body)}))
    codes = {c for c, _ in found()}
    assert code in codes and "MP601" not in codes


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b"null", b"not json", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}',
        b'{"format": "mpcompile-certificate/3", "mpcompile": "", "set": {}, "specs": [], "digest": ""}',
        b'{"format": "mpcompile-certificate/2", "mpcompile": "", "set": {"a": 1}, "specs": [], "digest": ""}',
        b'{"format": "mpcompile-certificate/2", "mpcompile": "", "set": {}, "specs": [1], "digest": ""}',
        b'{"format": "mpcompile-certificate/2", "mpcompile": "", "set": {}, "specs": [], "digest": ""}',
        b'{"format": "mpcompile-certificate/1", "mpcompile": "", "set": {}, "specs": [], "digest": ""}',
        b" " * (certificate.MAX_BYTES + 1),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_is_no_certificate(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "proofs.json"
    path.write_bytes(text)
    assert found(str(path)) == [("MP600", str(path))]


MALFORMED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no specs": lambda b: b["specs"].clear(),
    "a spec twice": lambda b: b["specs"].append(b["specs"][0]),
    "a property twice": lambda b: b["specs"][0]["properties"].append(b["specs"][0]["properties"][0]),
    "refuted": lambda b: b["specs"][0]["properties"][0].update(status="refuted"),
    "undecided": lambda b: b["specs"][0]["properties"][0].update(status="undecided"),
    "held": lambda b: b["specs"][0]["properties"][0].update(status="held"),
    "no assumptions": lambda b: b["specs"][0]["properties"][0].pop("assumptions"),
    "no scope": lambda b: b["specs"][0]["properties"][0].pop("scope"),
    "more of a property": lambda b: b["specs"][0]["properties"][0].update(how="offset sets"),
    "more of a spec": lambda b: b["specs"][0].update(signed="yes"),
    "more of it": lambda b: b.update(signed="yes"),
    "a number for a hash": lambda b: b["specs"][0]["reads"].update(a=1),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_certificate_has_its_form_and_nothing_else(name: str, proofs: Path) -> None:
    body = json.loads(proofs.read_text())
    MALFORMED[name](body)
    proofs.write_text(json.dumps(body | {"digest": certificate.digest(body)}))
    assert found() == [("MP600", "proofs.json")]


def test_a_key_stands_once(proofs: Path) -> None:
    text = proofs.read_text()
    proofs.write_text(text.replace('"status": "proved"', '"status": "refuted", "status": "proved"', 1))
    assert found() == [("MP600", "proofs.json")]


def test_what_is_proved_has_scope_method_and_assumptions(proofs: Path) -> None:
    for p in json.loads(proofs.read_text())["specs"][0]["properties"]:
        assert p.keys() == {"name", "status", "scope", "method", "assumptions"}
        assert p["scope"] == "the declared sizes" and p["method"] and p["assumptions"]


def test_what_is_not_proved_is_not_certified(tmp_path: Path) -> None:
    spec = tmp_path / "made.yaml"
    spec.write_text(small("made.yaml").replace("strict(up)", "up"))
    done = run(str(spec), "--certificate", str(tmp_path / "proofs.json"))
    assert done.exit_code == 1 and "was not written" in done.stderr
    assert not (tmp_path / "proofs.json").exists()


def test_usage(proofs: Path) -> None:
    assert run("--verify-certificate", "nowhere.json").exit_code == 2
    assert run("specs", "--verify-certificate", "proofs.json").exit_code == 2
    before = Path("specs/mlp.mp").read_text()
    assert run("specs/made.yaml", "--certificate", "specs/mlp.mp").exit_code == 2
    assert Path("specs/mlp.mp").read_text() == before


@pytest.mark.parametrize("name", ["everything.mp", "everything.yaml"])
def test_files_that_a_spec_reads_are_its_masks_and_not_its_data(name: str) -> None:
    path = ROOT / "grammar" / "accepted" / name
    names = {p.relative_to(path.parent).as_posix() for p in named(parse(path)[0], path)}
    assert "masks/a.npy" in names and "data.npz" not in names


def test_a_file_that_a_spec_reads_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mask can be read from a file in this release, so the spec names one in a mask that it does not use."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "specs" / "mlp.mp").read_text()
    Path("mlp.mp").write_text(text + '\nmask stored = file("a.npy")\n')
    Path("a.npy").write_bytes(b"one")
    done = run("mlp.mp", "--certificate", "proofs.json")
    assert Path("proofs.json").exists(), done.output
    body = json.loads(Path("proofs.json").read_text())
    assert body["specs"][0]["reads"] == {"a.npy": sha256(b"one").hexdigest()}
    assert found() == []
    Path("a.npy").write_bytes(b"two")
    assert found() == [("MP603", "mlp.mp")]
    assert "'a.npy' has changed" in run("--verify-certificate", "proofs.json").stdout
    Path("a.npy").unlink()
    assert "'a.npy' is not read any more" in run("--verify-certificate", "proofs.json").stdout
