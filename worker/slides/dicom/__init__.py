"""DICOM: whole-slide series and single images."""
