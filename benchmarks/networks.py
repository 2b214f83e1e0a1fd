"""Networks, recurrences and latents on real data beside published figures: one command, a row for each model.

    python benchmarks/networks.py --data /path/to/sets --rows mnist,jsb --minutes 10

`--data` is a folder with `mnist/mnist.npz`, `mnist/binarized_mnist.npz`, `poly_music/JSB_Chorales.npz`,
`em_membrane/em_membrane.npz` and `text/tinyshakespeare.txt`; a row whose file is not there says so and is skipped, and
rows on scikit-learn's digits need no folder. `--minutes` is the training time of a row: a few steps are timed, and as
many are planned as fit, so that the schedule of the rate ends where training does. A row trains until then or for the
epochs and the patience of its spec, whichever is less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import real_data

from mpcompile.api import load
from mpcompile.backend import Session, find_backend
from mpcompile.ir import Array, Module
from mpcompile.runner.batches import chunks, complete
from mpcompile.runner.data import Split, load_data
from mpcompile.runner.evaluate import evaluate, moments
from mpcompile.runner.loop import Options, train
from mpcompile.runner.metrics import read_metrics
from mpcompile.runner.run import Run, open_run

HERE = Path(__file__).parent
SPECS = HERE.parent / "specs"
TIMED_STEPS = 8
#: Part of the time that steps may take; validations and checkpoints have the rest.
STEPS_SHARE = 0.85


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and what stands beside it."""

    what: str
    value: float
    error: float | None  # standard error
    beside: str  # published figures, or a baseline computed here

    def __str__(self) -> str:
        spread = "" if self.error is None else f" +- {self.error:.2g}"
        return f"  {self.what:<44}{f'{self.value:.4f}{spread}':>20}   {self.beside}"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained run: its module, its run folder, and what training took."""

    module: Module
    run: Run
    step: int
    best_step: int
    seconds: float
    reason: str

    def part(self, split: str = "test") -> Split:
        options = self.run.facts["settings"]
        known = {"vocabulary": self.run.facts["vocabulary"]} if self.run.facts.get("vocabulary") else {}
        return load_data(
            self.module, self.run.facts["data"], options["length"], options["threshold"], **known
        ).split(split)

    def session(self, module: Module | None = None) -> Session:
        """The best weights, live; `module` may be the same network for another size of its input."""
        weights, _ = self.run.parameters()
        facts = self.run.facts
        return find_backend(facts["backend"]).session(module or self.module, weights, device=facts["device"])

    def outputs(self, program: str, name: str, part: Split, batch: int = 100) -> Array:
        """One output of a program over a split."""
        session, seed = self.session(), int(self.run.facts["seed"])
        return np.concatenate(
            [
                session.run(program, complete(self.module, program, data, (seed, program, number)))[name]
                for number, data in chunks(part, batch)
            ]
        )


class Bench:
    """What the rows share: the options of the command line, and training within its time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def file(self, name: str) -> Path:
        """A file below --data. Raises `real_data.Missing`."""
        if self.options.data is None:
            raise real_data.Missing(f"needs {name} (--data PATH)")
        path: Path = self.options.data / name
        if not path.is_file():
            raise real_data.Missing(f"there is no {path}")
        return path

    def prepared(self, name: str, make: Callable[..., dict[str, Array]], *given: Any) -> Path:
        """A file of this project's form, made from the set's own beside the runs."""
        path: Path = self.options.out / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **make(*given))  # type: ignore[arg-type]
        return path

    def fit(
        self, row: str, spec: Path, data: Path | str, overrides: dict[str, str] | None = None, **changes: Any
    ) -> Fitted:
        """Train within --minutes; `changes` are settings of the spec's `train` section."""
        given = overrides or {}
        o = self.options
        chosen = Options(backend=o.backend, data=str(data), seed=o.seed, device=o.device, overrides=given)

        def fresh(**settings: Any) -> Module:
            module = load(spec, given)
            module.train = {**module.train, **changes, **settings}
            return module

        trial = fresh(steps=TIMED_STEPS, valid_every=TIMED_STEPS, log_every=1)
        self._train(trial, o.out / "timed", chosen)
        lines = read_metrics(o.out / "timed" / "metrics.jsonl")
        clock = [float(line["seconds"]) for line in lines if line["split"] == "train"]
        step = (clock[-1] - clock[0]) / max(len(clock) - 1, 1)
        steps = max(TIMED_STEPS, int(STEPS_SHARE * 60 * o.minutes / max(step, 1e-6)))
        usual = trial.train.get("steps") if (trial := fresh()).train.get("steps") else steps
        module = fresh(steps=min(steps, int(usual)))
        start = time.monotonic()
        result = self._train(module, o.out / row, chosen)
        spent = time.monotonic() - start
        return Fitted(module, open_run(o.out / row), result.step, result.best_step, spent, result.reason)

    @staticmethod
    def _train(module: Module, out: Path, options: Options) -> Any:
        result = train(module, out, options)
        if result.reason == "interrupted":
            raise SystemExit(f"stopped at step {result.step} of {out.name}")
        return result


Rows = tuple[Fitted, list[Figure]]


# Classification ---------------------------------------------------------------------------------------


def cnn_digits(bench: Bench) -> Rows:
    """specs/cnn.mp on scikit-learn's digits."""
    from sklearn.neighbors import KNeighborsClassifier

    fitted = bench.fit("digits", SPECS / "cnn.mp", "digits")
    (a, b), (c, d) = (
        (part["image"].reshape(len(part["label"]), -1), part["label"])
        for part in (whole(fitted.part(s)) for s in ("train", "test"))
    )
    nearest = KNeighborsClassifier(1).fit(a, b).score(c, d)
    return fitted, [accuracy(fitted, f"nearest neighbour, same split: {nearest:.4f}")]


def cnn_mnist(bench: Bench) -> Rows:
    """mnist_cnn.mp on MNIST, 5000 training images kept for validation."""
    data = bench.prepared("mnist", real_data.mnist, bench.file("mnist/mnist.npz"))
    fitted = bench.fit("mnist", HERE / "mnist_cnn.mp", data)
    return fitted, [accuracy(fitted, "LeNet-5 (LeCun et al. 1998): 0.9905")]


def accuracy(fitted: Fitted, beside: str) -> Figure:
    found = evaluate(fitted.run, fitted.module)["targets"]["label"]["accuracy"]
    return Figure("test accuracy", found["mean"], found["standard_error"], beside)


# Autoencoders -----------------------------------------------------------------------------------------


def linear(bench: Bench) -> Rows:
    """specs/linear_autoencoder.mp: what its reconstruction spans, beside the principal components."""
    fitted = bench.fit("linear", SPECS / "linear_autoencoder.mp", "digits")
    train_x, code = whole(fitted.part("train"))["x"], int(fitted.module.params["code"])
    _, axes = principal(train_x, code)
    session, name = fitted.session(), "x"
    points = np.concatenate([np.zeros((1, train_x.shape[1])), np.eye(train_x.shape[1])]).astype(np.float32)
    mapped = reconstruct(session, fitted.module, {name: points})
    found = np.linalg.svd((mapped[1:] - mapped[0]).T.astype(np.float64))[0][:, :code]
    cosines = np.linalg.svd(axes.T @ found)[1]
    worst = np.degrees(np.arccos(np.clip(cosines.min(), 0, 1)))
    note = f"0 is exact; {code} components (Baldi and Hornik 1989)"
    return fitted, [Figure("largest principal angle, degrees", float(worst), None, note), against_pca(fitted)]


def autoencoder(bench: Bench) -> Rows:
    """specs/autoencoder.mp beside principal components with a code of the same size."""
    fitted = bench.fit("autoencoder", SPECS / "autoencoder.mp", "digits")
    return fitted, [against_pca(fitted)]


def against_pca(fitted: Fitted) -> Figure:
    """Squared error of reconstruction per test image, and that of PCA of the training images."""
    train_x, test = whole(fitted.part("train"))["x"], fitted.part("test")
    x, code = whole(test)["x"], int(fitted.module.params["code"])
    mean, axes = principal(train_x, code)
    projected = mean + (x - mean) @ axes @ axes.T
    of_pca = moments(((x - projected) ** 2).sum(1))
    ours = moments(((x - reconstruct(fitted.session(), fitted.module, {"x": x})) ** 2).sum(1))
    return Figure(
        "squared error per test image", ours["mean"], ours["standard_error"],
        f"PCA, {code} components: {of_pca['mean']:.4f} +- {of_pca['standard_error']:.2g}",
    )  # fmt: skip


def principal(x: Array, count: int) -> tuple[Array, Array]:
    """Mean `[d]` and the first principal axes `[d, count]` of rows."""
    mean = x.mean(0, dtype=np.float64)
    return mean, np.linalg.svd(x - mean, full_matrices=False)[2][:count].T


def reconstruct(session: Session, module: Module, data: dict[str, Array]) -> Array:
    """Means of the decoder at the code of each example."""
    out = session.run("reconstruct", complete(module, "reconstruct", data, ("reconstruct",)))
    return next(v for v in out.values() if v.shape == data["x"].shape)


def whole(part: Split) -> dict[str, Array]:
    return part.take(np.arange(len(part)))


# Latents ----------------------------------------------------------------------------------------------


def vae(bench: Bench) -> Rows:
    """specs/vae.yaml on the fixed binarisation of MNIST."""
    fitted = bench.fit(
        "vae", SPECS / "vae.yaml", bench.file("mnist/binarized_mnist.npz"),
        {"pixels": "784", "hidden": "400", "code": "50"}, batch=100, patience=30,
    )  # fmt: skip
    few = bench.options.importance
    found = evaluate(fitted.run, fitted.module, samples=few)
    bound, estimate = found["nats"], found["importance_weighted"]["nats"]
    return fitted, [
        Figure("negative ELBO, nats", -bound["mean"], bound["standard_error"], "-"),
        Figure(
            f"NLL, {few} importance samples", -estimate["mean"], estimate["standard_error"],
            "VAE, one layer, 5000 samples: 86.76, other binarisation; "
            "this one about 2 nats worse (Burda et al. 2016)",
        ),
    ]  # fmt: skip


# Sequences --------------------------------------------------------------------------------------------

JSB = "RNN 8.71, LSTM 8.45, TCN 8.10 (Bai et al. 2018); DMM 6.388, bound 6.926 (Krishnan et al. 2017)"


def jsb_lstm(bench: Bench) -> Rows:
    """jsb_lstm.mp on the chorales, in nats a time step."""
    fitted = bench.fit("jsb", HERE / "jsb_lstm.mp", bench.file("poly_music/JSB_Chorales.npz"))
    return fitted, per_step(fitted, "log_prob", "NLL", JSB)


def jsb_vrnn(bench: Bench) -> Rows:
    """specs/vrnn.mp with 88 keys on the chorales: a bound, in nats a time step."""
    fitted = bench.fit(
        "vrnn", SPECS / "vrnn.mp", bench.file("poly_music/JSB_Chorales.npz"),
        {"keys": "88", "hidden": "100", "code": "32"}, steps=20_000, patience=15,
    )  # fmt: skip
    return fitted, per_step(fitted, "elbo", "negative ELBO", JSB)


def per_step(fitted: Fitted, program: str, name: str, beside: str) -> list[Figure]:
    """Total nats over total steps, and the mean over pieces of each piece's mean: papers use either."""
    part = fitted.part()
    nats = -fitted.outputs(program, program, part).astype(np.float64)
    steps = np.concatenate([data["length"] for _, data in chunks(part, 100)])
    ratio = nats.sum() / steps.sum()
    n = len(steps)
    spread = np.std(nats - ratio * steps, ddof=1) / (
        np.sqrt(n) * steps.mean()
    )  # of a ratio, by its linear part
    each = moments(nats / steps)
    return [
        Figure(f"{name}, nats a step: all steps", float(ratio), float(spread), beside),
        Figure(f"{name}, nats a step: mean of pieces", each["mean"], each["standard_error"], "-"),
    ]


def text(bench: Bench) -> Rows:
    """specs/char_lstm.mp on tiny Shakespeare, windows of 64 characters read from an empty state."""
    path = bench.file("text/tinyshakespeare.txt")
    characters = len(set(path.read_text(encoding="utf-8")))
    fitted = bench.fit(
        "text", SPECS / "char_lstm.mp", path,
        {"characters": str(characters), "hidden": "256"}, steps=20_000, schedule="cosine",
    )  # fmt: skip
    found = evaluate(fitted.run, fitted.module)["nats_per_dim"]
    beside = "nanoGPT's setting for a CPU (transformer, other tenth): 1.88"
    return fitted, [Figure("NLL, nats a character", -found["mean"], found["standard_error"], beside)]


# Segmentation -----------------------------------------------------------------------------------------


def unet(bench: Bench) -> Rows:
    """membrane_unet.mp: trained on crops of 24 slices, its pixel error on the 6 last ones as a whole."""
    path = bench.file("em_membrane/em_membrane.npz")
    data = bench.prepared("membrane", real_data.crops, path, bench.options.seed)
    fitted = bench.fit("unet", HERE / "membrane_unet.mp", data)
    image, mask = real_data.held_out_slices(path)
    side = image.shape[-1]
    module = load(HERE / "membrane_unet.mp", {"size": str(side)})
    session = fitted.session(module)
    wrong = []
    for one, truth in zip(image, mask, strict=True):
        out = session.run("predict", {"image": one[None]})
        probability = next(v for v in out.values() if v.shape == (1, *truth.shape))
        wrong.append(np.mean((probability[0] > 0.5) != truth))
    found = moments(np.array(wrong))
    majority = min(mask.mean(), 1 - mask.mean())
    return fitted, [
        Figure(
            f"pixel error, {len(image)} slices of {side} x {side}", found["mean"], found["standard_error"],
            f"one class for all: {majority:.4f}; U-Net on the hidden test slices: 0.0611 (Ronneberger et al. 2015)",
        )
    ]  # fmt: skip


ROWS: dict[str, Callable[[Bench], Rows]] = {
    "digits": cnn_digits,
    "mnist": cnn_mnist,
    "linear": linear,
    "autoencoder": autoencoder,
    "vae": vae,
    "jsb": jsb_lstm,
    "vrnn": jsb_vrnn,
    "unet": unet,
    "text": text,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of real data")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of these, by comma")
    parser.add_argument("--minutes", type=float, default=10, help="training time of a row")
    parser.add_argument("--importance", type=int, default=100, help="importance samples an image (vae)")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/networks"))
    options = parser.parse_args()
    wanted = options.rows.split(",")
    if unknown := [name for name in wanted if name not in ROWS]:
        parser.error(f"no row is named {', '.join(unknown)}; there are {', '.join(ROWS)}")
    for name in wanted:
        try:
            fitted, figures = ROWS[name](Bench(options))
        except real_data.Missing as missing:
            print(f"{name}: skipped, {missing}", flush=True)
            continue
        at = "" if fitted.best_step == fitted.step else f", best at {fitted.best_step}"
        print(f"{name}: {fitted.step} steps{at}, {fitted.seconds / 60:.1f} minutes ({fitted.reason})")
        print(*figures, sep="\n", flush=True)


if __name__ == "__main__":
    main()
