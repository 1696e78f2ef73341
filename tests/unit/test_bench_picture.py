"""The pictures of benchmark results."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from bench.histogram import Histogram
from bench.late import LEAST_MS, Late, histogram, quantile
from bench.picture import Chart, draw
from bench.svg import MARGIN, WIDTH

SVG = "{http://www.w3.org/2000/svg}"


def drawn(described: dict[str, Any]) -> ET.Element:
    return ET.fromstring(Chart.of(described).svg())


def drawn_histogram(described: dict[str, Any]) -> ET.Element:
    return ET.fromstring(Histogram.of(described).svg())


def rects(picture: ET.Element, kind: str) -> list[dict[str, float]]:
    found = [each for each in picture.iter(f"{SVG}rect") if each.get("class") == kind]
    return [{name: float(each.attrib[name]) for name in ("x", "y", "width", "height")} for each in found]


def bars(picture: ET.Element, kind: str) -> list[float]:
    return [float(each.attrib["width"]) for each in picture.iter(f"{SVG}rect") if each.get("class") == kind]


def texts(picture: ET.Element) -> list[str]:
    return [each.text or "" for each in picture.iter(f"{SVG}text")]


def test_bars_are_as_long_as_their_medians_and_ours_stands_out() -> None:
    picture = drawn(
        {
            "title": "Rates <of> all & sundry",
            "rows": [
                {"label": "ours", "ours": True, "values": [{"median": 3000, "least": 1000, "most": 4000}]},
                {"label": "theirs", "note": "1.0", "values": [1500]},
                {"label": "absent", "values": []},
            ],
        }
    )
    (ours,), (theirs,) = bars(picture, "ours"), bars(picture, "s0")
    assert ours == pytest.approx(2 * theirs, rel=0.01)
    assert {"Rates <of> all & sundry", "theirs", "1.0", "3,000", "1,500", "not measured"} <= set(
        texts(picture)
    )


def test_a_row_of_several_values_is_a_group_with_a_legend() -> None:
    picture = drawn(
        {"title": "t", "series": ["before", "after"], "rows": [{"label": "claim", "values": [2, 4]}]}
    )
    assert max(bars(picture, "s1")) == pytest.approx(2 * max(bars(picture, "s0")), rel=0.01)
    assert {"before", "after", "2", "4"} <= set(texts(picture))


def test_columns_stand_on_one_line() -> None:
    rows = [{"label": str(n), "values": [n * 10]} for n in range(1, 60)]
    picture = drawn({"title": "t", "kind": "columns", "unit": "ticks", "rows": rows})
    columns = [each for each in picture.iter(f"{SVG}rect") if each.get("class") == "s0"]
    assert len(columns) == 59
    assert {round(float(c.attrib["y"]) + float(c.attrib["height"])) for c in columns} == {
        round(float(columns[0].attrib["y"]) + float(columns[0].attrib["height"]))
    }
    assert len([text for text in texts(picture) if re.fullmatch(r"\d+", text)]) < 40, "labels would overlap"


def test_nothing_measured_is_a_picture_too(tmp_path: Path) -> None:
    target = tmp_path / "images" / "empty.svg"
    draw(json.loads('{"title": "t", "rows": [{"label": "a", "values": [0]}]}'), target)
    assert "0" in texts(ET.fromstring(target.read_text()))


def test_a_histogram_lies_on_a_logarithmic_axis() -> None:
    picture = drawn_histogram(
        {
            "title": "t",
            "axis": [0.1, 100_000],
            "rows": [
                {
                    "label": "ours",
                    "ours": True,
                    "bins": [[1, 10, 0.5], [10, 100, 0.25]],
                    "marks": {"p99": 25},
                },
                {"label": "theirs", "note": "every second", "until": 1000},
            ],
        }
    )
    first, second = rects(picture, "ours")
    assert second["x"] - first["x"] == pytest.approx(first["width"] + 1), "a decade is as wide as another"
    assert first["height"] == pytest.approx(2 * second["height"], rel=0.01)
    assert first["y"] + first["height"] == pytest.approx(second["y"] + second["height"])
    (theirs,) = rects(picture, "s0")
    assert theirs["x"] + theirs["width"] == pytest.approx(
        first["x"] - 0.5 + 3 * (first["width"] + 1), abs=0.2
    )
    assert {"ours", "theirs", "every second", "p99 25 ms", "1 ms", "1 s", "100 s"} <= set(texts(picture))


def test_what_lies_outside_of_the_axis_is_drawn_at_its_edge() -> None:
    bins = [[0.001, 0.002, 0.5], [5000, 6000, 0.5]]
    picture = drawn_histogram({"title": "t", "axis": [1, 1000], "rows": [{"label": "a", "bins": bins}]})
    assert all(MARGIN <= each["x"] <= WIDTH - MARGIN for each in rects(picture, "s0"))


def test_a_histogram_is_drawn_by_its_kind(tmp_path: Path) -> None:
    target = tmp_path / "late.svg"
    late = Late("some load", {"p99": 25}, rounds=[[1.0, 2.0, 300.0]])
    draw({"title": "t", "kind": "histogram", "axis": [0.1, 1000], "rows": [late.described()]}, target)
    picture = ET.fromstring(target.read_text())
    assert len(rects(picture, "ours")) == 3
    assert "median 2.0 ms, p99 300 ms, most 300 ms" in texts(picture)


def test_a_quantile_is_the_median_of_the_rounds() -> None:
    late = Late("some load", {"median": 2, "p99": 5}, rounds=[[1, 2, 3], [5, 1, 2], [2, 2, 100]])
    assert (late.at("median"), late.at("p99"), late.at("most")) == (2, 5, 5)
    assert (late.least, late.count, late.holds) == (1, 9, True)
    late.marks["p99"] = 4.9
    assert not late.holds


def test_of_a_thousand_p99_leaves_out_ten() -> None:
    ordered = list(range(1, 1001))
    assert [quantile(ordered, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert quantile([7.0], 0.5) == 7.0


def test_bins_hold_all_values_once() -> None:
    values = [-3.0, 0.0, 0.1, 0.11, 1.0, 1.1, 25.0, 9999.0]
    bins = histogram(values)
    assert sum(share for _, _, share in bins) == pytest.approx(1)
    for value in values:
        clamped = max(value, LEAST_MS) * (1 + 1e-9)
        assert any(low <= clamped < high for low, high, _ in bins)
    assert bins[0] == pytest.approx([0.1, 0.1 * 10**0.1, 0.5])
