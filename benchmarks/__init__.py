"""Benchmarks: each compares with a named peer or limit in one run, and prints ratios."""
