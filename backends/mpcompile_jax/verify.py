"""The allow-list of the source that is emitted for JAX."""

from __future__ import annotations

import ast
from collections.abc import Collection

from mpcompile.emission import verify
from mpcompile.emission.verify import Allowed, SourceRefused

IMPORTS = {"itertools", "math", "jax", "jax.numpy", "numpy"}
IMPORTED = {
    "__future__": {"annotations"},
    "collections.abc": {"Callable", "Sequence"},
    "jax": {"Array", "lax"},
    "pathlib": {"Path"},
    "safetensors.numpy": {"load_file"},
    "safetensors.flax": {"load_file"},
}
NAMES = {
    "range", "zip", "enumerate", "dict", "tuple", "type", "len", "slice", "any", "max", "jax", "jnp", "np", "math",
    "itertools",
}  # fmt: skip
KNOWN = {"bool", "int", "float", "str", "Array", "Callable", "Sequence", "__file__"}
MEMBERS = set(
    "dtype shape ndim reshape T mT swapaxes transpose astype sum mean max at add "
    "removeprefix startswith items append defjvp "
    "with_name".split()
)
MODULES = {
    "jax": {
        f"nn.{n}"
        for n in "gelu sigmoid silu relu softplus one_hot logsumexp softmax log_softmax elu selu mish relu6 "
        "hard_sigmoid hard_swish glu".split()
    }
    | set("checkpoint closure_convert custom_jvp jvp linearize linear_transpose".split()),
    "jnp": set(
        "exp log tanh sqrt abs sign inner floor sin cos maximum minimum where broadcast_to pad concatenate stack flip "
        "zeros ones full arange argmax any asarray take_along_axis ones_like moveaxis promote_types float32 dtype "
        "linalg.inv linalg.slogdet".split()
    ),
    "lax": set(
        "erf stop_gradient broadcasted_iota cumsum conv_general_dilated reduce_window add scan "
        "fori_loop while_loop custom_linear_solve dynamic_slice_in_dim dynamic_update_slice_in_dim "
        "platform_dependent".split()
    ),
    "np": set(
        "arange array asarray eye full tri add.outer greater_equal.outer broadcast_to reshape ndarray int32".split()
    ),
    "math": {"inf", "nan", "prod", "tau"},
    "itertools": {"product"},
}
NODES = (ast.DictComp, ast.GeneratorExp, ast.Starred, ast.Continue, ast.Assert)
DECORATORS = frozenset({"jax.custom_jvp", "solved.defjvp"})
ALLOWED = Allowed(IMPORTS, IMPORTED, NAMES, KNOWN, MEMBERS, MODULES, nodes=NODES, decorators=DECORATORS)


def verify_source(text: str, model: Collection[str] = ()) -> None:
    """Raise `SourceRefused` unless the text is a plain module of JAX code; `model` are names that it may import.

    They are those of `model.py`.
    """
    verify.verify_source(text, verify.beside(ALLOWED, model))


__all__ = ["ALLOWED", "SourceRefused", "verify_source"]
