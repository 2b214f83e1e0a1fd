"""Codes of intake (MP0xx), syntax and names (MP1xx)."""

from __future__ import annotations

from mpcompile.diagnostics.code import Code

TABLE = (
    Code(
        "MP001", "unreadable-file",
        "Reports a spec that cannot be opened, or whose name does not end like a spec.",
        "Nothing can be said about a file that cannot be read.", "mpcompile check model.txt",
        "mpcompile check model.mp",
    ),
    Code(
        "MP002", "file-too-large", "Reports a spec of more than 256 KiB.",
        "A spec describes a model in tens of lines; a large file is data, or an attack on the parser.",
    ),
    Code(
        "MP003", "not-utf-8", "Reports the first byte that is not UTF-8.",
        "A text in an unknown encoding could mean something else than it shows.",
    ),
    Code(
        "MP004", "control-character", "Reports NUL bytes, control characters, halves of surrogate pairs and "
        "lines that end in a carriage return alone.",
        "Such characters do not show in an editor and can hide the meaning of a spec.",
    ),
    Code("MP005", "line-too-long", "Reports a line of more than 10 000 characters.",
         "Nobody can review such a line."),
    Code(
        "MP006", "nested-too-deep",
        "Reports brackets, lists or expressions nested beyond what a model can need.",
        "Deep nesting exhausts the stack of every program that reads the spec.", "((((...((1))...))))",
        "mask inner = a & b",
    ),
    Code(
        "MP007", "too-many-values",
        "Reports a spec with more tokens or values than allowed, aliases expanded.",
        "A few hundred bytes of YAML aliases can stand for billions of values.",
    ),
    Code(
        "MP008", "yaml-feature",
        "Reports YAML tags, directives, merge keys, several documents and broken aliases.",
        "Such features make values depend on the loader, and a spec has one meaning.",
        "input: !!python/object:os.system ls",
        "input: {x: \"binary[784]\"}",
    ),
    Code("MP009", "number-out-of-range", "Reports a literal that is too long or too large.",
         "The number has no value that a model could use.", "1e999", "1e9"),
    Code("MP010", "cannot-format",
         "Reports text that the formatter cannot write so that it reads back the same: a comment that would be lost, a "
         "text that the other syntax cannot hold.",
         "A formatter that loses something silently cannot be trusted with a file."),
    Code(
        "MP100", "syntax-error",
        "Reports text that the grammar does not allow: what was expected and what was found.",
        "The spec has no meaning until it is mended.", "net hidden ~ dense(4)",
        "net hidden = dense(4)",
    ),
    Code("MP101", "unbalanced-bracket", "Reports a bracket that is never closed, or closes nothing.",
         "All text after the bracket would be read as a part of it.", "dense(hidden", "dense(hidden)"),
    Code(
        "MP102", "unknown-statement", "Reports a statement or YAML key that the language does not have.",
        "An unknown key would have been ignored, and a misspelt one would silently change the model.",
        "inputs: {x: 'real[3]'}",
        "input: {x: 'real[3]'}",
    ),
    Code("MP103", "missing-part", "Reports a part that cannot be left out, such as the model's name.",
         "The part has no sensible default.", "input x: real[3]", "model m\n\ninput x: real[3]"),
    Code(
        "MP104", "invalid-name",
        "Reports names that are too long or start with two underscores, an axis with a name of the batch (`N`, `batch`), "
        "and a variable with the name of an input that the compiler makes (`examples`, beside a prior on weights).",
        "Names of a spec become names in the generated code.", "model __m", "model m",
    ),
    Code("MP105", "duplicate-name", "Reports a name, key or argument that is given twice, and a variable with two laws.",
         "Only one of the two could count: the product of two densities of one variable does not sum to one.",
         "mask m = a\nmask m = b", "mask m = a\nmask n = b"),
    Code("MP106", "wrong-yaml-value", "Reports a list where a mapping belongs, and the like.",
         "The structure of the YAML form is fixed.", "params: [hidden, 4]", "params: {hidden: 4}"),
    Code("MP107", "invalid-yaml", "Reports text that is not YAML.", "The spec cannot be read.",
         "x: a: b", "x: 'a: b'"),
    Code("MP108", "unknown-type", "Reports a type that does not exist, or is written incompletely.",
         "Shapes and distributions are checked against the types.", "input x: integers[3]",
         "input x: integer(0..255)[3]"),
    Code("MP109", "unreadable-character", "Reports characters and escapes the language does not know.",
         "The character has no meaning here.", "mask m = !a", "mask m = ~a"),
    Code("MP110", "unknown-name",
         "Reports a name that means nothing in its place: a number, layer, net, mask, distribution, "
         "bijector, "
         "argument, variable or claim.",
         "The compiler guesses no name: a misspelt one would build another model.", "dense(hiden)",
         "dense(hidden)"),
    Code("MP111", "no-value", "Reports arithmetic without a result, such as a division by zero.",
         "There is no number to go on with.", "dense(4 / 0)", "dense(4)"),
    Code("MP112", "number-too-large",
         "Reports a number, a size or a count of classes beyond all bounds, and arithmetic that would "
         "reach one.",
         "The computation would take all memory, and no model has such a size.", "dense(9**9**9)",
         "dense(9**3)"),
    Code("MP113", "wrong-kind-of-value",
         "Reports a value of the wrong kind: no number where one is needed, no whole number for a size, "
         "no name "
         "for an option, a type without its classes.",
         "A size must be a number, and every argument has one kind.", 'dense("wide")', "dense(64)"),
    Code("MP114", "misplaced-statement", "Reports a statement in a place where another kind belongs.",
         "The statement has no meaning there.", "density: [mask m = a]", "masks: {m: a}"),
    Code("MP120", "too-many-layers",
         "Reports a repeat or a model of more than 2048 layers that differ, or of more than 32768 operations.",
         "Such a spec would fill the memory, so it is refused before anything is built.",
         "repeat i in 1..1_000_000 { dense(8) }", "repeat i in 1..4 { dense(8) }"),
    Code("MP121", "two-inputs",
         "Reports a step of a pipeline that is also given its inputs in parentheses.",
         "Only one of the two could be meant.", "x -> encoder(y)", "y -> encoder"),
    Code("MP122", "no-function",
         "Reports an expression that is no layer, net or value in a place that needs one.",
         "There is nothing to apply.", 'x -> "relu"', "x -> relu"),
    Code("MP123", "missing-argument", "Reports an argument, or a parameter of the model, that has no value.",
         "The argument has no sensible default.", "conv(16)", "conv(16, 3)"),
    Code("MP124", "argument-given-twice", "Reports an argument given by place and by name, or twice by name.",
         "Only one of the two could count.", "dense(8, units = 4)", "dense(8)"),
    Code("MP125", "no-density", "Reports a model without a density statement.",
         "The objective is derived from the densities, so there is nothing to learn.",
         "model m\ninput x: binary[4]", "model m\ninput x: binary[4]\nx ~ bernoulli(logits = 0)"),
    Code("MP126", "refers-to-itself",
         "Reports a mask, net or block that uses itself, directly or through others.",
         "Names are expanded where they are used, so such a name has no end.",
         "net f = g\nnet g = f"),
    Code("MP127", "not-there-yet",
         "Reports a law or a prior that reads its own variable, or one that is stated after it; laws or posteriors that "
         "read each other in a circle; a number of the model that reads a later one; a statement of a recurrence that "
         "reads what a later statement of the same step gives.",
         "The order of statements is the order in which a model generates. A law that reads the variable it is about, or "
         "a later one, is no factor of a joint density.",
         "recurrence over time {\n  carry h[8] = 0\n  x ~ bernoulli(logits = dense(88)(concat(x, h)))\n  "
         "h = gru(x, h)\n}",
         "recurrence over time {\n  carry h[8] = 0\n  x ~ bernoulli(logits = dense(88)(h))\n  h = gru(x, h)\n}"),
    Code("MP128", "one-argument-too-many",
         "Reports an argument for which a layer, distribution or block has no place; often a value, which "
         "belongs before a layer.",
         "Options stand in the parentheses, and the value that a layer reads stands before it.",
         "x -> relu(x)", "x -> relu"),
    Code("MP129", "not-built-yet",
         "Reports a statement, a type or an expression that the language has and this version does not compile yet.",
         "Leaving a construct out silently would make another model of the spec."),
    Code("MP131", "suppression-without-reason", "Reports `allow` without `because`.",
         "A later reader of the spec must be able to judge the exception.", "check { allow complete(x) }",
         'check { allow complete(x) because "the last row is padding" }'),
    Code("MP132", "claim-about-another-density",
         "Reports a claim about a variable whose density it does not fit.",
         "Such a claim could be neither proven nor refuted.", "y ~ normal(net(x), 1)\ncheck { autoregressive(y) }",
         "check { parameters <= 10_000 }"),
    Code("MP133", "claim-of-another-form",
         "Reports a claim that is compared with a number, or with a structure, and says nothing of one.",
         "`parameters`, `receptive_field` and `path_length` are numbers, and the Jacobian of a flow has a structure.",
         "check { complete(x) <= 3 }", "check { complete(x) }"),
)  # fmt: skip
