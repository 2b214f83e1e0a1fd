"""Every spec of the project, lowered once for all tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mpcompile import api
from mpcompile.backend import find_backend
from mpcompile.ir import Module
from mpcompile.passes.pipeline import Optimised, optimise
from mpcompile.runner.examples import example_inputs as inputs
from mpcompile.runner.examples import example_weights as weights

ROOT = Path(__file__).parents[2]
SPECS = sorted(p for p in (ROOT / "specs").iterdir() if p.suffix in (".mp", ".yaml"))
NAMES = [p.stem for p in SPECS]

#: Sizes at which laws are tested: a law that holds for these widths holds for others, and the sweeps cost seconds.
SMALL = {
    "bilstm": "hidden=6", "char_lstm": "width=8 hidden=10", "cnn": "width=4", "conditional_flow": "hidden=6",
    "ddpm": "ch=4 steps=3 size=4", "deepar": "hidden=6 items=3", "detector": "size=6 ch=3",
    "mdn": "hidden=6 components=3", "mixed_table": "hidden=6 code=2",
    "circular": "hidden=5 bins=3 layers=3", "dag_flow": "hidden=8",
    "ctc": "hidden=6", "cvrnn": "hidden=8 code=3", "elman": "hidden=8", "gated_pixelcnn": "width=4", "glow": "width=4",
    "gru": "hidden=8", "lstm_stacked": "hidden=6", "made": "pixels=16 hidden=40",
    "made_ensemble": "pixels=6 hidden=8 orders=2 masks=2", "maf": "hidden=10", "naf": "hidden=6 units=3",
    "mixture_flow": "hidden=6 components=3 layers=2", "nade": "pixels=16 hidden=10", "nsf": "hidden=8",
    "nsf_ar": "hidden=6 layers=1 bins=4", "pixel_rnn": "width=2", "pixel_transformer": "width=8 pixels=16",
    "pixelcnn": "width=4", "posterior": "hidden=5", "realnvp": "width=6 blocks=1", "realnvp2d": "hidden=8",
    "realnvp_notes": "hidden=6 layers=2",
    "rgb_pixelcnn": "width=3", "semi_supervised": "pixels=16 hidden=6 code=2",
    "seq2seq": "width=6 hidden=8", "transformer": "width=16 layers=2",
    "unet": "size=16 width=3", "variational_dequantization": "width=3 size=4", "vrnn": "hidden=8 code=3",
    "vq_vae": "size=4 codes=4 dim=3 width=4", "wavenet": "width=4",
    "gpt2": "vocabulary=9 dim=8 heads=2 layers=2 longest=8",
    "graph_net": "features=3 hidden=5 rounds=2",
    "llama": "vocabulary=9 dim=16 groups=2 heads=2 layers=2 hidden=12",
    "pixelsnail": "ch=8 layers=1 size=4 levels=8",
    "set_transformer": "dim=8 heads=2 inducing=3 classes=4",
    "translate": "vocabulary=9 dim=8 heads=2 layers=2 longest=9",
    "two_towers": "vocabulary=9 dim=6 size=16",
    "vit": "size=8 patch=4 dim=12 layers=2",
    "xlnet": "vocabulary=9 dim=8 heads=2 layers=2 longest=6 orders=3",
}  # fmt: skip


def small(name: str) -> dict[str, str]:
    """The parameters of a spec that make it small."""
    return dict(s.split("=") for s in SMALL.get(name, "").split())


def fresh(name: str) -> Module:
    """specs/<name>, small, lowered anew."""
    return api.load(path(name), small(name))


@cache
def full(name: str) -> Module:
    """specs/<name> as it is."""
    return api.load(path(name))


#: One spec of each kind, for laws that cost seconds, and that a sweep of another law has for every spec.
KINDS = ("made", "cnn", "vae", "realnvp2d", "char_lstm", "transformer", "iaf")

#: The small one, shared between tests, which must not change it.
module = cache(fresh)


def path(name: str) -> Path:
    return next(p for p in SPECS if p.stem == name)


@cache
def prepared(name: str) -> Optimised:
    """The small one as backends take it, and what became of its weights; shared, too."""
    return optimise(module(name))


def optimised(name: str) -> Module:
    """The small one as backends take it."""
    return prepared(name).module


@cache
def emitted(backend: str, name: str) -> Mapping[str, str | bytes]:
    """The files that a backend writes for it."""
    return find_backend(backend).emit(optimised(name))


__all__ = [
    "KINDS", "NAMES", "ROOT", "SPECS", "emitted", "fresh", "full", "inputs", "module", "optimised", "path", "prepared",
    "small", "weights",
]  # fmt: skip
