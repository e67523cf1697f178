"""Campaigns played by a program that knows the labels."""
