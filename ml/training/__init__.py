"""Training: from a folder in the ChestX-ray14 layout to an artifact. Needs no Django and no serving library."""
