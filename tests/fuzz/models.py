"""Random models out of every registered name, right and wrong: checked, and emitted by every backend that is there.

    python tests/fuzz/models.py --seconds 60 --seed 1

Exit status 1 where a model ends in anything but acceptance or a finding with a place, or takes more than two seconds of
processor time; the model is printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))

from test_ranges import FAMILIES, INPUTS, example, listed
from wrong_values import BAD, outcome, parsed

from mpcompile.backend import find_backend, installed
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise
from mpcompile.ranges import slots

GOOD = (
    "1", "2", "3", "4", "8", "0", "0.5", "same", "causal", "valid", "true", "false", "[1, 2]", "[[1, 0], [2, 1]]", "he",
    "zeros", "reverse", "random", "checkerboard", "channel", "strict(degrees)", "~checkerboard", "dense(4)", "x",
    "x -> dense(4)", "affine", "spline", "state", "bilinear", "16", "1000",
)  # fmt: skip
NOISE = (
    "sigmoid -> affine",
    "logit(alpha = 0) -> affine",
    "coupling(mask = checkerboard, net = dense(4)) -> sigmoid",
)
CLAIMS = (
    "complete(x)",
    "autoregressive(x)",
    "parameters <= 100",
    "receptive_field(x) >= 3",
    "path_length(x) <= 2",
)


class Author:
    """Writes models at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def maybe(self, share: float) -> bool:
        return self.random.random() < share

    def value(self) -> str:
        return self.random.choice(BAD if self.maybe(0.05) else GOOD)

    def call(self, family: str) -> str:
        table = FAMILIES[family][0]
        name = self.random.choice(list(table))
        if name == "dequantize":
            return f"dequantize {{ {self.random.choice(NOISE)} }}" if self.maybe(0.3) else name
        own = slots(table[name])
        if any(listed(s) for s in own):
            return f"{name}({', '.join(self.random.choices(('x', 'x -> dense(4)'), k=self.random.randint(0, 2)))})"
        given = [
            f"{s.name} = {example(name, s) if self.maybe(0.6) else self.value()}"
            for s in own
            if s.required or self.maybe(0.25)
        ]
        return f"{name}({', '.join(given)})" if given else name

    def pipeline(self, family: str = "layer", most: int = 4) -> str:
        steps = [self.call(family) for _ in range(self.random.randint(1, most))]
        return " -> ".join(f"repeat i in 1..2 {{ {s} }}" if self.maybe(0.08) else s for s in steps)

    def law(self, net: str) -> str:
        if self.maybe(0.5):
            return f"normal(loc = {net})" if self.maybe(0.5) else f"normal({net})"
        table = FAMILIES["distribution"][0]
        name = self.random.choice(list(table))
        body = {"flow": self.pipeline("bijector"), "autoregressive": self.pipeline()}.get(name)
        given = [f"{s.name} = {net if s.required else self.value()}" for s in slots(table[name])
                 if s.required or self.maybe(0.3)]  # fmt: skip
        return f"{name}({', '.join(given)})" + ("" if body is None else f" {{ {body} }}")

    def model(self) -> str:
        types = [t for t in INPUTS.values() if t]
        lines = ["model m", f"input x: {self.random.choice(types)}", f"target y: {self.random.choice(types)}"]
        if self.maybe(0.2):
            lines.append(f"latent z ~ {self.law('x -> ' + self.pipeline())} prior {self.law('x')}")
        about = self.random.choice("xy")
        if self.maybe(0.12):
            step = self.random.choice(("gru(x, h)", "h -> dense(4)", "dense(4)(concat(x, h))"))
            inner = f"  {about} ~ {self.law('h -> ' + self.pipeline(most=2))}\n  h = {step}\n"
            lines.append("recurrence over time {\n  carry h[4] = 0\n" + inner + "}")
        else:
            end = self.random.choice(("", " -> dense(4)", " -> flatten -> dense(1)", " -> last -> dense(1)"))
            lines.append(f"{about} ~ {self.law('x -> ' + self.pipeline() + end)}")
        if self.maybe(0.1):
            lines.append(f"prior weights ~ {self.law('x')}")
        if self.maybe(0.1):
            lines.append(f"check {{ {self.random.choice(CLAIMS)} }}")
        return "\n".join(lines)


def emitted(text: str) -> None:
    """Raises where a backend cannot spell the model."""
    module = optimise(lower(*parsed(text))).module
    for name in installed():
        find_backend(name).emit(module)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    author, codes, wrong = Author(given.seed), Counter[str](), 0
    end = time.monotonic() + given.seconds
    while time.monotonic() < end:
        text, start = author.model(), time.process_time()
        try:
            code = outcome(text)
            spent = time.process_time() - start
            if code == "accepted" and author.maybe(0.2):
                emitted(text)
            codes[code] += 1
        except Exception:
            wrong += 1
            print(f"{'=' * 20}\n{text}\n{traceback.format_exc(limit=-4)}")
            continue
        if spent > 2:
            wrong += 1
            print(f"{'=' * 20}\n{text}\n{spent:.1f} s")
    print(f"{sum(codes.values()) + wrong} models, {wrong} wrong; {dict(codes.most_common())}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
