"""Builds the DICOM objects of a result from plain values, with highdicom. It knows neither Django nor the database."""
