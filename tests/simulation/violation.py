"""What a schedule raises when a promise was broken."""


class Violation(AssertionError):
    """The code under test has broken a promise."""


def require(holds: object, broken: str, *details: object) -> None:
    """Raise Violation unless a promise holds; the details are only written down then."""
    if not holds:
        raise Violation(f"{broken}: {', '.join(map(repr, details))}" if details else broken)
