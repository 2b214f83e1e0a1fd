"""Names of arguments, where sizes are read off them, and docstrings that tell the types."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mpcompile.emission.names import free
from mpcompile.emission.roles import NUMBERED, role
from mpcompile.emission.text import WIDTH, prose, quoted
from mpcompile.ir import STATE, DType, Input, Node, Parameter, Value, multiple_of
from mpcompile.ir.names import split
from mpcompile.ops import Cast
from mpcompile.outline import Block

#: A type has the types of up to so many results.
MANY = 8


def argument_names(block: Block, reserved: Collection[str] = ()) -> list[str]:
    """Choose different names for the inputs of a function that was cut out of a program."""
    names: list[str] = []
    within = frozenset(i.id for i in block.items if isinstance(i, Node))
    hints = [argument_hint(block, v) for v in block.inputs]
    hints = _told_apart(hints, [_path(block, v) for v in block.inputs])
    for v, hint in zip(block.inputs, hints, strict=True):
        base = free(hint, reserved)
        name, number = base, 1
        if name in names and name == "x":  # of several the others by what they are
            others = (role(block.graph, v, within), "y", "u")
            name = next((n for n in others if n and free(n, reserved) == n and n not in names), name)
        while name in names or name in reserved:
            number += 1
            name = f"{base}{number}"
        names.append(name)
    return names


def _path(block: Block, value: Value) -> tuple[str, ...]:
    op = block.graph.node(value).op
    return split(op.path) if isinstance(op, Input | Parameter) else ()


def _told_apart(hints: list[str], paths: list[tuple[str, ...]]) -> list[str]:
    """Put what tells weights of one name apart before it, of the paths to their layers: `unit_0_conv_0_weight`."""
    found = list(hints)
    for hint in {h for h in hints if hints.count(h) > 1}:
        same = [i for i, h in enumerate(hints) if h == hint]
        longest = max(len(paths[i]) for i in same)
        padded = {i: ("",) * (longest - len(paths[i])) + paths[i] for i in same}
        differ = [n for n in range(longest - 1) if len({p[n] for p in padded.values()}) > 1]
        for i, path in padded.items():
            name = "_".join([*filter(None, (path[n] for n in differ)), hint]).replace(".", "_")
            plain = name.isascii() and name.isidentifier() and not name.startswith("__")
            found[i] = name if plain else hint
    return found


def result_type(kind: str, count: int) -> str:
    """Format the type of `count` results of a function; a tuple of many is not written out."""
    if count == 1:
        return kind
    return f"tuple[{', '.join([kind] * count)}]" if count <= MANY else f"tuple[{kind}, ...]"


def argument_hint(block: Block, value: Value) -> str:
    """Suggest a name for an argument of a function that was cut out of a program."""
    op = block.graph.node(value).op
    if isinstance(op, Cast):  # a length as a whole number is still that length
        op = block.graph.node(block.graph.node(value).inputs[0]).op
    if isinstance(op, Input | Parameter):
        name = op.path.split(".")[-1]
        if name.isascii() and name.isidentifier() and name[:2] != "__" and not NUMBERED.fullmatch(name):
            return name
    return {DType.FLOAT: "x", DType.INT: "index", DType.BOOL: "keep"}[value.dtype]


def fixed_by(symbol: str, arguments: Sequence[str], values: Sequence[Value]) -> str | None:
    """Write how a symbol is read off the shape of an argument: `x.shape[1]`, or `x.shape[1] // 2` for `2 * time`.

    None where no argument fixes it.
    """
    best: tuple[int, str] | None = None
    for name, v in zip(arguments, values, strict=True):
        for axis, size in enumerate(v.shape):
            fixed = multiple_of(size)
            if fixed is not None and fixed[0] == symbol and (best is None or fixed[1] < best[0]):
                times = fixed[1]
                best = times, f"{name}.shape[{axis}]" + (f" // {times}" if times > 1 else "")
    return best[1] if best else None


def definition(name: str, arguments: Sequence[str], result: str, indent: int) -> list[str]:
    """Write the head of a function, broken at its arguments where it is long."""
    lead = "    " * indent
    given = ", ".join(arguments)
    line = f"{lead}def {name}({given}) -> {result}:"
    if len(line) <= WIDTH:
        return [line]
    fits = len(lead) + 4 + len(given) <= WIDTH and len(arguments) > 1
    inner = [given] if fits else [f"{a}," for a in arguments]
    return [f"{lead}def {name}(", *(f"{lead}    {i}" for i in inner), f"{lead}) -> {result}:"]


def shared_types(calls: Sequence[Sequence[Value]]) -> list[str]:
    """Write the types of the values of some calls of one function: `float[..., 32]` where first axes differ."""
    found = []
    for values in zip(*calls, strict=True):
        first, *others = (v.type for v in values)
        count = min(t.rank for t in (first, *others))
        while count and any(t.shape[t.rank - count :] != first.shape[first.rank - count :] for t in others):
            count -= 1
        last = ", ".join(["...", *map(str, first.shape[first.rank - count :])])
        found.append(str(first) if all(t == first for t in others) else f"{first.dtype}[{last}]")
    return found


def named_types(outputs: Mapping[str, Value]) -> list[str]:
    """Write the names and types of a program's results; many statistics of layers are counted."""
    states = [n for n in outputs if n.startswith(STATE)]
    kept = {n: v for n, v in outputs.items() if len(states) <= MANY or n not in states}
    found = [f"{quoted(n)[1:-1]} {v.type}" for n, v in kept.items()]
    return [*found, *([f"and {len(states)} statistics, {STATE}..."] if len(states) > MANY else [])]


def type_docstring(arguments: Sequence[tuple[str, str]], results: Sequence[str], indent: int) -> list[str]:
    """Write the docstring `x float[N, 2] -> loss float[].`, over several lines where it is long."""
    lead = "    " * indent
    first, *more = type_lines(arguments, results, WIDTH - len(lead) - 6)
    if not more:
        return [f'{lead}"""{first}"""']
    return [f'{lead}"""{first}', *(f"{lead}{line}" for line in more), f'{lead}"""']


def type_lines(arguments: Sequence[tuple[str, str]], results: Sequence[str], width: int) -> list[str]:
    """Write types as a sentence, `x float[N, 2] -> loss float[].`, broken before the arrow and behind commas."""
    given = [f"{name} {type_}" for name, type_ in arguments] or ["()"]
    line = f"{', '.join(given)} -> {', '.join(results)}."
    if len(line) <= width:
        return [line]
    return _broken(given, "", width) + _broken([f"-> {results[0]}", *results[1:]], ".", width)


def _broken(items: Sequence[str], end: str, width: int) -> list[str]:
    """Join items by commas in lines of at most `width`; a longer item is cut."""
    lines = [""]
    for number, item in enumerate(items, 1):
        text = prose(item, width - 1) + ("," if number < len(items) else end)
        if lines[-1] and len(lines[-1]) + 1 + len(text) > width:
            lines.append(text)
        else:
            lines[-1] = f"{lines[-1]} {text}".strip()
    return lines
