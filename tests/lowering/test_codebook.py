"""The codebook posterior: against a VQ-VAE written by hand in torch, and against the sum over all codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.gradient import differentiate
from mpcompile.runner.examples import example_weights

HEAD = (
    "model m\ninput x: binary[6]\nweight table: real[class: 4, channel: 3] = normal(1)\n"
    "weight start: real[code: 2, class: 4] = normal(1)\n"
)
NEAREST = "nearest(table, x -> dense(6) -> split(channel, code = 2, channel = 3), commitment = 0.3)"
LAW = (
    "x ~ bernoulli(logits = lookup(k, table) -> merge([code, channel], into = channel) -> tanh -> dense(6))\n"
)
TEXT = f"{HEAD}latent k: category(4)[code: 2] ~ {NEAREST} prior categorical(logits = start)\n{LAW}"
X = np.array(list(itertools.product([0.0, 1.0], repeat=6)))[5::9]


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


MODULE = module_of(TEXT)
WEIGHTS = {k: np.asarray(v) for k, v in example_weights(MODULE, 1, spread=0.8).items()}


def run(program: str, weights: dict[str, Array], **inputs: Array) -> dict[str, Array]:
    return interpret(MODULE.programs[program], weights, inputs)


def by_hand(x: Array) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """The loss, the bound of each example, the codes, and the weights of van den Oord et al. 2017, equation 3."""
    w = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in WEIGHTS.items()}
    data = torch.tensor(x)
    z = (data @ w["k.dense_0.weight"].T + w["k.dense_0.bias"]).reshape(-1, 2, 3)
    table = w["table.weight"]
    k = ((z[:, :, None] - table) ** 2).sum(-1).argmin(-1)
    rows = table[k]
    through = z + (rows - z).detach()
    logits = torch.tanh(through.reshape(-1, 6)) @ w["x.dense_0.weight"].T + w["x.dense_0.bias"]
    reconstruction = -torch.nn.functional.binary_cross_entropy_with_logits(
        logits, data, reduction="none"
    ).sum(1)
    prior = torch.log_softmax(w["start.weight"], 1)
    log_p = sum(prior[i, k[:, i]] for i in range(2))
    terms = ((z.detach() - rows) ** 2).sum((1, 2)) + 0.3 * ((z - rows.detach()) ** 2).sum((1, 2))
    bound = reconstruction + log_p
    return (terms - bound).mean(), bound, k, w


def test_loss_and_gradients_are_those_of_a_vq_vae_by_hand() -> None:
    loss, bound, k, w = by_hand(X)
    loss.backward()
    made = run("loss", WEIGHTS, x=X)
    np.testing.assert_allclose(made["loss"], loss.item(), rtol=1e-12)
    np.testing.assert_allclose(run("elbo", WEIGHTS, x=X)["elbo"], bound.detach().numpy(), rtol=1e-12)
    np.testing.assert_array_equal(run("encode", WEIGHTS, x=X)["k"], k.numpy())
    names = list(WEIGHTS)
    found = interpret(differentiate(MODULE.programs["loss"], "loss", names), WEIGHTS, {"x": X})
    for name in names:
        gradient = found[f"grad({name})"]
        expected = w[name].grad
        assert expected is not None and expected.abs().max() > 1e-3, name
        np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-12, atol=1e-13, err_msg=name)


def test_the_bound_is_a_term_of_the_sum_over_all_codes() -> None:
    """log p(x, k) at the nearest code is at most log p(x); the decoder's program gives log p(x given k)."""
    elbo = run("elbo", WEIGHTS, x=X)["elbo"]
    prior = WEIGHTS["start.weight"] - np.log(np.exp(WEIGHTS["start.weight"]).sum(1, keepdims=True))
    joint, codes = [], list(itertools.product(range(4), repeat=2))
    for code in codes:
        mean = run("decode", WEIGHTS, k=np.tile(code, (len(X), 1)))["x"]
        log_p = (X * np.log(mean) + (1 - X) * np.log1p(-mean)).sum(1)
        joint.append(log_p + sum(prior[i, c] for i, c in enumerate(code)))
    whole = np.log(np.exp(joint).sum(0))
    nearest = run("encode", WEIGHTS, x=X)["k"]
    own = [joint[codes.index(tuple(k))][n] for n, k in enumerate(nearest.tolist())]
    np.testing.assert_allclose(elbo, own, rtol=1e-10)
    assert (elbo < whole).all() and "log_weight" not in MODULE.programs
    mean = run("decode", WEIGHTS, k=nearest)["x"]
    np.testing.assert_allclose(run("reconstruct", WEIGHTS, x=X)["x"], mean, rtol=1e-12)


def test_of_equal_rows_the_first_is_the_nearest() -> None:
    same = WEIGHTS | {"table.weight": np.ones((4, 3))}
    assert (run("encode", same, x=X)["k"] == 0).all()
    last = np.vstack([np.full((2, 3), 9.0), np.full((2, 3), 0.5)])
    assert (run("encode", WEIGHTS | {"table.weight": last}, x=X)["k"] == 2).all()


@pytest.mark.parametrize("n", [0, 1])
def test_a_batch_of_none_and_of_one(n: int) -> None:
    made = run("elbo", WEIGHTS, x=X[:n])["elbo"]
    np.testing.assert_allclose(made, run("elbo", WEIGHTS, x=X)["elbo"][:n], rtol=1e-13)
    noise = {"noise_k": np.full((n, 2), 0.7), "noise_x": np.full((n, 6), 0.4)}
    assert run("sample", WEIGHTS, **noise)["x"].shape == (n, 6)


def test_a_prior_and_a_posterior_of_another_latent_read_the_codes() -> None:
    """A prior reads the classes, an autoregressive law among them; a posterior reads the rows of the table."""
    masked = "autoregressive { embedding(8) -> shift -> dense(4) }"
    rows = "lookup(k, table) -> merge([code, channel], into = channel)"
    between = (
        f"latent z ~ normal(concat(x, {rows}) -> dense(4)) prior normal(onehot(k) -> flatten -> dense(4))\n"
        "x ~ bernoulli(logits = z -> dense(6))"
    )
    text = TEXT.replace("categorical(logits = start)", masked).replace("[code: 2]", "[time: 2]")
    text = (
        text.replace("code = 2", "time = 2")
        .replace("[code, ", "[time, ")
        .replace("weight start", "weight unused")
    )
    module = module_of("\n".join(line for line in text.splitlines() if "unused" not in line))
    assert any(c.kind == "autoregressive" and c.subject == "k" for c in module.claims)
    assert "elbo" in module_of(TEXT.replace(LAW, between)).programs


NONE = "passes no gradient"
OTHER = "weight other: real[class: 4, channel: 3]"
REFUSED = {
    "another reader": (
        TEXT.replace("lookup(k, table) -> merge([code, channel]", "onehot(k) -> merge([code, class]"),
        NONE,
    ),
    "an embedding": (TEXT.replace("lookup(k, table)", "(k -> embedding(3))"), NONE),
    "another table": (
        TEXT.replace("lookup(k, table)", "lookup(k, other)").replace(
            "weight start", f"{OTHER}\nweight start"
        ),
        NONE,
    ),
    "rows for other classes": (
        TEXT.replace("category(4)", "category(5)").replace("class: 4]", "class: 5]"),
        "no row for each class",
    ),
    "a table on its side": (
        TEXT.replace("class: 4, channel: 3", "channel: 3, class: 4"),
        "no row for each class",
    ),
    "vectors of other places": (TEXT.replace("[code: 2] ~", "[code: 3] ~"), "the vectors of `k` are"),
    "vectors of other size": (
        TEXT.replace("dense(6) -> split", "dense(4) -> split").replace("channel = 3)", "channel = 2)"),
        "with 3 channels",
    ),
    "bits": (TEXT.replace("category(4)[", "binary["), "`nearest` is of a category"),
    "numbers": (TEXT.replace("category(4)[code: 2]", "real[code: 2]"), "is of classes, and `k` is real"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_passes_no_gradient_or_does_not_fit_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of(text)
    found = caught.value.diagnostics[0]
    assert found.code == "MP411" and said in f"{found.message} {found.help}" and found.help


def test_codes_of_a_step_and_beside_counted_classes_are_refused() -> None:
    step = (
        "model m\ninput x: binary[time, 3]\nweight table: real[class: 4, channel: 3]\n"
        "recurrence over time {\n  carry h[3] = 0\n"
        "  latent k: category(4) ~ nearest(table, x -> dense(3)) prior categorical(logits = h -> dense(4))\n"
        "  x ~ bernoulli(logits = lookup(k, table))\n  h = x\n}\n"
    )
    one = (
        "latent c: category(2) ~ enumerate(categorical(logits = x -> dense(2))) prior categorical(logits = 0)"
    )
    counted = TEXT.replace("latent k", f"{one}\nlatent k")
    counted = counted.replace("x -> dense(6) -> split", "concat(x, onehot(c)) -> dense(6) -> split")
    for text, said in ((step, "is one of a step"), (counted, "depend on a latent that is enumerated")):
        with pytest.raises(SpecError, match=said) as caught:
            module_of(text)
        assert caught.value.diagnostics[0].code == "MP411"
