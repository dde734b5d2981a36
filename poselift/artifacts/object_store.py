"""Object stores that hold model repositories, by way of fsspec: `s3://bucket/prefix`, and every other kind it knows.

An object is written whole or not at all, and is seen as soon as it is written. There are no folders, and nothing can be
renamed. This is the only module that knows fsspec.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from poselift.errors import InvalidArtifact, UnreachableRepository

# Which of our extras brings the package that a kind of address needs.
_EXTRAS = {"s3": "s3", "s3a": "s3"}


class ObjectStore:
    """All objects whose names begin with one place.

    Credentials and endpoints come from the environment, as the store's own tools read them.
    """

    def __init__(self, url: str) -> None:
        """Nothing is sent yet.

        Raises:
            InvalidArtifact: this kind of address is not known, or the package for it is not installed.
        """
        import fsspec

        self.url = url.rstrip("/")
        kind = url.partition("://")[0]
        try:
            # Without a memory of what was there: others may have published since.
            self._files, root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            advice = f"install poselift[{_EXTRAS[kind]}]" if kind in _EXTRAS else str(error).rstrip(".")
            raise InvalidArtifact(f"The address {url} needs a package that is not there: {advice}.") from error
        except ValueError as error:
            raise InvalidArtifact(f"The address {url} cannot be used: {error}.") from error
        self._root = root.rstrip("/")

    def names(self) -> list[str]:
        """Names of all objects, counted from the place.

        Raises:
            UnreachableRepository: the store cannot be reached, or there is no such place in it.
        """
        with self._reached():
            found: list[str] = self._files.find(self._root)
        return [name.removeprefix(f"{self._root}/") for name in found]

    def read(self, name: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none of that name.
            UnreachableRepository: the store cannot be reached.
        """
        with self._reached(FileNotFoundError):
            content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write an object, over another one of that name.

        Raises:
            PermissionError: the credentials do not allow it.
            UnreachableRepository: the store cannot be reached.
        """
        with self._reached(PermissionError):
            self._files.pipe_file(f"{self._root}/{name}", content)

    def create(self, name: str, content: bytes) -> None:
        """Write an object of a new name; of several that try at once, one succeeds.

        Raises:
            FileExistsError: there is one of that name.
            PermissionError: the credentials do not allow it.
            UnreachableRepository: the store cannot be reached.
        """
        with self._reached(PermissionError, FileExistsError):
            self._files.pipe_file(f"{self._root}/{name}", content, mode="create")

    @contextmanager
    def _reached(self, *meant: type[OSError]) -> Iterator[None]:
        """Make one error of all that can go wrong on the way to the store, but for those that mean something else."""
        try:
            yield
        except meant as error:
            if isinstance(error, PermissionError):  # in the form that it has for a folder
                raise PermissionError(errno.EACCES, "the credentials do not allow to write there", self.url) from error
            raise
        # The clients of the stores have no class of errors in common.
        except Exception as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise UnreachableRepository(f"The model repository {self.url} cannot be reached: {reason}.") from error
