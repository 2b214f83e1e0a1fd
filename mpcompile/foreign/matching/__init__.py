"""Weights of a model that was not written here for a spec: found by the structure of both programs."""

from mpcompile.foreign.matching.pairs import Match, matched
from mpcompile.foreign.matching.uses import Use, uses

__all__ = ["Match", "Use", "matched", "uses"]
