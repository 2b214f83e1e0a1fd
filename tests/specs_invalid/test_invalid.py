"""Bugs that really happened, as specs: each is found at its place, and its repair raises nothing.

`UPDATE_EXPECTED=1 pytest tests/specs_invalid` writes the findings beside the specs; then read the difference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.diagnostics.render import render
from mpcompile.frontend import parse

INVALID = Path(__file__).parents[2] / "specs" / "invalid"
SPECS = sorted(p.name for p in INVALID.iterdir() if p.suffix in (".mp", ".yaml"))

#: How each is mended: every text on the left becomes the one on the right.
REPAIRS: dict[str, dict[str, str]] = {
    "attention_no_mask.mp": {"attention(2)": "attention(2, mask = causal)"},
    "bits_as_reals.mp": {"normal(x": "bernoulli(logits = x", "dense(2)": "dense(1)"},
    "batch_norm_over_time.mp": {"-> batch_norm": "-> layer_norm"},
    "categories_as_numbers.mp": {"dense(8) -> shift": "embedding(8) -> shift"},
    "channels_last.mp": {"[28, 28, 1]": "[1, 28, 28]"},
    "colour_mixture_channels.mp": {"9 * components": "10 * components"},
    "ctc_without_a_blank.mp": {"dense(letters)": "dense(letters + 1)"},
    "diffusion_variance_unasked.mp": {"conv(2, 3": "conv(1, 3"},
    "coupling_parity_stands_still.mp": {"2 * i": "i"},
    "coupling_passes_everything.mp": {"mask = channel": "mask = checkerboard"},
    "attention_over_channels.mp": {"attention(heads)": "attention(heads, over = [height, width])"},
    "data_that_nothing_reads.mp": {", data: moons": ""},
    "freeze_unknown.mp": {"encodr": "encoder", "dense_1": "dense_0.bias"},
    "gate_of_one_channel.mp": {"dense(1)": "dense(hidden)"},
    "two_readings.mp": {"real[12, 8]": "real[time: 12, channel: 8]"},
    "counts_as_positive_numbers.mp": {"gamma": "negative_binomial"},
    "cut_law_without_tails.mp": {"truncated(gamma": "truncated(normal"},
    "network_over_budget.mp": {"dense(64)": "dense(16)"},
    "ridge_with_a_bias.mp": {"dense(1)": "dense(1, bias = false)"},
    "factor_out_of_three.mp": {"-> factor_out": "-> squeeze(2) -> factor_out"},
    "flow_base_scale.mp": {"c: real[3]": "c: real[4]"},
    "flow_base_width.mp": {"dense(5)": "dense(8)"},
    "flow_ends_in_unit.mp": {"  sigmoid": "  logit"},
    "angle_as_a_number.mp": {"net = dense": "net = circle -> dense"},
    "angle_mapped_as_real.mp": {"[32]": "[32], law = spline(8, circular = true)"},
    "flow_logit_twice.mp": {" -> logit -> affine": " -> affine"},
    "flow_not_injective.mp": {"relu": "leaky_relu"},
    "gated_horizontal_ahead.mp": {"3, pad = same))": "3, pad = same, mask = causal2d(type = horizontal_a)))"},
    "gated_horizontal_into_vertical.mp": {"(v + h)": "v"},
    "gated_no_shift.mp": {"(v -> conv(ch, 1))": "(v -> shift_down -> conv(ch, 1))"},
    "group_norm_in_pixelcnn.mp": {"group_norm(2)": "layer_norm"},
    "group_norm_over_time.mp": {"group_norm(2)": "layer_norm"},
    "instance_norm_in_pixelcnn.mp": {"-> instance_norm": "-> layer_norm"},
    "group_norm_over_order.mp": {" -> group_norm(2)": ""},
    "jacobian_claim.mp": {"is triangular": "is dense"},
    "layer_norm_of_one_channel.mp": {"shift -> layer_norm": "shift -> dense(4) -> layer_norm"},
    "layer_norm_over_order.mp": {" -> layer_norm": ""},
    "logistic_of_classes.mp": {
        "logistic(loc = x -> dense(3), scale = 1)": "categorical(logits = x -> dense(3))"
    },
    "lstm_no_shift.mp": {"-> lstm": "-> shift -> lstm"},
    "mask_and_optimizer.yaml": {"adm": "adam", "mask = upp": "mask = up"},
    "made_narrow.mp": {"hidden = 2": "hidden = 16"},
    "made_not_strict.yaml": {"dense(8, mask = up)": "dense(8, mask = strict(up))"},
    "made_unmasked.mp": {"dense(32) ->": "dense(32, mask = up) ->"},
    "nade_of_hidden_units.mp": {
        "dense(9, mask = up) -> ": "",
        "mask up = degrees(order = natural, hidden = 9, seed = 0)": "",
    },
    "not_dequantized.mp": {"  logit": "  dequantize -> logit"},
    "pixelcnn_blind_spot.mp": {"conv(4, 3, pad = same, mask = causal2d(type = B)) -> relu\n  ": ""},
    "pixelcnn_mask_a_twice.mp": {
        "conv(1, 1, mask = causal2d(type = A))": "conv(1, 1, mask = causal2d(type = B))"
    },
    "pixelcnn_mask_b_first.mp": {
        "(type = B)) -> relu\n  conv(8, 3": "(type = A)) -> relu\n  conv(8, 3",
    },
    "rate_beyond_one.mp": {"1.5": "0.5"},
    "recurrence_without_density.mp": {"  s = s": "  x ~ normal(s -> dense(6))\n  s = s"},
    "rgb_mask_a_all_channels.mp": {"(type = A)": "(type = A, channels = rgb)"},
    "row_lstm_sees_itself.mp": {
        "{ row_lstm": "{ conv(3, 3, pad = same, mask = causal2d(type = A)) -> row_lstm"
    },
    "sequence_not_reduced.mp": {"lstm(16) ->": "lstm(16) -> last ->"},
    "shape_mismatch.mp": {"real[16]": "real[1, 4, 4]"},
    "skip_of_another_size.mp": {"maxpool(2) -> upsample(2)": "maxpool(3) -> upsample(3)"},
    "standardise_of_hidden_units.mp": {"dense(hidden) -> standardise": "standardise -> dense(hidden)"},
    "stated_twice.mp": {"x ~ autoregressive(order = reverse) { nade(8) }": ""},
    "step_state_first.mp": {"gru(h, x)": "gru(x, h)"},
    "target_reads_itself.mp": {"concat(x, y)": "x"},
    "time_second.mp": {"[8, time]": "[time, 8]"},
    "training_settings.yaml": {
        "-1e-3": "1e-3",
        "  batch: 0": "  batch: 16",
        "2.5": "25",
        "clipp": "clip",
    },
    "transformer_no_shift.mp": {"-> position": "-> shift -> position"},
    "unknown_layer.yaml": {"dence": "dense"},
    "unknown_layers.mp": {"dens(3)": "dense(3)", "densee(1) -> foo": "dense(1)"},
    "unpool_without_pool.mp": {"maxpool(2) -> unpool": "maxpool(2) as pool -> unpool(pool)"},
    "value_as_argument.mp": {"relu(x)": "relu"},
    "vrnn_reads_itself.mp": {"concat(x, z, h)": "concat(z, h)"},
    "wavenet_first_not_counted.mp": {"-> shift": "-> shift -> conv1d(8, 2)"},
    "wavenet_leak_far_ahead.mp": {"16, pad = same": "16, pad = causal"},
    "wavenet_short_sight.mp": {"dilation = 2)": "dilation = 2 ** (i - 1))"},
    "wavenet_same_padding.mp": {"2, pad = same": "2, pad = causal"},
    "wrong_option.mp": {"kernal": "kernel", ", chanels = 4": ""},
    "wrong_width.mp": {"dense(10)": "dense(8, mask = strict(up))"},
}


def findings(path: Path | str) -> Sequence[Diagnostic]:
    """What `mpcompile check` finds."""
    try:
        return api.check(api.load(path))
    except SpecError as problem:
        return problem.diagnostics


def places(concise: str) -> list[tuple[str, int, int]]:
    """(code, line, column) of each line of the concise form."""
    found = re.findall(r"^\S+:(\d+):(\d+): (MP\d{3}) ", concise, re.MULTILINE)
    return [(code, int(line), int(column)) for line, column, code in found]


@pytest.mark.parametrize("name", SPECS)
def test_is_found_at_its_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(INVALID)
    found = render(findings(name), output_format="concise")
    expected = Path(name + ".expected")
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(found, encoding="utf-8")
    wanted = expected.read_text(encoding="utf-8")
    assert places(wanted), "the expected finding has a place"
    assert places(found) == places(wanted)
    # which element leaks may change with the degrees of a mask; what is said may not
    assert re.sub(r"\[[\d, ]*\]", "[]", found) == re.sub(r"\[[\d, ]*\]", "[]", wanted)


@pytest.mark.parametrize("name", SPECS)
def test_a_leak_has_a_witness(name: str) -> None:
    """From an element of the input, through layers that are written in the spec, to an element of the output."""
    for d in findings(INVALID / name):
        assert bool(d.path) == (d.code == "MP301")
        if not d.path:
            continue
        (variable,) = [
            x for x in parse(INVALID / name)[0].declarations if d.path[0].text.startswith(f"{x.name}[")
        ]
        assert re.fullmatch(rf"{variable.name}\[[\d, ]+\]", d.path[0].text)
        assert d.path[0].span.line == variable.span.line
        assert d.path[-1].text.startswith(f"{variable.name}\N{COMBINING CIRCUMFLEX ACCENT}[")
        assert len(d.path) > 2 and all(step.span.line for step in d.path)


@pytest.mark.parametrize("name", SPECS)
def test_the_repair_raises_nothing(name: str, tmp_path: Path) -> None:
    text = (INVALID / name).read_text(encoding="utf-8")
    for wrong, right in REPAIRS[name].items():
        assert text.count(wrong) == 1
        text = text.replace(wrong, right)
    mended = tmp_path / name
    mended.write_text(text, encoding="utf-8")
    module = api.load(mended)
    verdicts = api.verdicts(module)
    assert [d for v in verdicts for d in v.diagnostics] == []
    assert all(v.status == "proved" for v in verdicts)


def test_every_spec_has_its_finding_and_its_repair() -> None:
    assert (
        {p.name.removesuffix(".expected") for p in INVALID.glob("*.expected")} == set(SPECS) == set(REPAIRS)
    )
