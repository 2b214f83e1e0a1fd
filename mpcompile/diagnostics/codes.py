"""Every diagnostic code: one table for `mpcompile explain`, the documentation and editors.

To add a code, append a row. MP0xx is intake, MP1xx syntax and names, MP2xx shapes and types, MP3xx
dependence and proofs, MP4xx flows and Jacobians, MP5xx training and data, MP6xx certificates, MP9xx internal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One diagnostic code and the page about it."""

    code: str
    name: str
    what: str
    why: str
    example: str = ""
    instead: str = ""

    def page(self) -> str:
        """The whole page, as Markdown."""
        parts = [
            f"# {self.name} ({self.code})",
            f"## What it does\n\n{self.what}",
            f"## Why it is bad\n\n{self.why}",
        ]
        if self.example:
            parts.append(f"## Example\n\n```\n{self.example}\n```")
        if self.instead:
            parts.append(f"## Use instead\n\n```\n{self.instead}\n```")
        return "\n\n".join(parts) + "\n"


_TABLE = (
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
        "MP004", "control-character", "Reports NUL bytes, control characters and halves of surrogate pairs.",
        "They do not show in an editor and can hide what a spec says.",
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
        "They make values depend on the loader, and a spec has one meaning.",
        "input: !!python/object:os.system ls",
        "input: {x: \"binary[784]\"}",
    ),
    Code("MP009", "number-out-of-range", "Reports a literal that is too long or too large.",
         "It has no value that a model could use.", "1e999", "1e9"),
    Code("MP010", "cannot-format",
         "Reports what the formatter cannot write so that it reads back the same: a comment that would be lost, a text "
         "that the other syntax cannot hold.",
         "A formatter that loses something silently cannot be trusted with a file."),
    Code(
        "MP100", "syntax-error",
        "Reports text that the grammar does not allow: what was expected and what was found.",
        "The spec has no meaning until it is mended.", "y = bernoulli(logits = net(x))",
        "y ~ bernoulli(logits = net(x))",
    ),
    Code("MP101", "unbalanced-bracket", "Reports a bracket that is never closed, or closes nothing.",
         "Everything after it would be read as part of it.", "dense(hidden", "dense(hidden)"),
    Code(
        "MP102", "unknown-statement", "Reports a statement or YAML key that the language does not have.",
        "It would have been ignored, and a misspelt key would silently change the model.",
        "inputs: {x: real[3]}",
        "input: {x: 'real[3]'}",
    ),
    Code("MP103", "missing-part", "Reports a part that cannot be left out, such as the model's name.",
         "There is no sensible default for it.", "input x: real[3]", "model m\n\ninput x: real[3]"),
    Code(
        "MP104", "invalid-name",
        "Reports names that are too long or start with two underscores, and a variable that is called as an input "
        "which the compiler makes (`examples`, beside a prior on weights).",
        "Names of a spec become names in the generated code.", "model __m", "model m",
    ),
    Code("MP105", "duplicate-name", "Reports a name, key or argument that is given twice, and a variable with two laws.",
         "Only one of the two could count: the product of two densities of one variable does not sum to one.",
         "mask m = a\nmask m = b", "mask m = a\nmask n = b"),
    Code("MP106", "wrong-yaml-value", "Reports a list where a mapping belongs, and the like.",
         "The structure of the YAML form is fixed.", "params: [hidden, 4]", "params: {hidden: 4}"),
    Code("MP107", "invalid-yaml", "Reports text that is not YAML.", "It cannot be read.",
         "x: a: b", "x: 'a: b'"),
    Code("MP108", "unknown-type", "Reports a type that does not exist, or is written incompletely.",
         "Shapes and distributions are checked against the types.", "input x: integers[3]",
         "input x: integer(0..255)[3]"),
    Code("MP109", "unreadable-character", "Reports characters and escapes the language does not know.",
         "They have no meaning here.", "mask m = !a", "mask m = ~a"),
    Code("MP110", "unknown-name",
         "Reports a name that means nothing in its place: a number, layer, net, mask, distribution, "
         "bijector, "
         "argument, variable or claim.",
         "Nothing is guessed in its place; a misspelt name would build another model.", "dense(hiden)",
         "dense(hidden)"),
    Code("MP111", "no-value", "Reports arithmetic without a result, such as a division by zero.",
         "There is no number to go on with.", "dense(4 / 0)", "dense(4)"),
    Code("MP112", "number-too-large",
         "Reports a number, a size or a count of classes beyond all bounds, and arithmetic that would "
         "reach one.",
         "It would take all memory to compute, and no model has such a size.", "dense(9**9**9)",
         "dense(9**3)"),
    Code("MP113", "wrong-kind-of-value",
         "Reports a value of the wrong kind: no number where one is needed, no whole number for a size, "
         "no name "
         "for an option, a type without its classes.",
         "A size must be a number, and every argument has one kind.", 'dense("wide")', "dense(64)"),
    Code("MP114", "misplaced-statement", "Reports a statement in a place where another kind belongs.",
         "It would have no meaning there.", "density: [mask m = a]", "masks: {m: a}"),
    Code("MP120", "too-many-layers",
         "Reports a repeat or a model that unrolls to more than 4096 layers.",
         "It is refused before anything is built: such a spec would fill the memory.",
         "repeat i in 1..1_000_000 { dense(8) }", "repeat i in 1..4 { dense(8) }"),
    Code("MP121", "two-inputs",
         "Reports a step of a pipeline that is also given its inputs in parentheses.",
         "Only one of the two could be meant.", "x -> encoder(y)", "y -> encoder"),
    Code("MP122", "no-function",
         "Reports an expression that is no layer, net or value in a place that needs one.",
         "There is nothing to apply.", 'x -> "relu"', "x -> relu"),
    Code("MP123", "missing-argument", "Reports an argument, or a parameter of the model, that has no value.",
         "It has no sensible default.", "conv(16)", "conv(16, 3)"),
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
         "Reports a law that reads its own variable, one that is drawn later, or one that a program has no value of; "
         "laws that read each other in a circle; a statement of a recurrence that reads what a later statement of "
         "the same step gives.",
         "The sampler draws latents, recurrences and other variables in this order, each in the order of its statements. "
         "A law that reads the variable it is about, or a later one, is no factor of a joint density.",
         "recurrence over time {\n  carry h[8] = 0\n  x ~ bernoulli(logits = dense(88)(concat(x, h)))\n  "
         "h = gru(x, h)\n}",
         "recurrence over time {\n  carry h[8] = 0\n  x ~ bernoulli(logits = dense(88)(h))\n  h = gru(x, h)\n}"),
    Code("MP128", "one-argument-too-many",
         "Reports an argument for which a layer, distribution or block has no place; often a value, which "
         "belongs before a layer.",
         "Options stand in the parentheses, and what a layer reads stands before it.", "relu(x)", "x -> relu"),
    Code("MP131", "suppression-without-reason", "Reports `allow` without `because`.",
         "Whoever reads the spec later must be able to judge the exception.", "check { allow complete(x) }",
         'check { allow complete(x) because "the last row is padding" }'),
    Code("MP132", "claim-about-another-density",
         "Reports a claim about a variable whose density it does not fit.",
         "It could be neither proven nor refuted.", "y ~ normal(net(x), 1)\ncheck { autoregressive(y) }",
         "check { parameters <= 10_000 }"),
    Code("MP133", "claim-of-another-form",
         "Reports a claim that is compared with a number, or with a structure, and says nothing of one.",
         "`parameters`, `receptive_field` and `path_length` are numbers, and the Jacobian of a flow has a structure.",
         "check { complete(x) <= 3 }", "check { complete(x) }"),
    Code("MP201", "shape-mismatch",
         "Reports a layer whose input has a shape, or a kind of element, that it cannot take.",
         "Shapes are inferred through the whole model, so that a wrong one is found before training.",
         "image -> dense(10)   # an image is not flattened silently; this is a dense layer over its last "
         "axis\n"
         "x -> conv(8, 3)      # x: real[4]", "image -> flatten -> dense(10)"),
    Code("MP202", "weights-of-symbolic-size",
         "Reports a weight whose shape would hold a symbolic length.",
         "A weight is one array; a length that changes from batch to batch cannot be its size.",
         "input x: real[time, 4]   # x -> flatten -> dense(8)", "x -> last -> dense(8)"),
    Code("MP203", "shared-weights-differ",
         "Reports a net that is used twice with inputs of different shapes.",
         "A named net has one set of weights, whatever the number of its uses.",
         "net f = dense(8)\n# f on x: real[3] and on y: real[4]", "net f = dense(8)\nnet g = dense(8)"),
    Code("MP204", "categories-as-numbers",
         "Reports categories that flow into a layer which needs real numbers.",
         "The number of a category has no order and no distance.", "text -> dense(64)",
         "text -> embedding(64) -> dense(64)"),
    Code("MP205", "value-not-allowed",
         "Reports an argument whose value is not one of those allowed: an unknown option, a scale that is "
         "not "
         "positive, a rate outside [0, 1).",
         "There is no meaning to fall back on.", "conv(8, 3, pad = smae)", "conv(8, 3, pad = same)"),
    Code("MP206", "mask-does-not-fit",
         "Reports a mask that cannot be made for the array it is used on.",
         "A mask of another shape would be broadcast, or cut, into one that proves nothing.",
         "conv(8, 3, mask = degrees(order = natural))", "conv(8, 3, mask = causal2d(type = A))"),
    Code("MP207", "wrong-output-shape",
         "Reports a network whose output does not have the shape of the parameters it stands for.",
         "Broadcasting it would give a number, and a wrong likelihood.",
         "input x: binary[64]\nx ~ autoregressive(likelihood = bernoulli) { dense(10) }",
         "x ~ autoregressive(likelihood = bernoulli) { dense(64) }"),
    Code("MP208", "wrong-number-of-values",
         "Reports a pipeline, net or block that takes or gives another number of values than its place "
         "needs.",
         "Values are never dropped or duplicated silently.", "block two on v, h { yield v, h }   # x -> two",
         "block one on v { yield v }"),
    Code("MP209", "likelihood-does-not-fit-type",
         "Reports a law, or `dequantize`, for a variable of another type: the values of a law are those of its variable. "
         "`docs/language.md` has the table.",
         "A density of real numbers is no mass of bits or integers: with a learned scale it grows without bound. A mass "
         "of bits does not integrate to one over real numbers. A loss between them is stated by the type: squared error "
         "of bits or counts is `normal(net, 1)` of a variable that is declared `real`.",
         "input x: real[4]\nx ~ autoregressive(likelihood = bernoulli) { ... }",
         "input x: binary[4]"),
    Code("MP211", "symbolic-axis", "Reports a symbolic length in any axis but the first.",
         "Only time may be open; features and space have fixed sizes.", "input x: real[8, time]",
         "input x: real[time, 8]"),
    Code("MP301", "reads-ahead",
         "Reports an output of an autoregressive network that depends on an element which comes later, or "
         "at the "
         "same place, in the order. The path goes from that input element through the layers to the output.",
         "Then the product of the conditionals is no density, and the likelihood in training is too good "
         "to be "
         "true: the model sees what it should predict.",
         "- dense(hidden, mask = up) -> relu\n- dense(pixels, mask = up)",
         "- dense(hidden, mask = up) -> relu\n- dense(pixels, mask = strict(up))"),
    Code("MP302", "incomplete",
         "Reports an autoregressive network that never uses an element it is allowed to use: a blind "
         "spot, or "
         "a mask with too few units.",
         "The model is a valid density of fewer models than it seems; no loss curve shows it.",
         "dense(2, mask = up)   # 2 units for 8 variables",
         'dense(64, mask = up)\n# or: check { allow complete(x) because "..." }'),
    Code("MP303", "receptive-field",
         "Reports a claim about the receptive field that does not hold: the stretch of an input, along the axis "
         "where it is longest, from the first to the last position that one place of the output reads.",
         "The model cannot use what lies farther away, however long it is trained, or it is more local than it "
         "looks.", "- conv1d(32, 2, dilation = 4)   # check: [receptive_field(x) >= 16]",
         "- repeat i in 0..3:\n    - conv1d(32, 2, dilation = 2 ** i)"),
    Code("MP304", "parameter-count", "Reports a claim about the number of trained weights that does not "
         "hold.",
         "The author meant the model to be of another size.", "check { parameters <= 1000 }",
         "check { parameters <= 200_000 }"),
    Code("MP305", "blind-spot",
         "Reports a network that does not see some positions although it sees others as far away, and may see them. "
         "For an image the finding has a picture of what the pixel with the largest blind spot sees.",
         "What lies in the blind spot cannot be modelled, and no loss curve shows it. A stack of convolutions with "
         "the masks of a PixelCNN has one above and to the right.",
         "- conv(32, 3, pad = same, mask = causal2d(type = A)) -> relu\n"
         "- conv(1, 3, pad = same, mask = causal2d(type = B))",
         "a vertical and a horizontal stack, as in specs/pixelcnn.mp"),
    Code("MP309", "undecided", "Reports a claim that is neither proved nor refuted: a primitive lacks the rule for it, a "
         "bound is not sharp enough, or it only holds at the sizes that were tried.",
         "What holds at some lengths says nothing about longer ones, so it counts as not proved. "
         "`mpcompile build --allow-unproven` builds such a model, and the manifest says so."),
    Code("MP310", "out-of-budget",
         "Reports a claim, a warning or a whole spec that is not decided within the time or memory that a spec may take: "
         "60 seconds of processor time and 4 GB, or what `--time-budget` and `--memory-budget` say. One claim takes at "
         "most half of the time that is left, so that the others are answered too. About a warning this is a note, "
         "which fails no check.",
         "A check that hangs or fills the memory of a machine answers nothing. The claim counts as not proven."),
    Code("MP311", "examples-mix",
         "Reports a layer through which an example of a batch reads the others. The mean of `loss`, statistics of the "
         "batch while training and the program `initialize` are meant to, and the verdict names them.",
         "Then the probability of an example depends on the batch that it is in, and is none.",
         "over(N)", "over(time)"),
    Code("MP312", "padding-counts",
         "Reports a layer that reads behind the end of a sequence, in a model that states where sequences end.",
         "Then the probability of a sequence depends on how much is put behind it, to make the sequences of a batch "
         "equally long.", "x -> max_over_time   # of padded steps too", "x -> gru(8) -> last"),
    Code("MP320", "path-length",
         "Reports a variable whose farthest positions are farther apart than claimed: the number of operations on "
         "the shortest path between them that mix positions.",
         "The longer the path, the harder a dependence is to learn (Vaswani et al. 2017, table 1).",
         "check { path_length(x) <= 12 }   # of an lstm over 64 steps",
         "attention, or dilated convolutions with skips"),
    Code("MP321", "affine-collapse",
         "Reports two dense layers, or two convolutions, with nothing nonlinear between them.",
         "The product of two matrices is a matrix: the model has the parameters of two layers and the functions of "
         "one. A layer that narrows the features below both sides limits the rank and is meant; so are masks, which "
         "a single layer does not reproduce.",
         "dense(64) -> dense(64)", "dense(64) -> relu -> dense(64)"),
    Code("MP322", "finite-mask",
         "Reports a softmax over scores that are masked with a large finite number instead of minus infinity.",
         "Its share is a positive number, which only rounds to zero beside a score that is not masked. Where all scores "
         "of a row are masked it is a share like any other, and what is masked leaks. No proof of independence holds "
         "for it.",
         "scores + mask * -1e9", "where(mask, scores, -inf), as attention(mask = causal) does"),
    Code("MP324", "unused-name",
         "Reports a net, block, mask, tap, parameter or latent that nothing refers to.",
         "It was forgotten, or its name is mistyped where it was meant.",
         "x -> dense(8) as h -> relu   # and no concat(h)", "x -> dense(8) -> relu"),
    Code("MP325", "unused-weight", "Reports weights that no program reads.",
         "They are stored, initialised and never trained."),
    Code("MP326", "dead-units",
         "Reports units that see no input, units that no output reads, outputs that see nothing although something "
         "comes before them, and conditions that reach no output.",
         "They cannot learn anything: they are constants, or get no gradient.",
         "input x: binary[1]   # x ~ autoregressive { dense(16, mask = degrees) -> ... }: nothing comes before x[0]",
         "input x: binary[2]"),
    Code("MP327", "probabilities-as-logits",
         "Reports logits that are the result of a sigmoid or a softmax.",
         "The distribution applies the sigmoid or softmax itself. Applied twice, no probability leaves (0.5, 0.73) "
         "for a sigmoid.",
         "y ~ bernoulli(logits = x -> dense(1) -> sigmoid)", "y ~ bernoulli(logits = x -> dense(1))"),
    Code("MP328", "scale-not-positive",
         "Reports a scale that can be zero or negative.",
         "Its logarithm is not a number, and so is the loss.",
         "y ~ normal(loc = mean(x), scale = spread(x))   # spread ends with dense",
         "y ~ normal(loc = mean(x), scale = spread(x) -> softplus)"),
    Code("MP330", "constant-normalisation",
         "Reports `layer_norm`, `instance_norm`, `group_norm` or a softmax that normalises over one element.",
         "The element less its own mean is zero, and the softmax of one element is one: nothing gets through.",
         "x: real[time, 1]   # x ~ autoregressive { shift -> layer_norm -> ... }",
         "x ~ autoregressive { shift -> dense(8) -> layer_norm -> dense(2) }"),
    Code("MP331", "untransformed-elements",
         "Reports elements of a flow that every map with a conditioner passes on as they are.",
         "Their distribution is that of the base, up to a scale: the flow cannot learn it.",
         "repeat i in 0..3 { coupling(mask = checkerboard(parity = 0), net = n) }",
         "repeat i in 0..3 { coupling(mask = checkerboard(parity = i), net = n) }"),
    Code("MP332", "batch-statistics-over-order",
         "Reports a layer in an autoregressive density that takes statistics of the batch over the places of its order.",
         "While training every place reads those that come later through mean and variance, so the loss is lower than "
         "-log_prob is.", "shift -> dense(8) -> batch_norm", "shift -> dense(8) -> layer_norm"),
    Code("MP401", "nothing-factored-out",
         "Reports `factor_out` that leaves no channel, or takes none.",
         "A latent, or a flow, without elements has no density.", "factor_out(1)", "factor_out(1 / 2)"),
    Code("MP402", "diagonal-of-a-dense-jacobian",
         "Reports a bijector whose log-determinant is taken from the diagonal although its Jacobian is not "
         "triangular in any order, or whose conditioner sees what is transformed.",
         "The likelihood would be wrong, by an amount that no test of invertibility shows."),
    Code("MP403", "jacobian-claim",
         "Reports a claim about the structure of a flow's Jacobian that does not hold.",
         "The author relies on a structure, and on its cost, that the flow does not have.",
         "check { jacobian(x) is triangular }   # after two couplings of alternating masks",
         "check { jacobian(x) is dense }"),
    Code("MP404", "density-of-integers", "Reports a flow over a discrete variable without `dequantize`.",
         "A density on the reals can put any likelihood on integers: it diverges in training.",
         "input x: integer(0..255)[64]\nx ~ flow(base = normal) { logit }",
         "x ~ flow(base = normal) { dequantize -> logit }"),
    Code("MP405", "flow-needs-fixed-shape",
         "Reports a flow or a coupling over a variable of symbolic length.",
         "The number of latents, and so the density, would depend on the length.",
         "input x: real[time, 2]\nx ~ flow(base = normal) { affine }", "input x: real[16, 2]"),
    Code("MP406", "coupling-mask-trivial",
         "Reports a coupling whose mask leaves nothing to transform or nothing to condition on.",
         "Such a coupling is either the identity or has nothing to learn from.",
         "coupling(mask = channel, net = dense(8))   # of a single channel"),
    Code("MP407", "not-a-bijection",
         "Reports a layer in the place of a bijector, among them functions that are not injective.",
         "What two values are sent to the same has no density by change of variables.",
         "x ~ flow(base = normal) { relu -> affine }", "x ~ flow(base = normal) { leaky_relu -> affine }"),
    Code("MP408", "intervals-do-not-fit",
         "Reports a bijector that is not defined on all that the one before it gives, or does not reach all that the "
         "one after it, or the base, is defined on.",
         "The density would not integrate to 1, and some draws of the base would come from nowhere.",
         "x ~ flow(base = normal) { affine -> sigmoid }",
         "x ~ flow(base = normal) { logit -> affine }   # x in (0, 1)"),
    Code("MP411", "latent-law", "Reports a latent variable with a law that a latent cannot have.",
         "A posterior is learned through its draws, which must be differentiable functions of its parameters; a latent "
         "is a vector of real numbers.", "latent z ~ bernoulli(logits = encoder(x)) prior bernoulli(logits = 0)",
         "latent z ~ normal(encoder(x)) prior normal(0, 1)"),
    Code("MP501", "unknown-data", "Reports a data set or a data file that does not exist, or none given "
         "at all.",
         "There is nothing to train on.", "train { data: digit }", "train { data: digits }"),
    Code("MP502", "no-column", "Reports a variable for which the data have no column.",
         "Guessing a column would train another model."),
    Code("MP503", "data-shape", "Reports a column whose shape is not that of its variable.",
         "Data are cut or reshaped only where the spec says so."),
    Code("MP504", "data-range", "Reports values outside the type of their variable, or that are no numbers.",
         "The likelihood of such a value is not defined.", "input x: binary[64]   # data in 0 .. 16",
         "input x: integer(0..16)[64]"),
    Code("MP505", "vocabulary", "Reports a text with other characters than the category has classes for.",
         "A character without a class cannot be encoded."),
    Code("MP506", "unreadable-data", "Reports a data file that cannot be read.",
         "Nothing is loaded that could run code: .npz and .npy are read without pickle."),
    Code("MP507", "wrong-amount-of-data",
         "Reports columns of different lengths, and data too short for one window or one example.",
         "An example needs all of its parts."),
    Code("MP508", "beyond-a-spline",
         "Warns, before training, of data that reach a spline from outside of its box, with their share and elements.",
         "Beyond its box a spline is the identity, whatever it learns: such values keep the density of the base, which "
         "is next to nothing far away.",
         "input x: real[4]   # in metres\nx ~ flow(base = normal) { autoregressive(law = spline(bound = 3)) }",
         "input x: real[4]\nx ~ flow(base = normal) { actnorm -> autoregressive(law = spline(bound = 3)) }"),
    Code("MP509", "whole-numbers-as-reals",
         "Warns, before training, of a real variable whose data are whole numbers where its law learns a scale.",
         "A density at a value that occurs again and again has no bound: the narrower the law around it, the higher the "
         "likelihood, which then says nothing of the model.",
         "input x: real[4]   # counts\nx ~ normal(net)",
         "input x: integer(0..255)[4]\nx ~ discretized_logistic_mixture(net, components = 5)"),
    Code("MP510", "unknown-setting", "Reports a setting of training, optimiser or schedule that does not "
         "exist.",
         "It would have been ignored.", "train { bacth: 64 }", "train { batch: 64 }"),
    Code("MP511", "wrong-setting", "Reports a setting with a value that it cannot have.",
         "There is no sensible meaning for it.", "train { batch: 0 }", "train { batch: 64 }"),
    Code("MP512", "nothing-to-train", "Reports a model without a loss.", "Training minimises the loss."),
    Code("MP520", "not-a-run", "Reports a folder that is no run.", "`eval`, `sample`, `--resume` and `--init` read "
         "runs.",
         "mpcompile eval build/made", "mpcompile eval runs/made"),
    Code("MP521", "another-run",
         "Reports a resume with another spec, other `--set` values or another seed than the run began with, or an "
         "`--init` from a run with other parameters.",
         "The result would be that of neither."),
    Code("MP522", "no-sound-checkpoint", "Reports a run in which no checkpoint verifies.",
         "Weights that do not match their checksums are never loaded."),
    Code("MP523", "data-changed", "Reports data that changed since the run began.",
         "Splits and results would no longer belong together."),
    Code("MP524", "folder-in-use",
         "Reports a folder that would be written, replaced or removed and holds other files than those of a run or a "
         "build, or leads to another place through a link.",
         "They are not overwritten.", "mpcompile train SPEC --out .", "mpcompile train SPEC --out runs/made"),
    Code("MP525", "locked", "Reports a run folder in which another process trains.",
         "Two processes would write over each other's checkpoints. The system frees the lock when the process ends, "
         "however it ends."),
    Code("MP526", "weights-not-finite", "Reports trained weights that are infinite or no numbers.",
         "Nothing that is computed from them means anything."),
    Code("MP527", "cannot-write", "Reports a file of a run or a build that cannot be written, such as on a full disk.",
         "What was saved before stays as it is; `--resume` goes on from it."),
    Code("MP530", "diverged", "Reports a loss, a figure or a draw that is not finite.",
         "Every later step would be lost; the last checkpoint is kept.", "optimizer: sgd(10)",
         "optimizer: adam(1e-3), clip: 1"),
    Code("MP540", "cannot-sample", "Reports a model that can neither be sampled nor predict, or misses an "
         "input.",
         "There is no program to run."),
    Code("MP541", "cannot-write-samples", "Reports samples that cannot be written in the format asked for.",
         "Text needs a vocabulary, a picture two axes, a sound one.", "mpcompile sample RUN -o a.txt",
         "mpcompile sample RUN -o a.npz"),
    Code("MP542", "sampling-option", "Reports an option of `sample` that does not fit the model: a prompt for what is "
         "no text, a condition that it does not read.",
         "A sampler follows the model's order and reads the model's conditions; it has no others.",
         "mpcompile sample RUN --condition lable=3", "mpcompile sample RUN --condition label=3"),
    Code("MP543", "no-latents",
         "Reports `eval --samples`, or `sample` with `--reconstruct`, `--interpolate`, `--forward` or `--inverse`, for a "
         "model that has no code of an example, or no flow.",
         "They draw a latent variable, or decode one.", "mpcompile eval RUN --samples 100   # of a MADE",
         "mpcompile eval RUN"),
    Code("MP600", "not-a-certificate", "Reports a certificate that cannot be read or lacks a part.",
         "It says nothing about any spec.", "mpcompile check --verify-certificate specs/made.yaml",
         "mpcompile check --verify-certificate proofs.json"),
    Code("MP601", "certificate-altered",
         "Reports a certificate whose digest is not that of its text.",
         "It was edited or damaged: what it says is not what was proved."),
    Code("MP602", "certified-by-another-version",
         "Reports a certificate that another version of mpcompile wrote.",
         "What was proved was proved by other rules. Everything is proved again all the same."),
    Code("MP603", "certified-file-changed",
         "Reports a spec, or a file that it reads, whose text is not the one that was certified.",
         "The certificate is about another text.", "",
         "mpcompile check --certificate proofs.json specs"),
    Code("MP604", "certified-answer-differs",
         "Reports a property, parameter or variable of a spec for which the certificate has another answer.",
         "Whoever relies on the certificate relies on something that does not hold now."),
)  # fmt: skip

CODES: dict[str, Code] = {code.code: code for code in _TABLE}

__all__ = ["CODES", "Code"]
