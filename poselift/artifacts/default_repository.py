"""The model repository of callers that name none."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_MANIFESTS = "*/*/manifest.json"


def default_repository() -> Path:
    """Find the model repository of callers that name none.

    Returns:
        `models` in the working directory if that holds a model, else the repository that was installed with the
        package, else that of the checkout that the package runs from; `models` if none of them holds a model.
    """
    here = Path("models")
    candidates = (here, _PACKAGE / "models", _PACKAGE.parent / "models")
    return next((folder for folder in candidates if any(folder.glob(_MANIFESTS))), here)
