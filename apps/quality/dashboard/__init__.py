"""Figures of a hospital for its administrators: selectors, charts and tables, without tables of their own.

Every figure is about the studies that arrived in a period, and says what became of them until now. Times of day and
weeks are those of the hospital. Nothing here names a patient, a study or a reader.
"""
