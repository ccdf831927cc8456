"""What is trained in a language model: LoRA adapters, and the embedding rows of new tokens.

The model's own weights stay frozen. They can be loaded again from where they came, so a saved
recommender leaves them out (`keep_only_trained`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from letterrec.errors import MissingExtra
from letterrec.training import distributed
from letterrec.training.devices import device

if TYPE_CHECKING:
    from letterrec.recommenders.lcrec.llm import CausalLM

_CODE_SPREAD = 0.2  # standard deviation of new rows, relative to that of the model's own


class _LoadedKeys(Protocol):
    """What PyTorch's hooks after loading get: the names that a state lacked."""

    missing_keys: list[str]


def attention_for_training(device: torch.device) -> AbstractContextManager[None]:
    """A context in which to train: on a CPU it turns off PyTorch's fused attention, whose backward
    pass is slow there.
    """
    if device.type != "cpu":
        return nullcontext()
    return cast(AbstractContextManager[None], sdpa_kernel(SDPBackend.MATH))


def with_lora(network: CausalLM, rank: int, alpha: int, dropout: float) -> CausalLM:
    """Add LoRA adapters to all linear layers of a network but its output layer.

    "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR'22), by the library peft.

    Args:
        network: changed in place; its weights should be frozen.
        rank: of the two factors of each adapter.
        alpha: an adapter's product is added ``alpha / rank`` times.
        dropout: of an adapter's input.

    Returns:
        The same network. The adapters are the parameters that train, in float32 whatever the
        precision of the network.

    Raises:
        MissingExtra: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtra("peft", "llm") from None
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear")
    inject_adapter_in_model(config, network)
    for parameter in network.parameters():
        if parameter.requires_grad:  # small updates would be lost in 16 bits
            parameter.data = parameter.data.float()
    return network


def shard_frozen(network: CausalLM) -> None:
    """Split the frozen weights of a network's layers over all training processes (PyTorch's FSDP).

    What is trained stays whole on every device, so that the state and checkpoints are those of a
    single process. The embedding and the output layer stay whole, too, since they are read outside
    the layers.

    Args:
        network: on the CPU; its layers are moved to the device one by one.
    """
    from torch.distributed.device_mesh import init_device_mesh  # a second of imports
    from torch.distributed.fsdp import fully_shard

    body = network.get_decoder()
    layers = cast(nn.ModuleList, body.layers)
    mesh = init_device_mesh(device().type, (distributed.count(),))
    whole = {p for p in body.parameters() if p.requires_grad}
    for layer in layers:
        fully_shard(layer, mesh=mesh, ignored_params=whole)
    whole |= set(network.get_input_embeddings().parameters())
    fully_shard(body, mesh=mesh, ignored_params=whole, reshard_after_forward=True)


def code_rows(n: int, like: Tensor, trained: bool) -> nn.Embedding:
    """Embedding rows for ``n`` new tokens, drawn around the mean of the model's own rows.

    They are drawn close together: rows as far apart as those of words would start training with a
    loss far above that of a uniform guess.

    Args:
        n: new tokens.
        like: float ``(n_own, d)``: the model's own rows.
        trained: whether the new rows get gradients.

    Returns:
        float32 ``(n, d)``, on the device of ``like``.
    """
    rows = nn.Embedding(n, like.shape[1], device=like.device)
    wide = like.detach().float()
    noise = torch.randn(n, like.shape[1]).to(like.device)
    rows.weight.data = wide.mean(0) + _CODE_SPREAD * wide.std(0) * noise
    return rows.requires_grad_(trained)


def keep_only_trained(module: nn.Module) -> None:
    """From now on, ``state_dict`` of this module holds the parameters that train and nothing else,
    and ``load_state_dict`` expects no more than these.
    """
    module.register_state_dict_post_hook(_keep_trained)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_post_hook(_miss_only_trained)  # type: ignore[no-untyped-call]


def _trained(module: nn.Module) -> set[str]:
    return {n for n, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}


def _keep_trained(
    module: nn.Module, state: dict[str, Tensor], prefix: str, _: Mapping[str, object]
) -> None:
    kept = {prefix + name for name in _trained(module)}
    for name in [n for n in state if n.startswith(prefix) and n not in kept]:
        del state[name]


def _miss_only_trained(module: nn.Module, keys: _LoadedKeys) -> None:
    trained = _trained(module)
    keys.missing_keys[:] = [name for name in keys.missing_keys if name in trained]
