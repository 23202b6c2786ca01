"""Rebuilding a posted report from its bundle and the chain."""
