"""Without the package of an extra, a command that needs it says in one line what to install; exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mpcompile import api
from mpcompile.backend import backends
from mpcompile.runner.loop import Options, train

MADE = """model made
input x: binary[4]
mask up = degrees(order = natural, hidden = 8, seed = 0)
x ~ autoregressive(order = natural, likelihood = bernoulli) {
  dense(8, mask = up) -> relu -> dense(4, mask = strict(up))
}
"""
#: Runs commands, each in a process forked from one that has no framework yet: in a child the packages of its first
#: field are as good as not installed. Writes exit codes and what was said on stderr.
SCRIPT = """
import json, os, sys, traceback
from mpcompile.cli import main
import mpcompile.runner.loop  # once, for all children: what needs no framework

cases = json.loads(sys.argv[1])
sys.argv = ["mpcompile", "check", "made.mp"]
with open(os.devnull, "w") as sys.stdout:
    try:
        main()
    except SystemExit:
        pass
sys.stdout = sys.__stdout__

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, hidden := Hidden())
told = []
for names, command in cases:
    hidden.names = names.split(",")
    assert not set(hidden.names) & set(sys.modules)
    if os.fork() == 0:
        code = 1
        try:
            with open("said", "w") as said:
                os.dup2(said.fileno(), 2), os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.argv = ["mpcompile", *command.split()]
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.wait()[1])
    told.append([code, open("said").read()])
print(json.dumps(told))
"""
#: Backend -> the first package that it imports of its extra, and all of them.
PACKAGES = {
    "torch": ("torch", "torch"),
    "jax": ("jax", "jax,jaxlib"),
    "onnx": ("onnx", "onnx,onnxruntime"),
}


COMMANDS = (
    "build made.mp -b {}",
    "train made.mp -b {} --data data.csv --out new",
    "train made.mp -b {} --resume --out run",
    "verify made.mp --backends {}",
    "eval run",
    "sample run",
    "build run -b {}",
)
#: What is hidden, and the command.
CASES = [(PACKAGES["onnx"][1], command.replace("{}", "onnx")) for command in COMMANDS]
CASES += [(hidden, COMMANDS[0].replace("{}", b)) for b, (_, hidden) in PACKAGES.items() if b != "onnx"]
NONE = ",".join(hidden for _, hidden in PACKAGES.values())
CASES += [(NONE, "verify made.mp"), ("PIL", "train pictured.mp -b onnx")]
CASES += [(hidden, "sample run -o x.png") for hidden in ("PIL", "matplotlib")]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[int, str]]:
    """Exit code and stderr of each case, in a folder with specs and a run on onnx."""
    folder = tmp_path_factory.mktemp("missing")
    (folder / "made.mp").write_text(MADE, encoding="utf-8")
    (folder / "data.csv").write_text("0,1,0,1\n" * 40, encoding="utf-8")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(b"")
    (folder / "pictured.mp").write_text(MADE + 'train { data: "pictures" }\n', encoding="utf-8")
    options = Options(backend="onnx", data=str(folder / "data.csv"), steps=1)
    train(api.load(folder / "made.mp"), folder / "run", options)
    command = [sys.executable, "-c", SCRIPT, json.dumps(CASES)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {case: (code, said) for case, (code, said) in zip(CASES, found, strict=True)}


def test_every_backend_is_swept() -> None:
    assert set(PACKAGES) == set(backends())


@pytest.mark.parametrize(
    ("backend", "command"),
    [("onnx", command) for command in COMMANDS] + [(b, COMMANDS[0]) for b in PACKAGES if b != "onnx"],
)
def test_a_missing_framework_is_one_line(
    backend: str, command: str, told: dict[tuple[str, str], tuple[int, str]]
) -> None:
    first, hidden = PACKAGES[backend]
    code, errors = told[hidden, command.replace("{}", backend)]
    wanted = f"error: backend '{backend}' needs {first}: pip install 'mpcompile[{backend}]'\n"
    assert (code, errors.splitlines(keepends=True)[-1:]) == (2, [wanted]), errors
    assert "Traceback" not in errors


def test_verify_without_any_framework(told: dict[tuple[str, str], tuple[int, str]]) -> None:
    code, errors = told[NONE, "verify made.mp"]
    assert code == 2 and errors.count("\n") == 1 and "pip install 'mpcompile[torch]'" in errors


@pytest.mark.parametrize(("package", "hidden"), [("Pillow", "PIL"), ("matplotlib", "matplotlib")])
def test_a_picture_of_samples_needs_an_extra(
    package: str, hidden: str, told: dict[tuple[str, str], tuple[int, str]]
) -> None:
    wanted = f"error: 'x.png' needs {package}: pip install 'mpcompile[plots]'\n"
    assert told[hidden, "sample run -o x.png"] == (2, wanted)


def test_a_folder_of_pictures_needs_an_extra(told: dict[tuple[str, str], tuple[int, str]]) -> None:
    code, errors = told["PIL", "train pictured.mp -b onnx"]
    assert code == 1 and "pip install 'mpcompile[plots]'" in errors
    assert "pictured.mp:7:" in errors and "Traceback" not in errors
