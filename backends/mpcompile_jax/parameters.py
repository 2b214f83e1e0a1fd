"""Helpers of an emitted file that take parameters by their names."""

from __future__ import annotations

#: The text of each, by its name.
HELPERS = {
    "below": '''def below(params: Params, path: str) -> Params:
    """The parameters under a path, by the rest of their names."""
    start = path + "."
    return {k.removeprefix(start): v for k, v in params.items() if k.startswith(start)}
''',
    "stacked": '''def stacked(params: Params, head: str, tail: str, numbers: Sequence[int]) -> Array:
    """The parameters whose names have one of some numbers between head and tail, one a row."""
    return jnp.stack([params[head + str(n) + tail] for n in numbers])
''',
}
LOAD = '''def load(path: str) -> Params:
    """The weights of a safetensors file."""
    from safetensors.flax import load_file

    return load_file(path)
'''

__all__ = ["HELPERS", "LOAD"]
