"""Datasets as arrays in memory, wherever they can be had from."""
