"""From a folder of photos or a file of texts to the features of a pool.

source      samples in order, each with an id, or with why it cannot be used
photos      a folder of images as a source
texts       a column of a file as a source
encoders    the networks that turn samples into features, one row each
blocks      features a block at a time, kept so that an interruption loses little
duplicates  rows that nearly repeat an earlier one
"""
