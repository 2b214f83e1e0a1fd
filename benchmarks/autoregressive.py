"""Autoregressive models on real data beside published figures: one command.

    python benchmarks/autoregressive.py --data /path/to/data --rows fvsbn,nade,made/adult

`--data` holds `nade_uci/<set>.npz` and `mnist/binarized_mnist.npz` (bits packed along rows: `train`, `valid`, `test`,
each with `<split>_shape`), `text/tinyshakespeare.txt` and `fsdd/fsdd_int16.npz` (free spoken digit dataset: `wave` int16
at 8 kHz, `off`, `digit`, `index`). A row is trained with one seed, its best weights on the validation part are kept, and
the figure is the negative log-likelihood of the test part in the row's unit, with its standard error. `--rows` are
beginnings of the names that the table below has; a row without its data says so. `--reuse` measures runs that are there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from training import add_variation

from mpcompile.api import load
from mpcompile.backend import find_backend
from mpcompile.ir import Module, Training
from mpcompile.runner.data import load_data
from mpcompile.runner.data.sound import companded
from mpcompile.runner.evaluate import evaluate, moments
from mpcompile.runner.loop import Options, train
from mpcompile.runner.run import Run, open_run

HERE = Path(__file__).parent
SPECS = HERE.parent / "specs"
WINDOW = 2048  # samples of a spoken digit that are seen at once: 256 ms
WORD = 4096  # samples of a whole one


# Data and figures of their own ------------------------------------------------------------------------


def spoken_digits(path: Path, out: Path) -> Path:
    """Recordings cut into windows, the last one filled with silence."""
    return _recordings(path, out / "digits.npz", WINDOW, whole=True)


def spoken_words(path: Path, out: Path) -> Path:
    """The beginning of each recording, filled with silence."""
    return _recordings(path, out / "words.npz", WORD, whole=False)


def _recordings(path: Path, out: Path, window: int, whole: bool) -> Path:
    """Windows [n, window] of mu-law codes with their digit, all or the first of each recording.

    Recordings 0 to 4 of each speaker and digit are the test part, number 5 is for validation.
    """
    with np.load(path, allow_pickle=False) as file:
        wave, ends, digit, index = (file[k] for k in ("wave", "off", "digit", "index"))
    cuts = []
    for start, end in pairwise(ends):
        sound = wave[start:end].astype(np.float64) / 2**15
        codes = companded(np.pad(sound, (0, -len(sound) % window)), 256).astype(np.uint8)
        cuts.append(codes.reshape(-1, window)[: None if whole else 1])
    arrays = {}
    for name, of in (("train", index > 5), ("valid", index == 5), ("test", index < 5)):
        rows = np.flatnonzero(of)
        arrays[f"x_{name}"] = np.concatenate([cuts[i] for i in rows])
        arrays[f"digit_{name}"] = np.repeat(digit[rows], [len(cuts[i]) for i in rows])
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)
    return out


def next_character(run: Run, module: Module) -> tuple[float, float]:
    """Nats a character as nanoGPT measures them: all windows of the held-out tenth, each character but the first.

    The standard error is over windows.
    """
    facts = run.facts
    length = int(facts["settings"]["length"])
    data = load_data(module, facts["data"], length, vocabulary=facts["vocabulary"])
    stream = np.concatenate([data.splits[s].columns["text"].stream for s in ("valid", "test")])  # type: ignore[union-attr]  # a text is a stream
    windows = stream[: len(stream) // length * length].reshape(-1, length).astype(np.int64)
    session = find_backend(facts["backend"]).session(module, run.parameters(module)[0])
    means = []
    for part in np.array_split(windows, max(1, len(windows) // 64)):
        logits = np.asarray(session.run("conditionals", {"text": part})["logits"], np.float64)
        scores = logits - np.logaddexp.reduce(logits, 2, keepdims=True)
        means.append(-np.take_along_axis(scores, part[..., None], 2)[:, 1:, 0].mean(1))
    figure = moments(np.concatenate(means))
    return figure["mean"], figure["standard_error"]


def whole_example(run: Run, module: Module) -> tuple[float, float]:
    """Nats an example of the test part."""
    nats = evaluate(run, module)["nats"]
    return -nats["mean"], nats["standard_error"]


def bits_a_sample(run: Run, module: Module) -> tuple[float, float]:
    """Bits a sample of sound."""
    bits = evaluate(run, module)["bits_per_dim"]
    return bits["mean"], bits["standard_error"]


# The rows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A model on a set: its spec, its data below `--data`, how it is trained, how it is measured, what is published."""

    spec: Path
    data: str
    train: Mapping[str, Any]
    sizes: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[[Path, Path], Path] | None = None
    measure: Callable[[Run, Module], tuple[float, float]] = whole_example
    unit: str = "nats"
    published: float | None = None


WIDTH = {"adult": 123, "connect4": 126, "mushrooms": 112, "mnist": 784}
#: Germain et al. 2015, table 4.
TABLE = {
    "fvsbn": {"adult": 13.17, "connect4": 12.39, "mushrooms": 10.27},
    "nade": {"adult": 13.19, "connect4": 11.99, "mushrooms": 9.81},
    "made": {"adult": 13.12, "connect4": 11.90, "mushrooms": 9.68},
    "masks": {"adult": 13.13, "connect4": 11.90, "mushrooms": 9.69},
}
#: Spec, training and sizes of each.
UCI: dict[str, tuple[Path, dict[str, Any], dict[str, float]]] = {
    "fvsbn": (
        SPECS / "fvsbn.mp",
        {"optimizer": {"kind": "adam", "rate": 1e-2}, "weight_decay": 1e-5, "schedule": "cosine",
         "batch": 100, "steps": 8000, "valid_every": 400},
        {},
    ),
    "nade": (
        SPECS / "nade.mp",
        {"optimizer": {"kind": "adam", "rate": 2e-3}, "weight_decay": 1e-5, "schedule": "cosine",
         "batch": 100, "steps": 6000, "valid_every": 200},
        {"hidden": 500},
    ),
    "made": (
        HERE / "made_direct.yaml",
        {"optimizer": {"kind": "adam", "rate": 1e-3}, "weight_decay": 1e-4, "batch": 100, "epochs": 400, "patience": 30},
        {"hidden": 500},
    ),
    "masks": (
        HERE / "made_masks.mp",
        {"optimizer": {"kind": "adam", "rate": 1e-3}, "weight_decay": 1e-4, "batch": 100, "epochs": 400, "patience": 30},
        {"hidden": 500},
    ),
}  # fmt: skip
ROWS: dict[str, Row] = {
    f"{model}/{name}": Row(
        UCI[model][0], f"nade_uci/{name}.npz", UCI[model][1], {"pixels": WIDTH[name], **UCI[model][2]},
        published=published,
    )
    for model, sets in TABLE.items()
    for name, published in sets.items()
}  # fmt: skip
ROWS["made/mnist"] = Row(
    HERE / "made_direct.yaml", "mnist/binarized_mnist.npz",
    {"optimizer": {"kind": "adam", "rate": 1e-3}, "schedule": "cosine", "batch": 100, "epochs": 40, "patience": 5},
    {"pixels": 784, "hidden": 500, "rate": 0.0}, published=94.5,
)  # fmt: skip
ROWS["transformer/shakespeare"] = Row(
    SPECS / "transformer.mp", "text/tinyshakespeare.txt",
    {
        "optimizer": {"kind": "adamw", "rate": 1e-3, "weight_decay": 0.1, "beta2": 0.99}, "clip": 1.0,
        "schedule": {"kind": "cosine", "warmup": 100, "final": 0.1},
        "batch": 12, "steps": 2000, "valid_every": 500, "length": 65,
    },
    {"characters": 65, "width": 128, "layers": 4, "heads": 4, "longest": 65},
    measure=next_character, unit="nats/char", published=1.88,
)  # fmt: skip
ROWS["pixelcnn/mnist"] = Row(
    HERE / "pixelcnn_mnist.mp", "mnist/binarized_mnist.npz",
    {
        "optimizer": {"kind": "adam", "rate": 2e-3}, "schedule": {"kind": "cosine", "warmup": 100}, "clip": 1.0,
        "batch": 16, "steps": 4000, "valid_every": 4000,
    },
    published=81.30,
)  # fmt: skip
ROWS["wavenet/digits"] = Row(
    HERE / "wavenet_digits.mp", "fsdd/fsdd_int16.npz",
    {
        "optimizer": {"kind": "adam", "rate": 2e-3}, "schedule": {"kind": "cosine", "warmup": 100}, "clip": 1.0,
        "batch": 8, "steps": 5000, "valid_every": 1000, "length": WINDOW,
    },
    prepare=spoken_digits, measure=bits_a_sample, unit="bits/sample",
)  # fmt: skip
ROWS["words/digits"] = Row(
    HERE / "wavenet_digits.mp", "fsdd/fsdd_int16.npz",
    {
        "optimizer": {"kind": "adam", "rate": 5e-4}, "schedule": {"kind": "cosine", "warmup": 20}, "clip": 1.0,
        "batch": 4, "steps": 2000, "valid_every": 200, "length": WORD,
    },
    prepare=spoken_words, measure=bits_a_sample, unit="bits/sample",
)  # fmt: skip


def run_row(name: str, row: Row, options: argparse.Namespace) -> str:
    """The line of a row."""
    source = options.data / row.data
    if not source.is_file():
        return f"skipped: there is no {row.data}"
    out = options.out / name.replace("/", "_")
    overrides = {**{k: str(v) for k, v in row.sizes.items()}, **options.sizes}
    module = load(row.spec, overrides)
    spent = 0.0
    if not (options.reuse and (out / "run.json").is_file()):
        path = row.prepare(source, options.out / "data") if row.prepare else source
        given = {"steps": options.steps, "batch": options.batch, "valid_every": options.valid_every}
        module.train = Training().changed(**{**row.train, **{k: v for k, v in given.items() if v}})
        chosen = Options(
            backend=options.backend, data=str(path), seed=options.seed, device=options.device,
            mixed=options.mixed, overrides=overrides, init=options.init,
        )  # fmt: skip
        start = time.monotonic()
        result = train(module, out, chosen)
        spent = time.monotonic() - start
        if result.reason == "interrupted":
            raise SystemExit(f"stopped at step {result.step} of {name}")
    run = open_run(out)
    mean, error = row.measure(run, module)
    published = f"{row.published:.2f}" if row.published else "-"
    step = run.parameters(module)[1]
    return f"{f'{mean:.3f} +- {error:.3f}':>19} {row.unit:<12}{published:>9}{step:>11}{spent:>9.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds nade_uci, mnist, ...")
    parser.add_argument("--rows", default="", help=f"beginnings of {', '.join(ROWS)} (default: all)")
    add_variation(parser)
    parser.add_argument("--steps", type=int, help="instead of the row's")
    parser.add_argument("--init", type=Path, help="a run whose weights are the start")
    parser.add_argument("--valid-every", type=int, help="instead of the row's")
    parser.add_argument("--reuse", action="store_true", help="measure runs that are there")
    parser.add_argument("--out", type=Path, default=Path("runs/autoregressive"))
    options = parser.parse_args()
    chosen = [n for n in ROWS if n.startswith(tuple(options.rows.split(",")))]
    print(f"{'row':<25}{'test':>19} {'':<12}{'published':>9}{'best step':>11}{'seconds':>9}")
    for name in chosen:
        print(f"{name:<25}{run_row(name, ROWS[name], options)}", flush=True)


if __name__ == "__main__":
    main()
