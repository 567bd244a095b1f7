"""Frame, area, ROI, tile grid, pyramid levels and microns per pixel. No I/O."""
