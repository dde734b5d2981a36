"""API keys. Only hashes are stored, so the file of keys does not give access to those who read it."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from poselift_service.errors import Unauthenticated

_PREFIX = "poselift_"  # lets secret scanners recognise a key
_KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class InvalidKeys(Exception):
    """The file of keys cannot be used; the message is one sentence, without anything from the file."""


@dataclass(frozen=True)
class StoredKey:
    """The name and the hash of a key.

    The hash is a plain SHA-256. Salt and a slow hash protect passwords, which can be guessed; a key of 256 random bits
    cannot, and a slow hash would let anybody keep the server busy with wrong keys.
    """

    name: str
    sha256: str

    @property
    def line(self) -> str:
        """Its line in the file of keys."""
        return f"{self.name}:{self.sha256}"


class Keys:
    """The keys that a server accepts."""

    def __init__(self, stored: Iterable[StoredKey]) -> None:
        self._stored = tuple(stored)

    def name_of(self, authorization: str | None) -> str:
        """Authenticate a request: the name of its key.

        Args:
            authorization: value of the header or the metadata of that name.
        Raises:
            Unauthenticated: it has no key, or an unknown one.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Unauthenticated("The request needs a key, as `Authorization: Bearer <key>`.")
        given = _hash(key.strip())
        # All keys, each in constant time, so that the time reveals nothing about them.
        matching = [stored.name for stored in self._stored if hmac.compare_digest(stored.sha256, given)]
        if not matching:
            raise Unauthenticated("Invalid API key.")
        return matching[0]


def new_key(name: str) -> tuple[str, StoredKey]:
    """Generate a key: the secret for its owner, and what is stored of it.

    Raises:
        InvalidKeys: the name is not allowed in the file of keys.
    """
    if not _NAME.fullmatch(name):
        raise InvalidKeys("The name of a key has 1 to 64 letters, digits, dots, hyphens and underscores.")
    key = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    return key, StoredKey(name, _hash(key))


def only_key(name: str, key: str) -> Keys:
    """Accept a single key."""
    return Keys([StoredKey(name, _hash(key))])


def read_keys(path: Path) -> Keys:
    """Read a file of keys: one `name:hash` per line; empty lines and lines that start with # are skipped.

    Raises:
        InvalidKeys: the file cannot be read, has another format, or has no key or two of the same name.
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
            raise InvalidKeys(f"Line {number} of {path} has a name that is already used above.")
        stored[name] = StoredKey(name, sha256)
    if not stored:
        raise InvalidKeys(f"There is no key in {path}; `poselift keys new NAME` makes one.")
    return Keys(stored.values())


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
