"""Every pixel told apart: ways up in a fully convolutional network, and the U-Net."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import real_data
from training import HERE, Bench, Figure, Fitted

from mpcompile.api import load
from mpcompile.ir import Array
from mpcompile.runner.evaluate import moments

SET = "em_membrane/em_membrane.npz"
PUBLISHED = "U-Net on the hidden test slices: 0.0611 (Ronneberger et al. 2015)"
#: Ways up by a factor of two (notes, section 3.1), as they stand in membrane_fcn.mp.
WAYS_UP = {
    "nearest": "upsample(2)",
    "bed of nails": "upsample(2, mode = bed_of_nails)",
    "bilinear": "upsample(2, mode = bilinear)",
    "max unpooling": "unpool(pool)",
    "transposed convolution": "conv_transpose(ch, 2, stride = 2)",
}


def fcn(bench: Bench) -> list[Figure]:
    """membrane_fcn.mp with each way up, trained on crops and tested on whole slices."""
    path, found = bench.file(SET), []
    data = bench.prepared("membrane", real_data.crops, path, bench.options.seed)
    for what, layer in WAYS_UP.items():
        name = "fcn_" + what.replace(" ", "_")
        spec = bench.variant(HERE / "membrane_fcn.mp", name, (WAYS_UP["nearest"], layer))
        fitted = bench.fit(name, spec, data, share=1 / len(WAYS_UP))
        found.append(Figure.of(f"pixel error, {what}", pixel_error(fitted, spec, path), ""))
    return [*found, Figure("pixel error, one class for all", one_class(path), None, PUBLISHED)]


def unet(bench: Bench) -> list[Figure]:
    """membrane_unet.mp: trained on crops of 22 slices, its pixel error on the 6 last ones as a whole."""
    path = bench.file(SET)
    data = bench.prepared("membrane", real_data.crops, path, bench.options.seed)
    fitted = bench.fit("unet", HERE / "membrane_unet.mp", data)
    note = f"one class for all: {one_class(path):.4f}; {PUBLISHED}"
    return [
        Figure.of("pixel error, whole slices", pixel_error(fitted, HERE / "membrane_unet.mp", path), note)
    ]


def pixel_error(fitted: Fitted, spec: Path, path: Path) -> dict[str, float]:
    """Share of wrong pixels on the held-out slices, and its standard error over slices."""
    image, mask = real_data.held_out_slices(path)
    session = fitted.session(load(spec, {"size": str(image.shape[-1])}))
    wrong: list[float] = []
    for one, truth in zip(image, mask, strict=True):
        probability: Array = session.run("predict", {"image": one[None]})["mask"]
        wrong.append(float(np.mean((probability[0] > 0.5) != truth)))
    return moments(np.array(wrong))


def one_class(path: Path) -> float:
    _, mask = real_data.held_out_slices(path)
    return float(min(mask.mean(), 1 - mask.mean()))
