"""A pack: a folder with one flat .npy a column and `manifest.json`. Training reads it row by row, whatever its size."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mpcompile.diagnostics import Span, error
from mpcompile.runner import disk
from mpcompile.runner.data.dataset import SPLITS
from mpcompile.runner.data.opening import Unreadable, reading
from mpcompile.runner.data.pack import arrow, sources
from mpcompile.runner.data.pack.collect import Collector
from mpcompile.runner.data.pack.manifest import MANIFEST, described
from mpcompile.runner.data.pack.sources import Blocks, Wishes
from mpcompile.runner.data.pack.store import Facts, File, Memory, Store

Source = Callable[[Path, Wishes, Facts], Blocks]
SOURCES: Mapping[str, Source] = {
    ".npz": sources.of_npz, ".npy": sources.of_npy, ".csv": sources.of_csv, ".txt": sources.of_text,
    ".wav": sources.of_wav, **dict.fromkeys(arrow.SUFFIXES, arrow.of_file),
}  # fmt: skip


def pack(path: Path, out: Path, wishes: Wishes) -> dict[str, tuple[int, ...]]:
    """Read a source a few rows at a time into a new folder; return the shape of each column.

    Raises `SpecError`: MP506 for a source that cannot be read, MP524 for a folder that is there, MP527 where it cannot be
    written.
    """
    full = disk.target(out)
    with disk.writing(out):
        if disk.kind(full) == "folder" and os.listdir(full):
            raise disk.refused(f"{out} is there and not empty", "name another folder, or remove it")
    try:
        with disk.writing(out), disk.staged(full, "pack") as (aside, lock):
            files: dict[str, File] = {}

            def sink(name: str) -> File:
                files[name] = File(aside / f"{len(files)}.npy")
                return files[name]

            store = collected(path, wishes, sink)
            disk.write(aside / MANIFEST, disk.as_json(described(path, store.facts, files)))
            lock.release()
            disk.publish(aside, full)
    except Unreadable as bad:
        raise error("MP506", str(bad), Span.none(), help=bad.help) from bad
    return {name: (file.rows, *file.shape) for name, file in files.items()}


def collected(path: Path, wishes: Wishes, sink: Callable[[str], File] | Callable[[str], Memory]) -> Store:
    """Read all blocks of a source into sinks. Raises `Unreadable`."""
    facts = Facts()
    collector = Collector(path, facts, sink)
    with reading(path):
        for split, block in _source(path)(path, wishes, facts):
            collector.add(split, block)
        facts.rows = {s: facts.rows[s] for s in SPLITS if s in facts.rows}
        return collector.finish()


def _source(path: Path) -> Source:
    if path.is_dir():
        return arrow.of_saved if arrow.is_saved(path) else sources.of_folder
    if path.suffix.lower() not in SOURCES:
        raise Unreadable(f"{path}: sources are {', '.join(SOURCES)} or a folder")
    return SOURCES[path.suffix.lower()]


__all__ = ["SOURCES", "Wishes", "collected", "pack"]
