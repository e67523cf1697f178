"""Active learning of linear heads on frozen features: settings, heads, rounds."""
