"""The home page of the operator's console."""
