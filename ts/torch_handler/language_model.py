"""Re-exports LanguageModel under the path of a default handler: this server's own, unknown to TorchServe."""

from torchserve.core.handlers.language_model import LanguageModel

__all__ = ["LanguageModel"]
