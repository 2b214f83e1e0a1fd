"""The allow-list of the source that is emitted for torch."""

from __future__ import annotations

import ast
from collections.abc import Collection

from mpcompile.emission import verify
from mpcompile.emission.verify import Allowed, SourceRefused

IMPORTS = {"math", "torch", "torch.nn.functional"}
IMPORTED = {
    "__future__": {"annotations"},
    "pathlib": {"Path"},
    "typing": {"Any", "TYPE_CHECKING"},
    "torch": {"Tensor", "nn"},
    "safetensors.torch": {"load_file"},
}
BUILTINS = {
    "self", "super", "range", "zip", "reversed", "enumerate", "list", "tuple", "dict", "int", "str",
    "len", "torch", "nn", "F", "math", "staticmethod",
}  # fmt: skip
TENSOR = set(
    "at dtype device shape weight sum mean amax logsumexp softmax log_softmax argmax cumsum flip "
    "reshape expand contiguous mT transpose permute flatten unsqueeze unbind to detach index_add index_copy narrow "
    "slice_scatter gather clone tolist movedim scatter_add append items uniform_ tril triu load_state_dict __init__ "
    "bool with_name chunk split_with_sizes apply".split()
)
MODULES = {
    "torch": set(
        "exp log tanh sigmoid sqrt abs sign floor erf sin cos maximum minimum where cat full "
        "eye no_grad is_grad_enabled zeros ones arange stack tensor zeros_like ones_like empty randn "
        "broadcast_to equal reshape bool int64 get_default_dtype promote_types float32 dtype "
        "nn.grad.conv1d_weight nn.grad.conv2d_weight nn.grad.conv3d_weight lstm gru rnn_tanh linalg.inv "
        "linalg.slogdet compiler.is_compiling "
        "utils.checkpoint.checkpoint autograd.Function "
        "distributed.is_initialized distributed.all_reduce contiguous_format".split()
    ),
    "F": set(
        "relu softplus pad linear embedding conv1d conv2d conv3d conv_transpose1d "
        "conv_transpose2d conv_transpose3d max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d "
        "avg_pool3d binary_cross_entropy_with_logits cross_entropy gelu layer_norm "
        "rms_norm scaled_dot_product_attention silu elu selu mish relu6 hardswish prelu glu".split()
    ),
    "nn": {
        "Module",
        "Parameter",
        "Linear",
        "Embedding",
        "Conv1d",
        "Conv2d",
        "Conv3d",
        "Identity",
        "LayerNorm",
        "ModuleList",
        "RMSNorm",
        "init.orthogonal_",
    },
    "math": {"inf", "nan", "tau"},
}
KNOWN = {"bool", "float", "Tensor", "Any", "TYPE_CHECKING", "__file__"}
ALLOWED = Allowed(
    IMPORTS,
    IMPORTED,
    BUILTINS,
    KNOWN,
    TENSOR,
    MODULES,
    frozenset({"self", "model", "module"}),
    nodes=(ast.Break, ast.BoolOp, ast.And, ast.GeneratorExp),
    decorators=frozenset({"torch.no_grad()", "staticmethod"}),
)


def verify_source(text: str, model: Collection[str] = ()) -> None:
    """Raise `SourceRefused` unless the text is a plain module of torch code; `model` are names that it may import.

    They are those of `model.py`.
    """
    verify.verify_source(text, verify.beside(ALLOWED, model))


__all__ = ["ALLOWED", "SourceRefused", "verify_source"]
