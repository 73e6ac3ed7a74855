"""LoRA adapters of PEFT on a transformers model: adding them, switching them off, saving and merging them.

The adapter is put into the model itself, which stays an ordinary transformers model. With the adapter it is
the policy; without it, it is the reference. There is no dropout, because the model that plays and the model
that learns must compute the same.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from siri.errors import ConfigError, MissingExtra
from siri.models.loading import as_config_errors, check_adapter

if TYPE_CHECKING:
    from siri.config import LoRAConfig

__all__ = [
    "LowRank",
    "adapted",
    "adapter_off",
    "adapter_weights",
    "add_lora",
    "has_adapter",
    "load_adapter",
    "low_rank",
    "merged",
    "require_peft",
    "require_plain",
    "save_adapter",
    "unwrapped",
]

_NAME = "default"


def require_peft() -> Any:
    """Import and return the package peft.

    Raises:
        MissingExtra: peft is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("peft", "lora") from error
    return peft


def has_adapter(model: Any) -> bool:
    """Whether ``model`` has an adapter of PEFT."""
    return bool(getattr(model, "peft_config", None))


def unwrapped(model: Any) -> Any:
    """The transformers model inside a ``PeftModel``, with its adapter; any other model unchanged.

    Raises:
        ConfigError: the adapter changes the prompt (prefix tuning and the like), not the weights.
    """
    if not hasattr(model, "get_base_model"):
        return model
    if any(config.is_prompt_learning for config in model.peft_config.values()):
        raise ConfigError("got a PEFT model that learns a prompt, expected an adapter of weights; fix: LoRA")
    inner = model.get_base_model()
    inner.peft_config = model.peft_config
    return inner


def load_adapter(model: Any, folder: Path) -> Any:
    """Load the adapter in ``folder`` onto its base ``model``, frozen.

    Raises:
        ConfigError: the adapter cannot be loaded, or its file does not have exactly its tensors.
    """
    peft = require_peft()
    with _quiet(), as_config_errors(folder):
        loaded = unwrapped(peft.PeftModel.from_pretrained(model, folder)).requires_grad_(False)
    name = next(iter(loaded.peft_config))
    weights = peft.get_peft_model_state_dict(loaded, adapter_name=name)
    check_adapter(folder, {f"base_model.model.{key}": tuple(value.shape) for key, value in weights.items()})
    return loaded


def adapter_weights(model: Any) -> dict[str, Tensor]:
    """The weights of ``model``'s adapter, under the names that PEFT uses in files."""
    peft = require_peft()
    found = peft.get_peft_model_state_dict(model, adapter_name=next(iter(model.peft_config)))
    # the prefix is that of PEFT's wrapper, which this model does not have
    return {f"base_model.model.{key}": value.detach() for key, value in found.items()}


def save_adapter(model: Any, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write the adapter of ``model`` in PEFT's format; its configuration names the base.

    ``weights``: those of ``adapter_weights``, gathered, where the model is sharded over processes.
    """
    settings = next(iter(model.peft_config.values()))
    base = str(model.name_or_path)
    # an absolute path stays valid wherever the adapter is loaded
    settings.base_model_name_or_path = os.path.abspath(base) if os.path.isdir(base) else base
    found = adapter_weights(model) if weights is None else weights
    folder.mkdir()
    whole = {key: value.cpu().contiguous() for key, value in found.items()}
    save_file(whole, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings.save_pretrained(folder)


def adapted(model: Any, lora: LoRAConfig, *, seed: int) -> bool:
    """Add the adapter that ``lora`` asks for, or none with rank 0; return whether ``model`` trains one.

    Raises:
        ConfigError: the model has an adapter, and ``lora`` asks for rank 0 or another adapter.
        MissingExtra: peft is not installed.
    """
    if lora.rank:
        add_lora(model, rank=lora.rank, alpha=lora.alpha, targets=lora.targets, seed=seed)
        return True
    if has_adapter(model):
        raise ConfigError(
            "got a policy with a LoRA adapter and lora.rank=0, expected the adapter's rank and alpha to "
            "train it further; fix: set lora.rank and lora.alpha"
        )
    return False


def add_lora(
    model: Any, *, rank: int, alpha: float, targets: Sequence[str] | None = None, seed: int = 0
) -> None:
    """Put a LoRA adapter on ``model`` and freeze the rest (Hu et al., 2021: W + alpha / rank · B A).

    B starts at 0, so the model computes the same as before. An existing adapter is trained further.

    Args:
        model: a transformers causal LM that knows the folder or name it came from.
        rank: rank of A and B.
        alpha: scale of their product, times ``rank``.
        targets: endings of the names of linear layers; None means all except the vocabulary head.
        seed: seed of A.

    Raises:
        MissingExtra: peft is not installed.
        ConfigError: the model has another adapter, no such layer, or no name to refer to.
    """
    peft = require_peft()
    if has_adapter(model):
        found = next(iter(model.peft_config.values()))
        if len(model.peft_config) > 1 or (found.r, found.lora_alpha) != (rank, alpha):
            raise ConfigError(
                f"got lora.rank={rank} and lora.alpha={alpha:g} for a policy with an adapter of rank "
                f"{found.r} and alpha {found.lora_alpha:g}, expected the same; fix: set them alike"
            )
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name)
        return
    if not getattr(model, "name_or_path", ""):
        raise ConfigError(
            "got a model without a name or folder, expected one that a saved adapter can refer to; "
            "fix: load it with from_pretrained, or set model.name_or_path"
        )
    settings = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules="all-linear" if targets is None else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        # what PEFT draws is drawn again below, from siri's own generator
        with _quiet(), torch.random.fork_rng(devices=[]):
            peft.inject_adapter_in_model(settings, model, _NAME)
    except ValueError as error:
        raise ConfigError(
            f"got lora.targets={None if targets is None else list(targets)} that the model refuses "
            f"({str(error).splitlines()[0]}), expected names of its linear layers; fix: lora.targets"
        ) from error
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            fresh = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator)
            _set(model, name, parameter, fresh)
        elif "lora_B" in name and parameter.is_meta:
            _set(model, name, parameter, torch.zeros(parameter.shape))


@dataclass(frozen=True, slots=True)
class LowRank:
    """The update that an adapter adds to one weight: scale · B A."""

    a: Tensor
    """[rank, in], possibly sharded over processes."""
    b: Tensor
    """[out, rank]."""
    scale: float
    transposed: bool
    """Whether the weight is [in, out], as in GPT-2."""


def low_rank(model: Any, name: str) -> LowRank | None:
    """The update that the adapter of ``model`` adds to the parameter ``name``; None where there is none.

    Raises:
        ConfigError: the update is not a plain product of two matrices (DoRA and the like).
    """
    layer_name, found, last = name.rpartition(".base_layer.")
    if not found or last != "weight":
        return None
    layer, adapter = model.get_submodule(layer_name), next(iter(model.peft_config))
    if adapter not in layer.lora_A or adapter in layer.lora_variant:
        raise ConfigError(
            f"got an adapter on {layer_name} that is not a plain LoRA, expected W + alpha / rank · B A, "
            "which an engine can be given; fix: HFPolicy, or another adapter"
        )
    a, b = layer.lora_A[adapter].weight.detach(), layer.lora_B[adapter].weight.detach()
    return LowRank(a, b, float(layer.scaling[adapter]), bool(layer.fan_in_fan_out))


def require_plain(model: Any) -> None:
    """Refuse an adapter of ``model`` that is more than W + scale · B A.

    Raises:
        ConfigError: it is (DoRA and the like).
    """
    for name, _ in model.named_parameters():
        low_rank(model, name)


def merged(base: Tensor, a: Tensor, b: Tensor, adapter: LowRank) -> Tensor:
    """Compute ``base`` + scale · B A in float32, with unsharded factors; ``base`` is not changed."""
    product = b.float() @ a.float()
    return base.float() + adapter.scale * (product.T if adapter.transposed else product)


def _set(model: Any, name: str, parameter: Tensor, value: Tensor) -> None:
    """Give a parameter its first value, and memory if it has none."""
    if not parameter.is_meta:
        with torch.no_grad():
            parameter.copy_(value)
        return
    owner, _, own = name.rpartition(".")
    setattr(model.get_submodule(owner), own, nn.Parameter(value, requires_grad=parameter.requires_grad))


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """Switch off the adapter of ``model`` in the body; only for passes without gradient."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    layers = _layers(model)
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(enabled=True)
        # PEFT changes these flags when it switches
        model.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence two warnings of PEFT: it reads attributes of transformers 5 by old names, and it reports that
    it detected GPT-2's transposed matrices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out", UserWarning)
        yield


def _layers(model: Any) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
