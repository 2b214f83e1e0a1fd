"""The module that lowering makes of a spec: programs, the parameters they share, and the claims to prove about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from math import inf, prod
from typing import Literal

from mpcompile.diagnostics import Source, Span
from mpcompile.ir.axes import Axes, usual_axes
from mpcompile.ir.claims import Allowance, Claim
from mpcompile.ir.graph import Graph
from mpcompile.ir.leaves import Constant
from mpcompile.ir.primitive import Array
from mpcompile.ir.size import Symbolic
from mpcompile.ir.training import Training
from mpcompile.ir.types import Type


@dataclass(frozen=True, slots=True)
class Init:
    """The initialisation of a parameter: `zeros`, `ones`, `constant`, `normal`, `uniform`, `orthogonal`, `array`.

    `scale` is the standard deviation of a normal, the half width of a uniform, the value of a constant.
    """

    kind: str
    scale: float = 1.0
    array: Array | None = None


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A trained array: its dotted name is its key in every checkpoint and `state_dict`.

    `support` is a mask of the elements that some program reads, where masks remove the others: those are zero, from the
    initial value on (`analysis/kept.py`). With `fused` programs read the weight without its mask, and whoever trains it
    multiplies its gradient with the support.
    With `frozen` training leaves it as it is; weight decay acts on it where it `decays`.
    `former` is the name that it had in files written before layers of a `repeat` were elements of lists; "" for the same.
    """

    name: str
    shape: tuple[int, ...]
    init: Init
    span: Span
    trainable: bool = True
    former: str = ""
    support: Constant | None = None
    fused: bool = False
    frozen: bool = False
    decays: bool = True

    @property
    def trained(self) -> bool:
        """Whether a step of training updates it."""
        return self.trainable and not self.frozen

    @property
    def size(self) -> int:
        """The number of elements, dead ones too."""
        return prod(self.shape)

    @property
    def live(self) -> int:
        """The number of elements that count as parameters of the model."""
        return self.size if self.support is None else int(self.support.stored.sum())


#: An output of this prefix and a parameter's name is the value that the (untrained) parameter has afterwards.
STATE = "state/"
#: Outputs of `statistics` of these prefixes and a path are the count, the mean and the sum of squares of what the layer
#: at the path standardises.
STATISTICS = ("count/", "mean/", "squares/")
#: The scalar input of a loss with priors on weights: how many examples it is the mean over.
EXAMPLES = "examples"
#: The output of `loss` that is the sum of its terms, and that of `elbo` where the terms are the target of the latents.
TERMS = "terms"


@dataclass(frozen=True, slots=True)
class NoiseSpec:
    """A noise input of a program: what to draw for it. Shape is the input's type.

    `kind` is `normal`, `uniform` (open interval (0, 1)) or `choice`, a whole number below `classes`.
    """

    kind: str
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """A declared variable of the model: role, element kind and type (batch axis `N` first).

    `base` is binary, real, integer or category; `classes` the number of levels of a category or an integer
    range; `low` the lowest integer; `counts` the symbolic length of which an `integer(1..time)` says how much is real;
    `interval` the bounds of a `real(0..1)` or `real(0..)`; `angle` whether it is a real number modulo 2 pi;
    `labels` the names of its classes, where the spec gives them; `axes` the names of its axes but the batch;
    `optional` whether values may be missing: NaN, or -1 of a category.
    """

    name: str
    role: str  # input | target | condition
    base: str
    type: Type
    span: Span
    low: int = 0
    classes: int | None = None
    counts: str | None = None
    interval: tuple[float, float] | None = None
    angle: bool = False
    labels: tuple[str, ...] = ()
    axes: Axes = ()
    optional: bool = False

    def __post_init__(self) -> None:
        """Give axes that nobody named their usual names."""
        if not self.axes and self.type.rank > 1:
            object.__setattr__(self, "axes", usual_axes(self.type.shape[1:]))

    @property
    def kind(self) -> str:
        """The type without shape and numbers, such as `real(0..)`, `real(a..b)`, `integer(0..)` or `category`."""
        if self.base == "real" and self.interval is not None:
            return "real(0..)" if self.interval[1] == inf else "real(a..b)"
        if self.base == "real" and self.angle:
            return "angle"
        unbounded = self.base == "integer" and self.classes is None and self.counts is None
        return "integer(0..)" if unbounded else self.base

    @property
    def measured(self) -> bool:
        """Whether its values are quantities, so that a guess of one is near or far: real numbers and counts."""
        return self.base == "real" or self.kind == "integer(0..)"

    @property
    def bits(self) -> bool:
        """Whether its values are 0 and 1: a `binary`, or an `integer(0..1)`."""
        return self.base == "binary" or (self.base, self.low, self.classes) == ("integer", 0, 2)


@dataclass(frozen=True, slots=True)
class FlowStep:
    """One bijector of a flow as a graph of its own.

    `graph` has inputs `x`, `seen` (x as the conditioner sees it), noise and conditions, and outputs `y` and,
    where it is not zero, `log_det`. `interval` is the open one that the elements of x must lie in; None for any.
    `reach` is the |x| from which on it is the identity whatever it learns; None where there is none.
    """

    name: str
    label: str
    span: Span
    graph: Graph
    interval: tuple[float, float] | None = None
    reach: float | None = None


#: The input of a factor's graph that is the value of its variable; all others are what the law reads.
SUBJECT = "~"


@dataclass(frozen=True, slots=True)
class Factor:
    """The law of one variable as a graph of its own: log p(variable | what it reads), [N], of the input `SUBJECT`.

    Other inputs are variables, latents and carried values by name. `kinds` are the types of the variable, `types` those
    whose values the law is of, and `measure` what it gives them (`distributions/support.py`). `past` are the carried
    values of a recurrence, which are functions of earlier steps, and sequences of backward ones that read no modelled
    variable.
    """

    name: str
    law: str
    kinds: tuple[str, ...]
    types: tuple[str, ...]
    measure: str
    span: Span
    graph: Graph
    past: tuple[str, ...] = ()


class Programs(MutableMapping[str, Graph]):
    """Programs by name, without regions: one that has some is unrolled when it is first asked for.

    `regions` has them as they were lowered, for whoever knows `Repeat`.
    """

    def __init__(self, unrolled: Callable[[str, Graph], Graph]) -> None:
        """`unrolled` gives a program without regions, from its name and from what it is with them."""
        self.regions: dict[str, Graph] = {}
        self._unrolled = unrolled
        self._flat: dict[str, Graph] = {}

    def __getitem__(self, name: str) -> Graph:
        if name not in self._flat:
            self._flat[name] = self._unrolled(name, self.regions[name])
        return self._flat[name]

    def layered(self, name: str) -> Graph:
        """Return a program with all regions that it can keep, those of few layers too."""
        return self.regions[name]

    def __setitem__(self, name: str, graph: Graph) -> None:
        self.regions[name] = graph
        self._flat.pop(name, None)

    def __delitem__(self, name: str) -> None:
        del self.regions[name]
        self._flat.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.regions)

    def __len__(self) -> int:
        return len(self.regions)

    def __contains__(self, name: object) -> bool:
        return name in self.regions


@dataclass(frozen=True, slots=True)
class Answer:
    """The meaning of what `predict` gives of a target.

    kind  `mean` (of classes their probabilities), `best` (the most probable value) or `draw` (the mean has no closed
          form)
    axis  of the classes, where the output has one that the target has not
    frames  that the target, a text, is aligned with, where its law sums over alignments
    """

    kind: Literal["mean", "best", "draw"] = "mean"
    axis: int | None = None
    frames: int | Symbolic | None = None


@dataclass
class Module:
    """A lowered model.

    programs    name -> Graph; every one is a pure function of (parameters, inputs, noise)
    parameters  name -> ParameterSpec, in order of first use; some are not trained but updated (`updates`)
    noise       program -> input name -> NoiseSpec
    latents     latents with a type, of classes or bits: what the inputs of `decode` are
    factors     laws and priors in the order of generation, where a model states several: what its joint density is of
    sharpening  observed variables whose law has a scale that is learned: its density has no bound
    answers     targets -> what `predict` gives of them
    remark      a sentence that the head of emitted files says of a module that no spec states
    """

    name: str
    source: Source
    programs: MutableMapping[str, Graph] = field(default_factory=dict)
    parameters: dict[str, ParameterSpec] = field(default_factory=dict)
    noise: dict[str, dict[str, NoiseSpec]] = field(default_factory=dict)
    fields: dict[str, Field] = field(default_factory=dict)
    latents: dict[str, Field] = field(default_factory=dict)
    flow_steps: dict[str, list[FlowStep]] = field(default_factory=dict)
    factors: list[Factor] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    allowances: list[Allowance] = field(default_factory=list)
    train: Training = field(default_factory=Training)
    params: dict[str, int | float] = field(default_factory=dict)
    sharpening: set[str] = field(default_factory=set)
    weighted: set[str] = field(default_factory=set)
    answers: dict[str, Answer] = field(default_factory=dict)
    remark: str = ""

    @property
    def regions(self) -> Mapping[str, Graph]:
        """The programs with repeated layers as regions; those that have none are what they are in `programs`."""
        return self.programs.regions if isinstance(self.programs, Programs) else self.programs

    def with_regions(self) -> Module:
        """The module with the programs of `regions`."""
        return replace(self, programs=dict(self.regions))

    def with_layers(self) -> Module:
        """The module with all regions that its programs can keep, those of few layers too."""
        if not isinstance(self.programs, Programs):
            return self
        return replace(self, programs={name: self.programs.layered(name) for name in self.programs})

    def updates(self, program: str) -> dict[str, str]:
        """Untrained parameters that a program gives new values, each with the output that carries it.

        Those of `loss` are applied after every step of training, but for frozen ones; those of `initialize` before the
        first.
        """
        outputs = self.regions[program].outputs
        found = {name.removeprefix(STATE): name for name in outputs if name.startswith(STATE)}
        return {n: o for n, o in found.items() if program != "loss" or not self.parameters[n].frozen}
