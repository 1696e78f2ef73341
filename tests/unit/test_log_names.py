"""Names in LOG_DIR: which logs are past, which archives too old, and that nobody else's file is either."""

from datetime import date

from dispatcher.kernel.log_names import ERRORS, EVERYTHING, log_name, past_logs, too_old, zip_name

TODAY = date(2026, 3, 1)
FOREIGN = [
    "dispatcher.log",
    "dispatcher-2026-02-31.log",
    "dispatcher-2026-02-01.log.bak",
    "dispatcher-other-2026-02-01.log",
    "xdispatcher-2026-01-01.zip",
    "dispatcher-2026-01-01.tar.zip",
    "dispatcher-20260101.zip",
    "notes.zip",
]


def test_a_days_files() -> None:
    assert log_name(EVERYTHING, TODAY) == "dispatcher-2026-03-01.log"
    assert log_name(ERRORS, TODAY) == "dispatcher-errors-2026-03-01.log"
    assert zip_name("dispatcher-errors-2026-03-01.log", 1) == "dispatcher-errors-2026-03-01.zip"
    assert zip_name("dispatcher-2026-03-01.log", 2) == "dispatcher-2026-03-01.2.zip"


def test_the_logs_before_today_are_past() -> None:
    days = [date(2025, 12, 31), date(2026, 2, 28), TODAY, date(2026, 3, 2)]
    names = [log_name(stem, day) for stem in (EVERYTHING, ERRORS) for day in days]
    assert past_logs([*FOREIGN, *names, "dispatcher-2025-12-30.zip"], TODAY) == [
        "dispatcher-2025-12-31.log",
        "dispatcher-2026-02-28.log",
        "dispatcher-errors-2025-12-31.log",
        "dispatcher-errors-2026-02-28.log",
    ]


def test_archives_are_kept_for_whole_days() -> None:
    names = [
        *("dispatcher-2026-02-27.zip", "dispatcher-2026-02-28.zip", "dispatcher-2026-02-27.12.zip"),
        *("dispatcher-errors-2026-02-27.zip", "dispatcher-2026-02-27.zip.part", "dispatcher-2026-01-01.log"),
    ]
    assert too_old([*FOREIGN, *names], TODAY, keep_days=1) == [
        "dispatcher-2026-02-27.12.zip",
        "dispatcher-2026-02-27.zip",
        "dispatcher-2026-02-27.zip.part",
        "dispatcher-errors-2026-02-27.zip",
    ]
    assert too_old([*FOREIGN, *names], TODAY, keep_days=2) == []


def test_a_piece_is_kept_while_its_log_is_there_for_somebody_may_be_zipping_it() -> None:
    log, pieces = (
        "dispatcher-2026-01-01.log",
        ["dispatcher-2026-01-01.2.zip.part", "dispatcher-2026-01-01.zip.part"],
    )
    assert too_old([log, *pieces], TODAY, keep_days=1) == []
    assert too_old(pieces, TODAY, keep_days=1) == pieces
