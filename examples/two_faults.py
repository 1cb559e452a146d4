"""A network with two faults, for `swin-oracle locate`: an eps in block 3, and the bias table of block 9.

Its weights are those that the command draws for examples/small.json where it is given no checkpoint.
"""

from pathlib import Path

import torch
from swin_reference import hot_parameters, load_config, parameter_shapes
from swin_weights import flatten

from swin_torch import SwinTransformer


def make():
    """Returns the network: a factory without arguments, as `locate` takes it."""
    config = load_config(str(Path(__file__).with_name("small.json")))
    network = SwinTransformer(config)
    weights = flatten(hot_parameters(parameter_shapes(config), seed=0))
    network.load_state_dict({name: torch.from_numpy(x) for name, x in weights.items()})

    network.layers[1].blocks[1].norm2.eps = 1e-3  # it should be 1e-5
    table = network.layers[2].blocks[5].attn.relative_position_bias_table
    with torch.no_grad():
        table.copy_(table.roll(1, 0))  # each offset gets the bias of the one before
    return network
