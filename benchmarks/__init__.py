"""One file per question, each printing a table and writing its numbers as JSON."""
