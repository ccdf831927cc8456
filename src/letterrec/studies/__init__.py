"""Many runs at once: the paper's tables (`reproduce`), figures and hyper-parameter study (`sweep`).

`rows` says what is compared; `paper` holds the paper's figures; `evaluation.significance` says
which differences are more than chance; `sheets` shows it all.

What users choose from by name stands here, where the command line reads it without loading the
rest.
"""

from typing import Literal

TableName = Literal["table1", "table2", "table3", "table4"]
FigureName = Literal["figure3", "figure6", "figure7", "figure8"]
RecommenderName = Literal["rqt", "rqt-codes", "tiger"]  # what the rows of a table may share
Model = Literal["generative", "sasrec"]
SamplerName = Literal["tpe", "random", "grid"]
PrunerName = Literal["median", "hyperband", "none"]
