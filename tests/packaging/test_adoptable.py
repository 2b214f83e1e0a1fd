"""Pages for whoever adopts the project say what is true: links, versions, workflows, badges."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from mpcompile import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
URL = PROJECT["urls"]["Repository"]
PYTHONS = sorted(
    re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"])), key=lambda v: int(v[2:])
)


def test_the_readme_of_an_index_leads_to_files_that_are_there() -> None:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    metadata = {"urls": PROJECT["urls"]}
    hook.CustomMetadataHook(str(ROOT), {}).update(metadata)
    text = metadata["readme"]["text"]
    assert metadata["readme"]["content-type"] == "text/markdown"
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 40 and all(link.startswith(("https://", "#")) for link in links)
    own = [link for link in links if link.startswith((f"{URL}/blob/", f"{URL}/raw/"))]
    paths = {re.sub(rf"{URL}/(blob|raw)/v{__version__}/", "", link).partition("#")[0] for link in own}
    assert len(paths) > 30 and [path for path in paths if not (ROOT / path).exists()] == []
    assert hook.absolute("[a](#b) [c](d.md#e) ![f](g.png) `[h](i)`", "X/{}/") == (
        "[a](#b) [c](X/blob/d.md#e) ![f](X/raw/g.png) `[h](X/blob/i)`"
    )


def test_one_version_and_one_repository() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__ and citation["repository-code"] == URL
    assert citation["license"] == PROJECT["license"]
    headings = re.findall(
        r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[0] == __version__
    assert f"{URL}\n    rev: v{__version__}\n" in (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


def test_badges_workflows_and_classifiers_name_the_same_pythons() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert PYTHONS == ["3.11", "3.12", "3.13"] and f"![Python {' | '.join(PYTHONS)}]" in readme
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    suite = workflow["jobs"]["suite"]
    assert suite["strategy"]["matrix"]["python-version"] == PYTHONS
    commands = [step["run"] for step in suite["steps"] if "run" in step]
    assert commands == [".ci/run"] and (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert f"{URL}/actions/workflows/ci.yml/badge.svg" in readme


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_files_for_other_services_obey_their_schemas(schema: str, files: str) -> None:
    """The schemas come with check-jsonschema."""
    paths = sorted(ROOT.glob(files))
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.{schema}",
        *map(str, paths),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert paths and done.returncode == 0, done.stdout + done.stderr


def test_the_release_is_tested_and_attested_before_it_is_published() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))[
        "jobs"
    ]
    steps = [step.get("uses", step.get("run", "")) for step in jobs["build"]["steps"]]
    smoke, attest = (
        next(i for i, step in enumerate(steps) if word in step) for word in ("make smoke", "attest-")
    )
    assert smoke < attest and jobs["publish"]["needs"] == "build"
    version = next(step for step in steps if "__version__" in step)
    expression = re.search(r"sed -n '([^']*)'", version)
    assert expression is not None and "__version__" in expression[1]
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["onCreateCommand"] == "make .venv/.stamp" and "READY := .venv/.stamp" in (
        ROOT / "Makefile"
    ).read_text(encoding="utf-8")
