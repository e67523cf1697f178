"""The parts that all studies share.

    method         how a method turns a model into picks
    rounds         fit, test, score, select and label, round after round
    run_folder     the files of a run
    checkpoint     its state on disk
    progress       the display in the terminal
    command_line   start and end of a command
    series         several runs one after another

No module here depends on a study: each study passes its functions.
"""
