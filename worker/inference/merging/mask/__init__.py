"""Turn the classes of pixels, tile by tile, into polygons of the whole area.

While tiles are placed, `blending` averages the answers of tiles that overlap, and `blocks` appends
the classes of finished blocks to a file. In the end `stitching` joins the connected parts of all
blocks, `holes` fills small holes, `outlines` traces the parts, and `polygons` cuts them at the
border of the area. Only blocks in work and parts that reach the row of blocks in work are in
memory.
"""
