"""`ki67` against sections whose nuclei are known, and against scikit-image on a real photograph."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.feature import blob_log
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from broker.errors import OrderError
from tests.support.tissue_sections import (
    Section,
    calibrated,
    found_in,
    matched,
    photograph,
    section,
)
from worker.algorithms.builtin.cards import ki67_card
from worker.algorithms.builtin.ki67.stain import DAB, HAEMATOXYLIN, density
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.results.objects import Objects

FRAME = Frame(4000, 4000, 0.5, 0.5, "slide")
AREA = Area(0, 0, 2000, 1000)
CARD = ki67_card()


@pytest.fixture(scope="module")
def tissue() -> Pixels:
    return photograph()


@pytest.fixture(scope="module")
def spread_out() -> Section:
    return section(seed=1)


def by_scikit_image(pixels: Pixels) -> tuple[Floats, Floats]:
    """An independent opinion: markers (x, y) and mean DAB (in scikit-image's unit) of each
    nucleus."""
    hed = rgb2hed(pixels)
    blue = gaussian(hed[..., 0].clip(0), 1)
    least = 0.75 * threshold_otsu(blue)
    blobs = blob_log(
        blue / blue.max(), min_sigma=3, max_sigma=6, num_sigma=4, threshold=0.08, overlap=0.3
    )
    at = blobs[:, :2].astype(int)
    at = at[blue[at[:, 0], at[:, 1]] > least]
    markers = np.zeros(blue.shape, int)
    markers[at[:, 0], at[:, 1]] = numbers = np.arange(1, len(at) + 1)
    cells = watershed(-blue, markers, mask=blue > least)
    return at[:, ::-1] + 0.5, ndimage.mean(hed[..., 2], cells, numbers)


def f1(found: Floats, true: Floats) -> float:
    return 2 * len(matched(found, true)) / (len(found) + len(true))


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("apart", {}),
        ("touching", {"gap": 0.8}),
        ("brown without blue", {"haematoxylin_of_positive": (0.0, 0.05)}),
    ],
)
def test_known_nuclei_are_found_and_judged_right(name: str, drawn: dict[str, Any]) -> None:
    """Recall, precision and right positivity are 95 % at least, also where nuclei touch or DAB
    hides haematoxylin."""
    made = section(seed=2, **drawn)
    found = found_in(made.pixels)
    pairs = matched(found.centres, made.centres)
    right = np.mean([found.classes[mine] == made.positive[true] for true, mine in pairs.items()])
    recall = len(pairs) / len(made.centres)
    precision = len(pairs) / len(found)
    print(
        f"{name}: {len(made.centres)} nuclei, recall {recall:.3f}, precision {precision:.3f}, positivity {right:.3f}"
    )
    assert min(recall, precision, right) >= 0.95


def test_scikit_image_agrees_on_made_sections(spread_out: Section) -> None:
    """Blobs and watershed of scikit-image find the same nuclei."""
    markers, _ = by_scikit_image(spread_out.pixels)
    agreement = f1(found_in(spread_out.pixels).centres, markers)
    print(f"made section: F1 with scikit-image {agreement:.3f}")
    assert agreement >= 0.93


def test_scikit_image_agrees_on_the_photograph(tissue: Pixels) -> None:
    """Both find most of the same nuclei, in pale stroma more than in brown glands, and judge them
    alike."""
    found = found_in(tissue)
    (markers, amounts) = by_scikit_image(tissue)
    brown = gaussian(rgb2hed(tissue)[..., 2], 8)
    pale = [
        brown[at[:, 1].astype(int), at[:, 0].astype(int)] < 0.04 for at in (found.centres, markers)
    ]
    stroma = f1(found.centres[pale[0]], markers[pale[1]])
    pairs = matched(found.centres, markers)
    theirs = (
        amounts * np.log(1e6) / np.log(10) >= 0.15
    )  # scikit-image divides by ln(1e6), we by ln(10)
    alike = np.mean([found.classes[mine] == theirs[other] for other, mine in pairs.items()])
    everywhere = f1(found.centres, markers)
    print(
        f"photograph: F1 {everywhere:.3f}, in pale stroma {stroma:.3f}, positivity alike {alike:.3f}"
    )
    assert (everywhere >= 0.7, stroma >= 0.8, alike >= 0.9) == (True, True, True)


def test_stains_are_those_of_scikit_image(tissue: Pixels) -> None:
    """Haematoxylin and DAB go with `rgb2hed` on every pixel: correlation 0.99 at least."""
    hed = rgb2hed(tissue)
    for stain, channel in ((HAEMATOXYLIN, 0), (DAB, 2)):
        ours = density(torch.tensor(tissue[None]), stain).clamp_min(0).numpy().ravel()
        correlation = np.corrcoef(ours, hed[..., channel].ravel())[0, 1]
        print(f"stain {channel}: correlation with rgb2hed {correlation:.4f}")
        assert correlation >= 0.99


def test_the_threshold_parts_positive_from_negative(spread_out: Section) -> None:
    """With a low threshold every nucleus is positive, with a high one none; the nuclei stay the
    same."""
    low, high = (
        found_in(spread_out.pixels, {"positive_threshold": value}) for value in (0.01, 2.0)
    )
    assert np.array_equal(low.centres, high.centres)
    assert low.classes.mean() > 0.9
    assert high.classes.sum() == 0


def test_scores_grow_with_the_distance_from_the_threshold(spread_out: Section) -> None:
    """A score is at least one half, and grows as the threshold moves away from a negative
    nucleus."""
    near, far = (
        found_in(spread_out.pixels, {"positive_threshold": value}) for value in (0.15, 0.3)
    )
    negative = near.classes == 0
    assert near.scores.min() >= 0.5
    assert (far.scores[negative] > near.scores[negative]).all()


def test_a_given_haematoxylin_threshold_is_used(spread_out: Section) -> None:
    """The order's threshold stands in the summary in place of Otsu's."""
    given = calibrated(spread_out.pixels, {"haematoxylin_threshold": 0.25})
    summary, _ = given.summarise(given.classify(spread_out.pixels[None])[0].counts(2), FRAME, AREA)
    assert summary["thresholds"] == {
        "positive_dab_od": 0.15,
        "haematoxylin_od": 0.25,
        "haematoxylin_from": "order",
    }


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_even_picture_holds_no_nuclei(value: int) -> None:
    """Black, grey and glass give no nuclei, and the headline says so."""
    even = np.full((256, 256, 3), value, np.uint8)
    classifier = calibrated(even)
    (found,) = classifier.classify(even[None])
    summary, headline = classifier.summarise(found.counts(2), FRAME, AREA)
    assert (len(found), summary["labelling_index_pct"], headline) == (
        0,
        None,
        "Ki-67: no nuclei found",
    )


def test_noise_holds_hardly_any_nuclei() -> None:
    """Glass with the noise of a camera gives fewer than one nucleus in 0.01 mm2."""
    rng = np.random.default_rng(0)
    glass = np.clip(rng.normal(238, 3, (512, 512, 3)), 0, 255).astype(np.uint8)
    assert len(found_in(glass)) < 6


def test_the_summary_counts(spread_out: Section) -> None:
    """Counts add up, the index is their share, densities are per mm2 of the area, and the headline
    says it."""
    classifier = calibrated(spread_out.pixels)
    found = Objects(
        np.zeros((1000, 2)), (), (np.arange(1000) < 123).astype(np.int64), np.ones(1000)
    )
    summary, headline = classifier.summarise(found.counts(2), FRAME, AREA)
    assert summary["labelling_index_pct"] == pytest.approx(12.3)
    assert (summary["nuclei"], summary["positive"], summary["negative"]) == (1000, 123, 877)
    assert (summary["area_mm2"], summary["nuclei_per_mm2"]) == (0.5, 2000.0)
    assert headline == "Ki-67 labelling index 12.3 % (123 of 1,000 nuclei)"


def test_density_needs_the_size_of_a_pixel() -> None:
    """Without microns per pixel the summary is refused in the caller's words."""
    classifier = calibrated(np.full((64, 64, 3), 255, np.uint8))
    nothing = Objects(np.empty((0, 2)), (), np.empty(0, np.int64), np.empty(0))
    with pytest.raises(OrderError) as refused:
        classifier.summarise(nothing.counts(2), Frame(10, 10, None, None, "none"), AREA)
    assert refused.value.code == "mpp_missing"
