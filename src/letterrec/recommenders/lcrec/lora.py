"""What is trained in a language model: LoRA and the rows of new tokens, and only that is kept."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from letterrec.errors import MissingExtra
from letterrec.training import distributed
from letterrec.training.devices import device

_CODE_SPREAD = 0.2  # of new rows, relative to the model's own


def attention_for_training(device: torch.device) -> AbstractContextManager[None]:
    """Plain attention on a CPU: PyTorch's fused one is slow there in the backward pass."""
    if device.type != "cpu":
        return nullcontext()
    return cast(AbstractContextManager[None], sdpa_kernel(SDPBackend.MATH))


def with_lora(network: Any, rank: int, alpha: int, dropout: float) -> Any:
    """The network with LoRA on all linear layers inside it, in float32.

    Raises:
        MissingExtra: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtra("peft", "llm") from None
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear")
    network = inject_adapter_in_model(config, network)
    for parameter in network.parameters():
        if parameter.requires_grad:  # what is trained needs the digits of float32
            parameter.data = parameter.data.float()
    return network


def shard_frozen(network: Any) -> None:
    """Spread a network's frozen weights over the processes that work together (FSDP).

    What is trained stays whole on every device, and so do the embedding and the output, which are
    read outside the layers: state and checkpoints are those of a single process. The network comes
    from the CPU; its layers move to the device one by one.
    """
    from torch.distributed.device_mesh import init_device_mesh  # a second of imports
    from torch.distributed.fsdp import fully_shard

    body = network.get_decoder()
    mesh = init_device_mesh(device().type, (distributed.count(),))
    whole = {p for p in body.parameters() if p.requires_grad}
    for layer in body.layers:
        fully_shard(layer, mesh=mesh, ignored_params=whole)
    whole |= set(network.get_input_embeddings().parameters())
    fully_shard(body, mesh=mesh, ignored_params=whole, reshard_after_forward=True)


def code_rows(n: int, like: Tensor, trained: bool) -> nn.Embedding:
    """float32 ``(n, d)`` rows near the mean of the model's own.

    Rows as far apart as those of words would begin with logits far worse than a uniform guess.
    """
    rows = nn.Embedding(n, like.shape[1], device=like.device)
    wide = like.detach().float()
    noise = torch.randn(n, like.shape[1]).to(like.device)
    rows.weight.data = wide.mean(0) + _CODE_SPREAD * wide.std(0) * noise
    return rows.requires_grad_(trained)


def keep_only_trained(module: nn.Module) -> None:
    """Leave what is not trained out of the state of a module, and miss none of it on loading."""
    module.register_state_dict_post_hook(_keep_trained)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_post_hook(_miss_only_trained)  # type: ignore[no-untyped-call]


def _trained(module: nn.Module) -> set[str]:
    return {n for n, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}


def _keep_trained(module: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Leave the model's own weights, which can be loaded elsewhere, out of the state."""
    kept = {prefix + name for name in _trained(module)}
    for name in [n for n in state if n.startswith(prefix) and n not in kept]:
        del state[name]


def _miss_only_trained(module: nn.Module, problems: Any) -> None:
    trained = _trained(module)
    problems.missing_keys[:] = [name for name in problems.missing_keys if name in trained]
