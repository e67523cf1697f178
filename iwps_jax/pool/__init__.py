"""Around any score: chunks, files, devices and processes, the same answer on all.

A *row* is a position along the pool and the one identity a sample has here, whatever
the chunk, device, process or attempt that scores it.

    chunks      inside one `jax.jit`: chunks that bound a score's memory
    sources     where rows come from: arrays, memory maps, records, iterators
    footprint   what a score takes, told from its trace
    planning    how many rows at once: from the memory of the device
    devices     a stretch of rows sharded over the devices of this process
    quick       scores with a form that serves most rows
    pipeline    reading ahead of the devices
    ranking     the best rows seen so far
    row_ranges  stretches of rows: what is done, what is left
    resume      what a scan has finished, on disk
    progress    how far it is, in the terminal
    processes   what the processes of one scan tell each other
    scan        all of it: `score_pool` and `top_k_of_pool`
"""

from iwps_jax.moved import answer_old_names

answer_old_names(__name__)
