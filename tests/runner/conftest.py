"""The fake backend, loaded as a file: tests never put a path on `sys.path`."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

_SPEC = spec_from_file_location("runner_fake", Path(__file__).with_name("fake.py"))
assert _SPEC is not None and _SPEC.loader is not None
_FAKE = module_from_spec(_SPEC)
sys.modules["runner_fake"] = _FAKE
_SPEC.loader.exec_module(_FAKE)


@pytest.fixture
def fake() -> ModuleType:
    """`tests/runner/fake.py`."""
    return _FAKE
