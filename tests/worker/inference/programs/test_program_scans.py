"""A program on a slide: what it posts becomes a result, or a failure with its reason."""

import io
import json
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.errors import OrderError
from tests.support.multi_file_slides import a_series
from tests.support.plain_isolation import PlainIsolation, scripts
from tests.support.program_runs import Lines
from tests.support.program_scans import SCAN, TEMPLATE, TOKEN, a_program, entry, run
from tests.support.python_scans import EDGE_PX, Recorder, dotted, features, results
from tests.support.results import VIEWER_FILES
from worker.inference.programs.problems import ProgramFailedError
from worker.inference.programs.run_on_scan import ProgramSite
from worker.inference.programs.slide_file_list import slide_files
from worker.programs.durations import Durations
from worker.results import result_folder

POST = """
import json, os, sys, time, urllib.error, urllib.request

def send(method, path, body, token=os.environ["JWT_TOKEN"]):
    url = f"https://api.{os.environ['HOST']}/api/v3/{path}"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        print("answered", error.code, error.read().decode())
        return error.code

def post(scan=os.environ["SCAN_ID"], task=os.environ["TASK_ID"], **fields):
    return send("POST", f"external/results/{task}", {"scanResults": [{"scanId": scan, **fields}]})

"""


def program(code: str) -> tuple[str, ...]:
    """A command that runs the code, which can `post`."""
    return (sys.executable, "-c", POST + textwrap.dedent(code))


def polygon(*ring: Any, **properties: Any) -> dict[str, Any]:
    """A feature with one ring."""
    geometry = {"type": "Polygon", "coordinates": [list(ring)]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def test_the_templates_post_becomes_features_overlay_and_files(tmp_path: Path) -> None:
    """Four boxes of its segment, with its colour and its words, and the post as it came."""
    local = {"LOCAL_PATH": str(tmp_path / "image.svs")}
    folder = run(a_program(entry(TEMPLATE), variables=local), dotted(tmp_path), tmp_path)
    found = features(folder)
    assert len(found) == 4
    assert found[0]["properties"]["classification"]["name"] == "Mitosis"
    assert found[0]["properties"]["classification"]["color"] == [255, 0, 0]
    written = results(folder)
    assert written["headline"] == "Result: Benign, Mitosis Count: 4"
    assert written["summary"]["report"] == {"Result": "Benign", "Mitosis Count": "4"}
    assert written["counts"] == {"Mitosis": 4}
    assert written["warnings"] == []
    assert (folder / "overlay.png").stat().st_size > 100
    posted = json.loads((folder / "posted.json").read_bytes())
    assert posted["scanResults"][0]["scanId"] == SCAN
    assert "Success: 201" in (folder / "output.log").read_text()
    assert result_folder.optional_files(folder) == [*VIEWER_FILES, "output.log", "posted.json"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_order_is_told_by_the_environment_and_its_token_is_not(tmp_path: Path) -> None:
    """Region, parameters and stain are variables; Techcyte's token is nowhere."""
    isolation = PlainIsolation()
    settings = entry(program("post()"), parameters={"DOWNSAMPLE": 10, "FAST": False})
    algorithm = a_program(settings, isolation, DOWNSAMPLE=4)
    roi = {"x": 10, "y": 20, "width": 200, "height": 100}
    run(algorithm, dotted(tmp_path), tmp_path, roi=roi, stain="H&E")
    (started,) = isolation.runs
    assert started.environment["SCAN_ROI"] == "10,20,200,100"
    assert started.environment["SCAN_STAIN"] == "H&E"
    assert started.environment["DOWNSAMPLE"] == "4"
    assert started.environment["FAST"] == "false"
    assert started.environment["TASK_ID"] == "7"
    assert started.environment["HOST"] == "x.example"
    assert TOKEN not in json.dumps(dict(started.environment))


def test_an_order_for_another_destination_has_a_number_as_task(tmp_path: Path) -> None:
    """A program that reads the task as a number goes on; the host leads nowhere."""
    isolation = PlainIsolation()
    algorithm = a_program(entry(program("post()")), isolation)
    run(algorithm, dotted(tmp_path), tmp_path, destination={"type": "none"})
    (started,) = isolation.runs
    assert started.environment["TASK_ID"].isdecimal()
    assert started.environment["HOST"] == "slidelane.invalid"


def test_annotations_of_every_geometry_are_drawn(tmp_path: Path) -> None:
    """Holes, several parts, points, a heat map; what lies outside of the region is counted."""
    ring = [[20, 20], [80, 20], [80, 80], [20, 80], [20, 20]]
    hole = [[40, 40], [60, 40], [60, 60], [40, 60], [40, 40]]
    far = [[x + 150, y + 150] for x, y in ring]
    kind = {"annotation_type": "tumor"}
    shapes = [
        ({"type": "Polygon", "coordinates": [ring, hole]}, kind),
        ({"type": "MultiPolygon", "coordinates": [[ring], [far]]}, kind),
        ({"type": "MultiPoint", "coordinates": [[30, 30], [35, 90]]}, {"annotation_type": "cell"}),
        ({"type": "LineString", "coordinates": [[1, 1], [5, 5]]}, kind),
        (
            {
                "type": "GeometryCollection",
                "geometries": [{"type": "Polygon", "coordinates": [ring]}],
            },
            {"annotation_type": "heat", "contour_colors": ["#AA0000"]},
        ),
    ]
    collection = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "geometry": geometry, "properties": properties}
            for geometry, properties in shapes
        ],
    }
    command = program(f"post(geojson={collection!r}, qcFailReasons=[])")
    roi = {"x": 0, "y": 0, "width": 120, "height": 120}
    folder = run(a_program(entry(command)), dotted(tmp_path), tmp_path, roi=roi)
    written = results(folder)
    assert written["counts"] == {"tumor": 2, "cell": 2, "heat 1": 1}
    warnings = {one["code"]: one["detail"] for one in written["warnings"]}
    assert warnings["outside_roi"].startswith("1 of 6 objects")
    assert warnings["features_not_drawn"].startswith("1 features")
    first = features(folder)[0]["geometry"]
    assert len(first["coordinates"]) == 2


def test_points_and_boxes_of_reports_are_drawn(tmp_path: Path) -> None:
    """A differential has points by type, a count boxes."""
    point = {"x": 50, "y": 60, "score": 0.9, "type": "positive"}
    report = {"type": "SemiQuantitativeDifferential", "points": [point], "scores": {}}
    workflow = {"key": "Score", "value": "2+", "report": report}
    command = program(f"post(workflow={workflow!r})")
    folder = run(a_program(entry(command)), dotted(tmp_path), tmp_path)
    assert results(folder)["counts"] == {"positive": 1}
    assert results(folder)["headline"] == "Score: 2+"
    xs = [x for x, _ in features(folder)[0]["geometry"]["coordinates"][0]]
    assert (min(xs), max(xs)) == (42, 58)  # 8 um at 0.5 um


def test_classes_that_the_settings_name_keep_their_colour_and_title(tmp_path: Path) -> None:
    """What the settings say comes before what the program posts."""
    shape = polygon([9, 9], [30, 9], [30, 30], [9, 9], annotation_type="tumor", color="#111111")
    collection = {"type": "FeatureCollection", "features": [shape]}
    settings = entry(program(f"post(geojson={collection!r})"), colors={"tumor": "#00ff00"})
    folder = run(a_program(settings), dotted(tmp_path), tmp_path)
    assert features(folder)[0]["properties"]["classification"]["color"] == [0, 255, 0]


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("print('nothing to say')", "algorithm_answer_invalid", "posted no results; the last"),
        ("sys.exit(3)", "algorithm_raised", "ended with exit code 3"),
        ("os.kill(os.getpid(), 9)", "algorithm_raised", "was ended by signal 9"),
        ("post(scan='7')", "algorithm_answer_invalid", "does not belong to this run"),
        ("post(task='8')", "algorithm_answer_invalid", "is not TASK_ID"),
        ("post(results={'summary': 1})", "algorithm_answer_invalid", "results.summary"),
        ("send('POST', 'external/results/7', b'{')", "algorithm_answer_invalid", "no JSON"),
        ("time.sleep(60); post()", "time_limit", "no results after 2 s"),
    ],
    ids=["never", "exit code", "killed", "scan", "task", "invalid", "garbage", "too late"],
)
def test_a_program_without_valid_results_fails_and_says_why(
    tmp_path: Path, code: str, error: str, words: str
) -> None:
    """Its author is to blame, and what it printed is kept."""
    limit_s = 2 if error == "time_limit" else 60
    algorithm = a_program(
        entry(program(f"print('began', flush=True); {code}"), time_limit_s=limit_s)
    )
    with pytest.raises(ProgramFailedError) as failed:
        run(algorithm, dotted(tmp_path), tmp_path)
    assert failed.value.code == error
    assert failed.value.blame == "algorithm"
    assert words in failed.value.detail
    assert failed.value.files["output.log"].read_text().startswith("began\n")


@pytest.mark.parametrize(
    ("code", "warning"),
    [
        ("post(); sys.exit(1)", "the program had posted results, and ended with exit code 1"),
        ("post(); post(); post()", "the program posted results 3 times; the first ones count"),
        ("post(results={'summary': 1}); post()", ""),
        ("post(); time.sleep(60)", "the program had posted results, and was ended at its time"),
    ],
    ids=["exit code", "thrice", "a refused one first", "does not end"],
)
def test_valid_results_count_whatever_else_happens(tmp_path: Path, code: str, warning: str) -> None:
    """The scan is classified, with a warning where something is to be known."""
    algorithm = a_program(entry(program(code), time_limit_s=4))
    folder = run(algorithm, dotted(tmp_path), tmp_path)
    warnings = [one["detail"] for one in results(folder)["warnings"]]
    if not warning:
        assert warnings == []
    else:
        assert len(warnings) == 1
        assert warnings[0].startswith(warning)


def test_debug_file_and_triage_are_kept(tmp_path: Path) -> None:
    """The debug file is a download of the scan, the triage part of its result."""
    code = """
        import io, zipfile
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("debug_info.txt", "all is well")
        request = urllib.request.Request(
            os.environ["DEBUG_FILE_UPLOAD_URL"], content.getvalue(), method="PUT")
        assert urllib.request.urlopen(request).status == 200
        assert send("PATCH", "external/case/7", {"triage_category": "High"}) == 204
        assert post() == 201
    """
    folder = run(a_program(entry(program(code))), dotted(tmp_path), tmp_path)
    with zipfile.ZipFile(io.BytesIO((folder / "debug.zip").read_bytes())) as archive:
        assert archive.read("debug_info.txt") == b"all is well"
    assert results(folder)["summary"]["triage"] == {"triage_category": "High"}


def test_an_image_of_the_first_generation_prints_its_results(tmp_path: Path) -> None:
    """With DEV=1 nothing is posted: what it prints is taken, as Python prints a dictionary."""
    code = """
        found = {"caseResults": {"n": 1}, "scanResults": [{"scanId": "test_scan"}]}
        print("Dev mode")
        print(f"Results JSON: {found}")
    """
    algorithm = a_program(entry(program(code)), variables={"DEV": "1"})
    folder = run(algorithm, dotted(tmp_path), tmp_path)
    posted = json.loads((folder / "posted.json").read_bytes())
    assert posted == {"caseResults": {"n": 1}, "scanResults": [{"scanId": SCAN}]}


def test_what_is_printed_is_shown_without_the_secrets_of_the_order(tmp_path: Path) -> None:
    """The log of the order follows it, and the file has it whole."""
    lines = Lines()
    code = f"print('working with {TOKEN}'); print(os.environ['JWT_TOKEN']); post()"
    site = ProgramSite(tmp_path / "scratch", lines)
    folder = run(a_program(entry(program(code))), dotted(tmp_path), tmp_path, site)
    assert lines.lines == ["working with …", "…"]
    assert (folder / "output.log").read_text() == "working with …\n…\n"


def test_progress_is_told_or_measured_by_earlier_runs(tmp_path: Path) -> None:
    """Lines of the program count; without them the median of earlier runs is the whole."""
    progress = Recorder()
    durations = Durations(tmp_path / "durations")
    for seconds in (90, 100, 300):
        durations.add("own", seconds)
    site = ProgramSite(tmp_path / "scratch", durations=durations)
    command = program("time.sleep(1.5); print('slidelane:progress 3/4'); time.sleep(1); post()")
    run(a_program(entry(command)), dotted(tmp_path), tmp_path, site, progress)
    told = [report for report in progress.reports if report[0] == "running"]
    assert ("running", 1, 100) in told
    assert told[-1] == ("running", 3, 4)
    assert durations.median_s("own") != 100


def test_a_dicom_series_comes_as_a_zip_as_well(tmp_path: Path) -> None:
    """All files of the series, and none of another that lies beside them."""
    isolation = PlainIsolation()
    code = """
        import io, zipfile
        main = urllib.request.urlopen(os.environ["SCAN_URL"]).read()
        content = urllib.request.urlopen(os.environ["SCAN_URL_ZIP"]).read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = sorted(archive.namelist())
        post(results={"summary": f"{main[128:132].decode()} {names}"})
    """
    folder = tmp_path / "series"
    folder.mkdir()
    pixels = np.full((256, 256, 3), 200, np.uint8)
    for name, content in a_series(tmp_path / "made", pixels).items():
        (folder / name).write_bytes(content)
    names = sorted(path.name for path in folder.iterdir())
    other = a_series(tmp_path / "other", pixels, "1.2.3.5")
    (folder / "other.dcm").write_bytes(next(iter(other.values())))
    result = run(a_program(entry(program(code)), isolation), folder / "fine.dcm", tmp_path)
    assert results(result)["headline"] == f"DICM {names}"


def test_what_an_image_server_has_shown_is_no_file(tmp_path: Path) -> None:
    """A program cannot be given what exists only as regions."""
    with pytest.raises(OrderError, match="gives no file"):
        slide_files(tmp_path / "slide.json")


def test_the_slide_arrives_whole_although_a_region_was_ordered(tmp_path: Path) -> None:
    """The program gets the file, and the region as a variable."""
    slide = dotted(tmp_path)
    command = (sys.executable, str(scripts() / "client.py"), "urllib")
    roi = {"x": 0, "y": 0, "width": EDGE_PX // 2, "height": EDGE_PX // 2}
    folder = run(a_program(entry(command)), slide, tmp_path, roi=roi)
    assert results(folder)["headline"] == f"{slide.stat().st_size} bytes"
