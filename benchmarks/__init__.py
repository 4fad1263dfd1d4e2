"""Benchmarks beside the peers: measured in one run, saved raw, printed as ratios and tables."""
