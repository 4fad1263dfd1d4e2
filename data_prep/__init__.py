"""Command-line scripts that write datalists of real data sets, split by patient."""
