"""Specs from an enemy: each is refused with a place, quickly and in little memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import warm

SECONDS = 1.5  # without the imports
MEGABYTES = 500


def bomb() -> str:
    lines = ["model: m", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 9)]
    return "\n".join(lines)


MP = "model m\n"
HOSTILE: dict[str, tuple[str, Callable[[], str | bytes], str]] = {
    "alias_bomb": ("yaml", bomb, "MP007"),
    "self_alias": ("yaml", lambda: "model: m\nnets: &a {b: *a}", "MP008"),
    "merge_bomb": ("yaml", lambda: "model: m\nnets:\n  a: &a {x: y}\n" + "  b: {<<: [*a]}\n", "MP008"),
    "deep_flow": ("yaml", lambda: "[" * 9_000, "MP006"),
    "deep_flow_lines": ("yaml", lambda: "[\n" * 60_000, "MP006"),
    "deep_maps": ("yaml", lambda: "{a: " * 2_000, "MP006"),
    "deep_block": ("yaml", lambda: "\n".join(" " * i + "a:" for i in range(500)), "MP006"),
    "deep_dashes": ("yaml", lambda: "- " * 4_000 + "a", "MP006"),
    "many_keys": ("yaml",
     lambda: "model: m\nparams:\n" + "".join(f" a{i}: 1\n" for i in range(20_000)), "MP007"),
    "same_keys": ("yaml", lambda: "model: m\nparams:\n" + " a: 1\n" * 3_000, "MP105"),
    "python_tag": ("yaml", lambda: "model: !!python/object/apply:os.system [id]", "MP008"),
    "tag_directive": ("yaml", lambda: "%TAG ! tag:x,2000:\n---\nmodel: m", "MP008"),
    "second_document": ("yaml", lambda: "model: m\n---\nmodel: n", "MP008"),
    "yaml_surrogate": ("yaml", lambda: 'model: m\nmasks: {a: "file(\'\\uD800\')"}', "MP004"),
    "yaml_escape_beyond": ("yaml", lambda: 'model: m\nmasks: {a: "\\UFFFFFFFF"}', "MP107"),
    "yaml_deep_string": ("yaml", lambda: "model: m\nnets: {a: '" + "(" * 5_000 + "'}", "MP006"),
    "nul": ("mp", lambda: b"model m\nnet f = a\0b", "MP004"),
    "nul_yaml": ("yaml", lambda: b"model: m\0", "MP004"),
    "escape_codes": ("mp", lambda: b"model m # \x1b[2J", "MP004"),
    "not_utf8": ("mp", lambda: b"model m\nnet f = \xff\xfe", "MP003"),
    "utf16": ("mp", lambda: "model m".encode("utf-16"), "MP003"),
    "long_line": ("mp", lambda: MP + "net f = a" + " " * 200_000, "MP005"),
    "megabyte_line": ("mp", lambda: MP + "#" * 1_000_000, "MP002"),
    "megabyte_yaml": ("yaml", lambda: "model: " + "a" * 1_000_000, "MP002"),
    "deep_parentheses": ("mp", lambda: MP + "net f = " + "(" * 9_000, "MP006"),
    "deep_braces": ("mp", lambda: MP + "net f = " + "a {\n" * 9_000, "MP006"),
    "deep_unary": ("mp", lambda: MP + "net f = " + "-" * 9_000 + "1", "MP006"),
    "deep_unary_lines": ("mp", lambda: MP + "net f = " + "-\n" * 100_000 + "1", "MP007"),
    "deep_sum": ("mp", lambda: MP + "net f = " + "1+" * 4_900 + "1", "MP006"),
    "deep_power": ("mp", lambda: MP + "net f = " + "2**" * 3_000 + "1", "MP006"),
    "many_tokens": ("mp", lambda: MP + "net f = a\n" * 20_000, "MP007"),
    "many_errors": ("mp", lambda: MP + "a b\n" * 12_000, "MP102"),
    "many_brackets": ("mp", lambda: MP + "net f = (\n" * 9_000, "MP101"),
    "many_quotes": ("mp", lambda: MP + "'\n" * 40_000, "MP109"),
    "many_wrong_characters": ("mp", lambda: MP + ("!" * 5_000 + "\n") * 8, "MP109"),
    "long_number": ("mp", lambda: MP + "net f = " + "9" * 9_000, "MP009"),
    "infinite_number": ("mp", lambda: MP + "net f = 1e999", "MP009"),
    "code_in_name": ("mp", lambda: 'model m"); import os; os.system("id")', "MP109"),
    "code_in_yaml_name": ("yaml", lambda: "model: \"m'); import os #\"", "MP109"),
    "dunder_name": ("mp", lambda: MP + "net __import__ = a", "MP104"),
    "long_name": ("mp", lambda: MP + f"net {'a' * 65} = a", "MP104"),
    "lookalike_name": ("mp", lambda: MP + "net \u0430 = a", "MP109"),
    "fullwidth_digits": ("mp", lambda: MP + "net f = \uff11", "MP109"),
    "surrogate_in_string": ("mp", lambda: MP + 'net f = file("\\ud800")', "MP109"),
    "duplicate_keys": ("yaml", lambda: "model: m\nparams: {a: 1, a: 2}", "MP105"),
    "empty": ("mp", lambda: "", "MP103"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_is_refused_quickly_with_a_place(name: str, tmp_path: Path) -> None:
    syntax, make, code = HOSTILE[name]
    content = make()
    path = tmp_path / f"hostile.{syntax}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    # in a process of its own with limits: what is parsed must not be able to take the test down
    done = warm.run(warm.parsed, str(path), folder=tmp_path, megabytes=MEGABYTES, seconds=10)
    assert done.status == 1, done.err[-2000:]
    assert "Traceback" not in done.err
    codes = {line.split()[0] for line in done.out.splitlines()}
    assert code in codes, done.out[:2000]
    for line in done.out.splitlines():
        assert int(line.split()[1]) >= 1 and int(line.split()[2]) >= 1
    # processor time, not the clock: the machine is shared
    assert done.cpu < SECONDS, f"{done.cpu:.1f} s of processor time, {done.wall:.1f} s of clock"


def test_harmless_oddities_are_accepted(tmp_path: Path) -> None:
    from mpcompile.frontend import parse

    for syntax, text in (("mp", "model m\nnet f = a\n"), ("yaml", "model: m\nnets: {f: a}\n")):
        path = tmp_path / f"spec.{syntax}"
        plain = None
        for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode()):
            path.write_bytes(data)
            model, _ = parse(path)
            assert plain is None or model.same_as(plain)
            plain = model


def test_names_are_only_their_characters() -> None:
    from mpcompile.frontend import parse_text

    assert parse_text('model: "m\\n"', "m.yaml", "yaml").name == "m"


def test_small_alias_use_is_accepted(tmp_path: Path) -> None:
    from mpcompile.frontend import parse_text

    model = parse_text("model: m\nnets:\n  f: &f [dense(1), relu]\n  g: *f\n", "m.yaml", "yaml")
    assert model.nets[0].value.span == model.nets[1].value.span
