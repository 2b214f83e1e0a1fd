"""Codes of shapes and types (MP2xx), dependence and proofs (MP3xx), flows and Jacobians (MP4xx)."""

from __future__ import annotations

from mpcompile.diagnostics.code import Code

TABLE = (
    Code("MP201", "shape-mismatch",
         "Reports a layer whose input has a shape, or a kind of element, that it cannot take.",
         "Shapes are inferred through the whole model, so that a wrong one is found before training.",
         "attention(3)   # of 16 channels", "attention(4)"),
    Code("MP202", "weights-of-symbolic-size",
         "Reports a weight whose shape would hold a symbolic length, and a length that no variable has.",
         "A weight is one array; a length that changes from batch to batch cannot be its size.",
         "over(time)   # and no variable is over `time`", "over(5)"),
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
         "The value has no meaning, and no default replaces it.", "conv(8, 3, pad = smae)", "conv(8, 3, pad = same)"),
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
         "`docs/language/laws.md` has the table.",
         "A density of real numbers is no mass of bits or integers: with a learned scale it grows without bound. A mass "
         "of bits does not integrate to one over real numbers. A loss between them is stated by the type: squared error "
         "of bits or counts is `normal(net, 1)` of a variable that is declared `real`.",
         "input x: real[4]\nx ~ autoregressive(likelihood = bernoulli) { ... }",
         "input x: binary[4]"),
    Code("MP211", "symbolic-axis", "Reports a symbolic length behind a fixed size.",
         "Lengths come first, in every variable: what runs along them finds them there.", "input x: real[8, time]",
         "input x: real[time, 8]"),
    Code("MP212", "two-readings",
         "Reports sizes without names that can be read in two ways: two fixed axes of numbers, one fixed axis of "
         "categories, `reshape` to two axes.",
         "Of 12 numbers by 16, one may be steps or one may be channels. A layer that takes the wrong one still runs.",
         "input x: real[12, 16]", "input x: real[time: 12, channel: 16]"),
    Code("MP213", "no-such-axis", "Reports a layer that finds no axis to act on, or several.",
         "Layers act on axes by role: a convolution on space, a recurrence on an order, attention on any one axis "
         "besides the channels. Where a value has no such axis, or more than one, `over =` names it.",
         "input image: real[3, 32, 32]\nimage -> lstm(8)", "image -> lstm(8, over = height)"),
    Code("MP214", "axes-do-not-match", "Reports values of one operation whose axes do not match by name.",
         "Axes of one name are one axis and have one size; the axes of one value contain those of the others. A size "
         "of 1 is not stretched, and axes of other names are not paired: that would join what does not belong "
         "together.",
         "h + (label -> embedding(8) -> reshape([8, 1, 1]))", "h + (label -> embedding(8))"),
    Code("MP216", "missing-value-read",
         "Reports a variable of a type with `?` that is read as it is, or whose law reads its elements.",
         "A value that is not there would be taken for a number. Say what stands in its place.",
         "input x: real[4]?\nlatent z ~ normal(x -> dense(4)) prior normal(0, 1)",
         "input x: real[4]?\nlatent z ~ normal(concat(fill(x, 0), observed(x)) -> dense(4)) prior normal(0, 1)"),
    Code("MP217", "statistics-before-training",
         "Reports a `standardise` of a value that weights make, or in a step of a loop.",
         "Its mean and deviation are those of the whole training split, taken once before the first step, when weights "
         "mean nothing yet.",
         "net encoder = dense(8) -> standardise -> tanh", "net encoder = standardise -> dense(8) -> tanh"),
    Code("MP301", "reads-ahead",
         "Reports an output of an autoregressive network that depends on an element which comes later, or "
         "at the "
         "same place, in the order. The path goes from that input element through the layers to the output.",
         "The product of the conditionals is then no density, and the likelihood in training is too good "
         "to be "
         "true: the model sees what it should predict.",
         "- dense(hidden, mask = up) -> relu\n- dense(pixels, mask = up)",
         "- dense(hidden, mask = up) -> relu\n- dense(pixels, mask = strict(up))"),
    Code("MP302", "incomplete",
         "Reports an autoregressive network that never uses an element it is allowed to use: a blind "
         "spot, or "
         "a mask with too few units.",
         "The density is valid but less expressive than it seems, and no loss curve shows it.",
         "dense(2, mask = up)   # 2 units for 8 variables",
         'dense(64, mask = up)\n# or: check { allow complete(x) because "..." }'),
    Code("MP303", "receptive-field",
         "Reports a claim about the receptive field that does not hold: the stretch of an input, along the axis "
         "where it is longest, from the first to the last position that one place of the output reads.",
         "The model cannot use positions farther away, however long it is trained, or it is more local than it "
         "looks.", "- conv1d(32, 2, dilation = 4)   # check: [receptive_field(x) >= 16]",
         "- repeat i in 0..3:\n    - conv1d(32, 2, dilation = 2 ** i)"),
    Code("MP304", "parameter-count", "Reports a claim about the number of trained weights that does not "
         "hold.",
         "The author meant the model to be of another size.", "check { parameters <= 1000 }",
         "check { parameters <= 200_000 }"),
    Code("MP305", "blind-spot",
         "Reports a network that does not see some positions although it sees others as far away, and may see them. "
         "For an image the finding has a picture of what the pixel with the largest blind spot sees.",
         "The model cannot depend on the blind spot, and no loss curve shows it. A stack of convolutions with "
         "the masks of a PixelCNN has one above and to the right.",
         "- conv(32, 3, pad = same, mask = causal2d(type = A)) -> relu\n"
         "- conv(1, 3, pad = same, mask = causal2d(type = B))",
         "a vertical and a horizontal stack, as in specs/pixelcnn.mp"),
    Code("MP306", "operation-count",
         "Reports a claim about the number of floating-point operations that does not hold: those of the loss of one "
         "example, as `mpcompile inspect` counts them.",
         "The model costs more than its author meant it to, or less.",
         "check { flops <= 1000 }", "check { flops <= 2_000_000 }"),
    Code("MP307", "not-linear",
         "Reports a claim that a prediction is linear in the inputs, where that of a sum is not the sum.",
         "An affine map has a bias, and any other function an activation; a convolution of the notes has neither.",
         "y ~ normal(loc = x -> dense(1), scale = 1)   # check { linear(y) }",
         "y ~ normal(loc = x -> dense(1, bias = false), scale = 1)"),
    Code("MP309", "undecided", "Reports a claim that is neither proved nor refuted: a primitive lacks the rule for it, a "
         "bound is not sharp enough, or it only holds at the sizes that were tried.",
         "A property of some lengths says nothing about longer ones, so the claim counts as not proved. "
         "`mpcompile build --allow-unproven` builds such a model, and the manifest says so."),
    Code("MP310", "out-of-budget",
         "Reports a claim, a warning or a whole spec that is not decided within the time or memory that a spec may take: "
         "60 seconds of processor time and 4 GB, or what `--time-budget` and `--memory-budget` say. One claim takes at "
         "most half of the time that is left, so that the others are answered too. About a warning this is a note, "
         "which fails no check.",
         "A check that hangs or fills the memory of a machine answers nothing. The claim counts as not proven."),
    Code("MP311", "examples-mix",
         "Reports a layer through which an example of a batch reads the others. The mean of `loss`, statistics of the "
         "batch while training and the program `initialize` are meant to, and the verdict names them. No layer of the "
         "language does; one of an extension may.",
         "The probability of an example then depends on its batch, so it is no probability of the example."),
    Code("MP312", "padding-counts",
         "Reports a layer that reads behind the end of a sequence, in a model that states where sequences end. No "
         "layer of the language does; one of an extension may.",
         "The probability of a sequence then depends on the amount of padding behind it, which makes the sequences of a "
         "batch equally long."),
    Code("MP313", "beyond-the-matrix",
         "Reports an element whose law reads another one that the matrix of `follows(x, m)` does not have in its row.",
         "The density is not one of the graph that the spec states.",
         "mask m = [[0, 0], [0, 0]]   # x ~ flow { autoregressive(hidden = [8]) }, check { follows(x, m) }",
         "x ~ flow { autoregressive(adjacency = m, hidden = [8]) }"),
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
         "A masked score gets a positive share, which only rounds to zero beside a score that is not masked. Where all "
         "scores of a row are masked, their shares are ordinary ones, and masked elements leak. No proof of independence "
         "holds.",
         "scores + mask * -1e9", "where(mask, scores, -inf), as attention(mask = causal) does"),
    Code("MP324", "unused-name",
         "Reports a net, block, mask, tap, parameter or latent that nothing refers to.",
         "The name was forgotten, or it is mistyped where it was meant.",
         "x -> dense(8) as h -> relu   # and no concat(h)", "x -> dense(8) -> relu"),
    Code("MP325", "unused-weight", "Reports weights that no program reads.",
         "Such weights are stored and initialised, but never trained."),
    Code("MP326", "dead-units",
         "Reports units that see no input, units that no output reads, outputs that see nothing although something "
         "comes before them, and conditions that reach no output.",
         "Dead units cannot learn: they are constants, or get no gradient.",
         "input x: binary[1]   # x ~ autoregressive { dense(16, mask = degrees) -> ... }: nothing comes before x[0]",
         "input x: binary[2]"),
    Code("MP327", "probabilities-as-logits",
         "Reports logits that are the result of a sigmoid or a softmax.",
         "The distribution applies the sigmoid or softmax itself. Applied twice, no probability leaves (0.5, 0.73) "
         "for a sigmoid.",
         "y ~ bernoulli(logits = x -> dense(1) -> sigmoid)", "y ~ bernoulli(logits = x -> dense(1))"),
    Code("MP328", "scale-not-positive",
         "Reports a scale that can be zero or negative.",
         "The logarithm of such a scale is not a number, and neither is the loss.",
         "y ~ normal(loc = mean(x), scale = spread(x))   # spread ends with dense",
         "y ~ normal(loc = mean(x), scale = spread(x) -> softplus)"),
    Code("MP330", "constant-normalisation",
         "Reports `layer_norm`, `instance_norm`, `group_norm` or a softmax that normalises over one element.",
         "The element less its own mean is zero, and the softmax of one element is one: nothing gets through.",
         "x: real[time, 1]   # x ~ autoregressive { shift -> layer_norm -> ... }",
         "x ~ autoregressive { shift -> dense(8) -> layer_norm -> dense(2) }"),
    Code("MP331", "untransformed-elements",
         "Reports elements of a flow that every map with a conditioner passes on as they are: as a warning, or as an "
         "error where `transformed(x)` is claimed.",
         "The distribution of such elements is that of the base, up to a scale: the flow cannot learn it.",
         "repeat i in 0..3 { coupling(mask = checkerboard(parity = 0), net = n) }",
         "repeat i in 0..3 { coupling(mask = checkerboard(parity = i), net = n) }"),
    Code("MP332", "batch-statistics-over-order",
         "Reports a layer in an autoregressive density that takes statistics of the batch over the places of its order.",
         "While training every place reads those that come later through mean and variance, so the loss is lower than "
         "-log_prob is.", "shift -> dense(8) -> batch_norm", "shift -> dense(8) -> layer_norm"),
    Code("MP333", "shadowed-name",
         "Reports a declared name that the language has in the same places: a net, block, value, weight, variable, tap "
         "or number named like a layer, a function or a constant, a net or block named like a law or a bijector, a mask "
         "named like a mask.",
         "One of the two meanings is lost without a word: behind `net dense = relu` every `dense` of the spec is relu.",
         "net dense = relu", "net squashed = relu"),
    Code("MP401", "nothing-factored-out",
         "Reports `factor_out` that leaves no channel, or takes none.",
         "A latent, or a flow, without elements has no density.",
         "factor_out(1 / 3)   # of 4 channels", "factor_out(1 / 2)"),
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
         "A map that sends two values to the same value has no density by change of variables.",
         "x ~ flow(base = normal) { relu -> affine }", "x ~ flow(base = normal) { leaky_relu -> affine }"),
    Code("MP408", "intervals-do-not-fit",
         "Reports a bijector that is undefined on some results of the one before it, or that does not reach the whole "
         "domain of the one after it, or of the base.",
         "The density would not integrate to 1, and some draws of the base would come from nowhere.",
         "x ~ flow(base = normal) { affine -> sigmoid }",
         "x ~ flow(base = normal) { logit -> affine }   # x in (0, 1)"),
    Code("MP409", "angle-read-as-a-number",
         "Reports a net of a flow of angles that reads an angle otherwise than by its cosine and sine.",
         "x and x + 2 pi are one angle and would have two densities, and the density would jump at the end of the turn.",
         "coupling(mask = m, law = spline(8, circular = true), net = dense(32) -> relu)",
         "coupling(mask = m, law = spline(8, circular = true), net = circle -> dense(32) -> relu)"),
    Code("MP411", "latent-law",
         "Reports a latent, or the missing values of a variable, with a law, a prior or a posterior that cannot be used: "
         "draws that pass no gradient, classes that are read where their sum is not taken, too many joint states.",
         "A posterior of real numbers is learned through its draws. Draws of classes pass no gradient, so classes are "
         "summed out, relaxed or coded.", "latent z ~ bernoulli(logits = encoder(x)) prior bernoulli(logits = 0)",
         "latent z ~ normal(encoder(x)) prior normal(0, 1)"),
)  # fmt: skip
