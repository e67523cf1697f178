"""Files that the commands read and write: arrays, ids, classes, picks."""
