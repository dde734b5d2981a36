"""Object stores that hold model repositories, through fsspec: `s3://bucket/prefix`, and every other kind it supports.

An object is written whole or not at all, and is visible as soon as it is written. There are no folders, and nothing can
be renamed. This is the only module that imports fsspec.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from poselift.errors import InvalidArtifact, UnreachableRepository

# The extra of this package that installs what an address scheme needs.
_EXTRAS = {"s3": "s3", "s3a": "s3"}


class ObjectStore:
    """All objects under one prefix.

    Credentials and endpoints come from the environment, as the store's own tools read them.
    """

    def __init__(self, url: str) -> None:
        """Prepare access to a prefix; nothing is sent yet.

        Raises:
            InvalidArtifact: the address scheme is unknown, or the package for it is not installed.
        """
        import fsspec

        self.url = url.rstrip("/")
        scheme = url.partition("://")[0]
        try:
            # Without a listings cache: others may have published since.
            self._files, root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            advice = f"install poselift[{_EXTRAS[scheme]}]" if scheme in _EXTRAS else str(error).rstrip(".")
            raise InvalidArtifact(f"The address {url} needs a package that is not there: {advice}.") from error
        except ValueError as error:
            raise InvalidArtifact(
                f"The address {url} cannot be used: {scheme}:// is no kind of store; name a folder, or an address "
                "such as s3://bucket/models."
            ) from error
        self._root = root.rstrip("/")

    def names(self) -> list[str]:
        """Names of all objects, relative to the prefix.

        Raises:
            UnreachableRepository: the store cannot be reached, or the prefix does not exist.
        """
        with self._translated():
            found: list[str] = self._files.find(self._root)
        return [name.removeprefix(f"{self._root}/") for name in found]

    def read(self, name: str, first: int = 0, end: int | None = None) -> bytes:
        """Read the content of an object.

        Args:
            first, end: the bytes to read; by default all.
        Raises:
            FileNotFoundError: there is no object of that name.
            UnreachableRepository: the store cannot be reached.
        """
        with self._translated(FileNotFoundError):
            content: bytes = self._files.cat_file(f"{self._root}/{name}", start=first or None, end=end)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write an object, replacing one of the same name.

        Raises:
            PermissionError: the credentials do not allow it.
            UnreachableRepository: the store cannot be reached.
        """
        with self._translated(PermissionError):
            self._files.pipe_file(f"{self._root}/{name}", content)

    def create(self, name: str, content: bytes) -> None:
        """Write an object of a new name; of several concurrent calls, exactly one succeeds.

        Raises:
            FileExistsError: there is an object of that name.
            PermissionError: the credentials do not allow it.
            UnreachableRepository: the store cannot be reached.
        """
        with self._translated(PermissionError, FileExistsError):
            self._files.pipe_file(f"{self._root}/{name}", content, mode="create")

    @contextmanager
    def _translated(self, *passed: type[OSError]) -> Iterator[None]:
        """Translate every error of the store's client into UnreachableRepository, except those that are passed on."""
        try:
            yield
        except passed as error:
            if isinstance(error, PermissionError):  # with the errno and the filename that an error of a folder has
                raise PermissionError(errno.EACCES, "the credentials do not allow to write there", self.url) from error
            raise
        # The clients of the stores have no class of errors in common.
        except Exception as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise UnreachableRepository(
                f"The model repository {self.url} cannot be reached: {reason}; check the address, the network "
                "and the credentials of its store."
            ) from error
