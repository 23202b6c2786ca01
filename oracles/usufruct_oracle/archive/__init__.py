"""Parquet files of what finalized epochs counted, and exact sums over them."""
