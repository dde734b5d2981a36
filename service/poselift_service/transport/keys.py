"""API keys: who may ask, checked against hashes, so that whoever reads the file of keys cannot use them."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from poselift_service.errors import Unauthenticated

_PREFIX = "poselift_"  # programs that look for secrets in the wrong places know one by it
_KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class InvalidKeys(Exception):
    """The file of keys cannot be used; the message is one sentence, without anything from the file."""


@dataclass(frozen=True)
class StoredKey:
    """What is kept of a key: whose it is, and its hash.

    The hash is a plain SHA-256. Salt and a slow hash protect passwords, which can be guessed; a key is 256 random bits,
    which cannot, and a slow hash would let anybody keep the server busy with wrong keys.
    """

    name: str
    sha256: str

    @property
    def line(self) -> str:
        """As it stands in the file of keys."""
        return f"{self.name}:{self.sha256}"


class Keys:
    """The keys that a server accepts."""

    def __init__(self, stored: Iterable[StoredKey]) -> None:
        self._stored = tuple(stored)

    def name_of(self, authorization: str | None) -> str:
        """Whose key a request brings.

        Args:
            authorization: value of the header or the metadata of that name.
        Raises:
            Unauthenticated: it brings none, or one that is not known.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Unauthenticated("The request needs a key, as `Authorization: Bearer <key>`.")
        given = _hash(key.strip())
        # All of them, each in constant time, so that the time it takes says nothing about which comes close.
        matching = [stored.name for stored in self._stored if hmac.compare_digest(stored.sha256, given)]
        if not matching:
            raise Unauthenticated("Invalid API key.")
        return matching[0]


def new_key(name: str) -> tuple[str, StoredKey]:
    """A fresh key for somebody, to be handed over once, and what is to be stored of it.

    Raises:
        InvalidKeys: the name cannot stand in the file of keys.
    """
    if not _NAME.fullmatch(name):
        raise InvalidKeys("The name of a key has 1 to 64 letters, digits, dots, hyphens and underscores.")
    key = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    return key, StoredKey(name, _hash(key))


def only_key(name: str, key: str) -> Keys:
    """Somebody's key as the only one that is accepted."""
    return Keys([StoredKey(name, _hash(key))])


def read_keys(path: Path) -> Keys:
    """Read a file of keys: one `name:hash` per line; empty lines and those that start with # say nothing.

    Raises:
        InvalidKeys: it cannot be read, is no such file, or holds no key or two of the same name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidKeys(f"The file of keys {path} cannot be read: {reason}.") from None
    stored: dict[str, StoredKey] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, sha256 = line.strip().partition(":")
        if not _NAME.fullmatch(name) or not _SHA256.fullmatch(sha256):
            raise InvalidKeys(f"Line {number} of {path} is not `name:hash`; `poselift keys new NAME` makes one.")
        if name in stored:
            raise InvalidKeys(f"Line {number} of {path} has a name that was there before.")
        stored[name] = StoredKey(name, sha256)
    if not stored:
        raise InvalidKeys(f"There is no key in {path}; `poselift keys new NAME` makes one.")
    return Keys(stored.values())


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
