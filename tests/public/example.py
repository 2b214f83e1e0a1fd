"""A user's program: every public name once, as a type checker reads it. `test_public.py` checks it and runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mpcompile
from mpcompile import (
    Diagnostic,
    Figures,
    Metrics,
    Model,
    Run,
    SpecError,
    Verdict,
    build,
    check,
    evaluate,
    load,
    predict,
    sample,
    train,
)


def claims(model: Model) -> dict[str, bool]:
    verdicts: Sequence[Verdict] = model.verdicts
    return {verdict.claim: verdict.holds for verdict in verdicts}


def faults(path: Path) -> list[str]:
    found: list[Diagnostic] = check(path)
    try:
        load(path)
    except SpecError as problem:
        assert list(problem.diagnostics) == found
    return [f"{d.span.line}: {d.code} {d.message}" for d in found]


def losses(model: Model, folder: Path) -> tuple[Run, list[float]]:
    seen: list[float] = []

    def watch(line: Metrics) -> None:
        seen.append(line["loss"])

    run = train(model, folder, backend="onnx", seed=1, steps=4, on_metrics=watch)
    return run, seen


def figures(run: Run) -> tuple[float, float | None, int]:
    found: Figures = evaluate(run, split="valid")
    rows = predict(run, "digits")["row"]
    drawn = sample(run, 3, seed=2)["x"]
    assert "nats" in found  # as of every model with a likelihood or a bound
    return found["nats"]["mean"], run.best_loss, len(rows) + len(drawn)


def main(
    spec: Path, folder: Path
) -> tuple[dict[str, bool], list[float], tuple[float, float | None, int], Path]:
    model = load(spec, {"hidden": 64})
    run, seen = losses(model, folder / "run")
    net = mpcompile.compile(run, backend="onnx")
    assert callable(net.log_prob)
    return claims(model), seen, figures(run), build(run, folder / "built", "onnx", inference=True)
