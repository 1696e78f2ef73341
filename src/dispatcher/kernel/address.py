"""The one reading of a URL that is posted to: what the live config accepts is what the webhook channel can use."""

from pydantic_core import Url, ValidationError


def parsed_url(text: str) -> Url:
    """The URL as browsers read it: host in ASCII, path and query percent-encoded.

    Raises:
        ValueError: The text is none. Its message says why, and repeats nothing of the text.
    """
    try:
        return Url(text)
    except ValidationError as error:
        context = error.errors()[0].get("ctx", {})
        # Not chained: the original quotes the text, which may hold a password.
        raise ValueError(str(context.get("error", "not valid"))) from None


def origin_ascii(url: Url) -> str:
    """Scheme, host and port, the port only where it is not the scheme's own: like `https://example.com:8443`."""
    own = {"http": 80, "https": 443}.get(url.scheme)
    port = "" if url.port in (None, own) else f":{url.port}"
    return f"{url.scheme}://{url.host}{port}"
