"""Where models are looked for when nobody names a repository."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_MANIFESTS = "*/*/manifest.json"


def default_repository() -> Path:
    """Return the model repository of callers that name none.

    Returns:
        `models` in the working directory where that holds a model, else the one that was installed with the package,
        else that of the checkout which the package runs from; `models` where there is none of them.
    """
    here = Path("models")
    places = (here, _PACKAGE / "models", _PACKAGE.parent / "models")
    return next((place for place in places if any(place.glob(_MANIFESTS))), here)
