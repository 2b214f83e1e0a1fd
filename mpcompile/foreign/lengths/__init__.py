"""Recordings at several lengths -> one graph with a symbolic length, and the answers that hold for every length."""

from mpcompile.foreign.lengths.answers import Everywhere, everywhere
from mpcompile.foreign.lengths.fit import Fitted, fitted
from mpcompile.foreign.lengths.sizes import LENGTH, Apart

__all__ = ["LENGTH", "Apart", "Everywhere", "Fitted", "everywhere", "fitted"]
