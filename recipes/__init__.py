"""Recipes that trained the versions of `models/`: programs on top of `ml`, no part of the library."""
