"""Settings of the whole suite."""

import gc
import os

import pytest
from hypothesis import settings
from in_process import Cli, command_line

# Deadlines measure the machine, not the code. On CI the examples are the same in every run.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Every test compiles its own small programs and runs them once or twice: XLA's expensive passes would take longest.
FAST = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST}".strip()
# Every graph is verified between all passes, also in processes that tests start.
os.environ.setdefault("MPCOMPILE_VERIFY_EACH", "1")
# Tests prove for themselves; those of the cache name a folder of their own.
os.environ["MPCOMPILE_CACHE"] = ""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in this process: `cli("check", "m.mp").code`."""
    return command_line(monkeypatch, capfd)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exempt what was collected from garbage collection, and collect rarely: a fifth of the suite's time went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
