"""What all studies share, whatever their data and methods.

    method         how a competitor turns a model into picks
    rounds         fit, test, score, select and label, round after round
    run_folder     the files of a run
    checkpoint     its state on disk
    progress       how far it is, in the terminal
    command_line   the options of a command, and how it ends
    series         several runs one after another

It knows no study: what differs is handed in as functions.
"""
