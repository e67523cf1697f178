"""From a folder of photos or a file of texts to the features of a pool.

source      samples in order, each with an id, or with why it cannot be used
photos      a folder of images as a source
texts       a column of a file as a source
encoder     a network that turns samples into features
encoders    these networks, as one table
hugging_face  models of Hugging Face as such networks
blocks      features a block at a time, kept so that an interruption loses little
duplicates  rows that nearly repeat an earlier one
"""
