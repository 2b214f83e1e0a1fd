"""What emitted source may contain. Checked on every emission, before anything runs it."""

from __future__ import annotations

import ast

IMPORTS = {"base64", "math", "torch", "torch.nn", "torch.nn.functional", "safetensors.torch", "typing", "__future__"}
IMPORTED = {"annotations", "Any", "TYPE_CHECKING", "Tensor", "nn", "load_file"}
FORBIDDEN = {
    "eval", "exec", "compile", "open", "__import__", "globals", "locals", "vars", "getattr", "setattr", "delattr",
    "input", "breakpoint", "exit", "quit", "help", "memoryview", "type", "object", "load_library", "hub", "ops",
    "serialization", "multiprocessing", "os", "sys", "save", "system", "classes", "utils", "package", "jit",
}  # fmt: skip
NODES = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg,
    ast.Expr, ast.Assign, ast.AnnAssign, ast.Return, ast.If, ast.For, ast.Pass, ast.Call, ast.keyword,
    ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.BinOp,
    ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Starred, ast.expr_context, ast.operator, ast.unaryop, ast.cmpop,
    ast.boolop, ast.ListComp, ast.comprehension, ast.AugAssign,
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
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', '?')}"
        if not isinstance(node, NODES):
            raise SourceRefused(f"{where}: {type(node).__name__}")
        if isinstance(node, ast.Import) and not {a.name for a in node.names} <= IMPORTS:
            raise SourceRefused(f"{where}: import of {', '.join(a.name for a in node.names)}")
        if isinstance(node, ast.ImportFrom):
            names = {a.name for a in node.names}
            if node.module not in IMPORTS or node.level or not names <= IMPORTED:
                raise SourceRefused(f"{where}: import from {node.module}")
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in FORBIDDEN or (name.startswith("__") and name not in {"__init__", "__getattr__"}):
            raise SourceRefused(f"{where}: use of {name}")
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.decorator_list:
            raise SourceRefused(f"{where}: a decorator")
