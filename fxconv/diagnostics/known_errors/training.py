"""Messages met while a model is trained to be quantized."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

TRAINING = (
    KnownError(
        "qat-in-eval-mode",
        Place.TRAINING,
        says(r"prepare_qat only works on models in training mode"),
        "prepare_qat only works on models in training mode",
        "the model is in eval mode, and torch prepares models for training in train mode only",
        "call model.train() first; fxconv convert --mode qat, and fxconv.prepare_qat from Python, need neither",
        provoked=True,
    ),
    KnownError(
        "batch-of-one",
        Place.TRAINING,
        says(r"Expected more than 1 value per channel when training, got input size (?P<shape>[\w.(\[, \])]{1,60}\))"),
        "Expected more than 1 value per channel when training, got input size torch.Size([1, 3])",
        "a batch norm in train mode is given a single value for each channel, which has no variance",
        "call model.eval() to convert; to train give --batch-size 2 or more",
        provoked=True,
    ),
    KnownError(
        "inference-tensor",
        Place.TRAINING,
        says(
            r"Inference tensors cannot be saved for backward",
            r"requires_grad=True on inference tensor outside InferenceMode",
        ),
        "Inference tensors cannot be saved for backward.",
        "a tensor made under torch.inference_mode() takes part in training",
        "make it under torch.no_grad(), or clone it outside of inference mode; fxconv convert --mode qat trains a copy",
        provoked=True,
    ),
)
