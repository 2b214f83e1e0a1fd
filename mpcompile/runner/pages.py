"""Memory of a long loop: pages that each step would hand back to the system, and fetch again."""

from __future__ import annotations

import ctypes
import os
import platform

#: Parameters of `mallopt` of glibc's malloc.h, and what they are set to: no block is a mapping of its own, the heap does
#: not shrink, and threads share it, since the heap of a thread goes back to the system whenever it is empty.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_SETTINGS = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, (1 << 31) - 1), (_ARENA_MAX, 1))
#: What a user sets to say how the allocator works.
_STATED = (
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_", "MALLOC_ARENA_MAX",
)  # fmt: skip


def keep_pages() -> bool:
    """Set the allocator of this process to keep the memory that is freed, and return whether it does.

    Every step of training allocates and frees the same large arrays. Left alone, glibc maps an array of more than
    128 KiB from the system (later up to 32 MiB) and trims its heap; the system clears each page that it hands out.
    The memory of the process then stays at its peak, which the next step reaches anyway. Threads that run already
    keep their heaps: call it first. Nothing is done for another allocator, or where the environment states one of
    these settings.
    """
    stated = any(name in os.environ for name in _STATED) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    )
    if stated or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    taken = [mallopt(parameter, value) == 1 for parameter, value in _SETTINGS]
    return all(taken)


__all__ = ["keep_pages"]
