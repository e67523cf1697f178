"""The columns of a table as numbers that a network can learn from.

Numbers are centered by their median and divided by the distance of their quartiles, so
that a few wild values do not squeeze all others together. A category is a column of its
own, 1 where a row has it.
"""

import numpy as np

CUT_OFF = 100.0  # no value lies farther out than this many distances of the quartiles


def scale(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales the rows of a table; center, scale and categories are the training rows'.

    A test row's category that no training row has is 0 in all columns.

    Args:
        train: structured [n]; float64 columns are numbers, all others categories.
        test: structured [m] with the same columns.

    Returns:
        Two float32 arrays, [n, d] and [m, d]; first the numbers, then the categories.

    Example:
        >>> rows = np.array([(1.0, "a"), (2.0, "b"), (5.0, "a")], "f8,U1")
        >>> print(scale(rows, rows[:1])[0])
        [[-0.5  1.   0. ]
         [ 0.   0.   1. ]
         [ 1.5  1.   0. ]]
    """
    from sklearn.preprocessing import OneHotEncoder, RobustScaler

    scaled: list[list[np.ndarray]] = [[], []]
    for is_number, transformer in (
        (True, RobustScaler()),
        (False, OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
    ):
        names = [
            name
            for name in train.dtype.names
            if np.issubdtype(train.dtype[name], np.number) is is_number
        ]
        if not names:
            continue
        of_train, of_test = (
            np.stack([rows[name] for name in names], axis=1) for rows in (train, test)
        )
        scaled[0].append(transformer.fit_transform(of_train))
        scaled[1].append(transformer.transform(of_test))
    parts = (np.concatenate(part, axis=1) for part in scaled)
    first, second = (
        np.clip(part, -CUT_OFF, CUT_OFF).astype(np.float32) for part in parts
    )
    return first, second
