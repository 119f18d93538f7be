"""Who may ask for what: every address of the product, with the answer that each role gets."""
