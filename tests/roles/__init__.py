"""Access rights: every address of the product, with the status for each role."""
