"""Write a fine-tuned language model as an ordinary Hugging Face folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from letterrec.identifiers.identifiers import code_token
from letterrec.recommenders.lcrec import llm
from letterrec.recommenders.lcrec.network import Network

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@torch.no_grad()
def export(trained: Network, folder: Path) -> None:
    """Write the merged model, in float32, and its tokenizer.

    Args:
        trained: what was trained.
        folder: a new or empty folder.
    """
    network, tokenizer = merged(trained)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def merged(trained: Network) -> tuple[llm.CausalLM, PreTrainedTokenizerBase]:
    """Add what was trained to a copy of the language model's own weights.

    Returns:
        The network in float32: LoRA added to its linear layers, the codes' rows appended to its
        embedding and output layer. And the tokenizer, which knows the codes as tokens (``<a_12>``).
    """
    from peft.tuners import lora
    from transformers import AddedToken

    base = llm.load(trained.model, torch.float32)
    network, tokenizer = copy.deepcopy(base.network), copy.deepcopy(base.tokenizer)
    for name, layer in trained.network.named_modules():
        if isinstance(layer, lora.Linear):
            delta = layer.get_delta_weight("default").float()
            network.get_parameter(f"{name}.weight").add_(delta)
    if trained.code_input is None:  # titles are spelled in tokens that the model has
        return network, tokenizer
    first = len(tokenizer)
    sizes = enumerate(trained.sizes)
    tokens = [code_token(level, code) for level, size in sizes for code in range(size)]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens])
    n_rows = max(len(tokenizer), len(network.get_input_embeddings().weight))
    network.resize_token_embeddings(n_rows, mean_resizing=False)
    place = slice(first, first + len(tokens))
    network.get_input_embeddings().weight[place] = trained.code_input.weight
    network.get_output_embeddings().weight[place] = trained.output_rows
    return network, tokenizer
