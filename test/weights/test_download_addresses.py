"""Which addresses are downloaded from at all."""

from __future__ import annotations

import pytest
from expectations import one_sentence
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.weights.download import MirrorError, check_url


@pytest.mark.parametrize(
    "url", ["https://a.org/b?c=d", "https://a.org:8443/", "http://127.0.0.1:8000/x", "http://[::1]/"]
)
def test_addresses_that_are_taken(url: str) -> None:
    check_url(url)
    if url.startswith("http:"):
        with pytest.raises(MirrorError):
            check_url(url, loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/x", "file:///etc/passwd", "ftp://a/b", "x", "", "https://", "https://a b/", "http://[/"),
        *("https://ü/", "https://a:b/", "https://a:65536/", "http://127.0.0.1@a.org/", "http://localhost.a.org/"),
        *("https://a/\n", "HTTPS:///a", "https:a"),
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(MirrorError) as caught:
        check_url(url)
    one_sentence(caught.value)


@given(st.text() | st.text("https:/[]@.?#%\\1a \0\x1b").map("https://".__add__))
def test_any_text_is_an_address_or_refused_in_a_sentence(url: str) -> None:
    try:
        check_url(url)
    except MirrorError as error:
        one_sentence(error)
    else:
        assert url.lower().startswith("https://")
        assert url.isprintable()
