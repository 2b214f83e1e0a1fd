"""A session whose weights, gradients and slots are cut among the processes: torch's `fully_shard` (FSDP2).

Zhao et al. 2023, PyTorch FSDP. Each emitted class with weights is a unit, whose weights a process gathers while it runs.
Torch's reduce-scatter averages gradients, in an order that depends on the number of processes: the model is that of one
process up to rounding, not to the bit. State is gathered weight by weight to the keys of every session.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from mpcompile.group import tree_sum
from mpcompile.ir import STATE, Array
from mpcompile_torch.processes import mean, waiting
from mpcompile_torch.session import TorchSession


def shard(model: nn.Module, device: torch.device, size: int) -> None:
    """Cut the weights of a model among `size` processes, in units of its own classes."""
    # programs that are differentiated write into nothing that a unit returns (`emit.WRITES`)
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (size,))
    known = {nn.Linear, nn.Embedding, nn.ModuleList, nn.Identity, nn.LayerNorm, nn.RMSNorm}
    inner = [
        m
        for m in model.modules()
        if m is not model
        and type(m) not in known
        and type(m).__name__ != "Group"
        and not type(m).__module__.startswith("torch.")
        and next(m.parameters(), None) is not None
    ]
    for unit in [*reversed(inner), model]:
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        for name in dir(type(unit)):
            own = next((c.__dict__[name] for c in type(unit).__mro__ if name in c.__dict__), None)
            emitted = not any(name in c.__dict__ for c in nn.Module.__mro__)
            if emitted and not name.startswith("_") and callable(own):
                register_fsdp_forward_method(unit, name)


class ShardedSession(TorchSession):
    """See `mpcompile.backend.Session`; of a group whose layout is `sharded`."""

    def _place(self) -> nn.Module:
        shard(self.model, self.device, self.group.size)
        return self.model

    def _own(self, tensor: Tensor) -> Tensor:
        with torch.no_grad():
            return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def _whole(self, name: str, part: Tensor) -> Tensor:
        like = self.tensors[name]
        if not isinstance(like, DTensor):
            return part
        whole = DTensor.from_local(
            part, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
        )
        with waiting():
            gathered: Tensor = whole.full_tensor()
        return gathered

    def _put(self, name: str, part: Tensor, value: Tensor) -> None:
        like = self.tensors[name]
        if isinstance(like, DTensor):
            placed = distribute_tensor(value.to(part), like.device_mesh, like.placements)
            part.copy_(placed.to_local())
        else:
            part.copy_(value)

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        total = super()._norm(gradients).square()
        with waiting():
            dist.all_reduce(total)
        return total.sqrt()

    def _mean(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Tensor], list[Tensor]]:
        shapes: dict[str, torch.Size] = {}

        def one(part: Mapping[str, Array]) -> Tensor:
            with waiting():
                outputs, gradients = self._differentiate(part)
            own = [self._own(g) for g in gradients]
            told = {n: t.detach() for n, t in outputs.items() if t.ndim == 0 or n.startswith(STATE)}
            shapes.update({n: t.shape for n, t in told.items()})
            return torch.cat([t.reshape(-1).to(self.dtype) for t in (*own, *told.values())])

        vector = tree_sum(map(one, self.group.parts(self.module.programs["loss"], inputs)), Tensor.add_)
        weights = [self._own(w) for w in self.trained.values()]
        count = sum(w.numel() for w in weights)
        own = torch.split(vector[:count] / self.group.own, [w.numel() for w in weights])
        told = torch.split(mean(self.group, [vector[count:]]), [s.numel() for s in shapes.values()])
        scalars = {n: p.view(s) for (n, s), p in zip(shapes.items(), told, strict=True)}
        return scalars, [g.view_as(w) for g, w in zip(own, weights, strict=True)]


__all__ = ["ShardedSession", "shard"]
