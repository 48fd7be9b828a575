"""How a model was fine-tuned, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from fxconv.config import Teacher


@dataclass(frozen=True)
class Epoch:
    """One pass over the images: the mean loss while training, and afterwards on those that tell when to stop."""

    number: int
    loss: float
    validation: float
    seconds: float


@dataclass(frozen=True)
class Score:
    """An int8 module on the images that tell when to stop: the loss, and what it means.

    SQNR against the float model in decibels; the share of images, from 0 to 1, of which both put the same class first,
    None without class scores; and the share put right, None without labels.
    """

    loss: float
    sqnr_db: float
    agreement: float | None
    accuracy: float | None


@dataclass(frozen=True)
class FineTuned:
    """How a model was fine-tuned: on what, for how long, and which epoch's weights were kept; 0 is before training.

    `start` is the loss of the calibrated model before, on the `validated` images; `resumed` the epochs that an earlier
    run left in its checkpoint; `is_unseen` whether those images were not trained on. `before` and `after` are the int8
    modules; `notes` what is to be known of the images.
    """

    source: str
    images: int
    validated: int
    is_unseen: bool
    learn_from: Teacher
    start: float
    epochs: tuple[Epoch, ...] = ()
    kept: int = 0
    stopped_early: bool = False
    resumed: int = 0
    before: Score | None = None
    after: Score | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """What training took, of earlier runs as well."""
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know."""
        if self.kept:
            return self.notes
        nothing = (
            "training brought nothing: int8 has the weights it began with; lower --learning-rate, or give more images"
        )
        return (*self.notes, f"{nothing} (--train)")
