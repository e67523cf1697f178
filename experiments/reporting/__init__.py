"""From the files of a run to numbers, verdicts, pictures and pages."""
