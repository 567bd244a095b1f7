"""The card of `ki67`, in the words of the public interface. Loads no torch."""

from typing import Final

from slidelane.algorithms import Card, Class, Parameter

CARD: Final = Card(
    title="Ki-67 labelling index",
    description="Outlines the nuclei of a haematoxylin-DAB section "
    "and counts how many of them are brown.",
    version="1.0.0",
    output="objects",
    mpp=0.5,
    input_px=1216,
    halo_px=96,  # a nucleus depends on pixels up to 90 px away: see `ki67.outlines`
    batch=4,
    stains=("H-DAB",),
    classes=(
        Class("negative", "#00e5ff", annotation_type="ki67_negative", title="Negative"),
        Class("positive", "#ffe600", annotation_type="ki67_positive", title="Positive"),
    ),
    measurements=("dab_od_mean",),
    parameters=(
        Parameter(
            "positive_threshold",
            0.15,
            title="Positive threshold",
            unit="OD",
            minimum=0.01,
            maximum=2,
            description="mean DAB optical density, decadic, of a nucleus at or above which it is "
            "positive",
        ),
        Parameter(
            "haematoxylin_threshold",
            None,
            title="Haematoxylin threshold",
            unit="OD",
            minimum=0.02,
            maximum=1,
            description="haematoxylin optical density, decadic, that tells nuclei from the rest; "
            "null = found by Otsu's method",
        ),
        Parameter(
            "min_nucleus_um2",
            10.0,
            title="Smallest nucleus",
            unit="um2",
            minimum=2,
            maximum=80,
            description="smaller things are no nuclei, in square microns",
        ),
        Parameter(
            "max_nucleus_um2",
            300.0,
            title="Largest nucleus",
            unit="um2",
            minimum=100,
            maximum=314,
            description="larger things are no nuclei, in square microns",
        ),
    ),
)
