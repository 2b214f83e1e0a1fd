"""Published nets as specs: sizes, numbers of weights and receptive fields are those of their papers."""

from __future__ import annotations

import tracemalloc
from functools import cache
from math import prod
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.analysis.receptive import ReceptiveField, receptive_fields
from mpcompile.ir import Module

VISION = Path(__file__).parents[2] / "specs" / "vision"
NAMES = sorted(p.stem for p in VISION.glob("*.mp"))


@cache
def load(name: str, **numbers: int) -> Module:
    return api.load(VISION / f"{name}.mp", numbers)


@pytest.mark.parametrize("name", NAMES)
def test_holds_what_it_claims(name: str) -> None:
    assert api.check(load(name)) == []


#: Araujo, Norris and Sim 2019 (and the table of google-research/receptive_field), at 224 x 224:
#: receptive field, effective stride, effective padding; None where they do not say.
PUBLISHED: dict[str, dict[str, tuple[int | None, ...]]] = {
    "alexnet_v2": {
        "conv_0": (11, None, None), "maxpool_0": (19, None, None), "conv_1": (51, None, None),
        "conv_2": (99, None, None), "conv_3": (131, None, None), "conv_4": (163, None, None),
        "maxpool_2": (195, 32, 64), "": (195, 32, 64),
    },
    "vgg_16": {
        "stage_0": (6, None, 2), "stage_1": (16, None, 6), "stage_2": (44, None, 18), "stage_3": (100, None, 42),
        "stage_4.conv.2": (196, None, None), "stage_4": (212, 32, 90), "": (212, 32, 90),
    },
    "resnet_v1_50": {
        "stage_0": (35, 8, None), "stage_1": (99, 16, None), "stage_2": (291, 32, None), "": (483, 32, 239),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_receptive_fields_are_the_published_ones(name: str) -> None:
    found = receptive_fields(load(name).programs["predict"], "image")
    for layer, expected in PUBLISHED[name].items():
        field = found["features" + (f".{layer}" if layer else "")]
        assert isinstance(field, ReceptiveField) and field.exact
        for axis in field.axes:
            for published, ours in zip(expected, (axis.size, axis.jump, axis.padding), strict=True):
                assert published in (None, ours), (layer, ours)


def test_same_padding_depends_on_the_size() -> None:
    """resnet_v1_50 is padded by 239 at 224 pixels and by 241 at 321: its first pooling has SAME padding."""
    field = receptive_fields(load("resnet_v1_50", size=321).programs["predict"], "image")["features"]
    assert isinstance(field, ReceptiveField)
    assert [(a.size, a.jump, a.padding) for a in field.axes] == [(483, 32, 241)] * 2


@pytest.mark.parametrize(
    ("name", "weights", "space"),
    # conv by conv from the layer tables of the papers; 138 357 544 and 25 557 032 are the well-known totals
    [("alexnet_v2", 50_303_912, (256, 5, 5)), ("vgg_16", 138_357_544, (512, 7, 7)),
     ("resnet_v1_50", 25_557_032, (2048, 7, 7))],
)  # fmt: skip
def test_sizes(name: str, weights: int, space: tuple[int, ...]) -> None:
    module = load(name)
    assert sum(prod(p.shape) for p in module.parameters.values() if p.trainable) == weights
    graph = module.programs["predict"]
    features = [n for n in graph.nodes() if n.scope and n.scope[0].name == "features"]
    assert features[-1].outputs[0].shape[1:] == space


def test_the_published_unet_maps_572_to_388() -> None:
    module = load("unet_paper")
    graph = module.programs["predict"]
    assert graph.inputs["image"].shape[1:] == (1, 572, 572)
    assert graph.outputs["mask"].shape[1:] == (2, 388, 388)
    lowest = min(n.outputs[0].shape[2] for n in graph.nodes() if n.op.name == "relu")
    assert lowest == 28  # 32 before the two convolutions at the bottom


def test_no_weight_is_made_before_it_is_needed() -> None:
    """Lowering and checking VGG-16 (528 MiB of weights) takes a few MiB."""
    tracemalloc.start()
    try:
        assert api.check(api.load(VISION / "vgg_16.mp")) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
