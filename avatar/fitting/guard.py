"""A fit whose numbers run away goes back to where it was sound, and on at lower rates."""

from __future__ import annotations

import math

from avatar.errors import VisavisError
from avatar.fitting.checkpoint import restore, state_of
from avatar.fitting.trainer import Trainer
from avatar.progress import note

CHECK_EVERY, REMEMBER_EVERY = 20, 200
"""Steps between looks at all parameters, and between states to go back to."""
MAX_ROLLBACKS = 4
NOT_FINITE = ("not finite", "NaN or infinity")
"""What the kernels say when they refuse such numbers."""


class Guard:
    """Remembers the last sound state of a fit, in memory: what it goes back to depends on steps, not on the clock."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._remember()

    def train_step(self) -> None:
        """One step; the loss is looked at after each, the parameters after some and at the end."""
        trainer = self._trainer
        try:
            trainer.train_step()
        except ValueError as error:
            if not any(sign in str(error) for sign in NOT_FINITE):
                raise
            self._roll_back()
        if trainer.step % CHECK_EVERY == 0 or trainer.share >= 1 or not math.isfinite(trainer.loss):
            self.check()

    def check(self) -> None:
        """Go back if a parameter is not finite; afterwards the state may be validated, saved or published.

        Raises:
            VisavisError: it has gone back too often.
        """
        if not self._is_sound():
            self._roll_back()
        elif self._trainer.step >= self._step + REMEMBER_EVERY:
            self._remember()

    def _is_sound(self) -> bool:
        trainer = self._trainer
        learned = [trainer.layers.tensors()[name].detach() for name in trainer.learned]
        # A sum is finite only if all of its terms are, and takes a tenth of the time of looking at each.
        return math.isfinite(trainer.loss) and all(
            math.isfinite(float(tensor.sum())) for tensor in (*learned, trainer.refiner.delta)
        )

    def _remember(self) -> None:
        tensors, self._metadata = state_of(self._trainer)
        self._tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        self._step = self._trainer.step

    def _roll_back(self) -> None:
        trainer = self._trainer
        failed, seconds, rollbacks = trainer.step, trainer.seconds, trainer.rollbacks
        if rollbacks == MAX_ROLLBACKS:
            raise VisavisError(
                f"the fit's numbers ran away {rollbacks + 1} times, though its rates were lowered each time",
                expected="a finite loss and finite parameters",
                got=f"NaN or infinity after step {failed}, field {trainer.config.field}",
                fix="choose lower `rates` in the config if you changed them, another --field, or look at the capture: "
                f"visavis check {trainer.frames.capture.path}",
            )
        restore(trainer, {name: tensor.clone() for name, tensor in self._tensors.items()}, self._metadata)
        trainer.seconds, trainer.rollbacks = seconds, rollbacks + 1  # the time is spent all the same
        note(f"the fit's numbers ran away after step {failed}: back to step {trainer.step}, at lower rates")
