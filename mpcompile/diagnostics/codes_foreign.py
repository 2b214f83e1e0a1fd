"""Codes of models that were not written here (MP7xx)."""

from __future__ import annotations

from mpcompile.diagnostics.code import Code

_CHECK = "mpcompile check --import-code models:decoder --claim 'autoregressive(input_ids -> logits)'"

TABLE = (
    Code("MP700", "cannot-be-read", 
         "Reports a model whose call cannot be recorded: an operation that no rule knows, or code that fails.",
         "What is not known is not guessed: the claim stays without an answer.", _CHECK),
    Code("MP701", "model-reads-ahead",
         "Reports a model that breaks a claim about what its outputs read, with a path from the element that is read to "
         "the element that reads it. The model was run with another input there, and its output changed.",
         "A decoder that reads the future has a low loss and generates badly: training does not show it.", _CHECK),
    Code("MP702", "import-undecided",
         "Reports a claim about a model that is neither proved nor refuted, with the reason: an operation that is known "
         "from above only, paths that cancel, or a run that does not change.",
         "Structure alone leads ahead there; it was not confirmed by running the model.", _CHECK),
    Code("MP703", "mask-of-small-margin",
         "Reports a finite mask that holds only while scores stay small: a number between -1e4 and -1e9 that is added to "
         "scores, or filled in for them.",
         "exp(x) is 0 in single precision below -104. A score that is larger than the mask's distance shines through it.",
         "scores.masked_fill(mask, -1e4)   # -inf has no margin"),
    Code("MP704", "reads-numbers",
         "Notes that the code of the model read numbers that depend on the input, such as the condition of an `if`.",
         "The answer is about the branches that ran; another input may take another one.", "if x.min() < 0: ..."),
    Code("MP705", "not-as-recorded", "Reports a recording that does not compute what the model computed.",
         "Answers about it would be about another model. This is a fault of the reader: report it.", _CHECK),
    Code("MP706", "no-such-claim",
         "Reports a claim that cannot be read, or that names an input, output or axis that the model lacks.",
         "A claim about something else would be proved in its place.", "autoregresive(ids -> logits)"),
    Code("MP707", "not-every-length",
         "Notes that a claim was proved at some lengths and not for every one, and why: the first operation that is "
         "another at another length, or an analysis that has no rule.",
         "The claim holds at the lengths that are named. Code may take another branch at others.",
         "if length > 16: scores = window(scores)"),
    Code("MP710", "exported-program-differs",
         "Reports a module whose exported program gives other outputs than the module (--second-opinion).",
         "Code that asks whether it is traced takes another path then. A proof about the exported program, or a test of "
         "it, says nothing of the one that runs.", "if torch.compiler.is_compiling(): mask = causal_mask(n)"),
    Code("MP711", "no-second-opinion",
         "Notes that --second-opinion was asked for and that there is no exported program to compare with.",
         "Answers are about what ran, as they are without it.", "y = x if x.min() < 0 else -x   # torch.export refuses"),
    Code("MP720", "not-as-imported", "Reports code of an imported model that does not compute what the model computed.",
         "The files would be another model, so none is written. This is a fault of the compiler: report it.",
         "mpcompile import --import-code models:decoder -o decoder --backend jax"),
    Code("MP721", "no-program-to-match",
         "Reports a spec whose programs do not take the inputs of the call that `import --match` compares it with.",
         "Weights are found by comparing two programs on the same inputs.",
         "mpcompile import --import-code models:decoder --match spec.mp -o names"),
    Code("MP722", "match-differs",
         "Reports a spec and a model whose weights have the same structure, and whose programs compute different things.",
         "With those weights the spec would be another model: an activation, a constant of a norm or the order of "
         "features differs. No file of names is written.",
         "mpcompile import --import-code models:decoder --match spec.mp -o names"),
)  # fmt: skip
