"""How the lines of methods are dashed, as Matplotlib wants it."""

DASHED, DASH_DOTTED, DOTTED = (0, (5, 1.6)), (0, (6, 1.6, 1.2, 1.6)), (0, (1.2, 1.2))
