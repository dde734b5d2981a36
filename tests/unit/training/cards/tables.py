"""Reading the tables of a card."""


def rows_under(card: str, heading: str) -> list[str]:
    """The rows of the first table under a heading."""
    table = card.partition(f"## {heading}\n")[2].partition("\n| ")[2].partition("\n\n")[0]
    return [line for line in table.splitlines() if line.startswith("| ")][1:]
