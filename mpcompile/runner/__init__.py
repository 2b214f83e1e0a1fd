"""One training loop over any backend: data, noise, checkpoints, metrics, evaluation, sampling.

noise.py       counter-based generator; initial.py  starting weights
data/          data sets, and how they meet the fields of a module
settings.py    a spec's `train` section, checked; schedule.py  learning rates
batches.py     which examples and which noise a step sees: a pure function of (seed, step)
checkpoint.py  atomic, verified snapshots; metrics.py  metrics.jsonl; run.py  the RUN folder
loop.py        training
evaluate.py    held-out figures (measure.py, baselines.py); sampling.py  drawing from a trained model
"""
