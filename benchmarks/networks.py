"""Networks, recurrences and latents on real data beside published figures: one command, a row for each model.

    python benchmarks/networks.py --data /path/to/sets --rows mnist,jsb

`--data` is a folder with `mnist/mnist.npz`, `mnist/binarized_mnist.npz`, `poly_music/JSB_Chorales.npz`,
`em_membrane/em_membrane.npz`, `fsdd/fsdd_int16.npz`, `cifar10/cifar10_lossless_4000.npz`,
`strokes/omniglot_strokes.npz`, `strokes/kanji_rdp200.npz`, `text/names.txt` and `text/tinyshakespeare.txt`; a row whose
file is not there says so and is skipped, and the others need no folder. Each row has its own training time, in minutes
of one core, which `--minutes` replaces.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import real_data
from rows import ROWS
from training import Bench, add_variation


def main() -> None:
    usual = ", ".join(f"{name} {row.minutes:g}" for name, row in ROWS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of real data")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of these, by comma")
    parser.add_argument("--minutes", type=float, help=f"of training, for each row (default: {usual})")
    parser.add_argument("--importance", type=int, default=100, help="importance samples an example")
    add_variation(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/networks"))
    options = parser.parse_args()
    wanted = options.rows.split(",")
    if unknown := [name for name in wanted if name not in ROWS]:
        parser.error(f"no row is named {', '.join(unknown)}; there are {', '.join(ROWS)}")
    for name in wanted:
        row, start = ROWS[name], time.process_time()
        bench = Bench(options, row.minutes if options.minutes is None else options.minutes)
        try:
            figures = row.measure(bench)
        except real_data.Missing as missing:
            print(f"{name}: skipped, {missing}", flush=True)
            continue
        runs = "; ".join(f"{f.run.folder.name} {f.steps}, {f.seconds:.0f} s" for f in bench.fitted)
        print(f"{name}: {time.process_time() - start:.0f} s ({runs})")
        print(*figures, sep="\n", flush=True)


if __name__ == "__main__":
    main()
