"""Mistakes of a user, each marked: a type checker must find every one of them, and nothing else."""

from __future__ import annotations

from pathlib import Path

import mpcompile
from mpcompile import Run, evaluate, load, predict, sample, train

model = load("spec.mp", {"hidden": 64})
run = train(model, "run", steps=3)
load("spec.mp", override={"hidden": 64})  # wrong: an argument
train(model, "run", step=3)  # wrong: an argument
train(model, "run", seed="1")  # wrong: a type
print(model.verdict)  # wrong: an attribute
print(model.verdicts[0].holds())  # wrong: a property is no function
print(model.verdicts[0].status == "proven")  # wrong: a status
print(evaluate(run)["nat"])  # wrong: a key
print(evaluate(run, samples="3"))  # wrong: a type
print(sample(run, number=3))  # wrong: an argument
print(predict(run))  # wrong: an argument is missing
print(run.best_loss + 1.0)  # wrong: there may be none
print(mpcompile.biuld(model))  # wrong: a name
print(mpcompile.SpecErorr)  # wrong: a name
print(Run(3).folder)  # wrong: a type
folder: str = mpcompile.build(model)  # wrong: a path is no text
print([d.mesage for d in mpcompile.check(Path("a.mp"))])  # wrong: an attribute
