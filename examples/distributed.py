"""Compares the gradients of a Swin and a Swin V2 in several processes with the oracle's.

The processes are data parallel, or fully sharded.

torchrun --standalone --nproc-per-node 2 examples/distributed.py

Exit codes: 0 every gradient is right; 1 one is wrong; 2 bad input.  (torchrun returns 1 for both.)
"""

import os
import sys

import numpy as np
import torch
from swin_properties.adapters.arguments import list_arrays, list_parts
from swin_properties.budget.budget import NEAR, RHO_LIMIT
from swin_properties.budget.precision import PRECISIONS
from swin_properties.cases.case import NetCase
from swin_properties.cases.case_v2 import turn_into_v2
from swin_properties.judging.gradients import Slopes, compute_expected
from swin_properties.laws.law import Derivative
from swin_weights import flatten
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from swin_torch import SwinTransformer, SwinV2Transformer
from swin_torch.blocks.parts import KEEPING

BATCH = 8

CASE = NetCase(
    batch=BATCH,
    image=(6, 9),
    patch=(2, 2),
    window=(2, 2),
    depths=(2, 1),
    heads=(1, 2),
    embed_dim=4,
    position_embedding=1,
    classes=5,
)
"""A small network whose grid, 3x5, is padded and shifted; most of its parameters do not divide by two."""

VERSIONS = {
    "Swin": (CASE, SwinTransformer, "swin_transformer"),
    "Swin V2": (turn_into_v2(CASE), SwinV2Transformer, "swin_v2_transformer"),
}
"""For each version its case, its network, and the name of the oracle's."""


def build(version, keeping=None):
    """Returns the network of a version with the parameters of its case."""
    case, make, _ = VERSIONS[version]
    network = make(case.config, keeping=keeping)
    network.load_state_dict({name: torch.from_numpy(x) for name, x in flatten(case.network()).items()})
    return network


def make_data_parallel(network):
    """Returns the network for data parallel training: each process has all of it and a share of the batch."""
    return DistributedDataParallel(network)


def shard_fully(network):
    """Returns the network fully sharded: each process has a share of the batch and of every parameter.

    A block is gathered when it is called.  If a single layer is sharded, its block is right but is not fused.
    """
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    for stage in network.layers:
        for block in stage.blocks:
            fully_shard(block, mesh=mesh)
    return fully_shard(network, mesh=mesh)


WAYS = {"data parallel": make_data_parallel, "fully sharded": shard_fully}


def compute_gradients(network, images, cotangents):
    """Returns, for every cotangent (B, classes), the gradient of mean_b <u_b, logits_b> by each parameter."""
    found = []
    for u in cotangents:
        network.zero_grad()
        (network(images) * u).sum(1).mean().backward()
        of_parameters = {}
        for name, x in network.named_parameters():
            grad = torch.zeros_like(x) if x.grad is None else x.grad
            of_parameters[name.removeprefix("module.")] = gather(grad)
        found.append(of_parameters)
    return found


def gather(tensor):
    """Returns the whole of a tensor that may be sharded, as a float64 array."""
    return getattr(tensor, "full_tensor", tensor.clone)().double().numpy()


def ask_oracle(version, bound=False):
    """Returns the cotangents, and the oracle's slopes for each parameter with the budget of float32."""
    case, _, callable_name = VERSIONS[version]
    args = case.images(), case.network(), case.config
    parts = list_parts(list_arrays(callable_name, args))[:-1]
    names = tuple(name for name, _ in parts if name != "images")
    asked = Derivative(callable_name, args, only=names, directions=2)
    return compute_expected(asked, case, PRECISIONS["float32"], bound)


def compute_slopes(side, found):
    """Returns v.(J^T u) of one part for every direction and cotangent; ``found`` are gradients of means."""
    return BATCH * np.array(
        [[sum(np.vdot(v, g[name]) for name, v in way.items()) for g in found] for way in side.ways]
    )


def find_worst(found, single, sides):
    """Returns the largest rho against the oracle and against one process, each with the name of its part."""
    against_oracle = [
        Slopes(side.part, compute_slopes(side, found), side.scalars, side.beta) for side in sides
    ]
    against_one = [
        Slopes(side.part, compute_slopes(side, found), compute_slopes(side, single), side.beta)
        for side in sides
    ]
    return [max(slopes, key=lambda one: one.rho) for slopes in (against_oracle, against_one)]


def judge(version, found, single, sides):
    """Prints how far the gradients of a version are from the oracle's; returns the exit code."""
    exit_code = 0
    for way, of_way in found.items():
        by_oracle, by_one = find_worst(of_way, single, sides)
        if RHO_LIMIT < max(by_oracle.rho, by_one.rho) <= NEAR * RHO_LIMIT:  # more roundings decide
            by_oracle, by_one = find_worst(of_way, single, ask_oracle(version, bound=True)[1])
        holds = max(by_oracle.rho, by_one.rho) <= RHO_LIMIT
        print(
            f"{version}, {way}: {'within' if holds else 'beyond'} the budget, {len(sides)} parts; worst rho "
            f"{by_oracle.rho:.3g} against the oracle ({by_oracle.part}), "
            f"{by_one.rho:.3g} against one process ({by_one.part})"
        )
        exit_code = exit_code if holds else 1
    return exit_code


def compare(version, processes, rank):
    """Computes and judges the gradients of a version; the exit code of all but the first process is 0."""
    cotangents, sides = ask_oracle(version) if rank == 0 else (None, None)
    shared = [cotangents]
    distributed.broadcast_object_list(shared)
    images, u = (torch.from_numpy(x).float() for x in (VERSIONS[version][0].images(), shared[0]))
    share = slice(rank * BATCH // processes, (rank + 1) * BATCH // processes)
    found = {
        f"{way}, keeping {keeping}": compute_gradients(
            wrap(build(version, keeping)), images[share], u[:, share]
        )
        for way, wrap in WAYS.items()
        for keeping in KEEPING
    }
    if rank:
        return 0
    return judge(version, found, compute_gradients(build(version), images, u), sides)


def main():
    """Runs in each process; the first one judges."""
    processes, rank = int(os.environ.get("WORLD_SIZE", 0)), int(os.environ.get("RANK", 0))
    if not processes or BATCH % processes:
        print(
            f"distributed: a batch of {BATCH} is shared evenly by the processes of torchrun, got "
            f"{processes} processes: torchrun --standalone --nproc-per-node 2 {sys.argv[0]}",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    try:
        return max([compare(version, processes, rank) for version in VERSIONS])
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
