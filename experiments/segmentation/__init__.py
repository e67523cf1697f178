"""Active learning for semantic segmentation: scenes, networks and the study."""
