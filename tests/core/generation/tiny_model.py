"""A language model of a few thousand random weights, with a tokenizer of bytes and a chat template, in a folder."""

from __future__ import annotations

from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)
# Told of its tools, it is to write calls as Hermes does.
TOOLS_TEMPLATE = (
    "{% for tool in tools or [] %}<tool_call>{{ tool.function.name }} arguments</tool_call>\n{% endfor %}" + TEMPLATE
)
CONTEXT = 256
END = 256


def save_tiny_model(folder: Path, template: str = TEMPLATE) -> None:
    """Save a model whose tokens 0 to 255 are the bytes, and whose 256 ends a text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)} | {"<end>": END}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=END + 1, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=CONTEXT, eos_token_id=END, bos_token_id=END, pad_token_id=END,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(6.0)  # so that the likeliest token is far ahead, whatever the order of sums
    model.save_pretrained(folder)
