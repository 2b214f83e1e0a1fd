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
)  # fmt: skip
AUGMENTATIONS: Mapping[str, str] = _each(
    _PICTURES, flip="flip(x)", crop="crop(x, by = 1)", shift="shift(x, by = 1)", noise="noise(x, deviation = 0.05)",
)  # fmt: skip
SCHEDULES: Mapping[str, str] = _each(
    _TRAINED, constant="schedule: constant(warmup = 10)", linear="schedule: linear(warmup = 10)",
    cosine="schedule: cosine(warmup = 10)", step="schedule: step(every = 10)",
    exponential="schedule: exponential(every = 10)", inverse_sqrt="schedule: inverse_sqrt(warmup = 10)",
)  # fmt: skip
