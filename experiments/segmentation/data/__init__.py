"""Scenes for the segmentation studies, and the pipelines that feed them."""
