"""What proofs cost as networks grow: seconds to load a spec and to prove it, and the process's peak of memory.

Each row is a process of its own, the best of several; start-up (the interpreter, imports, a spec of one layer) is
measured apart and taken off the times, not off the memory.

    python benchmarks/proof_cost.py [--rows made,pixelcnn] [--repeat 3]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MADE = """model made(pixels = 784, hidden = 500)
input x: binary[pixels]
mask up = degrees(order = natural)
x ~ autoregressive(order = natural) {
  dense(hidden, mask = up) -> relu -> dense(hidden, mask = up) -> relu -> dense(pixels, mask = strict(up))
}
check { complete(x) }
"""

PIXELCNN = """model pixelcnn(size = 8, layers = 1, width = 64)
input x: integer(0..255)[3, size, size]
block first(ch) on image {
  v = image -> conv(ch, 3, pad = same, mask = causal2d(type = vertical))
  h = (v -> shift_down -> conv(ch, 1)) + (image -> conv(ch, 3, pad = same, mask = causal2d(type = horizontal_a)))
  yield v, h
}
block gated(ch) on v, h {
  deep = v -> conv(2 * ch, 3, pad = same, mask = causal2d(type = vertical))
  wide = ((h -> conv(2 * ch, 3, pad = same, mask = causal2d(type = horizontal)))
       + (deep -> shift_down -> conv(2 * ch, 1)))
  v2 = deep -> gate
  h2 = h + (wide -> gate -> conv(ch, 1))
  yield v2, h2
}
block head(ch) on v, h { yield h -> relu -> conv(ch, 1) -> relu -> conv(768, 1) }
x ~ autoregressive(order = pixel, likelihood = categorical) {
  first(width)
  repeat i in 1..layers { gated(width) }
  head(width)
}
check { complete(x) }
"""

WAVENET = """model wavenet(layers = 1, width = 32)
input x: category(256)[time]
block layer(d) on h, skip {
  z = h -> conv1d(2 * width, 2, dilation = d, pad = causal) -> gate
  h2 = h + (z -> conv1d(width, 1))
  s2 = skip + (z -> conv1d(width, 1))
  yield h2, s2
}
block start on x {
  h = x -> embedding(width) -> shift -> conv1d(width, 2, pad = causal)
  yield h, h * 0
}
block end on h, skip { yield skip -> relu -> dense(256) }
x ~ autoregressive(likelihood = categorical) {
  start
  repeat i in 1..layers { layer(2 ** ((i - 1) % 10)) }
  end
}
"""

TRANSFORMER = """model transformer(layers = 1, longest = 8, width = 64)
input x: category(64)[time]
block layer = residual(layer_norm -> attention(4, mask = causal))
    -> residual(layer_norm -> dense(4 * width) -> gelu -> dense(width))
x ~ autoregressive(likelihood = categorical) {
  embedding(width) -> shift -> position(longest)
  repeat i in 1..layers { layer }
  dense(64)
}
"""

TINY = "model tiny\ninput x: real[2]\ntarget y: binary[1]\ny ~ bernoulli(logits = x -> dense(1))\n"


@dataclass(frozen=True)
class Row:
    """One measurement. `length`: sequences are proven at that length, element by element, not for every length."""

    name: str
    text: str
    sizes: dict[str, int]
    length: int | None = None


ROWS = [
    Row("start-up", TINY, {}),
    *(Row("made", MADE, {"pixels": p, "hidden": h}) for p, h in ((784, 500), (784, 8000), (3072, 2000), (3072, 8000))),
    *(Row("pixelcnn", PIXELCNN, {"size": s, "layers": 15}) for s in (8, 16, 32, 64)),
    *(Row("pixelcnn", PIXELCNN, {"size": 32, "layers": n}) for n in (5, 30)),
    *(Row("wavenet", WAVENET, {"layers": n}) for n in (10, 30, 60)),
    *(Row("wavenet", WAVENET, {"layers": 30}, t) for t in (1000, 4000, 16000, 64000)),
    *(Row("transformer", TRANSFORMER, {"layers": 4, "longest": t}, t) for t in (128, 512, 1024, 2048)),
]  # fmt: skip


def measure(row: Row) -> dict[str, float | str]:
    """In this process: seconds for each step, from its own start."""
    from mpcompile import api
    from mpcompile.analysis.claims import RULES
    from mpcompile.analysis.claims.autoregressive import leak_at

    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / f"{row.name}.mp"
        spec.write_text(row.text, encoding="utf-8")
        module = api.load(spec, row.sizes)
    out: dict[str, float | str] = {"load": time.process_time()}
    for kind in ("autoregressive", "complete"):
        claim = next((c for c in module.claims if c.kind == kind), None)
        if claim is None:
            continue
        start = time.process_time()
        if row.length:
            found = leak_at(module.programs[claim.program], claim, {"N": 1, "time": row.length})
            out["how"] = "refuted" if found else "held"
        else:
            out["how"] = str(RULES[kind](module, claim).status)
        out[kind] = time.process_time() - start
    return out | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def best(index: int, repeat: int) -> dict[str, float]:
    """The least of each figure over some processes."""
    runs = []
    for _ in range(repeat):
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(index)], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout))
    return {k: min(r[k] for r in runs) for k in runs[0] if k != "how"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", default="made,pixelcnn,wavenet,transformer", help="which networks")
    options.add_argument("--repeat", type=int, default=3, help="processes for each row")
    options.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one is not None:
        print(json.dumps(measure(ROWS[given.one])))
        return
    start = best(0, given.repeat)
    print(f"start-up: {start['load']:.2f} s, {start['peak']:.0f} MB\n")
    print(f"{'network':<12}{'sizes':<34}{'load':>7}{'order':>9}{'complete':>10}{'peak MB':>9}")
    for index, row in enumerate(ROWS):
        if row.name not in given.rows.split(","):
            continue
        found = best(index, given.repeat)
        sizes = " ".join(f"{k}={v}" for k, v in row.sizes.items() if k != "longest")
        sizes += f" T={row.length}" if row.length else " every length" if row.name == "wavenet" else ""
        complete = f"{found['complete']:.3f}" if "complete" in found else "-"
        load = max(0.0, found["load"] - start["load"])
        print(f"{row.name:<12}{sizes:<34}{load:>7.2f}{found['autoregressive']:>9.3f}{complete:>10}{found['peak']:>9.0f}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
