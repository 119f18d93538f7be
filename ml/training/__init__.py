"""Training: from a folder in a layout of docs/data.md to an artifact. Needs no Django and no serving library."""
