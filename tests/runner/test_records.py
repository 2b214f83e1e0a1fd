"""Files of a run that somebody else may have written: one line for each fault, and no path that leads out."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mpcompile.diagnostics import SpecError
from mpcompile.runner import checkpoint
from mpcompile.runner.loop import Options, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.run import open_run
from mpcompile.runner.run_data import data_of

OPTIONS = Options(backend="fake", seed=3, steps=4, checkpoint_every=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fake = sys.modules["runner_fake"]
    out = tmp_path_factory.mktemp("runs") / "run"
    train(fake.module(), out, OPTIONS, backend=fake.FakeBackend())
    return out


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A JSON value with another one at a place; `KeyError` takes the place away."""
    if not path:
        return new
    out = dict(value) if isinstance(value, dict) else list(value)
    if new is KeyError and len(path) == 1:
        del out[path[0]]
    else:
        out[path[0]] = put(out[path[0]], path[1:], new)
    return out


WRONG: tuple[Any, ...] = (
    KeyError, None, True, -1, 0.5, 10**40, "", "../../etc/hostname", "/etc/hostname", "\x1b[31m", [], {}, [[]], {"": {}},
)  # fmt: skip


def test_a_wrong_value_at_every_place_of_run_json(fake: ModuleType, whole: Path, tmp_path: Path) -> None:
    """Each is refused, or leaves a run that is read without an error."""
    facts = json.loads((whole / "run.json").read_text())
    (tmp_path / "run").mkdir()
    for name in ("spec.yaml", "best", "checkpoints"):
        (tmp_path / "run" / name).symlink_to(whole / name)
    refused = 0
    for place in places(facts):
        for wrong in WRONG:
            if not place and wrong is KeyError:
                continue
            changed = put(facts, place, wrong)
            (tmp_path / "run" / "run.json").write_text(json.dumps(changed))
            try:
                open_run(tmp_path / "run")
            except SpecError as said:
                refused += 1
                (d,) = said.diagnostics
                assert d.code == "MP520" and "\n" not in d.message and "\x1b" not in d.message, d.message
    assert refused > 800


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 2}', b'{"format": 3}', b'{"format": 1, "format": 1}',
        b"[" * 200_000, b'{"a":' * 200_000, b'{"format": NaN}', b'{"format": 1e999}', b"9" * 5000, b"\0" * 100,
        b'{"format": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_run_json_that_is_none(fake: ModuleType, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(text)
    for resume in (False, True):
        with pytest.raises(SpecError, match=r"MP52[04]") as said:
            train(
                fake.module(), tmp_path / "run", Options(steps=2, resume=resume), backend=fake.FakeBackend()
            )
        (d,) = said.value.diagnostics
        assert "\n" not in d.message and (
            not resume or d.message.startswith(f"{tmp_path / 'run'} is not a run")
        )
    with pytest.raises(SpecError, match="MP520"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("how", ["pipe", "folder", "link", "device", "huge"])
@pytest.mark.parametrize(
    "name", ["run.json", "best/manifest.json", "best/state.safetensors", "metrics.jsonl"]
)
def test_a_file_of_a_run_that_is_none(
    fake: ModuleType, whole: Path, tmp_path: Path, name: str, how: str
) -> None:
    """Nothing is waited for, followed, or read beyond its bound; no other checkpoint stands in for the best."""
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / name
    path.rename(tmp_path / "real")
    match how:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "real")
        case "device":
            path.symlink_to("/dev/zero")
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
    with pytest.raises(SpecError, match="MP522" if name.startswith("best") else "MP520"):
        run = open_run(tmp_path / "run")
        run.parameters(fake.module())
        read_metrics(run.metrics)


@pytest.mark.parametrize("line", [
    b"\xff\n", b"\n", b"[]\n", b'{"step": 1, "split": "train"}\n', b'{"step": "a", "split": "train", "loss": 1}\n',
    b'{"step": 1, "split": 2, "loss": 1}\n', b'{"step": 1, "split": "train", "loss": NaN}\n', b"[" * 10**5 + b"\n",
])  # fmt: skip
def test_lines_that_training_did_not_write(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "split": "train", "loss": 1}\n{"cut')
    assert len(read_metrics(path)) == 1
    path.write_bytes(line)
    with pytest.raises(SpecError, match=r"MP520 .*line 1 "):
        read_metrics(path)


@pytest.mark.parametrize(
    "spec", ["/etc/hostname", "../../x.mp", "./spec.yaml", "best/spec.mp", "spec.yaml/..", "run.json"]
)
def test_a_spec_stays_in_the_run(whole: Path, tmp_path: Path, spec: str) -> None:
    shutil.copytree(whole, tmp_path / "run")
    facts = json.loads((whole / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**facts, "spec": spec}))
    with pytest.raises(SpecError, match=r"MP520 .*not a file of the run"):
        open_run(tmp_path / "run")
    assert open_run(tmp_path / "run", trust=True).spec == tmp_path / "run" / spec


def test_data_are_read_only_where_the_run_knew_them(fake: ModuleType, whole: Path, tmp_path: Path) -> None:
    """A path in a run could name any file; nothing of one is shown that is not what the run was trained on."""
    secret = tmp_path / "secret.csv"
    secret.write_text("hunter2:x:0:0\n")
    facts = json.loads((whole / "run.json").read_text())
    shutil.copytree(whole, tmp_path / "run")
    for digest in ("", "0" * 64):
        changed = {**facts, "data": str(secret), "data_digest": digest}
        changed["settings"] = {**facts["settings"], "data": str(secret)}
        (tmp_path / "run" / "run.json").write_text(json.dumps(changed))
        with pytest.raises(SpecError, match="MP523") as said:
            data_of(open_run(tmp_path / "run"), fake.module())
        assert "hunter2" not in str(said.value)
        with pytest.raises(SpecError, match="MP523") as said:
            train(fake.module(), tmp_path / "run", Options(resume=True, steps=9), backend=fake.FakeBackend())
        assert "hunter2" not in str(said.value)


def test_a_linked_spec_is_not_followed(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "spec.yaml").unlink()
    (tmp_path / "run" / "spec.yaml").symlink_to("/etc/hostname")
    with pytest.raises(SpecError, match=r"MP520 .*spec.yaml is a link"):
        open_run(tmp_path / "run")


def test_a_wrong_value_at_every_place_of_a_manifest(fake: ModuleType, whole: Path, tmp_path: Path) -> None:
    """Such a checkpoint does not verify, or is one that a resume goes on from without an error of its own."""
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "last-000000002")
    folder = tmp_path / "run" / "checkpoints" / "last-000000004"
    path = folder / checkpoint.MANIFEST
    manifest = json.loads(path.read_text())
    sound = 0
    for place in places(manifest):
        for wrong in WRONG:
            if not place and wrong is KeyError:
                continue
            path.write_text(json.dumps(put(manifest, place, wrong)))
            why: list[str] = []
            if checkpoint.load(folder, why=why) is None:
                assert len(why) == 1 and "\n" not in why[0] and "\x1b" not in why[0]
                continue
            sound += 1
            shutil.copytree(tmp_path / "run", tmp_path / "again")
            more = Options(resume=True, steps=6)
            try:
                train(fake.module(), tmp_path / "again", more, backend=fake.FakeBackend())
            except SpecError as said:
                assert all(d.code == "MP520" for d in said.diagnostics), said
            shutil.rmtree(tmp_path / "again")
    assert 0 < sound < 80


def test_cut_and_flipped_states(whole: Path, tmp_path: Path) -> None:
    """With a manifest made to fit: what the reader of safetensors says becomes one clause."""
    shutil.copytree(whole / "best", tmp_path / "best")
    state, path = tmp_path / "best" / checkpoint.STATE, tmp_path / "best" / checkpoint.MANIFEST
    payload, manifest = state.read_bytes(), json.loads(path.read_text())
    cuts = [payload[:n] for n in (*range(0, 80, 3), len(payload) - 1)]
    flips = [
        payload[:n] + bytes([payload[n] ^ bit]) + payload[n + 1 :]
        for n in range(0, 400, 7)
        for bit in (1, 16, 128)
    ]
    types = [payload.replace(b'"F32"', kind) for kind in (b'"I32"', b'"BF1"', b'"F16"', b'"F8 "', b'"BOO"')]
    for changed in (*cuts, *flips, *types, payload + b"\0", b"\xff" * 8 + payload[8:]):
        state.write_bytes(changed)
        manifest["files"][checkpoint.STATE] = hashlib.sha256(changed).hexdigest()
        path.write_text(json.dumps(manifest))
        why: list[str] = []
        if checkpoint.load(tmp_path / "best", why=why) is None:
            assert len(why) == 1 and "\n" not in why[0]
