"""The public interface in Python, which `mpcompile` itself exports: its names keep their meaning within a major version.

model.py     `load`, `check`: a `Model` and the `Verdict` on each of its claims
run.py       `train`, `evaluate`, `sample`, `predict`: a `Run` and its figures
compiled.py  `compile`, `build`: a live object of a backend, or files

A signature's types are imported when a function needs them, so that `import mpcompile` stays cheap.
"""
