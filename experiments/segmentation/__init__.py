"""Active learning for semantic segmentation: scenes, networks, methods, study."""
