"""Optimisers: the table of contents. Each has its file, with its whole arithmetic."""

from mpcompile.ir.optimizers.adagrad import Adagrad
from mpcompile.ir.optimizers.adam import Adam, AdamW
from mpcompile.ir.optimizers.base import Moment, Optimizer, Term
from mpcompile.ir.optimizers.lion import Lion
from mpcompile.ir.optimizers.muon import Muon
from mpcompile.ir.optimizers.perceptron import PerceptronRule
from mpcompile.ir.optimizers.rmsprop import RmsProp
from mpcompile.ir.optimizers.sgd import Sgd

OPTIMIZERS: dict[str, type[Optimizer]] = {
    c.keyword: c for c in (Adam, AdamW, Sgd, RmsProp, Adagrad, Lion, Muon, PerceptronRule)
}

__all__ = [
    "OPTIMIZERS",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Moment",
    "Muon",
    "Optimizer",
    "PerceptronRule",
    "RmsProp",
    "Sgd",
    "Term",
]
