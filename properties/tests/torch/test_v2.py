"""Swin V2 in swin_torch: laws, training, exports, ways; and that each check can fail."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import heavy
from swin_properties import check
from swin_reference.config_v2 import SwinV2Config
from swin_reference.parameters import hot_parameters
from swin_reference.parameters_v2 import initial_parameters_v2, parameter_v2_shapes
from swin_weights import Checkpoint, flatten
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import swin_torch
from swin_torch.attention import cosines
from swin_torch.backends.c import cosines as native
from swin_torch.blocks import cpu_inference_v2, cpu_training_v2, parts_v2, ways_v2
from swin_torch.blocks.calls import recorded
from swin_torch.geometry import functional_v2
from swin_torch.geometry.conventions import CANONICAL
from swin_torch.geometry.plan import make_plan

CONFIG = SwinV2Config(
    embed_dim=8, depths=(2, 1), num_heads=(2, 4), window_size=4, num_classes=3, image_size=32, patch_size=2
)


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


IMAGES, TOKENS = drawn(2, 3, 24, 20), drawn(2, 5, 6, 8)


def network(config: SwinV2Config = CONFIG, **options: Any) -> swin_torch.SwinV2Transformer:
    model = swin_torch.SwinV2Transformer(config, **options)
    hot = flatten(hot_parameters(parameter_v2_shapes(config)))
    model.load_state_dict({name: torch.from_numpy(x) for name, x in hot.items()})
    return model


def block(**options: Any) -> swin_torch.SwinV2Block:
    torch.manual_seed(0)
    made = swin_torch.SwinV2Block(8, 2, 4, 16, **options)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def logits(model: nn.Module, images: Tensor = IMAGES) -> Tensor:
    with torch.no_grad():
        return model(images)


# Laws.

FEW = "swin_v2_block/oracle,cosine_window_attention/zero-token"
MORE = (
    "swin_v2_block/gradient,swin_v2_patch_merging/norm-last,shifted_cosine_window_attention/opposed,continuous_position_bias_table/offsets,"
    "swin_v2_transformer/pretrained-window"
)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_laws_of_v2_hold(dtype: str, deep: bool) -> None:
    only = "*cosine*,*swin_v2*" if deep else f"{FEW},{MORE}" if dtype == "float32" else FEW
    report = check("swin_torch", dtype=dtype, effort="quick", only=only)
    assert report.exit_code == 0, report.of("broken")
    assert not report.of("not offered")


def test_laws_of_v2_hold_for_plain_operations(deep: bool) -> None:
    report = check("swin_torch:plain", effort="quick", only="*cosine*,*swin_v2*" if deep else FEW)
    assert report.exit_code == 0, report.of("broken")


def test_a_factor_that_is_not_clamped_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional_v2, "LARGEST_LOGIT_SCALE", 9.0)
    report = check(swin_torch.adapter, effort="quick", only="cosine_window_attention/clamp", shrink=0)
    assert report.exit_code == 1


@pytest.mark.parametrize("changed", ["offsets", "clamp"])
def test_what_a_convention_rounds_to_float32_is_seen_in_float64(changed: str) -> None:
    """Under official-v2 the laws hold; under what changes one of its two decisions they would not."""
    law = {
        "offsets": "continuous_position_bias_table/oracle",
        "clamp": "cosine_window_attention/clamp-value",
    }[changed]
    report = check("swin_torch", dtype="float64", effort="quick", only=law, convention="official-v2")
    assert report.exit_code == 0, report.of("broken")
    other = copy.copy(swin_torch.adapter).with_convention("official-v2")
    other.decided = replace(other.decided, **{changed: "exact"})
    other.with_convention = lambda _: other
    other.with_precision = lambda _: other
    other.precision = "float64"
    broken = check(other, dtype="float64", effort="quick", only=law, convention="official-v2", shrink=0)
    assert broken.exit_code == 1


def test_fast_ways_take_windows_decided_for_one_image_size() -> None:
    """Blocks built for 32x32 pixels are computed in C on a grid of 6x5 tokens and on halves of it."""
    config = replace(CONFIG, convention="transformers-v2", depths=(2, 2))
    model = network(config).eval()
    for recording in (False, True):
        with torch.set_grad_enabled(recording), recorded() as taken:
            model(IMAGES[:, :, :12, :10])
        ways = {one.way for one in taken if isinstance(one.module, swin_torch.SwinV2Block)}
        assert ways == {"C, with gradients" if recording else "C"}
    plain = network(config, ways="plain").eval()
    torch.testing.assert_close(logits(model), logits(plain))


def test_an_exported_network_keeps_the_windows_of_its_configuration() -> None:
    """Built for 8x8 pixels it drops its shift and shrinks a window, in a graph of dynamic sizes as well."""
    config = replace(CONFIG, image_size=8, convention="transformers-v2")
    model, images = network(config).eval(), drawn(1, 3, 48, 64)
    sides = {axis: 16 * torch.export.Dim(name, min=2, max=8) for axis, name in ((2, "rows"), (3, "columns"))}
    exported = torch.export.export(model, (images,), dynamic_shapes=(sides,))
    for other in (images, images[:, :, :32, :32]):
        with torch.no_grad():
            torch.testing.assert_close(exported.module()(other), model(other))
    shifted = network(replace(config, convention="transformers-v2,grid=run-time", image_size=(48, 64)))
    assert (logits(shifted, images) - logits(model, images)).abs().max() > 1e-3


def test_a_configuration_without_a_row_for_its_last_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="has a row under transformers-v2, got image_size=3 and stage 1"):
        swin_torch.SwinV2Transformer(replace(CONFIG, image_size=3, convention="transformers-v2"))


# C beside plain operations.


def check_against_plain(gradients: bool) -> None:
    """Holds a block in C, on a padded and shifted grid under drop path, against plain ones in float64."""
    made = block(pretrained_window_size=6)
    plain = block(pretrained_window_size=6, ways="plain").double()
    found = []
    for one, dtype in ((made, torch.float32), (plain, torch.float64)):
        with torch.set_grad_enabled(gradients):
            x = TOKENS.to(dtype, copy=True).requires_grad_(gradients)
            kept = tuple(torch.tensor(k, dtype=dtype, requires_grad=True) for k in ([0.5, 1], [1.5, 2]))
            with recorded() as taken:
                y = one(x, 2, kept if gradients else None)  # type: ignore[arg-type]
            if dtype == torch.float32:
                assert taken[0].way == ("C, with gradients" if gradients else "C")
            inputs = x, *kept, *one.parameters()
            cotangent = drawn(*y.shape, seed=3).to(dtype)
            found.append((y, *torch.autograd.grad(y, inputs, cotangent)) if gradients else (y,))
    for one_tensor, other in zip(*found, strict=True):
        torch.testing.assert_close(one_tensor, other.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("gradients", [False, True])
def test_a_block_in_c_is_the_plain_one(gradients: bool) -> None:
    check_against_plain(gradients)


def turn_queries_alone(qkv: Tensor, factors: Tensor, out: Tensor) -> Tensor:
    channels = qkv.shape[-1] // 3
    keys = qkv[..., channels : 2 * channels].clone()
    turn(qkv, factors, out)[..., channels : 2 * channels] = keys
    return out


def leave_gradients(d_out: Tensor, qkv: Tensor, factors: Tensor) -> Tensor:
    return turn_backward(d_out.clone(), qkv, factors)


turn, turn_backward, add_norm = native.turn, native.turn_backward, cpu_training_v2._add_norm

FAULTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "keys keep their length": (native, "turn", turn_queries_alone),
    "gradients of cosines are taken for those of q and k": (native, "turn_backward", leave_gradients),
    "the factor has no gradient": (
        native,
        "turn_backward",
        lambda d, qkv, factors: 0 * turn_backward(d, qkv, factors),
    ),
    "the sum is normed": (
        cpu_training_v2,
        "_add_norm",
        lambda x, branch, *of: add_norm(torch.zeros_like(x), branch + x, *of),
    ),
    "the norm's gradient passes by drop path": (
        cpu_training_v2,
        "_differentiate_norm",
        lambda *of: norm_backward(*of[:4], None, *of[5:]),
    ),
}
norm_backward = cpu_training_v2._differentiate_norm


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_c_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises(AssertionError, match="close"):
        check_against_plain(gradients=True)


# The network and its parameters.


def test_parameters_are_named_as_in_the_official_checkpoint() -> None:
    for name in ("swin_v2_t", "swin_v2_l"):
        with torch.device("meta"):
            model = getattr(swin_torch, name)()
        shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
        assert shapes == flatten(parameter_v2_shapes(model.config))


def test_training_starts_from_the_identity_in_every_block() -> None:
    model, wanted = swin_torch.SwinV2Transformer(CONFIG), flatten(initial_parameters_v2(CONFIG))
    for name, x in model.state_dict().items():
        if np.ptp(wanted[name]) == 0:  # a number that is not drawn
            torch.testing.assert_close(x, torch.from_numpy(wanted[name]).to(x), rtol=1e-7, atol=0)
        else:
            assert x.std() > 0, name
    first: Any = model.layers[0]
    tokens = drawn(1, 8, 8, 8)
    assert torch.equal(first.apply_blocks(tokens), tokens)


def official_state() -> dict[str, Tensor]:
    """Returns a state dict as the official code saves it: with buffers that sizes determine."""
    state = network().state_dict()
    for name in [name for name in state if name.endswith("logit_scale")]:
        prefix = name.removesuffix("logit_scale")
        offsets = swin_torch.functional_v2.log_spaced_offsets(4)
        state[f"{prefix}relative_coords_table"] = offsets.float().view(1, 7, 7, 2)
        state[f"{prefix}relative_position_index"] = swin_torch.relative_position_index(4)
    return state


def test_a_pretrained_window_of_one_token_is_refused_for_a_larger_window() -> None:
    assert functional_v2.log_spaced_offsets(1, 1).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match=r"got \(1, 3\) and window \(2, 3\): give the window"):
        functional_v2.log_spaced_offsets((2, 3), (1, 3))


def test_official_state_dicts_load_strictly_and_other_offsets_are_refused() -> None:
    model = swin_torch.SwinV2Transformer(CONFIG)
    model.load_state_dict(official_state())
    assert torch.equal(logits(model), logits(network()))
    state = official_state()
    key = "layers.1.blocks.0.attn.relative_coords_table"
    other = swin_torch.functional_v2.log_spaced_offsets(4, 6)
    state[key] = other.float().view(1, 7, 7, 2)
    with pytest.raises(ValueError, match=f"{key} holds others: give pretrained_window_sizes"):
        swin_torch.SwinV2Transformer(CONFIG).load_state_dict(state)


def test_a_checkpoint_in_another_window_keeps_its_weights_and_the_window_of_their_training() -> None:
    weights = {name: x.numpy() for name, x in network().state_dict().items()}
    model = swin_torch.from_checkpoint(Checkpoint(weights, CONFIG, "official"), window_size=8)
    assert model.config == replace(CONFIG, window_size=(8, 8), pretrained_window_sizes=(4, 4))
    assert all(np.array_equal(x, weights[name]) for name, x in model.state_dict().items())
    same = swin_torch.from_checkpoint(Checkpoint(weights, CONFIG, "official"))
    assert torch.equal(logits(same), logits(network()))
    assert not torch.equal(logits(model), logits(same))


def test_fast_and_plain_agree_and_gradients_reach_every_parameter() -> None:
    fast, plain = network(), network(ways="plain").double()
    torch.testing.assert_close(logits(fast), plain(IMAGES.double()).float())
    for model, images in ((fast, IMAGES), (plain, IMAGES.double())):
        model(images).square().sum().backward()
    for (name, one), other in zip(fast.named_parameters(), plain.parameters(), strict=True):
        assert one.grad is not None, name
        assert other.grad is not None, name
        largest = other.grad.abs().max()
        assert largest > 0, name
        assert (one.grad - other.grad).abs().max() < 1e-3 * largest, name


# Training.


def gradients_beside_zero_tokens(dtype: torch.dtype) -> list[Tensor]:
    """Returns the gradients of a block in training of which some tokens are zero, and q_bias too."""
    made = block().to(dtype)
    nn.init.zeros_(made.attn.q_bias)  # type: ignore[arg-type] -- as training starts
    x = TOKENS.clone()
    x[:, 1:3] = 0
    x = x.to(dtype, copy=True).requires_grad_()
    made(x, 2).sum().backward()
    return [x.grad, *(parameter.grad for parameter in made.parameters())]  # type: ignore[list-item]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_beside_zero_tokens_every_gradient_is_finite(dtype: torch.dtype) -> None:
    assert all(gradient.isfinite().all() for gradient in gradients_beside_zero_tokens(dtype))


def test_in_float16_a_zero_token_divided_by_its_length_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    find = functional_v2.find_inverse_lengths
    monkeypatch.setattr(functional_v2, "find_inverse_lengths", lambda qk, _: find(qk, torch.float32))
    assert not all(gradient.isfinite().all() for gradient in gradients_beside_zero_tokens(torch.float16))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_step_of_training_in_half_precision_is_finite(dtype: torch.dtype) -> None:
    model = network(drop_path_rate=0.2).to(dtype).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    for images in (torch.zeros(2, 3, 24, 20), IMAGES):
        optimiser.zero_grad()
        model(images.to(dtype)).float().square().mean().backward()
        optimiser.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("keeping", [None, "little", "halves"])
def test_what_is_computed_again_in_backward_is_the_same(keeping: str | None) -> None:
    found = []
    for made in (block(keeping=keeping), block(ways="plain")):
        x = TOKENS.clone().requires_grad_()
        again = checkpoint(made, x, 2, use_reentrant=False)
        found.append(torch.autograd.grad(again.square().sum(), (x, *made.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_gradients_of_bias_and_scale_are_the_same_on_every_run() -> None:
    made, x = block(), drawn(4, 16, 16, 8)
    wanted = made.attn.logit_scale, *made.attn.cpb_mlp.parameters()
    runs = [torch.autograd.grad(made(x, 2).square().sum(), wanted) for _ in range(4)]
    assert all(torch.equal(one, other) for run in runs for one, other in zip(run, runs[0], strict=True))


# The operator.


def operator_arguments(dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    shapes = (2, 3, 5, 18), (15, 2), (18,), (2,)
    return tuple(drawn(*shape, seed=n).to(dtype).requires_grad_() for n, shape in enumerate(shapes))


PLAN = make_plan((3, 5), (2, 3), (1, 1), 2, CANONICAL)


def test_gradients_of_the_operator_are_those_of_finite_differences() -> None:
    for padding in (True, False):
        qkv, bias, pad, factors = operator_arguments()
        given = (qkv, bias, pad, factors) if padding else (qkv, bias, factors)

        def run(*of: Tensor, padding: bool = padding) -> Tensor:
            return cosines.attend(*of[:2], of[2] if padding else None, of[-1], PLAN, -1.5)

        assert torch.autograd.gradcheck(run, given, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
def test_pytorch_finds_the_operators_well_made(dtype: torch.dtype) -> None:
    qkv, bias, pad, factors = operator_arguments(dtype)
    sizes = 2, [2, 3], [1, 1], [4, 6], False, -1.5
    own = torch.ops.swin_torch
    forward, backward = own.shifted_window_cosine_attention, own.shifted_window_cosine_attention_backward
    torch.library.opcheck(forward.default, (qkv, bias, pad, factors, *sizes))
    given = [x.detach() for x in (drawn(2, 3, 5, 6).to(dtype), qkv, bias, pad, factors)]
    torch.library.opcheck(backward.default, (*given, *sizes))


def test_bad_factors_are_refused_in_one_sentence() -> None:
    qkv, bias, pad, _ = operator_arguments()
    with pytest.raises(ValueError, match="a factor for each head on the device of qkv, got"):
        cosines.attend(qkv, bias, pad, torch.ones(3), PLAN, -1.5)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(("heads", "head_dim"), [(3, 32), (2, 5), (1, 17)])
def test_c_turns_and_differentiates_as_pytorch_does(heads: int, head_dim: int) -> None:
    qkv, gradient = drawn(2, 5, 7, 3 * heads * head_dim), drawn(2, 5, 7, 3 * heads * head_dim, seed=2)
    qkv[0, 0, 0] = 0
    factors = drawn(heads).exp()
    exact = qkv.double().requires_grad_(), factors.double().requires_grad_()
    expected = functional_v2.turn_to_cosines(*exact)
    of_qkv, of_factors = torch.autograd.grad(expected, exact, gradient.double())
    torch.testing.assert_close(cosines.turn(qkv, factors), expected.float())
    torch.testing.assert_close(cosines.turn(qkv, factors, qkv.clone()), expected.float())
    found = cosines.turn_backward(gradient.clone(), qkv, factors)
    torch.testing.assert_close(found, (of_qkv.float(), of_factors.float()), rtol=1e-4, atol=1e-5)
    found = cosines.turn_backward(gradient.double(), *(x.detach() for x in exact))
    torch.testing.assert_close(found, (of_qkv, of_factors))
    narrow, of_narrow = qkv.bfloat16(), gradient.bfloat16()
    wide = narrow.double(), of_narrow.double(), factors.double()
    assert native.takes(narrow, factors, of_narrow)
    expected = cosines.turn(wide[0], wide[2]).bfloat16()
    torch.testing.assert_close(cosines.turn(narrow, factors), expected)
    of_qkv, of_factors = cosines.turn_backward(of_narrow, narrow, factors)
    exact = cosines.turn_backward(wide[1], wide[0], wide[2])
    torch.testing.assert_close(
        (of_qkv, of_factors), (exact[0].bfloat16(), exact[1].float()), rtol=1e-2, atol=1e-3
    )


# What PyTorch's machinery asks.


def test_weights_that_change_in_any_way_are_seen() -> None:
    model = network().eval()
    plain = network(ways="plain").eval()
    attn: Any = model.layers[0].blocks[0].attn

    def swap() -> None:
        attn.cpb_mlp[2].weight = nn.Parameter(attn.cpb_mlp[2].weight * 2)

    changes: list[Callable[[], Any]] = [
        lambda: attn.cpb_mlp[0].weight.data.mul_(2),
        lambda: attn.cpb_mlp[2].weight.detach().neg_(),
        lambda: attn.cpb_mlp[0].bias.data.copy_(drawn(512)),
        swap,
        lambda: attn.logit_scale.data.sub_(1),
        lambda: attn.q_bias.data.add_(1),
    ]
    before = logits(model)
    assert torch.equal(logits(model), before)
    for change in changes:
        change()
        after = logits(model)
        assert not torch.equal(after, before)
        plain.load_state_dict(model.state_dict())
        torch.testing.assert_close(after, logits(plain))
        before = after


def test_a_table_kept_in_spite_of_its_weights_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_v2, "_equal", lambda *_: True)
    with pytest.raises(AssertionError):
        test_weights_that_change_in_any_way_are_seen()


def test_copies_and_pickles_compute_the_same_and_hold_no_table() -> None:
    model = network().eval()
    before = logits(model)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.layers[0].blocks[0].attn._kept is None
        assert torch.equal(logits(copied), before)


def test_a_changed_layer_of_the_bias_mlp_is_computed_as_it_is() -> None:
    made, x = block(), TOKENS
    with torch.no_grad():
        before = made(x, 2)
        made.attn.cpb_mlp[2].register_forward_hook(lambda *of: 0 * of[-1])
        with recorded() as taken:
            after = made(x, 2)
        assert (taken[0].way, taken[0].refused["C"]) == (
            "plain operations",
            "attn.cpb_mlp.2 has a forward hook",
        )
        nn.init.zeros_(made.attn.cpb_mlp[2].weight)  # type: ignore[arg-type]
        torch.testing.assert_close(after, block_without_hooks(made)(x, 2))
    assert not torch.equal(before, after)


def block_without_hooks(made: swin_torch.SwinV2Block) -> swin_torch.SwinV2Block:
    other = block()
    other.load_state_dict(made.state_dict())
    return other


def test_compiled_without_a_break() -> None:
    made, x = block(), TOKENS.clone().requires_grad_()
    compiled = torch.compile(made, backend="aot_eager", fullgraph=True)
    ours, theirs = compiled(x, 2), made(x, 2)
    torch.testing.assert_close(ours, theirs)
    pairs = (torch.autograd.grad(y.square().sum(), (x, *made.parameters())) for y in (ours, theirs))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    torch._dynamo.reset()


def test_exported_at_one_batch_it_is_right_at_another() -> None:
    model, plain = network().eval(), network(ways="plain").eval()
    dynamic = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    images = drawn(5, 3, 32, 32)
    exported = torch.export.export(model, (images[:2],), dynamic_shapes=dynamic)
    with torch.no_grad():
        assert torch.equal(exported.module()(images), plain(images))


@heavy
def test_exported_to_onnx_it_is_right_at_another_batch() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from tests.torch.test_onnx_export import answering, exporters_warnings_ignored

    model, images, file = network().eval(), drawn(5, 3, 32, 32), io.BytesIO()
    dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
    with exporters_warnings_ignored():
        program = torch.onnx.export(
            model, (images[:2],), input_names=["images"], dynamo=True, dynamic_shapes=dynamic, verbose=False
        )
        assert program is not None
        program.save(file)
    with torch.no_grad():
        torch.testing.assert_close(answering(file.getvalue())(images), model(images))


# Ways.


def explained(model: nn.Module, gradients: bool = False) -> dict[str, tuple[Any, ...]]:
    with torch.set_grad_enabled(gradients):
        return {name: (way, refused) for name, way, refused in swin_torch.explain(model, IMAGES)}


@pytest.mark.usefixtures("compiler")
def test_each_way_is_taken_and_says_why_the_ones_before_it_are_not() -> None:
    assert set(explained(network())) == {
        "layers.0.blocks.0",
        "layers.0.blocks.1",
        "layers.0.downsample",
        "layers.1.blocks.0",
    }
    assert all(found == ("C", {}) for found in explained(network()).values())
    way, refused = explained(network(), gradients=True)["layers.0.blocks.0"]
    assert (way, refused) == ("C, with gradients", {"C": "gradients are recorded"})
    for keeping, part in (("little", "the MLP"), ("halves", "halves")):
        way, refused = explained(network(keeping=keeping), gradients=True)["layers.0.blocks.0"]
        assert way == f"fused attention, {part} computed again in backward"
        assert refused["C, with gradients"] == f"training keeps {keeping!r}, not 'most'"
    with torch.autocast("cpu", torch.bfloat16):
        assert explained(network())["layers.0.blocks.0"][0] == "fused attention"
    assert explained(network(ways="plain"))["layers.0.downsample"][0] == "plain operations"
    model = network()
    attn: Any = model.layers[0].blocks[0].attn
    attn.logit_scale.data = attn.logit_scale.data.double()
    way, refused = explained(model)["layers.0.blocks.0"]
    assert way == "fused attention"
    assert refused["C"] == "logit_scale is torch.float64 on cpu, C reads float32 on a CPU"


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("logit_scale", (3, 1, 1), "cpb_mlp.2.weight"),
        ("q_bias", (4,), "q_bias"),
        ("cpb_mlp.0.weight", (512, 3), "cpb_mlp.0.weight"),
        ("qkv.weight", (12, 8), "qkv"),
    ],
)
def test_a_misshapen_parameter_is_named_and_left_to_pytorch(
    name: str, shape: tuple[int, ...], reason: str
) -> None:
    made = block()
    holder, _, own = name.rpartition(".")
    setattr(made.attn.get_submodule(holder), own, nn.Parameter(drawn(*shape)))
    with torch.no_grad(), pytest.raises((RuntimeError, ValueError)), recorded() as taken:
        made(TOKENS, 2)
    assert taken[0].way == "plain operations"
    assert f"the parameter {reason}" in taken[0].refused["C"]


def test_the_fast_ways_compute_what_the_slow_ones_do() -> None:
    made, x = block(), TOKENS
    with torch.no_grad():
        call = ways_v2.make_call(made, x, 2)
        exact = ways_v2.plain_block(made.double(), x.double(), 2, None, None).float()
        made.float()
        torch.testing.assert_close(ways_v2.compute_by_layers(call), exact)
        if call.of is not None and native.takes(x, parts_v2.find_parameters(made)[1]):
            of, factors = parts_v2.find_parameters(made)
            torch.testing.assert_close(
                cpu_inference_v2.forward(made, of, factors, x, call.plan), exact, rtol=1e-4, atol=1e-5
            )


INTERPRETED = """
import sys
from unittest.mock import patch
import torch
from swin_torch.attention import cosines
from swin_torch.backends import triton

def is_near(one, other):
    error = (one.double() - other).abs() / other.abs().clamp(min=1)
    return error.max() < 64 * torch.finfo(dtype).eps

dtype = getattr(torch, sys.argv[1])
for heads, head_dim, rows in ((3, 32, 70), (2, 5, 3)):
    draw = torch.Generator().manual_seed(rows)
    qkv, gradient = (torch.randn(rows, 3 * heads * head_dim, generator=draw).to(dtype) for _ in "12")
    qkv[0] = 0
    factors = torch.rand(heads, generator=draw) * 100
    assert triton.takes_cosines(qkv, factors, gradient)
    results = [triton.launch_turn(qkv, factors), *triton.launch_turn_backward(gradient, qkv, factors)]
    with patch.object(triton, "is_asked_for", lambda _: False):
        wide = qkv.double(), factors.double()
        exact = [cosines.turn(*wide), *cosines.turn_backward(gradient.double(), *wide)]
    if dtype == torch.float16:
        exact[1][0, : 2 * heads * head_dim] = 0  # of zero vectors
    assert all(map(is_near, results, exact))
    assert not is_near(results[0] * 1.5, exact[0]) and not is_near(gradient, exact[1])
"""

LAWS_INTERPRETED = """
import sys
import swin_properties.laws
from swin_properties.cases.case_v2 import GridV2Case
from swin_properties.judging.compare import evaluate
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws.law import LAWS
from swin_torch.backends.triton import cosines, launch

launched, run = set(), launch.run
def counted(kernel, *args, **kwargs):
    launched.add(kernel)
    run(kernel, *args, **kwargs)
launch.run = counted

case = GridV2Case.parse("window=3x2 grid=4x5 shift=1x1 heads=2 head_dim=3 batch=1")
for name in ("swin_v2_block/oracle", "shifted_cosine_window_attention/gradient"):
    outcome = evaluate(LAWS[name], load_implementation("swin_torch", sys.argv[1]), case)
    assert outcome.seen is None, outcome.seen
assert {cosines.turn, cosines.turn_backward} <= launched
"""


@pytest.mark.parametrize("script", [INTERPRETED, LAWS_INTERPRETED], ids=["kernels", "laws"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_the_kernels_of_triton_are_right_under_the_interpreter(
    precision: str, script: str, deep: bool
) -> None:
    if not deep and (precision != "float16" or script == LAWS_INTERPRETED):
        pytest.skip("the profile deep is not asked for: other precisions have the same kernels")
    pytest.importorskip("triton", reason="triton is not installed")
    run = subprocess.run(
        [sys.executable, "-c", script, precision],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
