"""A fine-tuned language model as a folder that loads without LetterRec."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

import torch

from letterrec.identifiers.identifiers import code_token
from letterrec.recommenders.lcrec import llm


class FineTuned(Protocol):
    """What of `LcRec` becomes ordinary weights and tokens.

    Attributes:
        model: the name or folder of the language model.
        network: with LoRA on its linear layers.
        sizes: codes of each level.
        code_input: rows of the codes in the embedding; None where items are called by titles.
    """

    model: str
    network: torch.nn.Module
    sizes: tuple[int, ...]
    code_input: torch.nn.Embedding | None

    @property
    def output_rows(self) -> torch.Tensor:
        """Rows of the codes in the output."""


@torch.no_grad()
def export(recommender: FineTuned, folder: Path) -> None:
    """Write the merged model and its tokenizer, in the precision that the model is stored in.

    Args:
        recommender: trained.
        folder: new or empty.
    """
    network, tokenizer = merged(recommender)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def merged(recommender: FineTuned) -> tuple[Any, Any]:
    """The model with all that was trained in its own weights, float32, and its tokenizer."""
    from transformers import AddedToken

    base = llm.load(recommender.model, torch.float32)
    network, tokenizer = copy.deepcopy(base.network), copy.deepcopy(base.tokenizer)
    for name, layer in recommender.network.named_modules():
        if hasattr(layer, "get_delta_weight"):
            network.get_submodule(name).weight += layer.get_delta_weight("default").float()
    if recommender.code_input is None:  # titles: the model had all tokens before
        return network, tokenizer
    first = len(tokenizer)
    sizes = enumerate(recommender.sizes)
    tokens = [code_token(level, code) for level, size in sizes for code in range(size)]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens])
    n_rows = max(len(tokenizer), len(network.get_input_embeddings().weight))
    network.resize_token_embeddings(n_rows, mean_resizing=False)
    place = slice(first, first + len(tokens))
    network.get_input_embeddings().weight[place] = recommender.code_input.weight
    network.get_output_embeddings().weight[place] = recommender.output_rows
    return network, tokenizer
