"""Names of TorchServe that this server does not have. Importing one fails with a sentence that says what to use
instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

# Modules of TorchServe with a handler -> what serves such a model here.
HANDLERS = {
    "densenet_handler": "it unpickles what clients send; image_classifier or base_handler serve such a model",
    "dali_handler": "image_classifier preprocesses on the GPU by itself",
    "dali_image_classifier": "image_classifier preprocesses on the GPU by itself",
}


def left_out(module: str, instead: str, *names: str) -> Callable[[str], NoReturn]:
    """Return the `__getattr__` of a module that lacks `names`.

    Importing one of them raises ImportError with the sentence `instead`. Any other name raises AttributeError, as in
    every module.
    """

    def getattribute(name: str) -> NoReturn:
        if name in names:
            raise ImportError(f"{module}.{name} is not part of this server: {instead}.", name=module)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return getattribute
