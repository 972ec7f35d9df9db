"""The rows of the world's data sets: what is drawn, played and spoken elsewhere is gathered here,
with its truth beside it.

One file a family. Each describes its data sets in ``DATASETS``; ``world._store`` says how such a
description is written and finds it by the data set's name. The files of ``world`` draw, play and
speak, and know nothing of rows.
"""
