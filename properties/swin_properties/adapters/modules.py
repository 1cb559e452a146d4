"""A torch module as `locate` asks it: hooks record what its blocks are given and what they give."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from swin_weights import RECOMPUTED
from swin_weights.layout_names import names_in
from swin_weights.layouts import official_name, rename_weights, restore_names
from swin_weights.recognise import recognise_layout
from swin_weights.wrappers import find_swin
from torch import Tensor, nn

from swin_properties.adapters.answers import read_reason
from swin_properties.adapters.digests import digest
from swin_properties.adapters.torch import PRECISIONS, TorchAdapter, forbid_tf32

MASKS = ("mask", "attention_mask", "attn_mask")
"""What an attention calls its mask, where it is given by name."""


class RecordedModule(TorchAdapter):
    """A network that is an nn.Module, with the names of one of the layouts of `swin_weights`.

    Which modules are its blocks, their norms and their attention follows from the names of its weights.

    Errors: ``ValueError`` in one sentence for a module with other names, or of several precisions.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        """``name`` is what reports call it."""
        types = {x.dtype for x in module.parameters() if x.is_floating_point()}
        known = [precision for precision, dtype in PRECISIONS.items() if {dtype} == types]
        if not known:
            found = ", ".join(sorted(str(one) for one in types)) or "no parameters"
            raise ValueError(
                f"a module is in one of {', '.join(PRECISIONS)}, {name} has {found}: convert it by .to()"
            )
        super().__init__(known[0], next(module.parameters()).device.type)
        self.module = module.eval()
        self.name = name
        try:
            self.found = find_swin(self._read_state(), name)
            self.layout = recognise_layout(self.found.weights)
            self.names = names_in(self.layout, self.found.weights)
            self.weights = self._read_weights()
        except ValueError as error:
            raise ValueError(
                f"a module names its weights as a public Swin does, {name} does not: {error}"
            ) from None
        own = getattr(module, "convention", None)
        self.convention = str(getattr(own, "name", own or self.layout))

    def record(self, images: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Runs the module on images, without hooks and with them, and returns what it computed.

        The maps are named as in `swin_properties.locate.compare`; ``digest.`` and a weight's name is a digest
        of the weight.  ``weights``, by official names, are loaded first, if any.

        Errors: ``ValueError`` in one sentence for weights that do not fit, or a run that fails or gives what
        no Swin gives.
        """
        self.module.to(self.device, PRECISIONS[self.precision])
        forbid_tf32(self.device)
        if weights:
            self._load(weights)
        given = self._tensor(images)
        with torch.no_grad():
            plain = _find_logits(self._call(given))
            with self._hooked() as recorded:
                hooked = _find_logits(self._call(given))
        maps = {key: self._arrays(x) for key, x in recorded.items()}
        if plain is not None and hooked is not None:
            maps |= {"logits": self._arrays(plain), "head.out": self._arrays(hooked)}
        return maps | self._make_digests()

    def _call(self, images: Tensor) -> Any:
        try:
            return self.module(images)
        except (Exception, SystemExit) as error:
            raise ValueError(
                f"a module takes images, {self.name} raised {type(error).__name__}: {read_reason(error)}"
            ) from None

    def _load(self, weights: Mapping[str, Any]) -> None:
        parameters = dict(self.module.named_parameters())
        held = {
            key: parameters.pop(own)
            for key in self.found.weights
            if (own := self.found.place(key)) in parameters
        }
        embedding = held.get("absolute_pos_embed")
        grid = tuple(embedding.shape[2:]) if embedding is not None and embedding.ndim == 4 else None
        tensors = {key: self._tensor(x) for key, x in weights.items()}
        given = rename_weights(tensors, self.names, self.layout, grid)  # type: ignore[arg-type]
        norms = (key for key in held if _is_output_norm(official_name(key, self.names) or ""))
        given |= {key: held[key] for key in norms}
        self.holding(self.module, {self.found.place(key): x for key, x in given.items()} | parameters)
        self.weights = self._read_weights()

    def _read_state(self) -> dict[str, Any]:
        return {key: _as_array(x) for key, x in self.module.state_dict().items()}

    def _read_weights(self) -> dict[str, Any]:
        """Returns the weights by their official names, without what sizes alone determine."""
        state = self._read_state()
        flat = {key: state[self.found.place(key)] for key in self.found.weights}
        parameters = {key: x for key, x in flat.items() if key.split(".")[-1] not in RECOMPUTED}
        official = restore_names(parameters, self.names, self.layout)
        return {key: x for key, x in official.items() if not _is_output_norm(key)}

    def _make_digests(self) -> dict[str, Any]:
        """Returns a digest of each weight, as the module holds it in its precision."""
        rounded = {key: self._arrays(self._tensor(x)) for key, x in self.weights.items()}
        return {f"digest.{key}": digest(x) for key, x in rounded.items()}

    @contextmanager
    def _hooked(self) -> Iterator[dict[str, Tensor]]:
        """Meanwhile every block, its norms and its attention record what they are given and give."""
        recorded: dict[str, Tensor] = {}
        handles = []
        try:
            for official, parts in self._find_blocks().items():
                for part, module in parts.items():
                    before, after = (
                        partial(record, recorded, f"{official}{part}")
                        for record in (_record_input, _record_output)
                    )
                    handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                    handles.append(module.register_forward_hook(after))
            yield recorded
        finally:
            for handle in handles:
                handle.remove()

    def _find_blocks(self) -> dict[str, dict[str, nn.Module]]:
        """Returns the modules of each block by its official name: itself, ".norm1", ".norm2", ".attn"."""
        blocks = sorted({key.partition(".norm1.")[0] for key in self.weights if ".norm1." in key})
        found: dict[str, dict[str, nn.Module]] = {}
        for official in blocks:
            leaves = {
                part: next(iter(rename_weights({f"{official}.{name}.weight": 0}, self.names, self.layout)))
                for part, name in ((".norm1", "norm1"), (".norm2", "norm2"), (".attn", "attn.proj"))
            }
            paths = {part: self.found.place(leaf).removesuffix(".weight") for part, leaf in leaves.items()}
            paths[""] = paths[".norm1"].rpartition(".")[0]
            inside = paths[""].count(".") + (3 if ".w_msa." in paths[".attn"] else 2)  # what is given windows
            paths[".attn"] = ".".join(paths[".attn"].split(".")[:inside])
            found[official] = {part: self.module.get_submodule(path) for part, path in paths.items()}
        return found


def find_module(found: Any, name: str) -> RecordedModule | None:
    """Returns the network that an object is, or makes when it is called without arguments; else None.

    Errors: ``ValueError`` as for `RecordedModule`, and for a call that raises.

    >>> find_module(3, "three") is None
    True
    """
    if isinstance(found, nn.Module):
        return RecordedModule(found, name)
    is_class = inspect.isclass(found) and issubclass(found, nn.Module)
    if not is_class and not inspect.isfunction(found) and not isinstance(found, partial):
        return None
    try:
        inspect.signature(found).bind()
        made = found()
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"a factory makes a module without arguments, {name} raised {type(error).__name__}: "
            f"{read_reason(error)}: give a function that takes none"
        ) from None
    return RecordedModule(made, name) if isinstance(made, nn.Module) else None


def _as_array(x: Tensor) -> Any:
    wide = x.double() if x.dtype == torch.float64 else x.float() if x.is_floating_point() else x
    return wide.detach().cpu().numpy()


def _is_output_norm(name: str) -> bool:
    first = name.partition(".")[0]
    return first.startswith("norm") and first != "norm"


def _record_input(
    recorded: dict[str, Tensor], name: str, _: nn.Module, args: Any, kwargs: Mapping[str, Any]
) -> None:
    """Keeps a copy of what a module is given: the first tensor, and the mask of an attention in windows."""
    tensors = [x for x in args if isinstance(x, Tensor)] or [
        x for x in kwargs.values() if isinstance(x, Tensor)
    ]
    if not tensors:
        return
    if f"{name}.in" in recorded:
        raise ValueError(f"each block runs once, {name} runs twice")
    given = tensors[0]
    recorded[f"{name}.in"] = given.detach().clone()
    if name.endswith(".attn") and given.ndim == 3:
        named = [kwargs[key] for key in MASKS if isinstance(kwargs.get(key), Tensor)]
        masks = [*tensors[1:], *named, given.new_zeros(1, given.shape[1], given.shape[1])]
        recorded[f"{name}.mask"] = masks[0].detach().clone()


def _record_output(recorded: dict[str, Tensor], name: str, _: nn.Module, __: Any, output: Any) -> None:
    """Keeps a copy of what a module gives: a tensor, or the first one of several."""
    several = output if isinstance(output, (tuple, list)) else (output,)
    gave = next((x for x in several if isinstance(x, Tensor)), None)
    if gave is not None:
        recorded[f"{name}.out"] = gave.detach().clone()


def _find_logits(output: Any) -> Tensor | None:
    """Returns the logits in what a network gives: a tensor (B, classes), or its ``logits``; else None."""
    found = getattr(output, "logits", output)
    return found if isinstance(found, Tensor) and found.ndim == 2 else None
