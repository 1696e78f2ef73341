"""Tokens: which are taken, by a shared secret and by published keys that come, go and cannot be had."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from structlog.testing import capture_logs
from tests.integration.chatting import SECRET, token

from dispatcher.chat import jwks
from dispatcher.chat.jwks import PublishedKeys
from dispatcher.chat.token import LEEWAY_SECONDS, MAX_TOKEN, SharedSecret, Tokens
from dispatcher.kernel.errors import UnauthenticatedError, UnavailableError

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
OTHER = rsa.generate_private_key(65537, 2048)
END = 2**33
PUBLIC_PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def published(**keys: Any) -> bytes:
    makers = {"RSAPublicKey": RSAAlgorithm, "ECPublicKey": ECAlgorithm, "Ed25519PublicKey": OKPAlgorithm}
    listed = []
    for kid, key in keys.items():
        public = key.public_key()
        maker = next(made for name, made in makers.items() if name in type(public).__name__)
        listed.append(orjson.loads(maker.to_jwk(public)) | {"kid": kid, "use": "sig"})  # type: ignore[attr-defined]
    return orjson.dumps({"keys": listed})


def signed(key: Any, algorithm: str, kid: str | None, **claims: object) -> str:
    headers = {"kid": kid} if kid else None
    return jwt.encode({"sub": "alice", "exp": END, **claims}, key, algorithm, headers=headers)


@dataclass
class Issuer:
    body: bytes
    port: int = 0
    asked: int = 0
    status: str = "200 OK"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(
            f"HTTP/1.1 {self.status}\r\nconnection: close\r\ncontent-length: {len(self.body)}\r\n\r\n".encode()
        )
        writer.write(self.body)
        writer.close()


@asynccontextmanager
async def issuing(body: bytes) -> AsyncIterator[Issuer]:
    issuer = Issuer(body)
    async with await asyncio.start_server(issuer.answer, "127.0.0.1", 0) as server:
        issuer.port = server.sockets[0].getsockname()[1]
        yield issuer


async def test_a_shared_secret() -> None:
    tokens = Tokens(SharedSecret(SECRET))
    assert (await tokens.identity(token("alice"))).user_id == "alice"
    assert (await tokens.identity(token("alice", seconds=-LEEWAY_SECONDS + 5))).user_id == "alice"
    assert (await tokens.identity(jwt.encode({"sub": "a", "exp": 10**30}, SECRET))).expires_at.year == 9999


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "no JWT"),
        ("a.b.c", "no JWT"),
        ("x" * (MAX_TOKEN + 1), "too long"),
        (token("alice", seconds=-LEEWAY_SECONDS - 5), "over"),
        (token("alice", nbf=END), "begins later"),
        (token("alice", secret="one that is not ours, and long enough"), "signature"),
        (token("alice", aud="another service"), "APP_TOKEN_AUDIENCE"),
        (token("alice", aud=["another service", "a third"]), "APP_TOKEN_AUDIENCE"),
        (token(7), "not good"),
        (token(""), "sub"),
        (token("no spaces"), "sub"),
        (token("x" * 65), "sub"),
        (jwt.encode({"exp": END}, SECRET), "no sub"),
        (jwt.encode({"sub": "alice"}, SECRET), "no exp"),
        (jwt.encode({"sub": "alice", "exp": "soon"}, SECRET), "not good"),
        (jwt.encode({"sub": "alice", "exp": END}, SECRET * 2, "HS512"), "not good"),
        (jwt.encode({"sub": "alice", "exp": END}, "", "none"), "not good"),
        (token("alice")[:-3] + "AAA", "not good"),
    ],
)
async def test_refused_tokens(given: str, why: str) -> None:
    with capture_logs() as logs, pytest.raises(UnauthenticatedError, match=why) as caught:
        await Tokens(SharedSecret(SECRET)).identity(given)
    assert not given or given not in caught.value.detail
    assert logs == []


async def test_audience_and_issuer_when_they_are_asked_for() -> None:
    tokens = Tokens(SharedSecret(SECRET), audience="us", issuer="them")
    assert (await tokens.identity(token("a", aud=["x", "us"], iss="them"))).user_id == "a"
    wrong: list[dict[str, Any]] = [
        {"iss": "them"},
        {"aud": "x", "iss": "them"},
        {"aud": "us"},
        {"aud": "us", "iss": "x"},
    ]
    for claims in wrong:
        with pytest.raises(UnauthenticatedError):
            await tokens.identity(token("a", **claims))


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS512"), (EC, "ES256"), (ED, "EdDSA")])
async def test_published_keys_of_every_kind(tmp_path: Path, key: Any, algorithm: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(published(r=RSA, e=EC, d=ED))
    tokens = Tokens(PublishedKeys(str(path)))
    kid = {id(RSA): "r", id(EC): "e", id(ED): "d"}[id(key)]
    assert (await tokens.identity(signed(key, algorithm, kid))).user_id == "alice"
    for wrong in (
        signed(OTHER, "RS256", "r"),
        signed(key, algorithm, "unknown"),
        signed(key, algorithm, None),
        signed(EC if key is not EC else ED, "ES256" if key is not EC else "EdDSA", kid),
    ):
        with pytest.raises(UnauthenticatedError):
            await tokens.identity(wrong)


async def test_a_public_key_is_not_a_shared_secret(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    secret = {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "o", "alg": "HS256"}
    path.write_bytes(orjson.dumps({"keys": [*orjson.loads(published(r=RSA))["keys"], secret]}))
    tokens = Tokens(PublishedKeys(str(path)))
    header = jwt.utils.base64url_encode(orjson.dumps({"alg": "HS256", "kid": "r"}))
    claims = jwt.utils.base64url_encode(orjson.dumps({"sub": "alice", "exp": END}))
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = mac.sign(header + b"." + claims, PUBLIC_PEM)
    forged = b".".join([header, claims, jwt.utils.base64url_encode(signature)]).decode()
    for given in (
        forged,
        jwt.encode({"sub": "alice", "exp": END}, "secret-secret-secret-secret-secret", headers={"kid": "o"}),
    ):
        with pytest.raises(UnauthenticatedError):
            await tokens.identity(given)


async def test_the_log_names_the_issuer_and_no_password() -> None:
    async with issuing(published(one=RSA)) as issuer:
        keys = PublishedKeys(issuer.url.replace("//", "//user:s3cret@") + "?token=s3cret")
        with capture_logs() as logs:
            await Tokens(keys).identity(signed(RSA, "RS256", "one"))
        issuer.status = "500 Oops"
        keys = PublishedKeys(issuer.url.replace("//", "//user:s3cret@") + "?token=s3cret")
        with capture_logs() as more, pytest.raises(UnavailableError):
            await Tokens(keys).identity(signed(RSA, "RS256", "one"))
    assert [(line["event"], line["source"]) for line in logs + more] == [
        (event, f"http://127.0.0.1:{issuer.port}") for event in ("token_keys", "token_keys_unavailable")
    ]
    assert "s3cret" not in f"{logs}{more}{keys.problem}"


async def test_a_new_key_is_fetched_when_a_token_names_it_and_not_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with issuing(published(one=RSA)) as issuer:
        tokens = Tokens(PublishedKeys(issuer.url))
        problems = [tokens.problem]
        for _ in range(5):
            await tokens.identity(signed(RSA, "RS256", "one"))
        issuer.body = published(one=RSA, two=EC)
        for _ in range(5):
            with pytest.raises(UnauthenticatedError, match="kid"):
                await tokens.identity(signed(EC, "ES256", "two"))
        assert issuer.asked == 1
        monkeypatch.setattr(jwks, "REST_SECONDS", 0)
        assert (await tokens.identity(signed(EC, "ES256", "two"))).user_id == "alice"
        assert issuer.asked == 2
        problems.append(tokens.problem)
        issuer.status = "500 Oops"
        with pytest.raises(UnauthenticatedError):
            await tokens.identity(signed(EC, "ES256", "three"))
        assert (await tokens.identity(signed(RSA, "RS256", "one"))).user_id == "alice", "the last keys stay"
        assert [*problems, tokens.problem] == ["not fetched yet", None, "the issuer answers 500"]
        monkeypatch.setattr(jwks, "STALE_SECONDS", 0)
        with pytest.raises(UnavailableError):
            await tokens.identity(signed(RSA, "RS256", "one"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [{"kty": "RSA"}]}',
        b'{"keys": [1, null, {"kty": "oct"}]}',
        published(r=RSA) + b" " * jwks.MAX_BYTES,
        orjson.dumps({"keys": [{}] * (jwks.MAX_KEYS + 1)}),
    ],
    ids=range(8),
)
async def test_what_is_no_list_of_keys_is_no_list_of_keys(body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(body)
    async with issuing(body) as issuer:
        for source in (issuer.url, str(path)):
            with pytest.raises(UnavailableError):
                await Tokens(PublishedKeys(source)).identity(signed(RSA, "RS256", "r"))
    with pytest.raises(UnavailableError):
        await Tokens(PublishedKeys(str(tmp_path / "none"))).identity(signed(RSA, "RS256", "r"))
