"""The labeling application: the command `iwps`, its campaigns, pages and files.

    commands   one file a command: options, checks, what is printed
    campaign   a labeling campaign as values, and its folder
    gallery    the page on which people label
    embedding  photos and texts as features
    files      pools, heads, holdout sets, picks and answers as files
    naming     ids, rows and class names
    leaks      samples that are in two sets

It needs the extra `app`; the library below never imports it.
"""
