"""Bundles outside the database: files by hash, restricted parts sealed."""
