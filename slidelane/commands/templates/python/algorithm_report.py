"""Looks at the whole region of a slide: replace `process_image` with your own."""

from typing import Any

from slidelane.algorithms import Card, Class, Context

CARD = Card(title="Dark squares", output="report", classes=(Class("dark", "#d55e00"),), version="1")


def process_image(path: str, context: Context) -> dict[str, Any]:
    """Return GeoJSON in level-0 pixels: a square for each tile that is dark."""
    features = []
    for tile in context.tiles(mpp=2.0, size_px=128):
        context.progress(tile.number, tile.count)
        if tile.pixels.mean() < 200:
            ring = tile.level0([(0, 0), (128, 0), (128, 128), (0, 128), (0, 0)])
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                    "properties": {"classification": {"name": "dark"}},
                }
            )
    return {"type": "FeatureCollection", "features": features}


process_image.card = CARD
