"""The classification studies: settings, splits, networks, methods, training, rounds."""
