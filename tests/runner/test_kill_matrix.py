"""A slice of the kill matrix (tests/support/kill_matrix.py), and builds killed at every point."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import kill_matrix
import pytest
from crashes import Model, Points, fail_at, kill_at

from mpcompile.diagnostics import SpecError
from mpcompile.runner import builds, disk
from mpcompile.runner.run import is_run


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_a_slice(fake: ModuleType, tmp_path: Path, exchange: bool, whole: bool) -> None:
    """Killed twice, failed, and crashed, from the first change of a training to the last."""
    backend = fake.FakeBackend()
    subject = kill_matrix.Subject(fake.module(), backend.session, "fake", tmp_path, exchange)
    with kill_matrix.prepared():
        points = kill_matrix.campaign(subject, 40 if whole else 23, whole)
    assert points >= 2 and subject.counts["kill"] == points and subject.counts["crash"] == 3 * points


def test_the_model_of_a_disk_forgets(tmp_path: Path) -> None:
    """What the campaign rests on: without a sync, names and contents are lost."""
    root = tmp_path / "at"
    root.mkdir()
    model = Model(root)
    with Points(root, log=model.log).watch():
        disk.write(root / "synced", b"one")
        disk.sync(root)
        handle = os.open(root / "unsynced", os.O_WRONLY | os.O_CREAT)
        os.write(handle, b"two")
        os.close(handle)
        os.rename(root / "synced", root / "renamed")
    for mode, found in {"lost": {"synced": b"one"}, "names": {"renamed": b"one", "unsynced": b""}}.items():
        model.crash(tmp_path / mode, mode, 0)
        assert {p.name: p.read_bytes() for p in (tmp_path / mode).iterdir()} == found


@pytest.mark.parametrize("missing", ["write", "sync"])
def test_the_campaign_sees_a_save_that_is_not_synced(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def write(path: Path, payload: bytes) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        for piece in disk.pieces(payload):
            os.write(handle, piece)
        os.close(handle)

    monkeypatch.setattr(disk, missing, write if missing == "write" else lambda folder: None)
    subject = kill_matrix.Subject(fake.module(), fake.FakeBackend().session, "fake", tmp_path)
    with kill_matrix.prepared(), pytest.raises((AssertionError, SpecError)):
        end = len(subject.begin())
        for point in range(subject.last, end + 1):
            for mode in ("lost", "names"):
                subject.forget(point, mode)


# Builds -----------------------------------------------------------------------------------------------

OLD, NEW = {"model.py": b"old" * 100, "weights": b"old"}, {"model.py": b"new" * 200, "more": b"new"}


def built(folder: Path, files: dict[str, bytes]) -> None:
    manifest = {"model": "m", "backend": "b", "mpcompile": "0", "spec": {}, "proofs": [], "parameters": {}}
    manifest["files"] = builds.digests(files)
    builds.write(folder, {**files, builds.MANIFEST: json.dumps(manifest).encode()})


def held(folder: Path) -> dict[str, bytes]:
    names = (p for p in folder.iterdir() if p.name not in (disk.MARKER, builds.MANIFEST))
    return {p.name: p.read_bytes() for p in names}


def number(root: Path, exchange: bool) -> int:
    built(root / "out", OLD)
    points = Points(root)
    with points.watch(exchange):
        built(root / "out", NEW)
    return len(points.names)


def test_a_build_is_whole_at_every_point(tmp_path: Path) -> None:
    """Killed, failed or crashed at any change, one of the two builds is there, and the next build works."""
    root = tmp_path / "at"
    for point in range(number(tmp_path / "count", True)):
        for how in ("kill", "fail", "crash"):
            root.mkdir()
            model = Model(root)
            with Points(root, log=model.log).watch():
                built(root / "out", OLD)
            happen(root, model, point, how)
            assert held(root / "out") in (OLD, NEW), (point, how)
            built(root / "out", NEW)
            assert held(root / "out") == NEW
            left = [p for p in root.iterdir() if p.name != "out" and any(p.iterdir())]
            assert not [p for p in left if any(f.stat().st_size for f in p.rglob("*"))], (point, how, left)
            shutil.rmtree(root)


def happen(root: Path, model: Model, point: int, how: str) -> None:
    match how:
        case "kill":
            child = os.fork()
            if child == 0:
                with Points(root, kill_at(point)).watch():
                    built(root / "out", NEW)
                os._exit(0)
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        case "fail":
            with pytest.raises(SpecError, match="MP527"), Points(root, fail_at(point, errno.ENOSPC)).watch():
                built(root / "out", NEW)
        case "crash":

            class Off(BaseException):
                pass

            def act(at: int, name: str) -> None:
                if at >= point:
                    raise Off

            with pytest.raises(Off), Points(root, act, model.log).watch():
                built(root / "out", NEW)
            shutil.rmtree(root)
            model.crash(root, "some", point)


def test_a_run_that_steps_aside_is_never_lost(fake: ModuleType, tmp_path: Path) -> None:
    """Killed at any change of a training that begins where another run is: that run is there, whole."""
    backend = fake.FakeBackend()
    subject = kill_matrix.Subject(fake.module(), backend.session, "fake", tmp_path)
    with kill_matrix.prepared():
        subject.begin()
        before, files = kill_matrix.outcome(subject.out), len(list(subject.out.rglob("*")))
        points = subject.points()
        subject.train(subject.replay, False, points)  # a second run; the first is now run.old
        shutil.copytree(subject.out.parent, subject.root / "both")
        ended = points.names.index("ftruncate") if "ftruncate" in points.names else 40
        for point in range(0, ended, 2):
            shutil.rmtree(subject.out.parent)
            shutil.copytree(subject.root / "both", subject.out.parent)
            assert subject.forked(point, False)
            there = [p for p in (subject.out, subject.out.with_name("run.old")) if is_run(p)]
            assert before in [kill_matrix.outcome(p) for p in there if len(list(p.rglob("*"))) == files], (
                point
            )
            subject.train(subject.replay, False)
            assert kill_matrix.outcome(subject.out) == before


def test_of_several_processes_one_trains(tmp_path: Path) -> None:
    """Started at once on a new folder: one makes the run and trains, the others end."""
    script = Path(__file__).with_name("kill_loop.py")
    command = [sys.executable, script, "--child", str(tmp_path / "run"), "--slow", "--steps", "100000"]
    alive = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ended = []
    while len(ended) < 2:
        ended += [p for p in alive if p.poll() is not None and p not in ended]
        time.sleep(0.05)
    assert all(p.returncode == 1 and "MP525" in p.communicate()[1] for p in ended)
    (first,) = [p for p in alive if p not in ended]
    first.terminate()
    assert first.wait(60) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
