"""Numbers, names and values in every place of a spec that takes one, swept with wrong ones; and what messages say."""

from __future__ import annotations

from pathlib import Path

import pytest
from wrong_values import BAD, outcome

from mpcompile import api
from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.frontend import parse_text
from mpcompile.layers import LAYERS

X = "model m\ninput x: real[4]\n"
XY = X + "target y: real[1]\n"
X4 = X + "target y: real[4]\n"
XT = "model m\ninput x: real[time, 4]\n"
XL = X + "latent z ~ normal(x -> dense(4)) prior normal(0, 1)\nx ~ normal(loc = z -> dense(4))\n"
#: One place each, which `{}` stands for.
PLACES = {
    "axis": "model m\ninput x: real[{}]\nx ~ normal(0, 1)",
    "axis2": "model m\ninput x: real[2, {}]\nx ~ normal(0, 1)",
    "multiple": "model m\ninput x: real[{} * time, 2]\nx ~ normal(loc = x2, scale = 1)\ninput x2: real[time, 2]",
    "cat": X + "target y: category({})\ny ~ categorical(logits = x -> dense(2))",
    "low": "model m\ninput x: integer({}..7)[4]\nx ~ flow {{ dequantize }}",
    "high": "model m\ninput x: integer(0..{})[4]\nx ~ flow {{ dequantize }}",
    "param": "model m(h = {})\ninput x: real[4]\ntarget y: real[1]\ny ~ normal(loc = x -> dense(h) -> dense(1))",
    "repeat": XY + "y ~ normal(loc = x -> repeat i in {}..2 {{ dense(4) }} -> dense(1))",
    "repeat2": XY + "y ~ normal(loc = x -> repeat i in 1..{} {{ dense(4) }} -> dense(1))",
    "repeatb": X + "x ~ flow {{ repeat i in 1..{} {{ affine }} }}",
    "carry": XT + "recurrence over time {{\n"
    "  carry h[{}] = 0\n"
    "  x ~ normal(loc = h -> dense(4), scale = 1)\n"
    "  h = gru(x, h)\n"
    "}}",
    "init": XT + "recurrence over time {{\n"
    "  carry h[4] = {}\n"
    "  x ~ normal(loc = h -> dense(4), scale = 1)\n"
    "  h = gru(x, h)\n"
    "}}",
    "blockp": XY + "block f(a) = dense(a) -> relu\ny ~ normal(loc = x -> f({}) -> dense(1))",
    "blockd": XY + "block f(a = {}) = dense(a) -> relu\ny ~ normal(loc = x -> f -> dense(1))",
    "blocki": XY + "block f on a, b {{ yield a + b }}\ny ~ normal(loc = f()(x, {}) -> dense(1))",
    "val": X4 + "y ~ normal(loc = x + {}, scale = 1)",
    "val2": X4 + "y ~ normal(loc = {} * x -> dense(4), scale = 1)",
    "start": X4 + "y ~ normal(loc = {} -> dense(4), scale = 1)",
    "prior": X4 + "y ~ normal(loc = x -> dense(4), scale = 1)\nprior weights ~ normal(0, {})",
    "priorl": X + "latent z ~ normal(x -> dense(4)) prior normal({}, 1)\nx ~ normal(loc = z -> dense(4))",
    "claim": X4 + "y ~ normal(loc = x -> dense(4), scale = 1)\ncheck {{ parameters <= {} }}",
    "claim2": (
        "model m\n"
        "input x: real[2,4,4]\n"
        "target y: real[4]\n"
        "y ~ normal(loc = x -> flatten -> dense(4), scale = 1)\n"
        "check {{ receptive_field(x) >= {} }}"
    ),
    "claim3": X + "x ~ autoregressive {{ dense(8, mask = strict(degrees)) }}\ncheck {{ autoregressive({}) }}",
    "mask": X + "mask a = {}\nx ~ autoregressive {{ dense(8, mask = a) }}",
    "mask2": X + "mask a = [[1, 0], {}]\nx ~ autoregressive {{ dense(8, mask = a) }}",
    "mask3": X + "x ~ autoregressive {{ dense(8, mask = strict({})) }}",
    "mask4": X + "x ~ flow {{ coupling(mask = transpose({}) & ~checkerboard, net = dense(4)) }}",
    "net": X + "net f = {}\ntarget y: real[1]\ny ~ normal(loc = x -> f -> dense(1))",
    "netflow": X + "x ~ flow {{ coupling(mask = checkerboard, net = {}) }}",
    "law": X + "x ~ flow {{ coupling(mask = checkerboard, net = dense(4), law = {}) }}",
    "inv": X + "x ~ flow {{ inverse({}) }}",
    "dist": X + "x ~ {}",
    "bij": X + "x ~ flow {{ {} }}",
    "layer": XY + "y ~ normal(loc = x -> {} -> dense(1))",
    "beta": XL + "objective {{ beta: {} }}",
    "cond": X + "x ~ flow {{ affine(condition = {}) }}",
    "step": X4 + "y ~ normal(loc = gru(x, {}), scale = 1)",
    "step2": X4 + "y ~ normal(loc = lstm({}, x), scale = 1)",
}
MORE = (
    "relu(x)",
    "f(x)",
    "normal",
    "affine",
    "dense(2) {{ relu }}",
    "dense(2)(x)",
    "gru(1, 2)",
    "concat",
    "f",
    "-x",
)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_takes_what_fits_and_refuses_the_rest(place: str) -> None:
    found = {outcome(PLACES[place].format(bad), emit=False) for bad in (*BAD, *MORE)}
    assert any(code.startswith("MP") for code in found)


def findings(text: str, tmp_path: Path, **overrides: float) -> tuple[Diagnostic, ...]:
    path = tmp_path / "m.mp"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        api.load(path, overrides)
    return caught.value.diagnostics


@pytest.mark.parametrize(
    ("text", "code", "message", "help_"),
    [
        ("y ~ normal(loc = x -> relu(x) -> dense(1))", "MP128", "`relu` takes no argument `x`",
         "a layer reads what stands before it: x -> relu"),
        ("block dist on a, b { yield a + b }\ny ~ normal(loc = dist(x, x, x) -> dense(1))", "MP128",
         "block `dist` takes no argument `x`", "it is called like a function: dist(a, b)"),
        ("block dist(n) on a, b { yield a + b -> dense(n) }\ny ~ normal(loc = dist(2, x, x) -> dense(1))", "MP128",
         "block `dist` takes no argument `x`", "values go into a second pair of parentheses: dist(2)(x, x)"),
        ("block dist(n) on a, b { yield a + b -> dense(n) }\ny ~ normal(loc = dist(x, x), scale = 1)", "MP113",
         "`n` of block `dist`: expected a number, and `x` is a value",
         "what a layer reads stands before it: x -> dense(8)"),
        ("condition k: category(4)\ny ~ normal(loc = x * k -> dense(1))", "MP204",
         "`*` needs real numbers and got categories", "embed categories first: embedding(dim)"),
        ("block f() = dense(2)\ny ~ normal(loc = f(x) -> dense(1))", "MP128",
         "block `f` takes no argument `x`", "what it reads stands before it: x -> f"),
        ("y ~ normal(loc = x -> f -> concat(t) -> dense(1))\nnet f = dense(4) as t -> relu", "MP110",
         "`t` is not in scope here", "`t` is a stage of the net `f`, in scope behind `as t` in the same pipeline"),
        ("y ~ normal(loc = x -> repeat i in 1..2 { dense(4) } -> dense(i))", "MP110", "`i` is not in scope here",
         "`i` is the counter of a repeat in the law of `y`"),
        ("y ~ normal(loc = x -> dense(b) -> dense(1))\nblock g(b) = dense(b)", "MP110", "`b` is not in scope here",
         "`b` is a name inside of the block `g`"),
        ("y ~ normal(loc = x -> x -> dense(1))", "MP122", "`x` is a value, and a step of a pipeline is a layer",
         "`concat(x)` and `add(x)` join it to what comes before"),
        ("y ~ normal(loc = x -> dense(x) -> dense(1))", "MP113",
         "`units` of dense: expected a number, and `x` is a value", "what a layer reads stands before it: x -> dense(8)"),
        ("y ~ normal(loc = x -> dense(f) -> dense(1))\nnet f = dense(4)", "MP110", "`f` does not belong here",
         "`f` is a net: x -> f"),
        ("y ~ normal(loc = x -> up -> dense(1))\nmask up = degrees", "MP110", "`up` does not belong here",
         "`up` is a mask: dense(64, mask = up)"),
        ("y ~ normal(loc = dense(1))", "MP208", "`dense` takes one value and gets none",
         "write what it reads before it: x -> dense"),
        ("y ~ normal(loc = dense(1)(x, x))", "MP208", "`dense` takes one value and gets 2",
         "`concat(a, b)` joins values"),
        ("y ~ normal(loc = x -> dense(1, bias = maybe))", "MP113", "`bias` of dense: expected true or false", ""),
        ("y ~ normal(x -> f, loc = x -> f)\nnet f = dense(4)", "MP124",
         "`loc` of normal is given twice", "leave out `x -> f`, or the `loc = ...` behind it"),
    ],
)  # fmt: skip
def test_messages_say_what_to_write(text: str, code: str, message: str, help_: str, tmp_path: Path) -> None:
    (found,) = findings(XY + text + "\n", tmp_path)
    assert (found.code, found.message, found.help) == (code, message, help_)


def test_a_list_of_names_says_that_it_goes_on(tmp_path: Path) -> None:
    """The names of the model stand in it whole."""
    text = XY + "net first = dense(2)\nnet other = dense(3)\ny ~ normal(loc = x -> qqqq -> dense(1))\n"
    (found,) = findings(text, tmp_path)
    assert found.help.startswith("known: first, other, ") and found.help.endswith("... (mpcompile list)")
    (found,) = findings(XY + "y ~ normal(loc = x -> dense(1, qqqq = 3))\n", tmp_path)
    assert found.help == "known: bias, init, mask, norm, over, units"
    assert len(LAYERS) > 20


@pytest.mark.parametrize(
    ("value", "quoted"),
    [("{x: real[4]}", "real[4]"), ("{a: 'real', x: real[time, 4]}", "real[time, 4]"),
     ("{x: integer(0..3)[3, 4], y: 'real'}", "integer(0..3)[3, 4]")],
)  # fmt: skip
def test_a_type_in_braces_is_to_be_quoted(value: str, quoted: str) -> None:
    text = f"model: m\ninput: {value}\n"
    with pytest.raises(SpecError) as caught:
        parse_text(text, "m.yaml", "yaml")
    (found,) = caught.value.diagnostics
    assert (found.code, found.help) == ("MP107", f'quote it: "{quoted}"')
    line = text.split("\n")[1]
    assert line[found.span.column - 1 : found.span.end_column - 1] == quoted


UNET = """\
model unet(width = 2)
input image: real[3, {h}, {w}]
target mask: category(4)[{h}, {w}]
block up(ch) on deep, skip {{ yield deep -> conv_transpose(ch, 2, stride = 2) -> concat(skip) -> conv(ch, 1) }}
block unet(ch) on x {{
  c1 = x -> conv(ch, 1)
  c2 = c1 -> maxpool(2) -> conv(ch, 1)
  c3 = c2 -> maxpool(2) -> conv(ch, 1)
  c4 = c3 -> maxpool(2) -> conv(ch, 1)
  c5 = c4 -> maxpool(2) -> conv(ch, 1)
  u4 = up(ch)(c5, c4)
  u3 = up(ch)(u4, c3)
  u2 = up(ch)(u3, c2)
  yield up(ch)(u2, c1) -> conv(4, 1)
}}
mask ~ categorical(logits = image -> unet(width))
"""


def test_the_help_names_the_next_size_that_fits(tmp_path: Path) -> None:
    (found,) = findings(UNET.format(h=350, w=525), tmp_path)
    assert found.help.endswith("or images of 352 x 528, the next size above 350 x 525 that fits")
    text = UNET.replace("width = 2", "width = 2, size = 50").format(h="size", w="size")
    (found,) = findings(text, tmp_path)
    assert found.help.endswith("or set size = 64, the next that fits")
    squeezed = "model m\ninput x: real[1, 6, 9]\nx ~ flow { squeeze(2) -> squeeze(2) -> affine }\n"
    (found,) = findings(squeezed, tmp_path)
    assert found.help == "images of 8 x 12, the next size above 6 x 9 that fits"


def test_sizes_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    for text, says in {
        "y ~ normal(loc = x -> dense(10**9) -> dense(1))": "`units` of dense must be at least 1 and at most 16777216",
        "y ~ normal(loc = x -> repeat i in 1..20 { dense(16000) } -> dense(1))": "weights, more than 2147483648",
        "y ~ normal(loc = x -> reshape([1, 2, 2]) -> upsample(999) -> upsample(999))": "numbers for an example",
    }.items():
        (found,) = findings(XY + text + "\n", tmp_path)
        assert found.code == "MP112" and says in found.message, found


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "9" * 30, "9" * 5000, "x", ""])
def test_a_parameter_is_set_to_a_number(value: str, tmp_path: Path) -> None:
    text = "model m(n = 4)\ninput x: real[4]\ntarget y: real[1]\ny ~ normal(loc = x -> dense(n) -> relu -> dense(1))\n"
    (found,) = findings(text, tmp_path, n=value)  # type: ignore[arg-type]
    assert found.code == "MP113" and found.span.line == 1


@pytest.mark.parametrize(
    "text",
    [
        XY + "y ~ normal(log_scale = 0.5)",
        "model m\ntarget y: real[2]\ny ~ normal(0, 1)",
        X + "target y: real[time, 4]\nrecurrence over time {\n  carry h[4] = 0\n  y ~ laplace(scale = 5)\n"
        "  h = dense(4)(concat(x, h))\n}",
    ],
)
def test_a_program_knows_how_many_examples_it_is_about(text: str) -> None:
    """By a variable that it reads for its size alone; a program that cannot know is not derived."""
    assert outcome(text) == "accepted"


@pytest.mark.parametrize(
    "law", ["normal(loc = 2 -> tanh)", "normal(2 -> tanh)", "normal(x -> residual(8, 2))"]
)
def test_a_number_is_no_network(law: str) -> None:
    """A value without examples is neither halved nor spread."""
    assert outcome(f"{X}target y: real[4]\ny ~ {law}") == "MP207"


def test_a_criterion_has_no_steps() -> None:
    text = (
        XT + "recurrence over time {\n  carry h[4] = 0\n  x ~ perceptron(h)\n  h = dense(4)(concat(x, h))\n}"
    )
    assert outcome(text) == "MP209"
