"""Benchmarks; each compares the product with another program or a limit in the same run, and prints ratios."""
