"""Classes and functions that emitted files hold where they are used."""

from __future__ import annotations

GROUP = '''class Group(nn.Module):
    """Hold parameters and modules under their names, so that checkpoints have dotted keys."""

    def __init__(self, **parameters: nn.Parameter) -> None:
        super().__init__()
        for name, parameter in parameters.items():
            self.register_parameter(name, parameter)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
'''

MAX_POOL = '''def max_pool_padded(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
) -> tuple[Tensor, Tensor]:
    """Take maxima over windows with unequal padding; indices are flat positions in x itself."""
    widths = [width for pair in reversed(padding) for width in pair]
    padded = F.pad(x, widths, value=-math.inf)
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    values, position = pool(padded, kernel, stride, return_indices=True)
    index, scale = torch.zeros_like(position), 1
    for axis in reversed(range(len(kernel))):
        size = padded.shape[2 + axis]
        index = index + (position % size - padding[axis][0]) * scale
        position = position // size
        scale = scale * x.shape[2 + axis]
    return values, index
'''

ALL_SUM = '''class AllSum(torch.autograd.Function):
    """Sum a tensor over all processes; the gradient is summed over them as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return AllSum.apply(gradient)
'''

PHASES = '''def phases(x: Tensor, base: float, count: int, dtype: torch.dtype) -> Tensor:
    """Multiply places [..., 1] by base^(-i / count); half precision leaves out whole turns."""
    wide = torch.promote_types(dtype, torch.float32)
    angle = x.to(wide) * base ** (torch.arange(count, dtype=wide, device=x.device) / -count)
    if wide != dtype:
        angle = angle - torch.floor(angle / math.tau + 0.5) * math.tau
    return angle.to(dtype)
'''
