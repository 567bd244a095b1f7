"""Slides to order, as they are named on a command line: paths, URLs, folders and CSV tables."""

from pathlib import Path
from typing import Any

import pytest

from slidelane.commands.order_list import Defaults, Given, TableError, orders_of

DEFAULTS = Defaults("ki67", {"positive_threshold": 0.2})
SIGNED = "https://bucket.example/a.svs?X-Amz-Signature=abc"


def listed(*what: object, defaults: Defaults = DEFAULTS) -> list[Given]:
    return list(orders_of([str(one) for one in what], defaults))


def scans(given: list[Given]) -> list[dict[str, Any]]:
    return [one.order["scans"][0] for one in given]


def test_a_path_and_a_url_are_one_order_each(tmp_path: Path) -> None:
    """The path absolute, the URL whole in the order and without its query where it is shown."""
    given = listed(tmp_path / "a.svs", SIGNED, "https://bucket.example/series.ZIP?a=b")
    assert [one["source"] for one in scans(given)] == [
        {"type": "path", "path": str(tmp_path / "a.svs")},
        {"type": "url", "url": SIGNED},
        {"type": "url", "zip_url": "https://bucket.example/series.ZIP?a=b"},
    ]
    assert given[1].title == "https://bucket.example/a.svs?…"
    assert {one.order["algorithm"] for one in given} == {"ki67"}
    assert given[0].order["parameters"] == {"positive_threshold": 0.2}


def test_a_folder_is_all_its_slides(tmp_path: Path) -> None:
    """By their suffixes; DICOM files of one folder are one slide; folders are not entered."""
    for name in ("b.SVS", "a.tif", "notes.txt", "1.dcm", "2.dcm", "deeper/c.svs"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [Path(one["source"]["path"]).name for one in scans(listed(tmp_path))]
    assert names == ["a.tif", "b.SVS", "1.dcm"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TableError, match="holds no slides"):
        listed(tmp_path, empty)


def test_a_table_has_a_row_for_each_order(tmp_path: Path) -> None:
    """Each row with its own values, what it leaves empty from the command line."""
    (tmp_path / "a.csv").write_bytes(
        b"\xef\xbb\xbfpath,url,algorithm,roi,mpp,stain,label.case,label.site\r\n"
        b'slides/a.svs,,grid,"1,2,30,40",0.25,H&E,S26-1,\r\n'
        b",https://bucket.example/b.svs,,,,,,here\r\n"
    )
    first, second = listed(tmp_path / "a.csv")
    scan = first.order["scans"][0]
    assert scan == {
        "id": "1",
        "source": {"type": "path", "path": str(tmp_path / "slides" / "a.svs")},
        "roi": {"x": 1, "y": 2, "width": 30, "height": 40},
        "mpp": 0.25,
        "stain": "H&E",
    }
    assert (first.order["algorithm"], first.order["labels"]) == ("grid", {"case": "S26-1"})
    assert (second.order["algorithm"], second.order["labels"]) == ("ki67", {"site": "here"})
    assert second.title == "a.csv line 3, https://bucket.example/b.svs"


def test_a_row_names_where_its_results_go(tmp_path: Path) -> None:
    """The column `to`, or --to for all, and with `to.FIELD` what the named destination lacks."""
    table = tmp_path / "a.csv"
    table.write_text(
        "path,to,to.case_id\na.svs,loader,S26-1\nb.svs,inbox,\nc.svs,,S26-3\nd.svs,,\n"
    )
    for_all = Defaults("ki67", {}, to="lab")
    assert [one.order["destination"] for one in listed(table, defaults=for_all)] == [
        {"name": "loader", "case_id": "S26-1"},
        "inbox",
        {"name": "lab", "case_id": "S26-3"},
        "lab",
    ]
    given = listed(table)
    assert given[2].fault == "to.case_id: name a destination in the column to, or with --to"
    assert given[3].order["destination"] == {"type": "none"}


def test_a_wrong_row_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    """By its line, with the reason; the table is not refused."""
    rows = [
        "a.svs,,0.25,",
        ",,0.25,",
        "a.svs,1,0.25,",
        "a.svs,,much,",
        "a.svs,,-1,",
        "a.svs,,0.25",
        "a.svs,,0.25,,,",
        f"a.svs,,0.25,{'x' * 300}",
        "b.svs,,,S26-1",
    ]
    (tmp_path / "a.csv").write_text("\n".join(["path,roi,mpp,label.case", *rows]))
    given = listed(tmp_path / "a.csv")
    good = [number for number, one in enumerate(given, 2) if not one.fault]
    assert good == [2, 10]
    faults = {one.title.split(",")[0]: one.fault for one in given if one.fault}
    assert faults["a.csv line 3"] == "give either path or url"
    assert "is no region" in faults["a.csv line 4"]
    assert "mpp: 'much' is no number" in faults["a.csv line 5"]
    assert "mpp" in faults["a.csv line 6"]
    assert "number of cells" in faults["a.csv line 7"]
    assert "number of cells" in faults["a.csv line 8"]
    assert "labels" in faults["a.csv line 9"]


def test_a_table_with_semicolons_is_read(tmp_path: Path) -> None:
    """As Excel writes it in half of Europe."""
    (tmp_path / "a.csv").write_text("path;roi\na.svs;1,2,30,40\n")
    assert scans(listed(tmp_path / "a.csv"))[0]["roi"]["width"] == 30


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"path,colour\na.svs,red\n", "no column 'colour'"),
        (b"algorithm,roi\nki67,\n", "no column path or url"),
        (b"path,path\na,b\n", "two columns"),
        (b"", "no column path or url"),
        (b"path\n\xff\xfe\n", "not UTF-8"),
        (b'path\n"a.svs\n', "unexpected end of data"),
        (b"path\n" + b"a" * 200_000, "field larger than field limit"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_whole(
    tmp_path: Path, content: bytes, why: str
) -> None:
    """With the line or column, before anything is ordered."""
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(TableError, match=why):
        listed(tmp_path / "a.csv")


def test_what_can_be_no_order_says_why() -> None:
    """Without the query of a URL, and without control characters of a name being taken."""
    given = listed("ftp://host/a.svs?secret=1", "https:// /x?secret=1", "a\x00b")
    assert all(one.fault for one in given)
    assert not any("secret=1" in one.title + one.fault for one in given)


def test_an_order_by_a_template_says_only_what_was_given(tmp_path: Path) -> None:
    """Algorithm, priority and destination are the template's; a region and --set go with the order."""
    by_template = Defaults("ki67", {}, template="hot-spot")
    (given,) = orders_of([str(tmp_path / "a.svs")], by_template)
    assert set(given.order) == {"template", "scans"}
    assert given.order["template"] == "hot-spot"
    more = Defaults("ki67", {"size": 3}, to="lab", template="hot-spot")
    (given,) = orders_of([str(tmp_path / "a.svs")], more)
    assert given.order["parameters"] == {"size": 3}
    assert given.order["destination"] == "lab"
