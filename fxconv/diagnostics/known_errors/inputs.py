"""Messages of a model that is given other inputs than it was made for, or too many."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

INPUTS = (
    KnownError(
        "input-type",
        Place.CONVERSION,
        says(
            r"Input type \((?P<found>(?!c10::q)[\w: .]{1,60})\) and (?:bias|weight) type \((?P<wanted>[\w: .]{1,60})\) "
            r"should be the same"
        ),
        "Input type (unsigned char) and bias type (float) should be the same",
        "the input is of type {found}, the model's weights of type {wanted}",
        "give float values, scaled and normalized as in training (x.float() / 255; on Android "
        "TensorImageUtils.bitmapToFloat32Tensor), or bring both to one device and precision; --calib DIR and fxconv "
        "example preprocess photographs as the model wants them",
        provoked=True,
    ),
    KnownError(
        "input-channels",
        Place.CONVERSION,
        says(
            r"expected input\[(?P<shape>[\d, ]{1,60})\] to have (?P<wanted>\d{1,9}) channels, but got "
            r"(?P<found>\d{1,9}) "
            r"channels"
        ),
        "Given groups=1, weight of size [4, 3, 1, 1], expected input[1, 1, 4, 4] to have 3 channels, but got 1 "
        "channels "
        "instead",
        "the input [{shape}] has {found} channels where the layer wants {wanted}; channels stand behind the batch "
        "(NCHW)",
        "give --input-size CxHxW with the channels of the model, and images in that order: x.permute(0, 3, 1, 2) for "
        "NHWC",
        provoked=True,
    ),
    KnownError(
        "input-too-small",
        Place.CONVERSION,
        says(r"Calculated output size: \([\dx -]{1,60}\)\. Output size is too small"),
        "Given input size: (3x4x4). Calculated output size: (3x0x0). Output size is too small",
        "the input is so small that a pool has nothing left to pool",
        "set --input-size to what the model was trained on",
        provoked=True,
    ),
    KnownError(
        "linear-size",
        Place.CONVERSION,
        says(
            r"mat1 and mat2 shapes cannot be multiplied \((?P<found>\d{1,9}x\d{1,9}) and (?P<wanted>\d{1,9}x\d{1,9})\)"
        ),
        "mat1 and mat2 shapes cannot be multiplied (1x5 and 3x4)",
        "a linear layer is given {found} values and has weights for {wanted}: the input is of another size than the "
        "model "
        "was made for",
        "set --input-size to what the model was trained on, or let it pool to one size (nn.AdaptiveAvgPool2d)",
        provoked=True,
    ),
    KnownError(
        "out-of-memory",
        Place.CONVERSION,
        says(r"can't allocate memory", r"not enough memory", r"std::bad_alloc", r"Cannot allocate memory"),
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000000 bytes.",
        "there is not enough memory for the images that run at a time, or for the model",
        "set a smaller --batch-size or --input-size",
        provoked=True,
    ),
)
