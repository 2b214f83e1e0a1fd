"""Graph -> facts. Analyses read; they never write."""

from mpcompile.analysis.prove import Status, Verdict, prove, unproven

__all__ = ["Status", "Verdict", "prove", "unproven"]
