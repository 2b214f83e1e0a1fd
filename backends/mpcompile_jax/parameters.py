"""Helpers of an emitted file that take parameters by their names."""

from __future__ import annotations

#: The text of each, by its name.
HELPERS = {
    "below": '''def below(params: Params, path: str) -> Params:
    """Select the parameters under a path, by the rest of their names."""
    start = path + "."
    return {k.removeprefix(start): v for k, v in params.items() if k.startswith(start)}
''',
    "stacked": '''def stacked(params: Params, path: str, numbers: Sequence[int]) -> Params:
    """Stack the parameters of some layers of a list, one a row, by the rest of their names.

    `params` may have them so already, as `layer.0:63.weight`.
    """
    starts = [path + "." + str(n) + "." for n in numbers]
    whole = below(params, path + "." + str(numbers[0]) + ":" + str(numbers[-1]))
    rest = [k.removeprefix(starts[0]) for k in params if k.startswith(starts[0])]
    return whole | {k: jnp.stack([params[start + k] for start in starts]) for k in rest}
''',
}
LOAD = '''def load(path: str) -> Params:
    """Read the weights of a safetensors file."""
    from safetensors.flax import load_file

    return load_file(path)
'''

__all__ = ["HELPERS", "LOAD"]
