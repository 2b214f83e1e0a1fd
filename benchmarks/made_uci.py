"""MADE on binary UCI sets beside the published table (Germain et al. 2015, table 4): one command.

    python benchmarks/made_uci.py --data /path/to/nade_uci --sets adult,mushrooms

`--data` is a folder of `<set>.npz` whose `train`, `valid` and `test` are rows of packed bits, with `<split>_shape`.
Each set is trained with early stopping on its validation part; the figure is the test negative log-likelihood in
nats an example with its standard error. Without the folder the benchmark says so and exits with 0.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from mpcompile.api import load
from mpcompile.runner.evaluate import evaluate
from mpcompile.runner.loop import Options, train
from mpcompile.runner.run import open_run

SPEC = Path(__file__).parent / "made_direct.yaml"
PUBLISHED = {"adult": 13.12, "connect4": 11.90, "mushrooms": 9.68}


def width(path: Path) -> int:
    """Number of binary variables of a set."""
    with np.load(path, allow_pickle=False) as file:
        return int(file["train_shape"][1])


def measure(path: Path, options: argparse.Namespace) -> tuple[float, float, int, float]:
    """Test NLL, its standard error, the step of the best weights and the seconds that training took."""
    overrides = {"pixels": str(width(path)), "hidden": str(options.hidden)}
    module = load(options.spec, overrides)
    module.train = {
        "optimizer": {"kind": options.optimizer, "rate": options.rate},
        "weight_decay": options.weight_decay,
        "batch": 100,
        "epochs": options.epochs,
        "patience": options.patience,  # validations are once an epoch
    }
    out = options.out / path.stem
    chosen = Options(
        backend=options.backend, data=str(path), seed=options.seed, device=options.device, overrides=overrides
    )
    start = time.monotonic()
    result = train(module, out, chosen)
    spent = time.monotonic() - start
    if result.reason == "interrupted":
        raise SystemExit(f"stopped at step {result.step} of {path.stem}")
    nats = evaluate(open_run(out), module)["nats"]
    return -nats["mean"], nats["standard_error"], result.best_step, spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of packed .npz files")
    parser.add_argument("--sets", default="adult,mushrooms", help=f"of {', '.join(PUBLISHED)}")
    parser.add_argument("--spec", type=Path, default=SPEC)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--patience", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/made_uci"))
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"skipped: there is no folder {options.data}")
        return
    print(f"{'set':<12}{'test NLL (nats)':>20}{'MADE published':>17}{'best step':>12}{'seconds':>10}")
    for name in options.sets.split(","):
        path = options.data / f"{name}.npz"
        if not path.is_file():
            print(f"{name:<12}{'skipped: not there':>20}")
            continue
        nll, error, step, spent = measure(path, options)
        published = f"{PUBLISHED[name]:.2f}" if name in PUBLISHED else "-"
        print(
            f"{name:<12}{f'{nll:.2f} +- {error:.2f}':>20}{published:>17}{step:>12}{spent:>10.0f}", flush=True
        )


if __name__ == "__main__":
    main()
