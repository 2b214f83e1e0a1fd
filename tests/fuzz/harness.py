"""One target under atheris, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import atheris
from targets import TARGETS
from watch import MOST, Watch
from words import ROOT


def child(name: str, folder: Path, inputs: int, seconds: float, seed: int) -> None:
    """Fuzz one target until a limit, then end the process."""
    target = TARGETS[name]
    # Commands import late, so the hook stays to the end.
    with atheris.instrument_imports(
        include=[*{name.partition(".")[0] for name in target.instrumented}],
        exclude=_others(target.instrumented),
        enable_loader_override=False,
    ):
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        run, seeds = target.prepare(folder), list(target.seeds())
        for text in seeds[:: max(1, len(seeds) // 8)]:
            with contextlib.suppress(Exception):
                run(text)  # imports what it needs: not to be counted among the costs of an input
        corpus = folder / f"{name}.corpus"
        corpus.mkdir(exist_ok=True)
        for i, text in enumerate(seeds):
            (corpus / f"seed{i:04d}").write_bytes(text[:MOST])
        mutator = target.mutator()

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            return bytes(mutator(bytes(data), min(most, MOST), seed))

        options = [f"-seed={seed}", f"-max_len={MOST}", "-timeout=1000000", "-rss_limit_mb=0",
                   "-verbosity=0", "-reload=0",
                   "-print_final_stats=0", "-close_fd_mask=3", "-len_control=0"]  # fmt: skip
        watch = Watch(name, folder, run, inputs, seconds)
        atheris.Setup([sys.argv[0], *options, str(corpus)], lambda d: watch(bytes(d)), custom_mutator=mutate)
        atheris.Fuzz()


def _others(chosen: tuple[str, ...]) -> list[str]:
    """Every module of the core that is not, and is not in, one of those chosen: to instrument all takes seconds."""
    modules = (
        ".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "mpcompile").rglob("*.py")
    )
    return [
        name.removesuffix(".__init__")
        for name in modules
        if not any(name == c or name.startswith(f"{c}.") for c in chosen)
    ]
