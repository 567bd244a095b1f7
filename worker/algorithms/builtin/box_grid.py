"""The algorithm `grid`: divides the area into equal boxes. Reads no pixels.

It is written against the public interface and uses nothing else of Slidelane.
"""

from typing import Final

import numpy as np

from slidelane.algorithms import Card, Class, Context, Found, Parameter, Result

CARD: Final = Card(
    title="Grid of boxes",
    description="Divides the area into equal boxes, without reading a pixel.",
    version="1.0.0",
    output="report",
    classes=(Class("box", "#2e8b57", annotation_type="box"),),
    parameters=(
        Parameter("rows", 2, minimum=1, maximum=64, description="boxes from top to bottom"),
        Parameter("columns", 2, minimum=1, maximum=64, description="boxes from left to right"),
    ),
)


def process_image(_path: str, context: Context) -> Result:
    """Return rows times columns of boxes that cover the area without gap or overlap.

    They come row by row, in level-0 pixels, exact also where they are fractions. Boxes whose centre
    lies outside the area's polygon are left out.
    """
    rows = context.parameters["rows"]
    columns = context.parameters["columns"]
    left, top, width, height = context.roi.box
    xs = left + width * np.arange(columns + 1) / columns
    ys = top + height * np.arange(rows + 1) / rows
    boxes = []
    for row in range(rows):
        for column in range(columns):
            box = _box(xs[column], ys[row], xs[column + 1], ys[row + 1])
            if context.roi.contains(box.x, box.y):
                boxes.append(box)
    return Result(
        boxes,
        summary={"boxes": len(boxes), "rows": rows, "columns": columns},
        headline=f"{len(boxes):,} boxes ({rows} x {columns})",
    )


def _box(left: float, top: float, right: float, bottom: float) -> Found:
    """Return the box, its corners clockwise on the screen from the top left one."""
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    x, y = corners.mean(axis=0)
    return Found(x, y, 0, outline=corners)
