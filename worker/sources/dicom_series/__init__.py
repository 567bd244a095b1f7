"""A DICOM series behind one URL for each of its files."""
