"""Helpers of an emitted file that take parameters by their names."""

from __future__ import annotations

#: The text of each, by its name.
HELPERS = {
    "below": '''def below(params: Params, path: str) -> Params:
    """The parameters under a path, by the rest of their names."""
    start = path + "."
    return {k.removeprefix(start): v for k, v in params.items() if k.startswith(start)}
''',
    "stacked": '''def stacked(params: Params, path: str, numbers: Sequence[int]) -> Params:
    """The parameters of some elements of a list of layers, one a row, by the rest of their names."""
    starts = [path + "." + str(n) + "." for n in numbers]
    rest = [k.removeprefix(starts[0]) for k in params if k.startswith(starts[0])]
    return {k: jnp.stack([params[start + k] for start in starts]) for k in rest}
''',
}
LOAD = '''def load(path: str) -> Params:
    """The weights of a safetensors file."""
    from safetensors.flax import load_file

    return load_file(path)
'''

__all__ = ["HELPERS", "LOAD"]
