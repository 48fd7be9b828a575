"""Messages of the engines that int8 kernels come from, and of what they lack."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

KERNELS = (
    KnownError(
        "no-engine",
        Place.CONVERSION,
        says(r"Didn't find engine for operation (?P<op>[\w:]{1,80})", r"quantized engine NoQEngine is not supported"),
        "Didn't find engine for operation quantized::conv2d_prepack NoQEngine",
        "no engine for int8 kernels is chosen, or this build of torch has none",
        'set torch.backends.quantized.engine = "qnnpack" before converting and before loading; fxconv convert does, '
        "for "
        "--engine qnnpack; in C++ at::globalContext().setQEngine(at::QEngine::QNNPACK)",
        ("pytorch/pytorch#29327", "pytorch/pytorch#81287", "pytorch/pytorch#123507"),
        provoked=True,
    ),
    KnownError(
        "unknown-engine",
        Place.CONVERSION,
        says(r"\b(?P<engine>\w{1,40}) is not a valid value for quantized engine"),
        "fbgemm2 is not a valid value for quantized engine",
        "torch knows no quantized engine {engine}",
        "phones have qnnpack: --engine qnnpack; torch.backends.quantized.supported_engines lists those of this build",
        provoked=True,
    ),
    KnownError(
        "qnnpack-scale-ratio",
        Place.CONVERSION,
        says(
            r"failed to create QNNPACK Add operator",
            r"failed to create add operator with \S{1,40} [AB]-to-output scale ratio",
        ),
        "failed to create QNNPACK Add operator",
        "the steps of an input are less than 2^-14 or at least 2^8 times those of the sum, which qnnpack does not add",
        "fxconv convert widens a range where nothing is lost by it, and keeps that addition in float otherwise; "
        "--keep-float PATTERN keeps it there by name",
        ("pytorch/pytorch#53936",),
        provoked=True,
    ),
    KnownError(
        "qnnpack-pool-of-one",
        Place.CONVERSION,
        says(
            r"failed to create QNNPACK (?:Average Pooling|MaxPool) operator",
            r"1x1 pooling is meaningless",
        ),
        "failed to create QNNPACK Average Pooling operator",
        "qnnpack refuses to pool over windows of a single value, and steps that are not positive and finite",
        "fxconv convert takes a slice instead of a max-pool (pass decompose) and keeps the other pools in float; or "
        "take "
        "the pool out of the model",
        ("alibaba/TinyNeuralNetwork#46",),
        provoked=True,
    ),
    KnownError(
        "qnnpack-refuses",
        Place.CONVERSION,
        says(r"failed to create QNNPACK (?!Add operator|Average Pooling|MaxPool)(?P<kernel>\w[\w -]{0,40}?) operator"),
        "failed to create QNNPACK Hardswish operator",
        "qnnpack's {kernel} does not take these settings or scales",
        "keep that layer in float: --keep-float PATTERN, with its name from fxconv diff; docs/kernels.md says what the "
        "engine computes",
        provoked=True,
    ),
    KnownError(
        "requantization-scale",
        Place.CONVERSION,
        says(
            r"failed to create op with requantization scale: (?P<scale>\S{1,20}): requantization scale must be finite"
        ),
        "failed to create op with requantization scale: inf: requantization scale must be finite and positive",
        "the steps of a layer's input, weights and output do not go together ({scale}): one of them is 0, not finite, "
        "or "
        "was never calibrated",
        "calibrate on what the model will see (--calib DIR), and mend weights that are infinite or NaN; fxconv convert "
        "names the module whose values are not finite",
        provoked=True,
    ),
    KnownError(
        "transposed-per-channel",
        Place.CONVERSION,
        says(r"Per channel weight observer is not supported yet for ConvTranspose"),
        "Per channel weight observer is not supported yet for ConvTranspose{n}d.",
        "a transposed convolution has one scale for each output channel, and its kernel takes one for all",
        "give it a per-tensor weight observer; fxconv convert does, without --weight-scheme per-tensor for the others",
        ("pytorch/pytorch#54816", "pytorch/pytorch#47535"),
        provoked=True,
    ),
    KnownError(
        "per-channel-values",
        Place.CONVERSION,
        says(
            r"Only per tensor quantization is supported in (?P<op>\w{1,40})",
            r"Unsupported qscheme: (?:torch\.)?per_channel_affine",
            r"qscheme only support torch\.per_tensor_symmetric",
        ),
        "Only per tensor quantization is supported in Add.",
        "values between the layers have a scale for each channel; only weights may",
        "give activations a per-tensor observer; fxconv convert does, and --weight-scheme per-tensor also for weights",
        provoked=True,
    ),
    KnownError(
        "dynamic-not-packed",
        Place.CONVERSION,
        says(r"apply_dynamic is not implemented for this packed parameter type"),
        "apply_dynamic is not implemented for this packed parameter type",
        "the engine that packed the weights has no kernel that finds the range of its input while it runs",
        'set torch.backends.quantized.engine = "qnnpack" before quantizing; fxconv convert --mode dynamic does',
        ("pytorch/pytorch#123270",),
    ),
    KnownError(
        "fp16-dynamic",
        Place.CONVERSION,
        says(r"quantized::(?P<op>\w{1,40}_fp16) is currently not supported by QNNPACK"),
        "quantized::linear_prepack_fp16 is currently not supported by QNNPACK",
        "dynamic quantization to 16-bit floats was asked for, which phones' engine has no kernels for",
        "use 8 bits: dtype=torch.qint8, as fxconv convert --mode dynamic does",
        provoked=True,
    ),
    KnownError(
        "conv3d-unpack",
        Place.CONVERSION,
        says(r"QNNPACK only supports conv2d_unpack right now"),
        "QNNPACK only supports conv2d_unpack right now.",
        "qnnpack cannot give back the packed weights of a 3-D convolution, so no model with one can be saved",
        "fxconv convert makes 2-D convolutions of those that are 2-D in truth (pass factor-conv3d), and keeps the "
        "others "
        "in float",
        provoked=True,
    ),
    KnownError(
        "max-pool3d",
        Place.CONVERSION,
        says(r"QNNPACK backend doesn't support of quantized_max_pool3d"),
        "QNNPACK backend doesn't support of quantized_max_pool3d",
        "qnnpack has no 3-D max-pool",
        "fxconv convert pools within frames and along time instead (pass factor-pool3d)",
        provoked=True,
    ),
)
