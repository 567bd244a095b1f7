"""Words for people, as headlines and warnings have them."""


def counted(count: int, noun: str) -> str:
    """Return the count and the noun, in the plural unless it is one: `1 object`, `1,200 tiles`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}s"
