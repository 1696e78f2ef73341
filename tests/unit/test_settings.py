"""The environment: the good and the bad forms of each variable, and what a bad one is answered with."""

from pathlib import Path

import pytest

from dispatcher.cli.starting import must_be_guarded
from dispatcher.kernel.errors import StartupError
from dispatcher.settings import Settings, read_settings, unknown_variables


def settings(**environ: str) -> Settings:
    return read_settings(environ, dotenv=None)


def test_nothing_set() -> None:
    bare = settings()
    assert (bare.env, bare.host, bare.port, bare.log_level, bare.log_format) == (
        "local",
        "127.0.0.1",
        None,
        "INFO",
        "local",
    )
    assert (bare.db_url, bare.redis_url, bare.etcd_endpoints) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("APP_ENV", "production", "env", "production"),
        ("APP_PORT", "8080", "port", 8080),
        ("APP_PORT", ":8080", "port", 8080),
        ("APP_PORT", "65535", "port", 65535),
        ("APP_REDIS_ADDR", "localhost:6379", "redis_url", "redis://localhost:6379"),
        ("APP_REDIS_ADDR", "redis://localhost:6379", "redis_url", "redis://localhost:6379"),
        ("APP_REDIS_ADDR", "[::1]:6379", "redis_url", "redis://[::1]:6379"),
        ("APP_REDIS_ADDR", "redis://me:s3cret@localhost", "redis_url", "redis://me:s3cret@localhost"),
        ("APP_REDIS_ADDR", "me:s3cret@localhost:1", "redis_url", "redis://me:s3cret@localhost:1"),
        ("APP_REDIS_ADDR", "rediss://h?ssl_cert_reqs=none", "redis_url", "rediss://h?ssl_cert_reqs=none"),
        ("APP_REDIS_ADDR", "unix:///run/redis.sock", "redis_url", "unix:///run/redis.sock"),
        ("APP_REDIS_DB", "3", "redis_db", 3),
        ("APP_REMOTE_ETCD_ENDPOINTS", '["http://localhost:2379"]', "etcd_endpoints", ("localhost:2379",)),
        ("APP_REMOTE_ETCD_ENDPOINTS", '["a:1", "http://b:2"]', "etcd_endpoints", ("a:1", "b:2")),
        ("APP_REMOTE_ETCD_ENDPOINTS", "a:1, b:2", "etcd_endpoints", ("a:1", "b:2")),
        ("APP_REMOTE_ETCD_ENDPOINTS", "http://[::1]:2379", "etcd_endpoints", ("[::1]:2379",)),
        ("APP_REMOTE_ETCD_PREFIX", "/other/", "etcd_prefix", "/other/"),
        ("APP_SERVER_IDLE_TIMEOUT", "60s", "idle_timeout", 60.0),
        ("APP_SERVER_IDLE_TIMEOUT", "2m", "idle_timeout", 120.0),
        ("APP_SERVER_IDLE_TIMEOUT", "1500ms", "idle_timeout", 1.5),
        ("APP_SERVER_SHUTDOWN_TIMEOUT", "15", "shutdown_timeout", 15.0),
        ("APP_DYNAMIC_CONFIG", "x.yaml", "dynamic_config", Path("x.yaml")),
        ("APP_TOKEN_JWKS", "keys/jwks.json", "token_jwks", "keys/jwks.json"),
        ("APP_TOKEN_AUDIENCE", "us", "token_audience", "us"),
        ("APP_TRUSTED_NETWORK", "true", "trusted_network", True),
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("LOG_LEVEL", "warn", "log_level", "WARNING"),
        ("LOG_ENV", "production", "log_format", "production"),
        ("APP_ENV", "dev", "log_format", "dev"),
        ("LOG_DIR", "/var/log/dispatcher", "log_dir", Path("/var/log/dispatcher")),
        ("LOG_DIR", "off", "log_dir", None),
        ("LOG_DIR", "OFF", "log_dir", None),
        ("LOG_DIR", "./off", "log_dir", Path("off")),
        ("LOG_DIR", "", "log_dir", Path("logs")),
        ("LOG_RETENTION_DAYS", "7", "log_retention_days", 7),
        ("SERVICE_NAME", "sender", "service_name", "sender"),
        ("USE_HTTPS", "false", "use_https", False),
    ],
)
def test_good_forms(name: str, value: str, field: str, expected: object) -> None:
    found = settings(**{name: value})
    assert getattr(found, field) == expected
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_database_addresses(scheme: str) -> None:
    url = f"{scheme}://me:s3cret@localhost:5432/dispatcher?sslmode=disable"
    found = settings(APP_DB_URL=url)
    assert found.db_url is not None
    assert found.db_url.get_secret_value() == url
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_ENV", "prod"),
        ("APP_DB_URL", "mysql://me:s3cret@localhost/x"),
        ("APP_DB_URL", "s3cret"),
        ("APP_DB_URL", "mysql://me:s3cret\u2100@localhost/x"),
        ("APP_REDIS_ADDR", "localhost"),
        ("APP_REDIS_ADDR", "localhost:port"),
        ("APP_REDIS_ADDR", "localhost:99999"),
        ("APP_REDIS_ADDR", "redis://localhost:99999"),
        ("APP_REDIS_ADDR", "redis://me:s3cret/x@localhost:6379"),
        ("APP_REDIS_ADDR", "redis://[s3cret"),
        ("APP_REDIS_ADDR", "redis://me:s3cret\u2100@localhost"),
        ("APP_REDIS_ADDR", "http://localhost:6379"),
        ("APP_REDIS_DB", "-1"),
        ("APP_REDIS_DB", "one"),
        ("APP_PORT", "0"),
        ("APP_PORT", "65536"),
        ("APP_PORT", "http"),
        ("APP_PORT", "::8080"),
        ("APP_REMOTE_ETCD_ENDPOINTS", "localhost"),
        ("APP_REMOTE_ETCD_ENDPOINTS", "[]"),
        ("APP_REMOTE_ETCD_ENDPOINTS", '["a:1"'),
        ("APP_REMOTE_ETCD_ENDPOINTS", "[1]"),
        ("APP_REMOTE_ETCD_ENDPOINTS", '["http://a:1", "https://b:2"]'),
        ("APP_REMOTE_ETCD_ENDPOINTS", "unix:///run/etcd.sock"),
        ("APP_REMOTE_ETCD_ENDPOINTS", "http://root:s3cret@localhost:2379"),
        ("APP_REMOTE_ETCD_ENDPOINTS", "root:s3cret@localhost:2379"),
        ("APP_REMOTE_ETCD_ENDPOINTS", "http://root:s3cret/x@localhost:2379"),
        ("APP_REMOTE_ETCD_ENDPOINTS", "http://[s3cret"),
        ("APP_REMOTE_ETCD_PREFIX", "app"),
        ("APP_REMOTE_ETCD_PREFIX", "/"),
        ("APP_SERVER_IDLE_TIMEOUT", "soon"),
        ("APP_SERVER_IDLE_TIMEOUT", "0"),
        ("APP_SERVER_SHUTDOWN_TIMEOUT", "2h"),
        ("APP_API_KEY", "s3cret"),
        ("APP_API_KEY", "s3cret and sixteen characters"),
        ("APP_TOKEN_SECRET", "s3cret" + "x" * 25),
        ("APP_TOKEN_JWKS", "ftp://keys/s3cret"),
        ("APP_TOKEN_JWKS", "http://[s3cret/keys"),
        ("APP_TOKEN_JWKS", "https://user:s3cret@host:port/keys"),
        ("LOG_LEVEL", "loud"),
        ("LOG_ENV", "prod"),
        ("LOG_RETENTION_DAYS", "0"),
        ("LOG_RETENTION_DAYS", "forever"),
        ("SERVICE_NAME", "x" * 65),
        ("USE_HTTPS", "perhaps"),
    ],
)
def test_a_wrong_value_is_answered_with_one_line(name: str, value: str) -> None:
    with pytest.raises(StartupError) as error:
        settings(**{name: value})
    text = error.value.detail
    assert text.startswith(f"{name}: ")
    assert f"e.g. {name}=" in text
    assert "\n" not in text
    assert "s3cret" not in text
    example = text.rpartition(f"e.g. {name}=")[2]
    settings(**{name: example})


def test_https_needs_its_files(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^HTTPS_CERT_PATH: USE_HTTPS is on"):
        settings(USE_HTTPS="true")
    cert, key = tmp_path / "server.crt", tmp_path / "server.key"
    cert.touch()
    with pytest.raises(StartupError, match=r"^HTTPS_KEY_PATH: USE_HTTPS is on, but there is no file"):
        settings(USE_HTTPS="true", HTTPS_CERT_PATH=str(cert), HTTPS_KEY_PATH=str(key))
    key.touch()
    assert settings(USE_HTTPS="true", HTTPS_CERT_PATH=str(cert), HTTPS_KEY_PATH=str(key)).use_https


KEY, SECRET = "s3cret-of-the-operator", "s3cret" * 6


def test_tokens_are_judged_by_one_kind_of_key() -> None:
    with pytest.raises(StartupError, match=r"^APP_TOKEN_SECRET, APP_TOKEN_JWKS: both are set"):
        settings(APP_TOKEN_SECRET=SECRET, APP_TOKEN_JWKS="keys.json")
    found = settings(APP_TOKEN_SECRET=SECRET, APP_API_KEY=KEY)
    assert found.has_token_keys
    assert "s3cret" not in repr(found)


GUARDED = [
    {"APP_API_KEY": KEY, "APP_TOKEN_SECRET": SECRET},
    {"APP_API_KEY": KEY, "APP_TOKEN_JWKS": "keys.json"},
]
HALF = [{}, {"APP_API_KEY": KEY}, {"APP_TOKEN_SECRET": SECRET}]


@pytest.mark.parametrize("keys", GUARDED)
def test_with_its_keys_it_listens_anywhere(keys: dict[str, str]) -> None:
    must_be_guarded(settings(**keys, APP_HOST="0.0.0.0"))
    must_be_guarded(settings(**keys, APP_ENV="production"))


@pytest.mark.parametrize("keys", HALF)
def test_without_its_keys_it_listens_on_loopback_only(keys: dict[str, str]) -> None:
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        must_be_guarded(settings(**keys, APP_HOST=host))
    for host in ("0.0.0.0", "::", "10.0.0.7", "example.com", "127.0.0.1.example.com"):
        with pytest.raises(StartupError, match=r"^APP_HOST: .*or APP_HOST=127\.0\.0\.1$") as error:
            must_be_guarded(settings(**keys, APP_HOST=host))
        assert "s3cret" not in error.value.detail
        must_be_guarded(settings(**keys, APP_HOST=host, APP_TRUSTED_NETWORK="true"))


@pytest.mark.parametrize("keys", HALF)
def test_production_does_not_start_without_its_keys(keys: dict[str, str]) -> None:
    for more in ({}, {"APP_TRUSTED_NETWORK": "true"}):
        with pytest.raises(StartupError, match=r"^APP_ENV=production: set APP_") as error:
            must_be_guarded(settings(**keys, **more, APP_ENV="production"))
        assert ("APP_API_KEY (" in error.value.detail) is ("APP_API_KEY" not in keys)
        assert ("APP_TOKEN_SECRET or" in error.value.detail) is ("APP_TOKEN_SECRET" not in keys)


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]", "id.example.com", "10.0.0.7"])
def test_production_takes_published_keys_from_where_nobody_can_put_in_others(host: str) -> None:
    def of(env: str, scheme: str) -> Settings:
        source = f"{scheme}://user:s3cret@{host}/keys"
        return settings(APP_API_KEY=KEY, APP_ENV=env, APP_TOKEN_JWKS=source)

    must_be_guarded(of("production", "https"))
    must_be_guarded(of("dev", "http"))
    if "." in host and not host.startswith("127"):
        with pytest.raises(StartupError, match=r"^APP_TOKEN_JWKS: over http") as error:
            must_be_guarded(of("production", "http"))
        assert "s3cret" not in error.value.detail
    else:
        must_be_guarded(of("production", "http"))


def test_an_empty_value_counts_as_not_set() -> None:
    assert settings(APP_PORT="", APP_DB_URL="", APP_REDIS_ADDR="", LOG_LEVEL="") == settings()


def test_the_environment_overrules_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "APP_PORT=1111\nAPP_REDIS_DB=4 # four\n# comment\nSERVICE_NAME='quoted name'\nAPP_ENV=\n"
    )
    found = read_settings({"APP_PORT": "2222"}, dotenv=dotenv)
    assert (found.port, found.redis_db, found.service_name, found.env) == (2222, 4, "quoted name", "local")
    assert read_settings({"APP_PORT": ""}, dotenv=dotenv).port == 1111
    assert read_settings({}, dotenv=tmp_path / "none").port is None


def test_unknown_variables_are_named_with_the_one_that_was_meant() -> None:
    found = unknown_variables(
        {"APP_DB_URI": "x", "APP_XYZZY": "x", "APP_PORT": "1", "APP_SERVER_READ_TIMEOUT": "5s", "HOME": "/"}
    )
    assert found == {"APP_DB_URI": "APP_DB_URL", "APP_XYZZY": ""}
