"""What emitted source may contain. Checked on every emission, before anything runs it.

Everything is a list of what is allowed: kinds of syntax, imports, and names. Only attributes of `self` are
open, since they are the names of a model's parts; none of them may begin with two underscores.
"""

from __future__ import annotations

import ast

IMPORTS = {"base64", "math", "torch", "torch.nn.functional"}
IMPORTED = {
    "__future__": {"annotations"},
    "typing": {"Any", "TYPE_CHECKING"},
    "torch": {"Tensor", "nn"},
    "safetensors.torch": {"load_file"},
}
BUILTINS = {
    "self", "super", "range", "zip", "reversed", "enumerate", "list", "tuple", "dict", "int", "str",
    "bytearray", "len", "torch", "nn", "F", "math", "base64",
}  # fmt: skip
TENSOR = set(
    "at dtype device shape weight sum amax logsumexp softmax log_softmax argmax cumsum flip "
    "reshape expand mT transpose permute flatten unsqueeze unbind to detach index_add "
    "scatter_add append items view uniform_ tril triu load_state_dict __init__ bool".split()
)
MODULES = {
    "torch": set(
        "exp log tanh sigmoid sqrt abs sign floor erf sin cos maximum minimum where cat full "
        "zeros ones arange take_along_dim stack tensor zeros_like ones_like empty randn "
        "frombuffer bool int64 uint8 float64 dtype get_default_dtype nn.grad.conv1d_weight "
        "nn.grad.conv2d_weight nn.grad.conv3d_weight".split()
    ),
    "F": set(
        "relu softplus pad linear embedding conv1d conv2d conv3d conv_transpose1d "
        "conv_transpose2d conv_transpose3d max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d "
        "avg_pool3d".split()
    ),
    "nn": {"Module", "Parameter", "Linear", "Embedding", "Conv1d", "Conv2d", "Conv3d", "init.orthogonal_"},
    "math": {"inf", "nan", "prod"},
    "base64": {"b64decode"},
}
NODES = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.ClassDef, ast.FunctionDef, ast.arguments,
    ast.arg, ast.Expr, ast.Assign, ast.AnnAssign, ast.Return, ast.If, ast.For, ast.Pass, ast.Call,
    ast.keyword, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Constant, ast.Tuple, ast.List,
    ast.Dict, ast.BinOp, ast.UnaryOp, ast.Compare, ast.expr_context, ast.operator, ast.unaryop,
    ast.cmpop, ast.ListComp, ast.comprehension,
)  # fmt: skip


class SourceRefused(Exception):
    """Emitted source that holds something it must not; a bug of the compiler, or an attack on it."""


def verify_source(text: str) -> None:
    """Raise `SourceRefused` unless the text is a plain module of tensor code."""
    if not text.isascii():
        raise SourceRefused("not ASCII")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as fault:
        raise SourceRefused(f"not Python: {fault}") from fault
    bound = set(BUILTINS)
    chained: set[ast.AST] = set()
    for node in ast.walk(tree):
        bound |= _binds(node)
    for node in ast.walk(tree):
        refused = _fault(node, bound, chained)
        if refused:
            raise SourceRefused(f"line {getattr(node, 'lineno', '?')}: {refused}")


def _binds(node: ast.AST) -> set[str]:
    """Names that a node gives a meaning."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return {node.id}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.ImportFrom):
        return {a.name for a in node.names} & IMPORTED.get(node.module or "", set())
    return set()


def _fault(node: ast.AST, bound: set[str], chained: set[ast.AST]) -> str:
    """What is wrong with a node, or nothing."""
    if not isinstance(node, NODES):
        return type(node).__name__
    if isinstance(node, ast.Import) and not {a.name for a in node.names} <= IMPORTS:
        return f"import of {', '.join(a.name for a in node.names)}"
    if isinstance(node, ast.ImportFrom):
        allowed = IMPORTED.get(node.module or "", set())
        if node.level or not {a.name for a in node.names} <= allowed or any(a.asname for a in node.names):
            return f"import from {node.module}"
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        if node.decorator_list:
            return "a decorator"
        if node.name in BUILTINS or _hidden(node.name):
            return f"definition of {node.name}"
    if isinstance(node, ast.Name):
        builtin = node.id in {"bool", "Tensor", "Any", "TYPE_CHECKING"}
        if _hidden(node.id) or not (node.id in bound or builtin):
            return f"use of {node.id}"
    if isinstance(node, ast.Attribute) and node not in chained:
        return _attribute(node, chained)
    return ""


def _hidden(name: str) -> bool:
    return name.startswith("__") and name not in {"__init__", "__getattr__"}


def _attribute(node: ast.Attribute, chained: set[ast.AST]) -> str:
    """Judge a whole chain `a.b.c` at once, from its outermost attribute."""
    parts: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        chained.add(inner)
        parts.insert(0, inner.attr)
        inner = inner.value
    dotted = ".".join(parts)
    root = inner.id if isinstance(inner, ast.Name) else ""
    if root in MODULES:
        return "" if dotted in MODULES[root] else f"use of {root}.{dotted}"
    if root == "self":
        return f"use of {dotted}" if any(map(_hidden, parts)) else ""
    return "" if set(parts) <= TENSOR else f"use of {dotted}"
