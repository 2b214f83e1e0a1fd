"""The data sets that a spec can name: what each is, and its columns. `runner/data` makes them.

Sets are generated (the same in every run, from their name), or small public tables that ship with the package.
`n` stands for the number of examples. Columns are matched with the variables of a spec by name and shape.
"""

from __future__ import annotations

from collections.abc import Mapping

_PLANE = "x [n, 2] real, y [n] category: the {} of each point. 8,000 points to train, 2,000 each to validate and test."

#: Data sets by name.
DATA_SETS: Mapping[str, str] = {
    "xor": "The four cases of exclusive or, in every split: x [4, 2] binary, y [4, 1] binary.",
    "digits": "1,797 handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak 1998): x [n, 1, 8, 8] integers 0..16, or "
              "reals, or [n, 64]; y [n] category(10).",
    "binary_digits": "The digits, 1 where a pixel is above 7: x [n, 1, 8, 8] or [n, 64] binary, y [n] category(10).",
    "few_labels": "The binary digits, with the class of 100 training examples alone: x [n, 64] binary, y [n] "
                  "category(10)?.",
    "shapes": "Scenes of a disc, a square and a triangle on a noisy ground: x [n, C, H, W] integers 0..255, of the size "
              "that the spec declares; y [n, H, W] category(4).",
    "text": "Characters of a small embedded English text, one stream, its last tenths held out: x [n, time] category.",
    "adding": "The adding problem (Hochreiter and Schmidhuber 1997): x [n, time, 2] numbers and markers, y [n, 1] the "
              "sum of the marked numbers.",
    "tones": "Sounds in (-1, 1), two partials under a slow envelope: x [n, time] real or category codes, y [n] "
             "category(4): the timbre.",
    "rolls": "Piano rolls, chords of one key: x [n, time, keys] binary, y [n] category(2): major or minor.",
    "melodies": "Piano rolls of unequal length: x [n, time, keys] binary, length [n], y [n] category(2) or [n, time].",
    "reversal": "Tokens, and the same ones from the end: source [n, time], reply [n, time], both category.",
    "spoken": "Letters in noise, each a code held for 1 to 3 frames: sound [n, frames, width] real, sound_length [n], "
              "text [n, time] category, length [n].",
    "inverse": "An inverse problem (Bishop 1994): x [n, 1] = y + 0.3 sin(2 pi y) + noise, y [n, 1].",
    "people": "A table of mixed columns with a fifth of its cells missing: age real(0..)?, income real?, visits "
              "integer(0..)?, job category(4)?, health integer(1..5)?, all [n].",
    "sales": "Daily counts of items in a shop: sales [n, time] integer(0..)?, known [n, time, covariates], item [n] "
             "category, scale [n], length [n].",
    "boxes": "Pictures of one bright rectangle in noise: image [n, 3, size, size] real(0..1), mask [n, size, size] "
             "binary, box [n, 4]?, level [n] integer(0..10).",
    "moons": f"Two half moons that reach into each other: {_PLANE.format('moon')}",
    "circles": f"Two circles of radius 1 and 0.5 about the origin: {_PLANE.format('circle')}",
    "rings": f"Four rings about the origin: {_PLANE.format('ring')}",
    "checkerboard2d": f"Eight of the sixteen squares of [-4, 4]^2 with side 2: {_PLANE.format('square')}",
    "spirals": f"Two spirals that wind around each other: {_PLANE.format('spiral')}",
    "pinwheel": f"Five bent arms about the origin: {_PLANE.format('arm')}",
    "gaussians8": f"Eight normals on a circle of radius 3, of deviation 0.3: {_PLANE.format('normal')}",
    "separable": "Two classes with a margin of 0.2 to each side of a line: x [n, 2] real, y [n, 1] binary. 400 points to "
                 "train.",
    "blobs": "Two round classes that hardly overlap: x [n, 2] real, y [n, 1] binary. 400 points to train.",
    "sine": "A curve to fit: x [n, 1] in [-3, 3], y [n, 1] = sin(2x) + x / 3 with noise of deviation 0.05.",
    "line": "A linear regression in three variables: x [n, 3], y [n, 1] = 2 x1 - x2 + x3 / 2 + 1 with noise of deviation "
            "0.1.",
    "iris": "150 flowers (Fisher 1936): x [n, 4] standardised, y [n] category(3).",
    "wine": "178 wines (Aeberhard et al. 1992): x [n, 13] standardised, y [n] category(3).",
    "breast_cancer": "569 tumours (Street et al. 1993): x [n, 30] standardised, y [n, 1] binary.",
    "diabetes": "442 patients (Efron et al. 2004): x [n, 10] and y [n, 1], both standardised.",
}  # fmt: skip

__all__ = ["DATA_SETS"]
