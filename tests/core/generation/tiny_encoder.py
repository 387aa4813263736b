"""An encoder of a few thousand random weights with a tokenizer of words, in a folder."""

from __future__ import annotations

from pathlib import Path

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d")
SIZE = 16  # numbers of a vector
CONTEXT = 12


def save_tiny_encoder(folder: Path) -> None:
    """Save a BERT model whose tokens are WORDS."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=SIZE, intermediate_size=SIZE, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=CONTEXT, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
