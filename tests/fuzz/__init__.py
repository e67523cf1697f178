"""Files of every format, damaged at random, and what our readers make of them.

    python -m tests.fuzz --inputs 20000

An input is a valid file that has been changed a few times. A reader must refuse it in
one sentence that names the file, or read what the format's own library reads.

    readers     a row for each reader: its files, its own library, its format's edits
    valid       valid files
    edits       changes of bytes, texts and formats
    judge       one input, and the verdict
    worker      judges inputs in a process of its own
    __main__    the command
"""
