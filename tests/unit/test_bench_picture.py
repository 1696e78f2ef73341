"""The pictures of benchmark results."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from bench.picture import Chart, draw

SVG = "{http://www.w3.org/2000/svg}"


def drawn(described: dict[str, Any]) -> ET.Element:
    return ET.fromstring(Chart.of(described).svg())


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
