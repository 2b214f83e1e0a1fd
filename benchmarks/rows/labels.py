"""Targets: the perceptron, perceptrons in layers, regression, and networks that read pictures."""

from __future__ import annotations

import numpy as np
import real_data
from training import HERE, SPECS, Bench, Figure, Fitted

from mpcompile.runner.evaluate import moments


def perceptron(bench: Bench) -> list[Figure]:
    """specs/perceptron.mp: setosa among irises, which a plane separates, and XOR, which none does."""
    from sklearn.linear_model import Perceptron

    fitted = bench.fit(
        "perceptron", SPECS / "perceptron.mp", bench.prepared("setosa", real_data.setosa),
        {"features": "4"}, share=0.5,
    )  # fmt: skip
    seen, held = fitted.whole("train"), fitted.whole("test")
    guess = fitted.session().run("predict", {"x": seen["x"]})["y"]
    theirs = Perceptron(random_state=0).fit(seen["x"], seen["y"].ravel()).score(held["x"], held["y"].ravel())
    xor = bench.fit("perceptron_xor", SPECS / "perceptron.mp", "xor", share=0.5)
    return [
        Figure(
            "mistakes on training irises", float((guess != seen["y"]).sum()), None, "0: a plane separates setosa"
        ),
        Figure.of("test accuracy, setosa or not", fitted.target("y"), f"scikit-learn's Perceptron: {theirs:.4f}"),
        Figure("accuracy on XOR", xor.target("y")["mean"], None, "at most 0.75: no line separates it"),
    ]  # fmt: skip


def mlp(bench: Bench) -> list[Figure]:
    """specs/mlp.mp on the four cases of XOR."""
    fitted = bench.fit("mlp", SPECS / "mlp.mp", "xor")
    loss = -float(fitted.outputs("log_prob", "log_prob", fitted.part()).mean())
    return [
        Figure("accuracy on XOR", fitted.target("y")["mean"], None, "a line: at most 0.75"),
        Figure("cross-entropy, nats", loss, None, f"no input: {np.log(2):.4f}"),
    ]


def ridge(bench: Bench) -> list[Figure]:
    """specs/ridge.mp on scikit-learn's diabetes, beside the closed form."""
    from sklearn.linear_model import Ridge

    fitted = bench.fit(
        "ridge", SPECS / "ridge.mp", bench.prepared("diabetes", real_data.diabetes), steps=2000
    )
    seen, held = fitted.whole("train"), fitted.whole("test")
    p = fitted.module.params
    exact = Ridge(alpha=p["noise"] ** 2 / p["width"] ** 2).fit(seen["x"], seen["y"].ravel())
    weights, _ = fitted.run.parameters(fitted.module)
    (slope,) = [v for v in weights.values() if v.size > 1]
    gap = np.abs(slope.ravel() - exact.coef_).max()
    theirs = moments((exact.predict(held["x"]) - held["y"].ravel()) ** 2)
    return [
        Figure("largest gap between coefficients", float(gap), None, f"largest: {np.abs(exact.coef_).max():.4f}"),
        Figure.of(
            "test squared error (of unit variance)", fitted.target("y", "mean_squared_error"),
            f"scikit-learn's Ridge: {theirs['mean']:.4f} +- {theirs['standard_error']:.2g}",
        ),
    ]  # fmt: skip


def universal(bench: Bench) -> list[Figure]:
    """specs/universal.mp at growing widths on the noisy sine: what is left above the noise."""
    widths, found = (1, 2, 4, 8, 16, 32), []
    for width in widths:
        fitted = bench.fit(
            f"universal_{width}", SPECS / "universal.mp", "sine", {"width": str(width)}, 1 / len(widths),
            steps=6000, optimizer={"kind": "adam", "rate": 0.1},
        )  # fmt: skip
        x = fitted.whole()["x"]
        curve = np.sin(2 * x) + x / 3  # what the noise was added to
        gap = fitted.session().run("predict", {"x": x})["y"] - curve
        found.append(Figure.of(f"squared distance, width {width}", moments((gap**2).ravel()), ""))
    return found


def cnn_digits(bench: Bench) -> list[Figure]:
    """specs/cnn.mp on scikit-learn's digits."""
    fitted = bench.fit("digits", SPECS / "cnn.mp", "digits", epochs=100)
    return [Figure.of("test accuracy", fitted.target("label"), nearest(fitted, "image", "label"))]


def cnn_mnist(bench: Bench) -> list[Figure]:
    """mnist_cnn.mp on MNIST, 5000 training images kept for validation."""
    data = bench.prepared("mnist", real_data.mnist, bench.file("mnist/mnist.npz"))
    fitted = bench.fit("mnist", HERE / "mnist_cnn.mp", data)
    return [Figure.of("test accuracy", fitted.target("label"), "LeNet-5 (LeCun et al. 1998): 0.9905")]


def elman(bench: Bench) -> list[Figure]:
    """specs/elman.mp on digits, read row by row."""
    fitted = bench.fit("elman", SPECS / "elman.mp", "digits", steps=4000, schedule="cosine")
    return [Figure.of("test accuracy", fitted.target("digit"), nearest(fitted, "image", "digit"))]


def nearest(fitted: Fitted, image: str, label: str) -> str:
    """Accuracy of the nearest training image on the same split."""
    from sklearn.neighbors import KNeighborsClassifier

    (a, b), (c, d) = (
        (part[image].reshape(len(part[label]), -1), part[label])
        for part in (fitted.whole(s) for s in ("train", "test"))
    )
    return f"nearest neighbour, same split: {KNeighborsClassifier(1).fit(a, b).score(c, d):.4f}"
