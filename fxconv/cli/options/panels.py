"""The panels of `--help`, in the order in which options are needed.

An option says which is its own by `rich_help_panel`; one without stands in the last.
"""

from __future__ import annotations

ARGUMENTS, OTHER = "Arguments", "Other"

PANELS = (
    ARGUMENTS,
    "Model",  # what is converted
    "Calibration",  # on which images
    "Photographs",
    "Preprocessing",  # and how those become numbers
    "Against a model",
    "Measurement",
    "Output",  # what is written and printed
    "Accuracy",  # what int8 must answer as well as
    "Int8",  # and by which means
    "Phones",  # what the app needs
    "Detectors",  # for some models alone
    "Training",
    "Replay",
    "Advanced",  # for who knows what they want it for
    OTHER,
)
