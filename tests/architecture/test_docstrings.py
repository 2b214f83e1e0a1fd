"""Public docstrings begin with a verb or name their subject, on one line, and say what is raised.

The rules are those that a reader can check by eye, too:

module, class   a noun phrase or a verb, never a riddle ("What ...", "Where ...", "By ...")
function        a verb of `VERBS`, in the imperative: "Return the ...", never the noun ("Sum of ...")
method          either, or none where it overrides a method: its contract is that of the base class.
                A predicate (`-> bool`) may be "Whether ..."
private         a docstring, where there is one, is no riddle either
raises          who raises `SpecError`, `NoRule` or `ValueError` himself says so
shapes          layers, masks, distributions, bijectors and primitives, or their base classes, state shapes
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mpcompile.bijectors import BIJECTORS, LAWS
from mpcompile.distributions import DISTRIBUTIONS
from mpcompile.layers import LAYERS, MASKS
from mpcompile.ops import PRIMITIVES
from mpcompile_jax import loops, parameters, windows
from mpcompile_torch import helpers, literals, recurrent

ROOT = Path(__file__).parents[2]

#: What a function may do. A new verb is welcome, where none of these says it.
VERBS = frozenset(
    """
    Absorb Add Align Allow Append Apply Arrange Ask Assign Attach Average Begin Bind Bisect Bound Break Bring
    Broadcast Build Call Check Choose Clear Close Collect Compare Compile Compute Concatenate Connect Convert Copy
    Convolve
    Count Create Cut Decide Declare Decode Define Delete Derive Describe Differentiate Divide Draw Drop Emit Encode
    Enter Escape Estimate Evaluate Exchange Expand Explain Export Extend Extract Factor Fetch Fill Filter Find Fit
    Flatten Fold Follow Format Gather Generate Give Group Guard Hash Hide Hoist Hold Ignore Import Index Infer
    Initialise Inline Insert Interpret Invert Iterate Join Judge Keep Launch Lay Leave Limit List Load Locate Log
    Lower Make Map Mark Mask Match Measure Merge Move Multiply Name Narrow Normalise Note Number Open Order Pack Pad
    Parse Peel Permute Place Plan Predict Prepare Prepend Prevent Print Project Propagate Prove Put Quote Raise Read
    Recognise Reduce Refuse Register Release Remove Rename Render
    Repeat Replace Report Reshape Resize Resolve Restore Return
    Reverse Rewrite Round Run Sample Say Scale Schedule Select Send Separate Serve Set Shape Shard Share Show Shuffle
    Simplify Skip Slice Solve Sort Spawn Specialize Spell Split Spread Stack Start State Stop Store Strip Suggest Sum
    Survey Suspend Sweep Take Trace Train Transform Translate Transpose Treat Try Turn Undo Unpack Unroll Update
    Validate Verify Visit Wait Warn Widen Wrap Write Yield
    """.split()
)

#: Words that put off the subject of a sentence.
RIDDLES = frozenset(
    """
    All Also Anything As At Beside Between But By Everything For From How If In It Its No Nobody None Not Of On Only Or So
    That Their There These They This Those To What When Where Whether Which Who Whoever Whose Why With Without
    """.split()
)

#: What a docstring must speak of where it is raised: the exceptions, and the functions that make them.
RAISED = frozenset({"NoRule", "SpecError", "ValueError", "error", "fail", "no_rule"})

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _files() -> list[Path]:
    found = [
        p for folder in ("mpcompile", "backends", "grammar") for p in sorted((ROOT / folder).rglob("*.py"))
    ]
    assert len(found) > 300
    return found


def _public(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Definition, bool]]:
    """Every public definition: its dotted name, itself, and whether it is a method."""
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield prefix + node.name, node, isinstance(tree, ast.ClassDef)
            if isinstance(node, ast.ClassDef):
                yield from _public(node, f"{prefix}{node.name}.")


def _raised(function: ast.AST) -> Iterator[str]:
    """Names of what a function raises itself: not a function in it, and not what it calls."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, Definition | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = (
                made.id
                if isinstance(made, ast.Name)
                else made.attr
                if isinstance(made, ast.Attribute)
                else ""
            )
            if name in RAISED:
                yield name
        yield from _raised(node)


@cache
def _contracts() -> frozenset[str]:
    """Methods that some class documents as raising: an override without docstring has that contract."""
    return frozenset(
        node.name
        for path in _files()
        for _, node, method in _public(_tree(path))
        if method and "aises" in (ast.get_docstring(node) or "")
    )


def _opening(text: str) -> tuple[str, str]:
    """The first two words, without punctuation at the end of the first."""
    first, second, *_ = [*text.split(), "", ""]
    return first.rstrip(",.:;"), second


def _is_riddle(node: Definition, text: str) -> bool:
    predicate = isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or ast.Name("")) == "bool"
    first, _ = _opening(text)
    return first in RIDDLES and not (predicate and first == "Whether")


def faults(node: Definition, method: bool) -> Iterator[str]:
    """What is wrong with the docstring of a definition."""
    text = ast.get_docstring(node)
    is_class = isinstance(node, ast.ClassDef)
    if text is None:
        if is_class or not method:
            yield "has no docstring"
    else:
        first, second = _opening(text)
        if "\n" in text.split("\n\n")[0]:
            yield "its summary is longer than a line: split it after its first sentence"
        if is_class or method:
            if _is_riddle(node, text):
                yield f"'{first}' names no subject"
        elif first not in VERBS or second == "of":
            yield f"'{first} {second}' is no verb of VERBS: say what the function does, or add the verb there"
    said = text or ("Raises" if method and node.name in _contracts() else "")
    if not is_class and "aise" not in said and (names := sorted(set(_raised(node)))):
        yield f"raises ({', '.join(names)}) and does not say so: 'Raises `SpecError` where ...'"


def _faults_of(path: Path) -> Iterator[str]:
    """What is wrong with the docstrings of a file."""
    for name, node, method in _public(_tree(path)):
        yield from (f"{name}: {fault}" for fault in faults(node, method))
    first, _ = _opening(ast.get_docstring(_tree(path)) or "What")
    if first in RIDDLES:
        yield f"the module's docstring: '{first}' names no subject"
    for node in ast.walk(_tree(path)):
        if isinstance(node, Definition) and (text := ast.get_docstring(node)) and _is_riddle(node, text):
            yield f"{node.name}, line {node.lineno}: '{text.split()[0]}' names no subject"


def test_docstrings_say_what_a_definition_does() -> None:
    """Of each module itself, of everything public in it, and no riddle anywhere."""
    found = [f"{path.relative_to(ROOT)}: {fault}" for path in _files() for fault in _faults_of(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('def f():\n    """Return the ranks."""', ""),
        ('def f():\n    """The ranks."""', "no verb"),
        ('def f():\n    """Number of ranks."""', "no verb"),
        ('def f():\n    """What is ranked."""', "no verb"),
        ("def f():\n    pass", "no docstring"),
        ('class C:\n    """What is known of a value."""', "no subject"),
        ('class C:\n    """The facts of a value."""', ""),
        ('class C:\n    """The facts of a value,\n    and of another."""', "longer than a line"),
        ('class C:\n    """A type."""\n    def m(self) -> bool:\n        """Whether it holds."""', ""),
        ('class C:\n    """A type."""\n    def m(self) -> int:\n        """Whether it holds."""', "no subject"),
        ('class C:\n    """A type."""\n    def own(self):\n        raise ValueError', "does not say so"),
        ('class C:\n    """A type."""\n    def stencil(self):\n        raise NoRule(self, "x")', ""),
        ('def f():\n    """Return it."""\n    raise error("MP201", "no")', "does not say so"),
        ('def f():\n    """Return it. Raises MP201."""\n    raise error("MP201", "no")', ""),
        ('def f():\n    """Return it."""\n    def g():\n        raise ValueError', ""),
    ],
)  # fmt: skip
def test_the_rules(text: str, fault: str) -> None:
    found = [f for _, node, method in _public(ast.parse(text)) for f in faults(node, method)]
    assert (not found) if not fault else (len(found) == 1 and fault in found[0]), found


def test_helpers_of_emitted_code_say_what_they_do() -> None:
    """What backends copy into the files of others is read there."""
    texts = [
        *literals.HELPERS.values(), *recurrent.HELPERS.values(), helpers.GROUP, helpers.MAX_POOL, helpers.ALL_SUM,
        *windows.HELPERS.values(), *loops.HELPERS.values(), *parameters.HELPERS.values(),
    ]  # fmt: skip
    assert len(texts) > 15
    for text in texts:
        (node,) = (n for n in ast.parse(text).body if isinstance(n, Definition))
        first, _ = _opening(ast.get_docstring(node) or "")
        assert first in VERBS, node.name


def test_verbs_are_verbs() -> None:
    assert not VERBS & RIDDLES
    assert all(v.isalpha() and v.istitle() for v in VERBS)


#: `[N, C, ...]`, `[*S]`, or words about a shape.
SHAPE = re.compile(r"\[[A-Za-z*.\d]|\bshapes?\b|element by element", re.IGNORECASE)

#: Base classes that say what every layer, law or primitive does, and so nothing of its shapes.
GENERAL = frozenset({"Primitive", "Operation", "Layer", "Distribution"})


@pytest.mark.parametrize(
    "registry", [LAYERS, MASKS, DISTRIBUTIONS, BIJECTORS, LAWS, PRIMITIVES],
    ids=["layers", "masks", "distributions", "bijectors", "laws", "primitives"],
)  # fmt: skip
def test_docstrings_state_shapes(registry: dict[str, type]) -> None:
    silent = [
        f"{keyword}: {entry.__name__}"
        for keyword, entry in registry.items()
        if not any(
            SHAPE.search(base.__doc__ or "")
            for base in entry.__mro__
            if base.__module__.startswith("mpcompile") and base.__name__ not in GENERAL
        )
    ]
    assert registry and not silent, f"no shape is stated: {silent}"
