"""The wheel holds every file of the packages and nothing else, and works away from the checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = [ROOT / folder for folder in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files_of(package: Path) -> set[str]:
    """Every file of a package as the wheel names it: all that ships, whether git knows it yet or not."""
    return {
        str(path.relative_to(package.parent).as_posix())
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def run_unpacked(unpacked: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_wheel_holds_the_packages_and_nothing_else(unpacked: Path) -> None:
    expected = set().union(*map(files_of, PACKAGES))
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    found = {name for name in found if ".dist-info/" not in name}
    assert sorted(expected - found) == [], "in the checkout but not in the wheel"
    assert sorted(found - expected) == [], "in the wheel but not in the packages"


def test_every_package_folder_ships() -> None:
    folders = [ROOT / "mpcompile", *ROOT.glob("backends/mpcompile_*"), *ROOT.glob("grammar/mpcompile_*")]
    assert {folder for folder in folders if (folder / "__init__.py").is_file()} == set(PACKAGES)


def test_every_folder_with_code_is_a_package() -> None:
    """A missing `__init__.py` works by accident as a namespace package, unseen by import-linter."""
    modules = {path for package in PACKAGES for path in package.rglob("*.py")}
    assert sorted(str(path) for path in modules if not (path.parent / "__init__.py").is_file()) == []


def test_wheel_is_the_same_when_built_again(wheel: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_metadata(unpacked: Path) -> None:
    (info,) = unpacked.glob("mpcompile-*.dist-info")
    assert (info / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    entry_points = ConfigParser()
    entry_points.read(info / "entry_points.txt", encoding="utf-8")
    assert entry_points["console_scripts"]["mpcompile"] == "mpcompile.cli:main"
    backends = {package.name for package in PACKAGES if package.parent.name == "backends"}
    listed = {target.split(":")[0] for target in entry_points["mpcompile.backends"].values()}
    assert listed == backends
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert {f"mpcompile_{extra}" for extra in extras} >= backends


def test_unpacked_wheel_is_what_python_imports(unpacked: Path, tmp_path: Path) -> None:
    names = [package.name for package in PACKAGES]
    code = f"import importlib; [print(importlib.import_module(name).__file__) for name in {names!r}]"
    done = run_unpacked(unpacked, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [str(unpacked / name / "__init__.py") for name in names]


def test_unpacked_wheel_checks_a_spec(unpacked: Path, tmp_path: Path) -> None:
    """A file that is read at run time (a grammar, a template) and was forgotten shows here."""
    spec = tmp_path / "realnvp.yaml"
    spec.write_bytes((ROOT / "specs" / "realnvp.yaml").read_bytes())
    done = run_unpacked(unpacked, tmp_path, "-m", "mpcompile", "check", spec.name)
    assert done.returncode == 0, done.stdout + done.stderr
