"""The parts of a weight's dotted name: each is an attribute of a module of torch, and a key in every checkpoint.

A layer of a `repeat` is an element of a list: its part is the name of the list and a number, `layer.0`.
"""

from __future__ import annotations

import keyword
import re

#: What a module of torch calls its own attributes; a test compares the list with the installed torch.
ATTRIBUTES = frozenset(
    """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
    extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules
    mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule
    share_memory state_dict to to_empty train training type xpu zero_grad
    _apply _backward_hooks _backward_pre_hooks _buffers _call_impl _compiled_call_impl _forward_hooks
    _forward_hooks_always_called _forward_hooks_with_kwargs _forward_pre_hooks _forward_pre_hooks_with_kwargs
    _get_backward_hooks _get_backward_pre_hooks _get_name _is_full_backward_hook _is_hf_initialized _load_from_state_dict
    _load_state_dict_post_hooks _load_state_dict_pre_hooks _maybe_warn_non_full_backward_hook _modules _named_members
    _non_persistent_buffers_set _parameters _register_load_state_dict_pre_hook _register_state_dict_hook
    _replicate_for_data_parallel _save_to_state_dict _slow_forward _state_dict_hooks _state_dict_pre_hooks _version
    _wrapped_call_impl
""".split()
)


def part(name: str) -> str:
    """Return `name` as a part of a weight's name.

    No two names become the same part: `train` becomes `train_`, so `train_` becomes `train__`.

    It is itself, or has an underscore behind it where a module of torch, or Python, has another use for it.
    """
    name, dot, number = name.partition(".")
    if name.startswith("__"):  # the first use of a block `_` is `__0`; Python would mangle it
        name = "_" + name.lstrip("_")
    bare = name.rstrip("_")
    taken = bare in ATTRIBUTES or f"{bare}_" in ATTRIBUTES or keyword.iskeyword(bare)
    return f"{name}_{dot}{number}" if taken else f"{name}{dot}{number}"


def split(path: str) -> tuple[str, ...]:
    """Split a weight's dotted name into its parts: `net.layer.0.weight` into `net`, `layer.0` and `weight`."""
    return tuple(re.findall(r"[^.]+(?:\.\d+(?=\.|$))?", path))


def element(name: str) -> tuple[str, int] | None:
    """Return the name of the list and the number of a part that is an element of one; None for others."""
    stem, dot, number = name.partition(".")
    return (stem, int(number)) if dot else None


__all__ = ["ATTRIBUTES", "element", "part", "split"]
