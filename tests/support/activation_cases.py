"""Graphs that are activations of a library, as text, and changes after which they are none."""

from __future__ import annotations

#: name -> (lines between the head and the return, the kernel, changes as in `kernel_cases.Case`)
Activation = tuple[str, str, tuple[tuple[str, str, tuple[str, ...]], ...]]

HEAD = "\nprogram f(x: float[N, 4, t], w: float[N, 4, t]) -> (y: float[N, 4, t]) {\n"
TAIL = "\n  return y = %y\n}\n"

_SIX = "  %six = constant 6.0 : float[]\n"
_HARD = f"""{_SIX}  %three = constant 3.0 : float[]
  %moved = add(%x, %three)
  %above = relu(%moved)
  %both = minimum(%above, %six)
"""
_ELU = """  %none = constant 0.0 : float[]
  %one = constant 1.0 : float[]
  %low = minimum(%x, %none)
  %power = exp(%low)
  %below = sub(%power, %one)
"""
ACTIVATIONS: dict[str, Activation] = {
    "mish": (
        "  %soft = softplus(%x)\n  %tanh = tanh(%soft)\n  %y = mul(%x, %tanh)",
        "mish(x = x)",
        (("mul(%x, %tanh)", "mul(%w, %tanh)", ()), ("tanh(%soft)", "sigmoid(%soft)", ())),
    ),
    "relu6": (
        f"{_SIX}  %above = relu(%x)\n  %y = minimum(%above, %six)",
        "relu6(x = x)",
        (("6.0", "6.5", ()), ("minimum", "maximum", ())),
    ),
    "hard_sigmoid": (
        f"{_HARD}  %y = div(%both, %six)",
        "hard_sigmoid(x = x)",
        (("constant 3.0", "constant 2.5", ("relu6",)), ("div(%both, %six)", "div(%both, %three)", ("relu6",))),
    ),
    "hard_swish": (
        f"{_HARD}  %gate = div(%both, %six)\n  %y = mul(%gate, %x)",
        "hard_swish(x = x)",
        (("mul(%gate, %x)", "mul(%gate, %w)", ("hard_sigmoid",)),),
    ),
    "elu": (
        f"{_ELU}  %alpha = constant 0.5 : float[]\n  %scaled = mul(%below, %alpha)\n"
        "  %positive = less(%none, %x)\n  %y = where(%positive, %x, %scaled)",
        "elu(x = x, alpha = 0.5)",
        (
            ("less(%none, %x)", "less(%x, %none)", ()),
            ("minimum", "maximum", ()),
            ("less(%none, %x)", "less(%one, %x)", ()),
            ("where(%positive, %x, %scaled)", "where(%positive, %w, %scaled)", ()),
        ),
    ),
    "elu, of one": (
        f"{_ELU}  %positive = less(%none, %x)\n  %y = where(%positive, %x, %below)",
        "elu(x = x, alpha = 1.0)",
        (("constant 1.0", "constant 1.5", ()),),
    ),
    "selu": (
        f"{_ELU}  %alpha = constant 1.6732632423543772 : float[]\n  %scale = constant 1.0507009873554805 : float[]\n"
        "  %scaled = mul(%below, %alpha)\n  %positive = less(%none, %x)\n"
        "  %curve = where(%positive, %x, %scaled)\n  %y = mul(%curve, %scale)",
        "selu(x = x)",
        (("1.0507009873554805", "1.05", ("elu",)),),
    ),
    "prelu": (
        "  %none = constant 0.0 : float[]\n  %above = relu(%x)\n  %low = minimum(%x, %none)\n  %down = mul(%low, %s)\n"
        "  %y = add(%above, %down)",
        "prelu(x = x, slope = s)",
        (("minimum(%x, %none)", "minimum(%w, %none)", ()),),
    ),
    "prelu, by channels": (
        "  %none = constant 0.0 : float[]\n  %along = reshape(%s) {shape: [4, 1]}\n"
        "  %above = relu(%x)\n  %low = minimum(%x, %none)\n  %down = mul(%low, %along)\n  %y = add(%above, %down)",
        "prelu(x = x, slope = s)",
        (("{shape: [4, 1]}", "{shape: [1, 4, 1]}", ()),),
    ),
    "glu": (
        "  %a = slice(%z) {axis: 1, start: 0, stop: 4}\n  %b = slice(%z) {axis: 1, start: 4, stop: 8}\n"
        "  %gate = sigmoid(%b)\n  %y = mul(%a, %gate)",
        "glu(x = z, axis = 1)",
        (
            ("mul(%a, %gate)", "mul(%b, %gate)", ("silu", "split")),
            ("sigmoid(%b)", "sigmoid(%a)", ("silu", "split")),
            ("start: 4, stop: 8", "start: 3, stop: 7", ()),
            ("sigmoid(%b)", "tanh(%b)", ("split",)),
        ),
    ),
}  # fmt: skip


def text(name: str) -> str:
    """The program of an activation, with the operands that it reads beside x."""
    lines = ACTIVATIONS[name][0]
    head = HEAD.replace(") ->", ", s: float[4]) ->" if "along" in lines else ", s: float[1]) ->")
    head = head.replace("x: float[N, 4, t], w", "z: float[N, 8, t], w") if "%z" in lines else head
    return f"{head.replace(', s: float[1]', '') if '%s)' not in lines else head}{lines}{TAIL}"


__all__ = ["ACTIVATIONS", "text"]
