"""Rows of `networks.py`: which models are trained on which set, and the figure that each is known by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training import Bench, Figure

from rows import (
    codes,
    colours,
    flows,
    graphs,
    labels,
    latents,
    pictures,
    published,
    sequences,
    shipped,
    speech,
    tables,
    vision,
    words,
)


@dataclass(frozen=True, slots=True)
class Row:
    """`measure` trains what it needs in about `minutes` of one core and gives the figures."""

    minutes: float
    measure: Callable[[Bench], list[Figure]]


ROWS = {
    "perceptron": Row(0.2, labels.perceptron),
    "mlp": Row(0.1, labels.mlp),
    "ridge": Row(0.1, labels.ridge),
    "universal": Row(2, labels.universal),
    "digits": Row(0.5, labels.cnn_digits),
    "mnist": Row(3, labels.cnn_mnist),
    "elman": Row(0.5, labels.elman),
    "fcn": Row(2.5, pictures.fcn),
    "unet": Row(5, pictures.unet),
    "unet_paper": Row(4, published.unet_paper),
    "alexnet_v2": Row(2, published.alexnet_v2),
    "vgg_16": Row(4, published.vgg_16),
    "resnet_v1_50": Row(3, published.resnet_v1_50),
    "rgb_pixelcnn": Row(2, colours.rgb_pixelcnn),
    "pixelcnn_mixture": Row(3, colours.pixelcnn_mixture),
    "linear": Row(0.4, codes.linear),
    "autoencoder": Row(0.4, codes.autoencoder),
    "denoising": Row(0.8, codes.denoising),
    "vae": Row(8, codes.vae),
    "beta_vae": Row(1.2, codes.beta_vae),
    "nice": Row(10, flows.nice),
    "realnvp": Row(12, flows.realnvp),
    "glow": Row(12, flows.glow),
    "adding": Row(0.8, sequences.adding),
    "jsb": Row(2, sequences.jsb_lstm),
    "gru": Row(2, sequences.gru),
    "bilstm": Row(1, sequences.bilstm),
    "jsb_rnn_made": Row(2, sequences.jsb_rnn_made),
    "vrnn": Row(3, sequences.jsb_vrnn),
    "strokes": Row(4, sequences.strokes),
    "seq2seq": Row(1, sequences.seq2seq),
    "text": Row(2, sequences.text),
    "realnvp_notes": Row(0.8, flows.realnvp_notes),
    "ctc": Row(1, speech.ctc),
    "gpt2": Row(3, words.gpt2),
    "llama": Row(3, words.llama),
    "translate": Row(3, words.translate),
    "xlnet": Row(1, words.xlnet),
    "vit": Row(2, vision.vit),
    "pixelsnail": Row(1.2, vision.pixelsnail),
    "set_transformer": Row(0.5, vision.set_transformer),
    "two_towers": Row(0.5, vision.two_towers),
    "hmm": Row(1, latents.hmm),
    "deep_markov": Row(2, latents.deep_markov),
    "cvrnn_styles": Row(2, latents.cvrnn_styles),
    "gumbel": Row(0.6, latents.gumbel),
    "ladder": Row(0.6, latents.ladder),
    "ddpm": Row(1.5, latents.ddpm),
    "vq_vae": Row(0.8, latents.vq_vae),
    "semi_supervised": Row(0.6, latents.semi_supervised),
    "naf": Row(1.2, flows.naf),
    "circular": Row(0.8, flows.circular),
    "dag_flow": Row(0.8, graphs.dag_flow),
    "graph_net": Row(1, graphs.graph_net),
    "mixed_table": Row(0.8, tables.mixed_table),
    "posterior": Row(0.6, flows.posterior),
    "mdn": Row(0.3, tables.mdn),
    "deepar": Row(0.8, tables.deepar),
    "detector": Row(0.8, tables.detector),
    **{name: Row(*row) for name, row in shipped.SHIPPED.items()},
}
