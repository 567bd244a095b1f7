"""How a URL is shown that may hold a secret."""

import pytest

from broker.orders.fields import without_query


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/a/b.svs", "https://h.example/a/b.svs"),
        ("https://u:5ecret@h.example:8443/a", "https://h.example:8443/a"),
        ("https://h.example/a?X-Amz-Signature=5ecret#x", "https://h.example/a?…"),
        ("https://h.example/a;jsessionid=5ecret", "https://h.example/a;…"),
        ("https://h.example/a;JSESSIONID=5ecret/b.svs?x=1", "https://h.example/a;…/b.svs?…"),
        ("https://h.example/a;v=1;token=5ecret/b", "https://h.example/a;…/b"),
        ("https://h.example/a;b/c", "https://h.example/a;b/c"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_secret(url: str, shown: str) -> None:
    """Login, query, fragment, and parameters in the path, such as a session."""
    assert without_query(url) == shown
