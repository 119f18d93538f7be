"""Builds FHIR R4 resources as plain JSON values from the rows of the product. Nothing here asks the database."""
