"""Release smoke test: the built wheel, installed alone and with each extra alone, runs every command.

    python tests/release/smoke.py              what CI runs: the core on every Python that is found, at the newest
                                               and the lowest versions; the extras onnx, jax and torch
    python tests/release/smoke.py --full       also the lowest versions of the extras, and extras on every Python
    python tests/release/smoke.py --only NAME  one environment: core, onnx, lowest-jax, core-3.12, ...

Each environment is a new one in a temporary folder, where pip installs the wheel from its file and the rest from the
registries it is set up for. The script needs the standard library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Installed before the wheel, where given: a plain range would take a wheel with some gigabytes of CUDA packages.
TORCH = "torch==2.13.0"
PINS = {"torch": os.environ.get("TORCH", TORCH)}
BACKENDS = ("onnx", "jax", "torch")
FEATURES = ("plots", "tensorboard", "data", "wandb", "mlflow", "editor")
#: Most that the site-packages of the core may take, pip and setuptools left out, compiled files included.
CORE_MB = 160
LIMIT = 600  # seconds that a command may take
PYTHONS = ("3.11", "3.12", "3.13")
#: What must not reach into the environments from the one that runs this script.
FOREIGN = (
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "PYTEST_ADDOPTS",
    "MPCOMPILE_DEBUG",
    "MAKEFLAGS",
    "MAKELEVEL",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One command with its exit code, and a pattern that its output must hold; `lines` bounds the lines of stderr."""

    command: str
    code: int = 0
    says: str = ""
    lines: int | None = None


def missing(command: str, backend: str) -> Step:
    """A command whose backend is not installed: exit code 2, and one line that names the extra."""
    return Step(command, 2, rf"^error: .*pip install 'mpcompile\[{backend}\]'$", 1)


KINDS = ("layers", "distributions", "bijectors", "templates", "codes")
FORMATS = ("full", "concise", "json", "json-lines", "sarif", "github", "junit")
TEMPLATES = ("made", "mlp", "realnvp", "vae")
COMMANDS = (
    "build", "check", "data", "train", "eval", "predict", "sample", "verify", "inspect", "opt", "explain", "list", "new",
    "fmt", "schema", "import", "report", "server",
)  # fmt: skip
PICTURES = """model pictures
input x: integer(0..255)[1, 8, 8]
x ~ flow(base = normal) { dequantize -> logit(alpha = 0.05) -> affine }
"""
DRAW = "from PIL import Image; [Image.new('L', (8, 8), 8 * i).save(f'pictures/{i}.png') for i in range(30)]"
TABLE = (
    "import pyarrow, pyarrow.parquet as p; "
    "p.write_table(pyarrow.table({'a': [i / 9 for i in range(60)], 'b': [i / 7 for i in range(60)]}), 'points.parquet')"
)
#: An editor that says hello and leaves.
HELLO = (
    "import json, sys; text = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'initialize', 'params': "
    "{'processId': None, 'rootUri': None, 'capabilities': {}}}); "
    "sys.stdout.write(f'Content-Length: {len(text)}\\r\\n\\r\\n{text}')"
)
BROKEN = "model broken\ninput x: binary[4]\nx ~ bernoulli(logits = x -> dens(4))\n"

#: Every command that needs no framework. They run in one folder, one after the other.
CORE: tuple[Step, ...] = (
    Step("mpcompile --version", says=r"^\d+\.\d+\.\d+"),
    Step("python -m mpcompile --version", says=r"^\d+\.\d+\.\d+"),
    Step("mpcompile --help", says="|".join(COMMANDS)),
    *(Step(f"mpcompile {name} --help", says="Usage: mpcompile") for name in COMMANDS),
    *(Step(f"mpcompile new {name}", says=f"wrote {name}.mp") for name in TEMPLATES),
    Step("mpcompile new flow -t realnvp --yaml -d specs", says="wrote specs/flow.yaml"),
    Step("mpcompile check made.mp vae.mp realnvp.mp mlp.mp specs", says="0 errors"),
    *(Step(f"mpcompile check made.mp --output-format {name}") for name in FORMATS),
    Step("mpcompile check made.mp --report sarif=made.sarif --report junit=made.xml"),
    Step("mpcompile check made.mp --certificate proofs.json"),
    Step("mpcompile check --verify-certificate proofs.json"),
    Step("mpcompile check broken.mp", 1, "MP121|unknown layer"),
    Step("mpcompile check nothing.mp", 2, "no such file"),
    Step("mpcompile fmt made.mp"),
    Step("mpcompile fmt --check made.mp vae.mp realnvp.mp mlp.mp specs"),
    Step("mpcompile fmt --to yaml vae.mp", says="vae.yaml"),
    Step("mpcompile inspect made.mp", says="parameters"),
    Step("mpcompile inspect made.mp --output-format json", says='"parameters"'),
    Step("mpcompile opt made.mp -p shipped --verify-each", says="program sample"),
    Step("mpcompile inspect made.mp --output-format html -o made.html", says="wrote made.html"),
    Step("mpcompile explain", says="MP301"),
    Step("mpcompile explain MP301", says="Why"),
    Step("mpcompile list", says="dense"),
    *(Step(f"mpcompile list {kind}") for kind in KINDS),
    Step("mpcompile schema", says="draft-07"),
    *(missing(f"mpcompile {name} made.mp --backend {b}", b) for name in ("build", "train") for b in BACKENDS),
    missing("mpcompile verify made.mp --backends onnx", "onnx"),
    Step("mpcompile verify made.mp", 2, r"^error: .*pip install 'mpcompile\[", 1),
    Step("mpcompile eval nothing", 1, "MP520"),
    Step("mpcompile predict nothing data.csv -o x.npz", 1, "MP520"),
    Step("mpcompile sample nothing -o x.npz", 1, "MP520"),
    Step("mpcompile import", 2, "^error: mpcompile import takes"),
    Step("mpcompile sample nothing -o x.png", 2, r"^error: .*pip install 'mpcompile\[plots\]'$", 1),
)

#: A model in the framework of its backend, as a user of the written folder has it.
EMITTED = {
    "torch": "import torch, model; m = model.load('weights.safetensors'); x = torch.zeros(2, 64); "
    "print(m.log_prob(x).shape)",
    "jax": "import jax, model; p = model.load('weights.safetensors'); "
    "print(jax.jit(model.log_prob)(p, jax.numpy.zeros((2, 64))).shape)",
    "onnx": "import numpy, onnxruntime as o; s = o.InferenceSession('log_prob.onnx'); "
    "print(s.run(None, {s.get_inputs()[0].name: numpy.zeros((2, 64), 'float32')})[0].shape)",
}


def with_backend(name: str) -> tuple[Step, ...]:
    """Build, train three steps, evaluate, sample and verify with one backend."""
    return (
        Step("mpcompile new made"),
        Step(f"mpcompile build made.mp --backend {name}", says="wrote build/made"),
        Step(f"mpcompile train made.mp --backend {name} --steps 3 --out run", says="done: 3 steps"),
        Step("mpcompile eval run", says="log-likelihood"),
        Step("mpcompile predict run binary_digits -o x.csv", says="wrote x.csv"),
        Step("mpcompile sample run -n 2 -o x.npz", says="wrote x.npz"),
        Step("mpcompile report run -o x.html", says="wrote x.html"),
        Step("mpcompile sample run -n 2 -o x.png", 2, r"^error: .*pip install 'mpcompile\[plots\]'$", 1),
        Step(f"mpcompile verify made.mp --backends {name}", says="made"),
        Step(f"mpcompile build run --backend {name} --inference -o built", says="wrote built"),
        Step("mpcompile new realnvp"),
        Step(f"mpcompile train realnvp.mp --backend {name} --steps 3 --out flow", says="done: 3 steps"),
        *(
            missing(f"mpcompile build made.mp --backend {other}", other)
            for other in BACKENDS
            if other != name
        ),
    )


class Failed(Exception):
    """A command that did not do what it must; the message is for people."""


@dataclass
class Environment:
    """A virtual environment in `folder`, and an empty folder beside it where its commands run."""

    name: str
    folder: Path
    python: str = sys.executable
    count: int = 0
    size: float = 0.0  # of what was installed, in MB
    work: Path = field(init=False)

    def __post_init__(self) -> None:
        self.work = self.folder / "work"
        self.work.mkdir(parents=True)
        subprocess.run([self.python, "-m", "venv", str(self.folder / "venv")], check=True, env=environ())

    @property
    def scripts(self) -> Path:
        return self.folder / "venv" / "bin"

    def pip(self, *arguments: str) -> None:
        """Install; what pip prints is shown where it fails."""
        command = [str(self.scripts / "python"), "-m", "pip", "install", "--quiet", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environ())
        if done.returncode:
            raise Failed(f"{self.name}: pip install {' '.join(arguments)}\n{done.stdout}{done.stderr}")

    def install(self, *arguments: str) -> None:
        """Install what is tested, see that its requirements agree, and note its size."""
        self.pip(*arguments)
        self.run(Step("python -m pip check"))
        self.size = self.megabytes()

    def run(self, step: Step, folder: Path | None = None) -> None:
        """Raises `Failed` where a command ends otherwise than its step says, or with a traceback."""
        environment = environ() | {"PATH": f"{self.scripts}{os.pathsep}{os.environ['PATH']}"}
        try:
            done = subprocess.run(
                ["sh", "-c", step.command], cwd=folder or self.work, env=environment, text=True,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name}: $ {step.command}\nstill running after {LIMIT} s") from None
        self.count += 1
        output = done.stdout + done.stderr
        wrong = []
        if done.returncode != step.code:
            wrong.append(f"exit code {done.returncode}, not {step.code}")
        if re.search("^Traceback|error: internal error", output, re.MULTILINE):
            wrong.append("an internal error")
        if not re.search(step.says, output, re.MULTILINE):
            wrong.append(f"no {step.says!r} in its output")
        if step.lines is not None and len(done.stderr.splitlines()) > step.lines:
            wrong.append(f"more than {step.lines} line(s) of errors")
        if wrong:
            raise Failed(f"{self.name}: $ {step.command}\n{'; '.join(wrong)}\n{output}")

    def megabytes(self) -> float:
        """Size of site-packages without pip and setuptools, which every environment has."""
        (site,) = self.folder.glob("venv/lib/python*/site-packages")
        tools = re.compile(r"(pip|setuptools|pkg_resources|_distutils_hack|distutils-precedence)\b")
        files = (p for top in site.iterdir() if not tools.match(top.name) for p in [top, *top.rglob("*")])
        return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return kept | {
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def build(folder: Path) -> Path:
    """Build the source distribution, and the wheel from it; return the wheel."""
    tools = Environment("build", folder / "tools")
    tools.pip("build", *tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"])
    tools.run(
        Step(f"python -m build --no-isolation --outdir '{folder}/dist' '{ROOT}'", says=r"Successfully built")
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def run_core(environment: Environment) -> None:
    """Run all that needs no framework, the hooks of pre-commit, and the pytest plugin with and without pytest."""
    (environment.work / "broken.mp").write_text(BROKEN, encoding="utf-8")
    for step in CORE:
        environment.run(step)
    hooks = re.findall(r"^  entry: (.+)$", (ROOT / ".pre-commit-hooks.yaml").read_text(), re.MULTILINE)
    for entry in hooks:
        environment.run(Step(f"{entry} made.mp specs/flow.yaml"))
    modules = "mpcompile, mpcompile.api, mpcompile.backend"
    environment.run(Step(f"python -W error -c 'import {modules}; assert mpcompile.load(\"made.mp\")'"))
    environment.pip("pytest")
    environment.run(Step("pytest -q made.mp specs", says="passed"))


def run_backend(environment: Environment, name: str) -> None:
    """Run all that a backend does, and a model that it wrote, in its framework."""
    for step in with_backend(name):
        environment.run(step)
    says = r"\(2,\)|Size\(\[2\]\)"
    environment.run(
        Step(f'python -c "{EMITTED[name]}"', says=says), environment.work / "build" / "made" / name
    )


def run_features(environment: Environment) -> None:
    """Draw samples, a plot and a density; train on pictures, write TensorBoard's events, and serve an editor."""
    (environment.work / "pictures.mp").write_text(PICTURES, encoding="utf-8")
    for step in (
        Step("mpcompile new made"),
        Step("mpcompile train made.mp --backend onnx --steps 3 --out run"),
        Step("mpcompile sample run -n 4 -o x.png", says="wrote x.png"),
        Step("mpcompile new realnvp"),
        Step("mpcompile train realnvp.mp --backend onnx --steps 3 --out flow"),
        Step("mpcompile sample flow -n 4 -o y.png", says="wrote y.png"),
        Step("mpcompile sample flow --density -o z.jpg", says="wrote z.jpg"),
        Step(f'mkdir pictures && python -c "{DRAW}"'),
        Step(
            "mpcompile train pictures.mp --backend onnx --data pictures --steps 3 --out seen "
            "--track tensorboard --track csv --track wandb --track mlflow"
        ),
        Step("ls seen/tensorboard", says="tfevents"),
        Step(f'python -c "{TABLE}"'),
        Step("mpcompile data pack points.parquet -o points", says=r"table \[60, 2\]"),
        Step("mpcompile train realnvp.mp --backend onnx --data points --steps 3 --out packed"),
        Step(f'python -c "{HELLO}" | mpcompile server', says="renameProvider"),
    ):
        environment.run(step)


def lowest(requirements: Iterable[str]) -> list[str]:
    """The same requirements, each at its lower bound."""
    return [r.replace(">=", "==") for r in requirements]


Job = Callable[[Environment, Path], None]


def core(environment: Environment, wheel: Path) -> None:
    """The wheel alone. Raises `Failed` where it takes more space than it may."""
    environment.install(str(wheel))
    if environment.size > CORE_MB:
        raise Failed(f"{environment.name}: {environment.size:.0f} MB installed, more than {CORE_MB}")
    run_core(environment)


def lowest_core(environment: Environment, wheel: Path) -> None:
    """The wheel, and every dependency of the core at its lower bound."""
    environment.install(str(wheel), *lowest(PROJECT["dependencies"]))
    run_core(environment)


def extra(name: str, at_lowest: bool = False) -> Job:
    """The wheel with one extra alone."""

    def job(environment: Environment, wheel: Path) -> None:
        if name in PINS:
            environment.pip(PINS[name])
        bounds = lowest(PROJECT["optional-dependencies"][name]) if at_lowest else []
        environment.install(f"{wheel}[{name}]", *bounds)
        run_backend(environment, name)

    return job


def features(at_lowest: bool = False) -> Job:
    """The other extras. They need a run, so that this has a backend, too."""

    def job(environment: Environment, wheel: Path) -> None:
        needed = [r for name in FEATURES for r in PROJECT["optional-dependencies"][name]]
        environment.install(f"{wheel}[onnx,{','.join(FEATURES)}]", *(lowest(needed) if at_lowest else []))
        run_features(environment)

    return job


def plan(full: bool) -> dict[str, tuple[str, Job]]:
    """Environment -> the version of Python that it needs, and what to install and run in it."""
    own = ".".join(map(str, sys.version_info[:2]))
    jobs = {name: (own, extra(name)) for name in reversed(BACKENDS)}  # the largest first
    jobs |= {"lowest": (own, lowest_core), "core": (own, core)}
    others = [version for version in PYTHONS if version != own]
    jobs |= {f"core-{version}": (version, core) for version in others}
    if full:
        jobs["features"] = own, features()
        # of torch the lowest version is the pinned one, which "torch" runs
        jobs |= {f"lowest-{name}": (own, extra(name, at_lowest=True)) for name in ("onnx", "jax")}
        jobs["lowest-features"] = own, features(at_lowest=True)
        # not torch: for these, registries have its wheel with CUDA alone
        jobs |= {
            f"{name}-{version}": (version, extra(name)) for version in others for name in ("onnx", "jax")
        }
    return jobs


def interpreter(version: str) -> str | None:
    """A Python of this version, such as 3.12: on the path or among pyenv's. None where there is none."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [sys.executable, f"python{version}", *map(str, sorted(kept.glob(f"{version}.*/bin/python")))]
    code = "import sys, venv; print(*sys.version_info[:2], sep='.')"
    for python in found:
        with contextlib.suppress(OSError):
            done = subprocess.run([python, "-c", code], capture_output=True, text=True, env=environ())
            if done.stdout.strip() == version:
                return python
    return None


def attempt(name: str, version: str, job: Job, wheel: Path, scratch: Path) -> tuple[str, bool]:
    """A line about one environment, and whether all went as it should."""
    python = interpreter(version)
    if python is None:
        return f"{name}: no Python {version} here, skipped", True
    started = time.monotonic()
    try:
        environment = Environment(name, scratch / name, python)
        job(environment, wheel)
    except Failed as failure:
        return f"FAILED {failure}", False
    finally:
        shutil.rmtree(scratch / name, ignore_errors=True)
    return (f"{name}: Python {version}, {environment.size:.0f} MB, {environment.count} commands, "
            f"{time.monotonic() - started:.0f} s"), True  # fmt: skip


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--full", action="store_true", help="every environment")
    parser.add_argument("--only", action="append", metavar="NAME", help="this environment; may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="environments at a time")
    options = parser.parse_args()
    jobs = plan(options.full or bool(options.only))
    if unknown := set(options.only or ()) - set(jobs):
        parser.error(f"no environment {', '.join(sorted(unknown))}; there are {', '.join(jobs)}")
    started, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="smoke-") as scratch, ThreadPoolExecutor(options.jobs) as pool:
        wheel = build(Path(scratch))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        waiting = [pool.submit(attempt, n, *jobs[n], wheel, Path(scratch)) for n in options.only or jobs]
        for done in as_completed(waiting):
            line, good = done.result()
            print(line, flush=True)
            failed += not good
    verdict = f"{failed} of {len(waiting)} environments failed" if failed else "every environment passes"
    print(f"smoke: {verdict}, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
