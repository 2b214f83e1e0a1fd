"""What emitted JAX and ONNX look like, for a person to read in a review; and that a build is the same every time.

After a wanted change of the style: `pytest tests/backends/test_style.py --snapshot-update`, and read the difference.
torch has its own in `test_torch_models.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import specs_under_test
from syrupy.assertion import SnapshotAssertion

from mpcompile import api
from mpcompile.ir import Module

MODELS = {
    "mlp": """
model mlp(hidden = 3)
input  x: binary[2]
target y: binary[1]
y ~ bernoulli(logits = x -> dense(hidden) -> tanh -> dense(1))
""",
    "lstm": """
model lstm(characters = 5)
input text: category(characters)[time]
text ~ autoregressive(likelihood = categorical) { embedding(2) -> shift -> lstm(3) -> dense(characters) }
""",
}


@pytest.fixture(params=MODELS)
def module(request: pytest.FixtureRequest, tmp_path: Path) -> Module:
    path = tmp_path / f"{request.param}.mp"
    path.write_text(MODELS[request.param], encoding="utf-8")
    return api.load(path)


def test_the_style_of_jax(module: Module, snapshot: SnapshotAssertion) -> None:
    emit = pytest.importorskip("mpcompile_jax").BACKEND.emit
    files = emit(module)
    assert "\n".join(files[name] for name in ("model.py", "sampling.py") if name in files) == snapshot


def test_the_style_of_onnx(module: Module, snapshot: SnapshotAssertion) -> None:
    """The loss as ONNX's own text, without what only repeats: the names of nodes and the types of inner values."""
    onnx = pytest.importorskip("onnx")
    emit = pytest.importorskip("mpcompile_onnx").BACKEND.emit
    model = onnx.load_from_string(emit(module)["loss.onnx"])
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        graph.ClearField("value_info")
        for node in graph.node:
            node.ClearField("name")
            waiting += [a.g for a in node.attribute if a.HasField("g")]
    lines = onnx.printer.to_text(model.graph).splitlines()
    assert "\n".join(line.rstrip() for line in lines) == snapshot


# --- the same bytes every time ---

BACKENDS = ("torch", "jax", "onnx")
#: Masks, repeated blocks, loops, several programs and convolution.
NAMES = ("char_lstm", "transformer", "cnn")

BUILD = "import json, sys, test_style; print(json.dumps(test_style.sums(sys.argv[1])))"


def sums(folder: str) -> dict[str, str]:
    """Checksums of all files of some builds."""
    found = {}
    for name in NAMES:
        m = specs_under_test.fresh(name)
        for backend in BACKENDS:
            api.build(m, backend, Path(folder, name, backend))
            for path in sorted(Path(folder, name, backend).rglob("*")):
                found[f"{backend}/{name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Those of this process and of another, in which sets and hashes have different orders."""
    folders = [str(tmp_path_factory.mktemp("build")) for _ in range(2)]
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(specs_under_test.__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", BUILD, folders[0]],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return [sums(folders[1]), json.loads(done.stdout)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_builds_are_the_same_in_every_process(backend: str, builds: list[dict[str, str]]) -> None:
    first, second = ({k: v for k, v in b.items() if k.startswith(backend + "/")} for b in builds)
    assert {k.split("/")[1] for k in first} == set(NAMES)
    assert [k for k in first if second.get(k) != first[k]] == [] and set(first) == set(second)
