"""Graph -> facts. Analyses read; they never write."""

from mpcompile.analysis.prove import Verdict, prove, unproven

__all__ = ["Verdict", "prove", "unproven"]
