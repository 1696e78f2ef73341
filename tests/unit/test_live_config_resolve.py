"""How etcd's values, the file and the defaults become one live configuration; which values are refused."""

from pathlib import Path

import pytest

from dispatcher.kernel.errors import StartupError
from dispatcher.live_config.model import LiveConfig, origin_of, shown
from dispatcher.live_config.resolve import check_value, read_file, resolve

BAD = [
    ("rate_limit", b"abc"),
    ("rate_limit", b"0"),
    ("rate_limit", b"-1"),
    ("rate_limit", b"1e99"),
    ("rate_limit", b"2.5"),
    ("rate_limit", b"1000001"),
    ("rate_limit", b""),
    ("rate_limit", b" \n"),
    ("rate_limit", b"\xff\xfe"),
    ("rate_limit", b"2\x00"),
    ("rate_limit", b"9" * 2**20),
    ("rate_limit", b"9" * 4000),
    ("rate_limit", b"[2]"),
    ("scheduler_interval", b"inf"),
    ("scheduler_interval", b"nan"),
    ("scheduler_interval", b"-inf"),
    ("scheduler_interval", b"1e99"),
    ("scheduler_interval", b"0.05"),
    ("scheduler_queue_capacity", b"0"),
    ("auto_sending", b"maybe"),
    ("webhook_url", b"ftp://example.com/hook"),
    ("webhook_url", b"file:///etc/passwd"),
    ("webhook_url", b"example.com/hook"),
    ("webhook_url", b"https://"),
    ("webhook_url", b"https://example.com/a b"),
    ("webhook_url", b"https://example.com/\x00"),
    ("webhook_url", b"https://example.com:0/"),
    ("webhook_url", b"https://example.com:99999/"),
    ("webhook_url", b"http://[::1/"),
    ("webhook_url", b"http://exa^mple/"),
    ("webhook_url", b"http://[::1]x/"),
    ("webhook_url", b"http://256.256.256.256/"),
    ("webhook_url", b"http://a|b/"),
    ("webhook_url", b"http://1.2.3.4.5/"),
    ("webhook_url", b"http://user:se/cret@host/"),
    ("webhook_url", "http://user:se\u2100cret@host/".encode()),
    ("webhook_url", b"https://example.com/" + b"x" * 2048),
    ("webhook_url", b'"https://example.com/\\ud800"'),
    ("webhook_auth_key", b"line\nbreak"),
    ("webhook_auth_key", "clé".encode()),
    ("webhook_auth_header", b"x key"),
    ("webhook_auth_header", b"x:y"),
    ("webhook_timeout", b"0"),
    ("webhook_concurrency", b"1025"),
    ("on_uncertain", b"drop"),
    ("echo_workers", b"0"),
    ("echo_batch_size", b"10001"),
    ("echo_timeout", b"inf"),
    ("echo_backoff_base", b"0"),
    ("max_attempts", b"0"),
    ("retry_after_cap", b"-1"),
    ("retry_after_cap", b"inf"),
    ("breaker_failures", b"-1"),
    ("breaker_base", b"0"),
    ("breaker_cap", b"86401"),
    ("retention_days", b"0"),
    ("retention_days", b"3651"),
    ("retention_days", b"0.5"),
    ("retention_days", b"for ever"),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=lambda part: repr(part)[:40])
def test_a_bad_value_is_refused_and_the_last_good_one_stays(key: str, value: bytes) -> None:
    last_good = {"rate_limit": "7", "scheduler_interval": "3"}
    result = resolve(
        {**{k: v.encode() for k, v in last_good.items()}, key: value}, file={}, last_good=last_good
    )
    assert set(result.refused) == {key}
    assert result.config == LiveConfig(rate_limit=7, scheduler_interval=3)
    assert result.accepted == last_good
    reason = result.refused[key]
    assert reason
    assert len(reason) < 300
    assert "\n" not in reason
    assert check_value(key, value) == reason


def test_a_refused_secret_is_not_repeated() -> None:
    reason = resolve({"webhook_auth_key": b"s3cr\xc3\xa9t"}, file={}, last_good={}).refused[
        "webhook_auth_key"
    ]
    assert "s3cr" not in reason


@pytest.mark.parametrize(
    ("key", "hint"),
    [("rate_limt", "did you mean rate_limit?"), ("zzz", "known keys: auto_sending, rate_limit")],
)
def test_an_unknown_key_is_refused_with_a_hint(key: str, hint: str) -> None:
    result = resolve({key: b"1", "rate_limit": b"9"}, file={}, last_good={})
    assert hint in result.refused[key]
    assert result.config.rate_limit == 9
    assert result.accepted == {"rate_limit": "9"}


def test_each_key_comes_from_etcd_then_file_then_default() -> None:
    file = {"rate_limit": 5, "scheduler_interval": 60}
    config = resolve({"rate_limit": b"9"}, file=file, last_good={}).config
    assert (config.rate_limit, config.scheduler_interval, config.max_attempts) == (9, 60, 5)
    fallen_back = resolve({}, file=file, last_good={"rate_limit": "9"}).config
    assert fallen_back.rate_limit == 5, "a deleted key falls back"


def test_a_bad_value_without_a_good_one_falls_back_to_the_file() -> None:
    assert resolve({"rate_limit": b"abc"}, file={"rate_limit": 5}, last_good={}).config.rate_limit == 5


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'"https://example.com/hook"', "https://example.com/hook"),
        (b" https://example.com/hook\n", "https://example.com/hook"),
        (b'"https://example.com/\\u0061"', "https://example.com/a"),
        (b"HTTPS://example.com:8443/hook?x=1", "HTTPS://example.com:8443/hook?x=1"),
        (b"http://[::1]:8080/", "http://[::1]:8080/"),
    ],
)
def test_spaces_and_quotes_around_a_value_are_not_part_of_it(raw: bytes, value: str) -> None:
    assert resolve({"webhook_url": raw}, file={}, last_good={}).config.webhook_url == value


@pytest.mark.parametrize(
    ("raw", "value"), [(b"true", True), (b"false", False), (b"FALSE", False), (b"0", False)]
)
def test_truth(raw: bytes, value: bool) -> None:  # noqa: FBT001 - a table of booleans
    assert resolve({"auto_sending": raw}, file={}, last_good={}).config.auto_sending is value


def test_an_attempt_must_end_before_its_lease() -> None:
    for conflict in ({"webhook_timeout": b"29"}, {"lease_seconds": b"11"}):
        result = resolve(conflict, file={}, last_good={})
        assert set(result.refused) == set(conflict)
        assert "before lease_seconds" in next(iter(result.refused.values()))
        assert result.config == LiveConfig()
        assert result.accepted == {}


@pytest.mark.parametrize("keys", [("webhook_timeout", "lease_seconds"), ("lease_seconds", "webhook_timeout")])
def test_both_sides_of_a_rule_may_change_together(keys: tuple[str, str]) -> None:
    wanted = {"webhook_timeout": b"60", "lease_seconds": b"90"}
    result = resolve({key: wanted[key] for key in keys}, file={}, last_good={})
    assert not result.refused
    assert (result.config.webhook_timeout, result.config.lease_seconds) == (60, 90)


def test_a_conflict_keeps_the_last_good_pair_and_takes_the_rest() -> None:
    last_good = {"webhook_timeout": "60", "lease_seconds": "90"}
    listing = {"lease_seconds": b"20", "webhook_timeout": b"60", "rate_limit": b"9"}
    result = resolve(listing, file={}, last_good=last_good)
    assert set(result.refused) == {"lease_seconds"}
    assert result.config == LiveConfig(webhook_timeout=60, lease_seconds=90, rate_limit=9)
    assert result.accepted == {**last_good, "rate_limit": "9"}


def test_a_file_that_no_longer_agrees_with_the_last_good_values_is_no_failure() -> None:
    file = {"lease_seconds": 10, "webhook_timeout": 5}
    result = resolve({"webhook_timeout": b"20"}, file=file, last_good={"webhook_timeout": "20"})
    assert set(result.refused) == {"webhook_timeout"}
    assert (result.config.webhook_timeout, result.config.lease_seconds) == (5, 10)


@pytest.mark.parametrize(
    "url", ["http://user:zq/wx@host/", "http://u:zq\u2100wx@host/", "http://u:zqwx@ho^st/"]
)
def test_the_reason_for_a_bad_address_holds_no_piece_of_it(url: str) -> None:
    reason = resolve({"webhook_url": url.encode()}, file={}, last_good={}).refused["webhook_url"]
    assert "is not an address that can be posted to" in reason
    assert "zq" not in reason
    assert "wx" not in reason


def test_what_is_shown_holds_no_secret() -> None:
    config = LiveConfig.model_validate(
        {"webhook_auth_key": "s3cret", "webhook_url": "https://me:pw@example.com:8443/token/abc?key=def#x"}
    )
    values = shown(config)
    assert values["webhook_auth_key"] == "(set)"
    assert values["webhook_url"] == "https://example.com:8443"
    assert not any(part in repr(values) for part in ("s3cret", "pw", "token", "abc", "def"))
    assert "s3cret" not in repr(config)
    assert shown(LiveConfig())["webhook_auth_key"] is None
    assert set(values) == set(LiveConfig.model_fields)


def test_origin_of_an_ipv6_address_keeps_its_brackets() -> None:
    assert origin_of("http://[::1]:8080/x") == "http://[::1]:8080"
    assert origin_of(None) is None


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    assert read_file(path, required=False) == {}
    with pytest.raises(StartupError, match="there is no file"):
        read_file(path, required=True)
    path.write_text("rate_limit: 5\nwebhook_url: null\n")
    assert read_file(path, required=True) == {"rate_limit": 5}
    path.write_text("")
    assert read_file(path, required=True) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rate_limit: 0", "rate_limit: "),
        ("rate_limt: 2", "rate_limt: "),
        ("- 1\n- 2", "must hold"),
        ("{", "is not YAML"),
        ("webhook_timeout: 60", "webhook_timeout (60 s) must end"),
        ("webhook_url: ftp://x", "must begin with http"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "live.yaml"
    path.write_text(text)
    with pytest.raises(StartupError) as error:
        read_file(path, required=True)
    assert str(path) in error.value.detail
    assert said in error.value.detail
    assert "\n" not in error.value.detail


@pytest.mark.parametrize("days", [1, 30, 3650])
def test_retention_takes_whole_days_from_one_to_ten_years(days: int) -> None:
    assert check_value("retention_days", str(days).encode()) is None
    assert LiveConfig().retention_days == 30
