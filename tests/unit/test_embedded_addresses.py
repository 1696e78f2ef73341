import shlex

from dispatcher.embedded.addresses import Addresses, from_record, shell_lines, to_record

EVERYTHING = Addresses(
    db_url="postgresql://dispatcher@/dispatcher?host=/it%27s/a%20folder",
    redis_addr="unix:///it's here/redis.sock",
    etcd_endpoints=("127.0.0.1:2379",),
)


def test_shell_lines_survive_a_shell() -> None:
    assert [shlex.split(line) for line in shell_lines(EVERYTHING)] == [
        ["export", f"APP_DB_URL={EVERYTHING.db_url}"],
        ["export", f"APP_REDIS_ADDR={EVERYTHING.redis_addr}"],
        ["export", 'APP_REMOTE_ETCD_ENDPOINTS=["127.0.0.1:2379"]'],
        ["export", "ETCDCTL_ENDPOINTS=127.0.0.1:2379"],
    ]


def test_what_was_not_started_here_has_no_line() -> None:
    assert shell_lines(Addresses()) == []


def test_a_record_gives_the_same_addresses_back() -> None:
    for addresses in (EVERYTHING, Addresses(), Addresses(redis_addr="unix:///redis.sock")):
        assert from_record(to_record(addresses)) == addresses
