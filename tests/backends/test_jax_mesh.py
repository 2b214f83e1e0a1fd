"""Several devices and several processes of jax take the steps of one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from mpcompile.diagnostics import SpecError
from mpcompile_jax.mesh import waiting

SCRIPT = str(Path(__file__).parents[1] / "support" / "jax_mesh.py")
RUN = """import sys; from mpcompile_jax.launch import launch; sys.exit(launch(sys.argv[2:], int(sys.argv[1]), 0))"""


def results(command: list[str], devices: int) -> dict[str, Any]:
    flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
    flags += " --xla_backend_optimization_level=0"  # compiling takes the time here
    env = {**os.environ, "XLA_FLAGS": flags, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(command, capture_output=True, text=True, env=env, timeout=500)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("devices", "processes", "groups", "of"),
    [(2, 2, [4, "replicated", 4, "sharded"], [4, 4])],
    ids=["2 devices of each of 2 processes"],
)
def test_a_mesh_takes_the_steps_of_one_device(
    devices: int, processes: int, groups: list[Any], of: list[int]
) -> None:
    """Batch statistics, clipping, means, skipped steps and written statistics are those of the whole batch."""
    command = [sys.executable, SCRIPT, *map(str, groups)]
    if processes > 1:
        command = [sys.executable, "-c", RUN, str(processes), *command]
    found = results(command, devices)
    assert found["skipped"] == 1
    assert [row["devices"] for row in found["rows"]] == of
    assert found["exchanged"] == [[rank, 0.1] for rank in range(processes)]
    for row, layout in zip(found["rows"], groups[1::2], strict=True):
        assert bool(row["parts"]) == (layout == "sharded")
        assert max(row["differences"]) < 1e-10


def test_a_process_that_fails_ends_the_others_and_is_started_again(tmp_path: Path) -> None:
    text = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        rank, attempt = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
        Path(sys.argv[1], f"{rank}-{attempt}").touch()
        if rank == "1":
            sys.exit(0 if attempt == "1" else 7)
        time.sleep(60 if attempt == "0" else 0)
    """)
    for restarts, status in ((0, 7), (1, 0)):
        folder = tmp_path / str(restarts)
        folder.mkdir()
        command = [sys.executable, "-c", RUN.replace(", 0))", f", {restarts}))"), "2"]
        ended = subprocess.run([*command, sys.executable, "-c", text, str(folder)], timeout=50)
        assert ended.returncode == status
        assert {p.name for p in folder.iterdir()} == {f"{r}-{a}" for r in "01" for a in range(restarts + 1)}


def test_a_process_of_jax_that_is_gone_is_a_finding() -> None:
    for raised in (
        ValueError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer"), RuntimeError("UNAVAILABLE: gone"),
    ):  # fmt: skip
        with pytest.raises(SpecError) as lost, waiting():
            raise raised
        assert lost.value.diagnostics[0].code == "MP531"
    with pytest.raises(ValueError, match="shape"), waiting():
        raise ValueError("a shape that does not fit")
