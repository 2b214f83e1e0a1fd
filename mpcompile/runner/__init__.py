"""One training loop over any backend: data, noise, optimiser settings, checkpoints, metrics, evaluation, sampling.

noise.py       counter-based generator; initial.py  starting weights; data/  data sets and how they meet a module's fields
settings.py    a spec's `train` section, checked; schedule.py  learning rates
batches.py     which examples and which noise a step sees: a pure function of (seed, step)
checkpoint.py  atomic, verified snapshots; metrics.py  metrics.jsonl; run.py  the RUN folder
loop.py        training; evaluate.py, baselines.py  held-out figures; sampling.py  drawing from a trained model
"""
