"""A small spec for every name of the language: `mpcompile list NAME` and `docs/reference` show it, the suite compiles it.

An example is what stands in place of `{}` in a frame; others are whole. The first line, `model example`, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping

_LAW = "\n\ny ~ normal({} -> flatten -> dense(1), scale = 1)\n"
_VECTOR = "input x: real[4]\ntarget y: real[1]" + _LAW
_SEQUENCE = "input x: real[time: 6, channel: 4]\ntarget y: real[1]" + _LAW
_IMAGE = "input x: real[channel: 4, height: 8, width: 8]\ntarget y: real[1]" + _LAW
_CLASSES = "input k: category(5)[time: 6]\ntarget y: real[1]" + _LAW
_BITS = (
    "input x: binary[8]\n\nx ~ autoregressive({}) {{\n"
    "  dense(16, mask = degrees) -> relu -> dense(8, mask = strict(degrees))\n}}\n"
)
_FLOW = "input x: real[4]\n\nx ~ flow {{ {} -> affine }}\n"
_COUPLING = "input x: real[4]\n\nx ~ flow {{\n  repeat i in 0..1 {{ {} }}\n}}\n"
_IMAGE_FLOW = "input x: real[4, 8, 8]\n\nx ~ flow {{ {} -> affine }}\n"
_TERM = "input x: real[4]\ntarget y: {}\n\nnet f = dense(3)\n\nminimise {}\n"
_LATENT = (
    "input x: real[4]\n\nweight start: real[class: 3] = zeros\n\n"
    "latent k: category(3) ~ {}\nx ~ normal(k -> onehot -> dense(8))\n"
)
_CLAIM = (
    "input x: real[time, channel: 4]\n\nx ~ autoregressive(likelihood = normal) {{\n"
    "  shift -> conv1d(8, 2) -> tanh -> conv1d(8, 2)\n}}\n\ncheck {{ {} }}\n"
)
_FLOW_CLAIM = (
    "input x: real[4]\n\nx ~ flow {{\n  coupling(mask = checkerboard, net = dense(4) -> tanh)\n"
    "  coupling(mask = checkerboard(parity = 1), net = dense(4) -> tanh)\n}}\n\ncheck {{ {} }}\n"
)
_LINE_CLAIM = (
    "input x: real[1, 8, 8]\ntarget y: real[1, 8, 8]\n\n"
    "y ~ normal(x -> conv(1, 3, pad = same, bias = false), scale = 1)\n\ncheck {{ {} }}\n"
)
_SET_CLAIM = (
    "input x: real[node: nodes, channel: 3]\ntarget y: real[channel: 2]\n\n"
    "y ~ normal(x -> dense(8) -> tanh -> mean(over = node) -> dense(2), scale = 1)\n\ncheck {{ {} }}\n"
)
_TRAINED = "input x: real[4]\n\nx ~ normal(0, 1)\n\ntrain {{ {}, steps: 100 }}\n"
_PICTURES = "input x: real[1, 8, 8]\n\nx ~ normal(0, 1)\n\ntrain {{ augment: [{}], steps: 100 }}\n"
_PLACES = (
    "input x: category(5)[time]\n\n"
    "x ~ autoregressive(likelihood = categorical) {{\n  embedding(4) -> {} -> dense(5)\n}}\n"
)


def _law(type_: str, law: str) -> str:
    return f"condition c: real[2]\ntarget x: {type_}[3]\n\nx ~ {law}\n"


def _each(frame: str, **examples: str) -> dict[str, str]:
    """Specs by name; in a frame doubled braces are braces."""
    return {name.rstrip("_"): frame.format(text) for name, text in examples.items()}


def _activations(*names: str) -> dict[str, str]:
    return {name: _VECTOR.format(f"x -> dense(8) -> {name}") for name in names}


LAYERS: Mapping[str, str] = {
    **_activations("relu", "tanh", "sigmoid", "softplus", "silu", "gelu", "leaky_relu", "prelu", "elu", "selu", "mish",
                   "relu6", "hard_sigmoid", "hard_swish", "step", "gate", "glu"),
    **_each(_VECTOR, dense="x -> dense(16) -> relu", standardise="x -> standardise",
            dropout="x -> dense(8) -> dropout(0.1)",
            gaussian_noise="x -> gaussian_noise(0.3)", mask_out="x -> mask_out(0.25)",
            stochastic_depth="x -> residual(dense(4) -> stochastic_depth(0.1))", layer_norm="x -> layer_norm",
            rms_norm="x -> rms_norm", batch_norm="x -> dense(8) -> batch_norm",
            reshape="x -> reshape(time = 2, channel = 2)",
            concat="x -> dense(8) as h -> relu -> concat(h)", add="x -> dense(8) as h -> tanh -> add(h)",
            residual="x -> residual(dense(8) -> relu -> dense(4))", over="x -> over(5) -> gru(8)"),
    **_each(_SEQUENCE, exp="exp(x)", log="log(square(x) + 1)", sqrt="sqrt(abs(x) + 1)", square="square(x)", abs="abs(x)",
            sin="sin(x)", cos="cos(x)", clip="clip(x, -1, 1)", shift="x -> shift",
            stretch="x -> stretch(2)", position="x -> position", sinusoid="x -> sinusoid",
            rnn="x -> rnn(8)", lstm="x -> lstm(8, layers = 2, bidirectional = true)", gru="x -> gru(8, output = state)",
            attention="x -> position -> attention(2, mask = causal)", last="x -> gru(8) -> last",
            conv1d="x -> conv1d(8, 3, dilation = 2)"),
    **_each(_CLASSES, embedding="k -> embedding(8)"),
    **_each(_IMAGE, conv="x -> conv(8, 3, pad = same)", conv_transpose="x -> conv_transpose(2, 2, stride = 2)",
            maxpool="x -> maxpool(2)", avgpool="x -> avgpool(2)", global_avgpool="x -> conv(8, 3) -> global_avgpool",
            unpool="x -> maxpool(2) as pool -> conv(4, 1) -> unpool(pool)", upsample="x -> upsample(2)",
            crop="x -> conv(4, 3) as deep -> relu -> concat(x -> crop(deep))", shift_down="x -> shift_down",
            space_to_depth="x -> space_to_depth(2)", depth_to_space="x -> depth_to_space(2)",
            group_norm="x -> group_norm(2)", instance_norm="x -> instance_norm", flatten="x -> conv(2, 3)",
            resnet="x -> resnet(8, 1)"),
    "nade": "input x: binary[8]\n\nx ~ autoregressive { nade(16) }\n",
    "row_lstm": "input x: binary[1, 4, 4]\n\nx ~ autoregressive {\n"
                "  conv(4, 3, pad = same, mask = causal2d(type = A)) -> row_lstm(4) -> conv(1, 1)\n}\n",
    "diagonal_bilstm": "input x: binary[1, 4, 4]\n\nx ~ autoregressive {\n"
                       "  conv(4, 3, pad = same, mask = causal2d(type = A)) -> diagonal_bilstm(4) -> conv(1, 1)\n}\n",
    "colour_mixture": "input x: integer(0..255)[3, 4, 4]\n\n"
                      "x ~ autoregressive(order = pixel, likelihood = discretized(mixture(logistic)), components = 2) {\n"
                      "  conv(8, 3, pad = same, mask = causal2d(type = A)) -> relu -> conv(20, 1)\n"
                      "    -> colour_mixture(x, components = 2)\n}\n",
}  # fmt: skip

FUNCTIONS: Mapping[str, str] = {
    **_each(_SEQUENCE, circle="circle(x)", where="where(relu(x), x, 2 * x)",
            sum="sum(x, over = time)", mean="x -> mean(over = time)", max="max(x, over = [time, channel])",
            min="min(x, over = time)", logsumexp="logsumexp(x, over = channel)", softmax="softmax(x, over = channel)",
            cumsum="cumsum(x, over = time)", unit="unit(x, over = channel)", argmax="argmax(x, over = channel) -> onehot",
            product="product(x, x -> rename(time = key), over = channel)", rotary="x -> rotary(over = time)",
            split="x -> split(channel, head = 2, channel = 2)", merge="x -> merge([time, channel], into = channel)",
            rename="x -> rename(time = key)", at="x -> at(time, 0)", slice="slice(x, time, 0, 3)",
            spread="x + (x -> last -> dense(4) -> spread(time, like = x))",
            drop="x -> dense(1) -> drop(channel) -> tanh"),
    **_each(_CLASSES, onehot="k -> onehot"),
    "lookup": "input k: category(5)\ntarget y: real[3]\n\nweight table: real[class: 5, channel: 3] = normal(0.02)\n\n"
              "y ~ normal(lookup(k, table), scale = 1)\n",
    "anneal": "input x: real[4]\ntarget y: real[1]\n\ny ~ normal(x -> dense(1), scale = 1)\n\n"
              "minimise squared(x -> dense(4), x) weight anneal(1, 0.1, steps = 1000)\n",
}  # fmt: skip

LOSSES: Mapping[str, str] = {
    **{name: _TERM.format("real[3]", term) for name, term in {
        "squared": "squared(f(x), y)", "absolute": "absolute(f(x), y)", "huber": "huber(f(x), y, delta = 0.5)",
        "cosine": "cosine(f(x), y)", "triplet": "triplet(f(x), y, -y, margin = 0.5)",
        "divergence": "divergence(normal(f(x), 1), normal(y, 2))",
        "info_nce": "info_nce(f(x) -> unit(over = channel), y -> unit(over = channel), scale = 10)",
    }.items()},
    **{name: _TERM.format("binary[3]", f"{name}(f(x), y)") for name in ("focal", "dice", "hinge")},
    "cross_entropy": _TERM.format("category(3)", "cross_entropy(f(x), y, smoothing = 0.1)"),
}  # fmt: skip

DISTRIBUTIONS: Mapping[str, str] = {
    **{name: _law(*row) for name, row in {
        "bernoulli": ("binary", "bernoulli(logits = c -> dense(3))"),
        "perceptron": ("binary", "perceptron(c -> dense(3))"),
        "normal": ("real", "normal(c -> dense(6))"), "laplace": ("real", "laplace(c -> dense(3), scale = 1)"),
        "logistic": ("real", "logistic(c -> dense(6))"), "student_t": ("real", "student_t(c -> dense(6), df = 4)"),
        "log_normal": ("real(0..)", "log_normal(c -> dense(6))"), "gamma": ("real(0..)", "gamma(c -> dense(6))"),
        "beta": ("real(0..1)", "beta(c -> dense(6))"),
        "continuous_bernoulli": ("real(0..1)", "continuous_bernoulli(logits = c -> dense(3))"),
        "von_mises": ("angle", "von_mises(c -> dense(6))"),
        "ordinal": ("integer(1..5)", "ordinal(c -> dense(3))"), "poisson": ("integer(0..)", "poisson(c -> dense(3))"),
        "negative_binomial": ("integer(0..)", "negative_binomial(c -> dense(6))"),
        "mixture": ("real", "mixture(student_t, c -> dense(24), components = 2)"),
        "zero_inflated": ("integer(0..)", "zero_inflated(poisson, c -> dense(6))"),
        "truncated": ("real(0..1)", "truncated(normal, c -> dense(6))"),
        "discretized": ("integer(0..255)", "discretized(logistic, c -> dense(6))"),
    }.items()},
    "categorical": "condition c: real[2]\ntarget x: category(4)\n\nx ~ categorical(logits = c -> dense(4))\n",
    "uniform": "target x: real(-1..1)[3]\n\nx ~ uniform\n",
    "autoregressive": _BITS.format("order = random, seed = 1"),
    "flow": _COUPLING.format("coupling(mask = checkerboard(parity = i), net = dense(8) -> tanh)"),
    "ctc": "condition sound: real[frames, 4]\ntarget text: category(5)[time]\n\n"
           "text ~ ctc(logits = sound -> gru(8) -> dense(6), blank = 5)\n",
    "diffusion": "input x: real[4]\n\nblock denoise on x, t {\n"
                 "  yield concat(x, t -> embedding(4)) -> dense(16) -> silu -> dense(4)\n}\n\n"
                 "x ~ diffusion(denoise, steps = 20, noise = cosine)\n",
    "delta": "input x: real[4]\n\nlatent z ~ delta(x -> dense(2))\nx ~ normal(z -> dense(4), scale = 1)\n",
}  # fmt: skip

BIJECTORS: Mapping[str, str] = {
    **_each(_FLOW, standardise="standardise", affine="affine", scale="scale", actnorm="actnorm", batch_norm="batch_norm",
            permute="permute(reverse)", conv1x1="conv1x1", leaky_relu="leaky_relu(0.5)",
            autoregressive="autoregressive(hidden = [8])",
            inverse="inverse(autoregressive(hidden = [8]))"),
    **_each(_COUPLING, coupling="coupling(mask = checkerboard(parity = i), net = dense(8) -> tanh)"),
    **_each(_IMAGE_FLOW, squeeze="squeeze", factor_out="factor_out"),
    "logit": "input x: integer(0..255)[4]\n\nx ~ flow { dequantize -> logit(alpha = 0.05) -> affine }\n",
    "dequantize": "input x: integer(0..255)[4]\n\n"
                  "x ~ flow {\n  dequantize { logit(alpha = 0) -> affine(condition = x -> dense(4)) }\n"
                 "  logit(alpha = 0.05) -> affine\n}\n",
    **{name: f"input x: real[4]\n\nx ~ flow(base = normal) {{ affine -> {name} -> inverse({name}) -> affine }}\n"
       for name in ("sigmoid", "tanh", "softplus")},
    "rotate": "input x: angle[4]\n\nx ~ flow(base = uniform) {\n"
              "  rotate -> autoregressive(hidden = [8], law = spline(bins = 4, circular = true))\n}\n",
}  # fmt: skip

COUPLING_LAWS: Mapping[str, str] = _each(
    _COUPLING, affine="coupling(mask = checkerboard(parity = i), law = affine(scale = softplus), net = dense(8) -> tanh)",
    additive="coupling(mask = checkerboard(parity = i), law = additive, net = dense(8) -> tanh)",
    monotone="coupling(mask = checkerboard(parity = i), law = monotone(units = 4), net = dense(8) -> tanh)",
    spline="coupling(mask = checkerboard(parity = i), law = spline(bins = 4), net = dense(8) -> relu)",
)  # fmt: skip

POSTERIORS: Mapping[str, str] = {
    **_each(
        _LATENT, exact="exact prior categorical(logits = start)",
        enumerate="enumerate(categorical(x -> dense(3))) prior categorical(logits = start)",
        gumbel="gumbel(x -> dense(3), anneal(1, 0.3, steps = 1000)) prior categorical(logits = start)",
    ),
    "nearest": "input x: binary[8]\n\nweight table: real[class: 4, channel: 2] = normal(0.5)\n\n"
               "latent k: category(4)[code: 3] ~ nearest(table, x -> dense(6) -> split(channel, code = 3, channel = 2)) "
               "prior categorical(logits = 0)\n"
               "x ~ bernoulli(logits = lookup(k, table) -> merge([code, channel], into = channel) -> dense(8))\n",
}  # fmt: skip

MASKS: Mapping[str, str] = {
    "degrees": _BITS.format(""), "strict": _BITS.format(""),
    "causal2d": "input x: binary[1, 4, 4]\n\nx ~ autoregressive {\n"
                "  conv(8, 3, pad = same, mask = causal2d(type = A)) -> relu\n"
                 "    -> conv(1, 3, pad = same, mask = causal2d(type = B))\n}\n",
    **_each(_COUPLING, checkerboard="coupling(mask = checkerboard(parity = i), net = dense(8) -> tanh)",
            channel="coupling(mask = channel(parity = i), net = dense(8) -> tanh)"),
    **_each(_VECTOR, band="x -> dense(4, mask = band(1, 1))", transpose="x -> dense(4, mask = transpose(band(0, 2)))"),
}  # fmt: skip

RELATIONS: Mapping[str, str] = {
    **_each(_PLACES, none="shift -> attention(2, mask = causal & none)", causal="shift -> attention(2, mask = causal)",
            before="shift -> attention(2, mask = before)", upto="shift -> attention(2, mask = upto)",
            window="shift -> attention(2, mask = causal & window(3))"),
    "same": "input x: real[time: 6, channel: 4]\ninput page: category(3)[time: 6]\ntarget y: real[1]\n\n"
            "y ~ normal(x -> attention(2, mask = same(page)) -> flatten -> dense(1), scale = 1)\n",
}  # fmt: skip

ORDERS: Mapping[str, str] = {
    **_each(_BITS, natural="order = natural", reverse="order = reverse", random="order = random, seed = 1",
            checkerboard="order = checkerboard", listed="order = [7, 6, 5, 4, 3, 2, 1, 0]"),
    "pixel": "input x: binary[3, 4, 4]\n\nx ~ autoregressive(order = pixel) {\n"
             "  conv(6, 3, pad = same, mask = causal2d(type = A, channels = rgb)) -> relu\n"
                 "    -> conv(3, 1, mask = causal2d(type = B, channels = rgb))\n}\n",
    "raster": "input x: binary[height: 4, width: 4]\n\nx ~ autoregressive(order = raster(width, height)) {\n"
              "  flatten -> dense(16, mask = strict(degrees)) -> reshape(height = 4, width = 4)\n}\n",
}  # fmt: skip

STARTS: Mapping[str, str] = _each(
    _VECTOR, uniform="x -> dense(8, init = uniform(0.1)) -> relu", normal="x -> dense(8, init = normal(0.02)) -> relu",
    he="x -> dense(8, init = he) -> relu", glorot="x -> dense(8, init = glorot) -> tanh",
    zeros="x -> residual(dense(4, init = zeros))", constant="x -> dense(8, init = constant(0.5)) -> relu",
)  # fmt: skip

CLAIMS: Mapping[str, str] = {
    **_each(_CLAIM, autoregressive="autoregressive(x)",
            complete='complete(x); allow complete(x) because "three steps are enough"',
            parameters="parameters <= 400", path_length="path_length(x) >= 1",
            receptive_field="receptive_field(x) == 3", no_blind_spot="no_blind_spot(x)"),
    "follows": "input x: real[3]\n\nmask m = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]\n\nx ~ flow(base = normal) {\n"
               "  autoregressive(adjacency = m, hidden = [8])\n}\n\ncheck { follows(x, m) }\n",
    **_each(_FLOW_CLAIM, jacobian="jacobian(x) is dense", transformed="transformed(x)"),
    **_each(_LINE_CLAIM, linear="linear(y)", equivariant="equivariant(y)", flops="flops <= 10_000"),
    **_each(_SET_CLAIM, symmetric="symmetric(y, node)"),
}  # fmt: skip

OPTIMIZERS: Mapping[str, str] = _each(
    _TRAINED, adam="optimizer: adam(1e-3)", adamw="optimizer: adamw(1e-3, weight_decay = 0.01)",
    sgd="optimizer: sgd(0.1, momentum = 0.9)", adagrad="optimizer: adagrad(0.01)",
    perceptron="optimizer: perceptron", rmsprop="optimizer: rmsprop(1e-2)", lion="optimizer: lion(1e-4)",
    muon="optimizer: muon(1e-3, momentum = 0.95)",
)  # fmt: skip
AUGMENTATIONS: Mapping[str, str] = _each(
    _PICTURES, flip="flip(x)", crop="crop(x, by = 1)", shift="shift(x, by = 1)", noise="noise(x, deviation = 0.05)",
)  # fmt: skip
SCHEDULES: Mapping[str, str] = _each(
    _TRAINED, constant="schedule: constant(warmup = 10)", linear="schedule: linear(warmup = 10)",
    cosine="schedule: cosine(warmup = 10)", step="schedule: step(every = 10)",
    exponential="schedule: exponential(every = 10)", inverse_sqrt="schedule: inverse_sqrt(warmup = 10)",
)  # fmt: skip

_SET = "{}\n\ntrain {{ data: {}, steps: 100 }}\n"
_POINTS_OF = "input x: real[2]\n\nx ~ flow { actnorm -> affine }"
_ROLL = (
    "input x: binary[time, 24]\ncondition length: integer(1..time)\n\n"
    "x ~ autoregressive(likelihood = bernoulli) { shift -> gru(8) -> dense(24) }"
)


def _answered(x: str, y: str, law: str) -> str:
    return f"input x: {x}\ntarget y: {y}\n\ny ~ {law}"


DATA_SETS: Mapping[str, str] = {name: _SET.format(text, name) for name, text in {
    **dict.fromkeys(("moons", "circles", "rings", "checkerboard2d", "spirals", "pinwheel", "gaussians8"), _POINTS_OF),
    "xor": _answered("binary[2]", "binary[1]", "bernoulli(logits = x -> dense(4) -> tanh -> dense(1))"),
    **dict.fromkeys(("separable", "blobs"), _answered("real[2]", "binary[1]", "perceptron(x -> dense(1))")),
    "sine": _answered("real[1]", "real[1]", "normal(x -> dense(8) -> tanh -> dense(1), scale = 1)"),
    "line": _answered("real[3]", "real[1]", "normal(x -> dense(1), scale = 1)"),
    "iris": _answered("real[4]", "category(3)", "categorical(logits = x -> dense(3))"),
    "wine": _answered("real[13]", "category(3)", "categorical(logits = x -> dense(3))"),
    "breast_cancer": _answered("real[30]", "binary[1]", "bernoulli(logits = x -> dense(1))"),
    "diabetes": _answered("real[10]", "real[1]", "normal(x -> dense(1), scale = 1)"),
    "digits": _answered("real[1, 8, 8]", "category(10)", "categorical(logits = x -> conv(4, 3) -> flatten -> dense(10))"),
    "binary_digits": "input x: binary[64]\n\nx ~ autoregressive { nade(16) }",
    "few_labels": "input x: binary[64]\ntarget y: category(10)?\n\ny ~ categorical(logits = x -> dense(10))",
    "shapes": _answered("integer(0..255)[3, 16, 16]", "category(4)[16, 16]",
                        "categorical(logits = x -> conv(4, 3, pad = same))"),
    "text": "input x: category(36)[time]\n\nx ~ autoregressive(likelihood = categorical) {\n"
            "  embedding(8) -> shift -> gru(8) -> dense(36)\n}",
    "adding": _answered("real[time, 2]", "real[1]", "normal(x -> lstm(8) -> last -> dense(1), scale = 1)"),
    "tones": "input x: category(16)[time]\n\nx ~ autoregressive(likelihood = categorical) {\n"
             "  embedding(8) -> shift -> conv1d(8, 2) -> tanh -> dense(16)\n}",
    "rolls": _answered("binary[time, 24]", "category(2)", "categorical(logits = x -> gru(8) -> last -> dense(2))"),
    "melodies": _ROLL,
    "reversal": "condition source: category(8)[time: 6]\ninput reply: category(8)[time]\n\n"
                "net encoder = embedding(4) -> lstm(8, output = state)\n\n"
                "reply ~ autoregressive(likelihood = categorical) {\n"
                "  embedding(4) -> shift -> lstm(8, start = encoder(source)) -> dense(8)\n}",
    "spoken": "condition sound: real[frames, 8]\ncondition sound_length: integer(1..frames)\n"
              "target text: category(5)[time]\ncondition length: integer(1..time)\n\n"
              "text ~ ctc(logits = sound -> lstm(8, bidirectional = true) -> dense(6), blank = 5)",
    "inverse": _answered("real[1]", "real[1]", "mixture(normal, x -> dense(8) -> tanh -> dense(9), components = 3)"),
    "people": "target age: real(0..)?\ncondition job: category(4)?\n\nage ~ gamma(onehot(fill(job, 0)) -> dense(2))",
    "sales": "input sales: integer(0..)[time]?\ncondition known: real[time, 2]\ncondition length: integer(1..time)\n\n"
             "sales ~ negative_binomial(known -> dense(2))",
    "boxes": "input image: real(0..1)[channel: 3, height: 24, width: 24]\ntarget box: real[4]?\n\n"
             "box ~ normal(image -> conv(4, 3) -> relu -> global_avgpool -> dense(4), scale = 1)",
}.items()}  # fmt: skip

_FROZEN = (
    "input x: real[4]\ntarget y: real[1]\n\nnet f = dense(8) -> tanh\n\ny ~ normal(f(x) -> dense(1), scale = 1)\n\n"
    "train {{ {}, steps: 100 }}\n"
)
SETTINGS: Mapping[str, str] = {
    **_each(_TRAINED, optimizer="optimizer: adamw(1e-3)", schedule="schedule: cosine(warmup = 10)", batch="batch: 64",
            seed="seed: 1", patience="patience: 10", valid_every="valid_every: 50",
            log_every="log_every: 10", checkpoint_every="checkpoint_every: 50", shards="shards: 2",
            clip="clip: 1", weight_decay="optimizer: adam(1e-3), weight_decay: 0.01",
            decay="optimizer: adamw(1e-3), decay: matrices", ema="ema: 0.999", skip="skip: not_finite"),
    "epochs": _TRAINED.replace("steps: 100", "batch: 64").format("epochs: 20"),
    "steps": _TRAINED.format("batch: 64"),
    "data": DATA_SETS["moons"], "freeze": _FROZEN.format("freeze: [f]"), "augment": AUGMENTATIONS["flip"],
    "recompute": _FROZEN.replace("dense(8) -> tanh", "repeat i in 1..12 {{ dense(8) -> tanh }}").format(
        "recompute: layers"),
    "length": _SET.format(_ROLL, "melodies").replace("steps: 100", "length: 32, steps: 100"),
    "threshold": _SET.format("input x: binary[64]\n\nx ~ autoregressive { nade(16) }", "digits").replace(
        "steps: 100", "threshold: 7, steps: 100"),
}  # fmt: skip

TYPES: Mapping[str, str] = {
    "binary": _law("binary", "bernoulli(logits = c -> dense(3))"), "real": _law("real(0..1)", "beta(c -> dense(6))"),
    "angle": _law("angle", "von_mises(c -> dense(6))"),
    "integer": _law("integer(0..255)", "discretized(logistic, c -> dense(6))"),
    "category": 'condition c: real[2]\ntarget x: category("clerk", "nurse")\n\nx ~ categorical(logits = c -> dense(2))\n',
}  # fmt: skip

_ALLOWED = '{}\n\ncheck {{ allow {} because "it is meant" }}\n'
WARNINGS: Mapping[str, str] = {name: _ALLOWED.format(text, name) for name, text in {
    "affine_collapse": _VECTOR.format("x -> dense(8) -> dense(8)").rstrip(),
    "finite_mask": "input x: real[4]\ninput m: binary[3]\ntarget y: category(3)\n\n"
                   "y ~ categorical(logits = (x -> dense(3)) + (m - 1) * 10000)",
    "unused_name": _VECTOR.format("x").rstrip() + "\nnet spare = dense(4)",
    "shadowed_name": _VECTOR.format("x -> relu").rstrip() + "\nnet relu = tanh",
    "unused_weight": "input x: real[4]\ntarget y: real[2]\n\nblock two on v { yield v -> dense(8), v -> tanh }\n"
                     "block one on a, b { yield b -> dense(2) }\n\ny ~ normal(x -> two -> one, scale = 1)",
    "dead_units": "input x: binary[1]\n\nx ~ autoregressive {\n"
                  "  dense(8, mask = degrees) -> relu -> dense(1, mask = strict(degrees))\n}",
    "probabilities_as_logits": "input x: real[4]\ntarget y: category(3)\n\n"
                               "y ~ categorical(logits = softmax(x -> dense(3), over = channel))",
    "scale_not_positive": "input x: real[4]\ntarget y: real[1]\n\ny ~ normal(loc = x -> dense(1), scale = x -> dense(1))",
    "constant_normalisation": _VECTOR.format("x -> dense(1) -> layer_norm").rstrip(),
    "untransformed_elements": _COUPLING.format("coupling(mask = checkerboard, net = dense(8) -> tanh)").rstrip(),
    "batch_statistics_over_order": "input x: real[time, 4]\n\nx ~ autoregressive(likelihood = normal) {\n"
                                   "  shift -> conv1d(8, 2) -> batch_norm -> conv1d(8, 2)\n}",
}.items()}  # fmt: skip
