"""Around any score: chunks, files, devices and processes, the same answer on all.

A *row* is a position along the pool and the one identity a sample has here, whatever
the chunk, device, process or attempt that scores it.

    chunks      inside one `jax.jit`: chunks that bound a score's memory
    sources     where rows come from: arrays, memory maps, records, iterators
    planning    how many rows at once: from the memory of the device
    devices     one chunk sharded over the devices of this process
    ranking     the best rows seen so far
    record      what a scan has finished, on disk
    processes   what the processes of one scan tell each other
    scan        all of it: `score_pool` and `top_k_of_pool`
"""
