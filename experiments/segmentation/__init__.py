"""Active learning of semantic segmentation."""
