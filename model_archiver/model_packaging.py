"""Re-exports names of torch-model-archiver. torchserve.cli.packaging implements them."""

from torchserve.cli.packaging import generate_model_archive, package_model

__all__ = ["generate_model_archive", "package_model"]

if __name__ == "__main__":
    generate_model_archive()
