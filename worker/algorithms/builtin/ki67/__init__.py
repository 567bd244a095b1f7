"""Ki-67 on haematoxylin-DAB sections: stains, nuclei, their outlines and the labelling index."""
