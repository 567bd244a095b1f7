"""Ki-67 on H-DAB: stain separation, nuclei, outlines, and the labelling index."""
