"""A trained `tiger` as an ordinary Hugging Face folder: a T5 and a tokenizer of its codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from letterrec.identifiers.identifiers import END_TOKEN, PAD_TOKEN

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

_CODE = r"<[^<>]+>"


def write_t5(network: T5ForConditionalGeneration, vocabulary: list[str], folder: Path) -> None:
    """Write a network and the tokenizer of its tokens.

    The tokenizer reads codes as they are spelled, such as ``<a_1><b_7><a_3><b_2>``, with or without
    spaces, and ends what it reads with the token that ends a history.

    Args:
        network: from `Network.to_transformers`.
        vocabulary: the name of each token, from `Identifiers.vocabulary`.
        folder: new or empty.
    """
    from transformers import PreTrainedTokenizerFast

    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    pad, end = vocabulary[PAD_TOKEN], vocabulary[END_TOKEN]
    words = {name: token for token, name in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=pad))
    codes_alone = pre_tokenizers.Split(Regex(_CODE), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = codes_alone
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, END_TOKEN)]
    )
    network.save_pretrained(folder)
    kept = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=pad, eos_token=end, unk_token=pad
    )
    kept.save_pretrained(folder)
