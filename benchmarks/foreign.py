"""Causal language models of an installed transformers, tiny: recorded, held to themselves, and asked what they read.

    python benchmarks/foreign.py
    python benchmarks/foreign.py GPT2LMHeadModel LlamaForCausalLM --attention sdpa
    python benchmarks/foreign.py --perturb --lengths

Every class of the library's table of causal language models is made with random weights (width 16, two layers, 11
tokens); those whose configuration has no such size are counted and named. Experts are applied by index
(`batched_mm`). A line a model: nodes, seconds to record, difference of the recording from the model, the answer; with
`--lengths` also whether it holds for every length (fitted at 11, 13, 17 and checked at 29), or why not.
transformers is no dependency.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from mpcompile.diagnostics import SpecError
from mpcompile.foreign import LENGTHS, ForeignClaim, Recording, Unrecordable, answer
from mpcompile.foreign.answers import along, completed, reading
from mpcompile.foreign.lengths import Apart, everywhere, fitted
from mpcompile.foreign.running import changes, difference, unlike
from mpcompile_torch.reader import TorchModel

CLAIM = ForeignClaim.parse("autoregressive(input_ids -> logits)")
WIDTHS = "hidden_size n_embd d_model word_embed_proj_dim embedding_size attention_hidden_size moe_intermediate_size"
LAYERS = "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers"
HEADS = """num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads
    num_key_value_heads num_experts_per_tok"""
INNER = "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim n_inner d_ff dff"
PLACES = "max_position_embeddings n_positions n_ctx max_seq_len"
EXPERTS = "num_experts num_local_experts n_routed_experts"
SIZES: dict[str, Any] = {
    **dict.fromkeys(WIDTHS.split(), 16), **dict.fromkeys(LAYERS.split(), 2), **dict.fromkeys(HEADS.split(), 2),
    **dict.fromkeys(INNER.split(), 32), **dict.fromkeys(PLACES.split(), 64), **dict.fromkeys(EXPERTS.split(), 4),
    "vocab_size": 23, "head_dim": 8, "rotary_dim": 4, "state_size": 8, "sliding_window": 4, "pad_token_id": None,
    "bos_token_id": 1, "eos_token_id": 2, "use_cache": False, "is_decoder": True, "tie_word_embeddings": False,
    "attention_dropout": 0.0,
}  # fmt: skip
#: Larger models are left out; and seconds that one may take.
LARGEST, LIMIT = 3e6, 40


class Late(BaseException):
    """A model that took longer than its limit."""


def configuration(kind: Any, attention: str) -> Any:
    known = {*inspect.signature(kind.__init__).parameters, *getattr(kind, "__annotations__", ())}
    known |= {*getattr(kind, "__dataclass_fields__", ()), *getattr(kind, "attribute_map", ())}
    sizes = {k: v for k, v in SIZES.items() if k in known}
    if not getattr(kind, "__dataclass_fields__", ()):  # before release 5, common settings are in no signature
        sizes |= {"is_decoder": True, "use_cache": False, "pad_token_id": 0}
    made = kind(**sizes)
    made._attn_implementation, made._experts_implementation = attention, "batched_mm"
    return made


def models(names: list[str], attention: str) -> Iterator[tuple[str, torch.nn.Module | str]]:
    """Each model, or the reason why there is none."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    seen = set()
    for kind, found in MODEL_FOR_CAUSAL_LM_MAPPING.items():
        cls = found[0] if isinstance(found, tuple) else found
        if cls.__name__ in seen or (names and cls.__name__ not in names):
            continue
        seen.add(cls.__name__)
        try:
            with torch.device("meta"):
                size = sum(p.numel() for p in cls(configuration(kind, attention)).parameters())
            if size > LARGEST:
                yield cls.__name__, f"{size:.0e} weights"
                continue
            torch.manual_seed(0)
            model = cls(configuration(kind, attention)).eval()
            model(input_ids=torch.arange(3, 14)[None])
        except Exception as reason:  # configurations refuse sizes each in its own way: the line says which
            yield cls.__name__, f"{type(reason).__name__} {reason}".split("\n")[0][:60]
            continue
        yield cls.__name__, model


def pairs(model: TorchModel, recording: Recording) -> str:
    """Pairs of places that runs of the model join and its recording does not, and the other way round."""
    length = recording.inputs["input_ids"].shape[1]
    found = reading(recording, ForeignClaim("autoregressive", "input_ids", "logits", 1))
    every = slice(None)
    seen = np.array(
        [
            [c.real for c in changes(model, recording, "input_ids", (every, t), "logits", 1)]
            for t in range(length)
        ]
    ).T
    return (
        f"  missed {int((seen & ~found).sum())}, surplus {int((found & ~seen).sum())} of {int(found.sum())}"
    )


def every_length(module: torch.nn.Module, recording: Recording) -> str:
    """Return `every length`, or why the answer is about some lengths alone."""
    found = {n: TorchModel(module, {"input_ids": torch.randint(3, 23, (1, n))}).record() for n in LENGTHS}
    claim = completed(recording, CLAIM)
    try:
        everywhere(fitted(found), claim, along(recording, claim)[1])
    except Apart as reason:
        return f"not every length: {reason.what} ({reason.span.path.rpartition('/')[2]}:{reason.span.line})"
    return "every length"


def line(name: str, module: torch.nn.Module, perturb: bool, lengths: bool) -> str:
    """Record a model, ask it, and print a line. Returns the answer in a few words."""
    model = TorchModel(module, {"input_ids": torch.randint(3, 23, (1, 11))})
    start = time.perf_counter()
    try:
        recording = model.record()
        seconds, apart = time.perf_counter() - start, difference(recording)
        if what := unlike(model, recording):
            print(f"{name:40} {what}", flush=True)
            return "not as recorded"
        found = answer(recording, CLAIM, model)
        apart_pairs = pairs(model, recording) if perturb else ""
        proved = str(found.status) == "proved"
        scope = every_length(module, recording) if lengths and proved else ""
    except (Unrecordable, SpecError) as reason:
        what = reason.what if isinstance(reason, Unrecordable) else reason.diagnostics[0].message
        print(f"{name:40} not read: {what.partition('. ')[0][:120]}", flush=True)
        return "not read"
    except Late:
        print(f"{name:40} more than {LIMIT} s", flush=True)
        return "late"
    why = f"  {scope}" if proved else f"  {found.reason}"
    if found.change is not None and found.path and found.culprit is not None:
        span = found.path[found.culprit].node.span
        why = (
            f"  {found.place}, changes by {found.change.size:.0e}, {span.path.rpartition('/')[2]}:{span.line}"
        )
    print(
        f"{name:40} {len(recording.graph.nodes()):5} {seconds:6.2f} s {apart:8.0e}  {found.status}{apart_pairs}{why}",
        flush=True,
    )
    return f"{found.status}{', every length' if scope == 'every length' else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--attention", default="eager", choices=["eager", "sdpa"])
    parser.add_argument(
        "--perturb", action="store_true", help="also compare sets of places with what runs show"
    )
    parser.add_argument("--lengths", action="store_true", help="also ask for every length")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)

    def late(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGALRM, late)
    counts: Counter[str] = Counter()
    for name, module in models(options.names, options.attention):
        signal.alarm(LIMIT)
        if isinstance(module, str):
            print(f"{name:40} not made: {module}", flush=True)
            counts["not made"] += 1
        else:
            counts[line(name, module, options.perturb, options.lengths)] += 1
        signal.alarm(0)
    print(", ".join(f"{count} {what}" for what, count in counts.most_common()))


if __name__ == "__main__":
    main()
