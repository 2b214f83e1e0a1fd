"""Freed memory stays with the process, so that a step does not fetch it again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

#: Frees what it allocated, as a step does, and prints the pages that the system handed out for one round.
LOOP = """
import resource, sys
import numpy as np
from mpcompile.runner.pages import keep_pages

kept = keep_pages() if "kept" in sys.argv else None

def step():
    arrays = [np.ones(size) for size in (1 << 17, 1 << 18, 1 << 19, 1 << 21, 1 << 21, 5 << 20)]
    return sum(a[-1] for a in arrays)

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


def loop(*arguments: str, **environment: str) -> tuple[str, int]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", LOOP, *arguments]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)
    kept, pages = done.stdout.split()
    return kept, int(pages)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_pages_are_kept() -> None:
    assert loop()[1] > 1000
    kept, pages = loop("kept")
    assert kept == "True" and pages < 10


def test_what_the_environment_states_is_left() -> None:
    assert loop("kept", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
    assert loop("kept", GLIBC_TUNABLES="glibc.malloc.trim_threshold=131072")[0] == "False"
