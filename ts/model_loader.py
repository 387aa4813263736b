"""Re-exports the names that scripts import from ts.model_loader."""

from torchserve.core.backend.model_loader import ModelLoader, ModelLoaderFactory
from torchserve.core.backend.model_loader import ModelLoader as TsModelLoader

__all__ = ["ModelLoader", "ModelLoaderFactory", "TsModelLoader"]
