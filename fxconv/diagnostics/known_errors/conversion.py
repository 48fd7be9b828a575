"""Messages met while a model is quantized and run in int8 on a desktop."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

_RUN = r"Could not run '?(?P<op>{op}[\w.]{{0,80}})'? with arguments from the '?{backend}\w{{0,20}}'? backend"

CONVERSION = (
    KnownError(
        "quantized-twice",
        Place.CONVERSION,
        says(_RUN.format(op=r"aten::quantize_per_", backend="Quantized")),
        "Could not run 'aten::quantize_per_tensor' with arguments from the 'QuantizedCPU' backend",
        "values that are in int8 already are quantized once more: two QuantStubs follow each other",
        "take one QuantStub out, or give fxconv convert the float model, where the pass quant-boundaries puts as few "
        "as "
        "possible",
        ("alibaba/TinyNeuralNetwork#153",),
        provoked=True,
    ),
    KnownError(
        "prepacked-given-int8",
        Place.CONVERSION,
        says(_RUN.format(op="prepacked::", backend="Quantized")),
        "Could not run 'prepacked::conv2d_clamp_run' with arguments from the 'QuantizedCPU' backend",
        "optimize_for_mobile packed a float layer for XNNPACK ({op}), and that layer is given int8 values",
        "dequantize in front of the float layer; fxconv convert does, by the pass quant-boundaries",
        ("pytorch/tutorials#1261",),
    ),
    KnownError(
        "no-quantized-kernel",
        Place.CONVERSION,
        says(_RUN.format(op=r"(?!aten::quantize_per_|prepacked::)\w{1,40}::", backend="Quantized")),
        "Could not run 'aten::add.out' with arguments from the 'QuantizedCPU' backend",
        "the operator {op} was given int8 values, and torch has no kernel of it for them",
        "fxconv convert replaces such an operator, or keeps it in float between a dequantize and a quantize (pass "
        "quant-boundaries); docs/kernels.md says which",
        ("pytorch/pytorch#98596", "pytorch/pytorch#91875", "pytorch/pytorch#35595", "pytorch/pytorch#89550"),
        provoked=True,
    ),
    KnownError(
        "weights-not-quantized",
        Place.CONVERSION,
        says(_RUN.format(op=r"quantized::\w{1,40}_prepack", backend="CPU")),
        "Could not run 'quantized::conv2d_prepack' with arguments from the 'CPU' backend",
        "{op} was given float weights: the layer is an int8 one, and nothing quantized its weights",
        "make int8 layers by torch.ao.quantization.convert of a prepared model, not by hand; fxconv convert does it",
        ("Tencent/ncnn#3411",),
        provoked=True,
    ),
    KnownError(
        "int8-layer-given-float",
        Place.CONVERSION,
        says(_RUN.format(op=r"quantized::(?!\w{1,40}_prepack)\w", backend="CPU")),
        "Could not run 'quantized::conv2d.new' with arguments from the 'CPU' backend",
        "the int8 operator {op} was given float values: nothing quantizes them in front of it",
        "put a torch.ao.quantization.QuantStub in front and a DeQuantStub behind before calibrating; fxconv convert "
        "does, "
        "by the pass quant-boundaries",
        ("pytorch/pytorch#34583", "intel/neural-compressor#1390"),
        provoked=True,
    ),
    KnownError(
        "mixed-with-float",
        Place.CONVERSION,
        says(_RUN.format(op=r"aten::(?:qscheme|q_scale|q_zero_point|int_repr)", backend="CPU")),
        "Could not run 'aten::qscheme' with arguments from the 'CPU' backend",
        "int8 and float values meet in one operation, a torch.cat for instance",
        "quantize all that it reads; fxconv convert does, by the passes arithmetic-to-functional and quant-boundaries",
        provoked=True,
    ),
    KnownError(
        "float-layer-given-int8",
        Place.CONVERSION,
        says(
            r"Input type \((?P<found>c10::q\w{1,20})\) and (?:bias|weight) type \((?P<wanted>[\w: .]{1,60})\) should be"
        ),
        "Input type (c10::quint8) and bias type (float) should be the same",
        "a layer that was left in float was given int8 values ({found})",
        "give the layer a qconfig, or dequantize in front of it; fxconv convert does, also for the layers of "
        "--keep-float "
        "(pass quant-boundaries)",
        provoked=True,
    ),
    KnownError(
        "quantize-wants-float",
        Place.CONVERSION,
        says(r"Quantize only works on Float Tensor, got (?P<kind>\w{1,20})"),
        "Quantize only works on Float Tensor, got Double",
        "values of type {kind} are quantized; only float32 can be",
        "convert them: x.float(), and model.float() for weights in another precision",
        provoked=True,
    ),
    KnownError(
        "numpy-of-int8",
        Place.CONVERSION,
        says(r"Got unsupported ScalarType (?P<kind>Q\w{1,12})"),
        "Got unsupported ScalarType QUInt8",
        "NumPy has no type for quantized values ({kind})",
        "x.dequantize().numpy() gives numbers, x.int_repr().numpy() the integers behind them",
        provoked=True,
    ),
    KnownError(
        "fuse-mixed-modes",
        Place.CONVERSION,
        says(r"Conv and BN both must be in the same mode"),
        "Conv and BN both must be in the same mode (train or eval).",
        "of the layers to be fused some are in train mode and some in eval mode; a layer made anew is in train mode",
        "call model.eval() after the last layer was put in; fxconv convert does",
        ("pytorch/pytorch#87679", "pytorch/pytorch#112579"),
        provoked=True,
    ),
    KnownError(
        "fuse-in-train-mode",
        Place.CONVERSION,
        says(r"Fusion only for eval!"),
        "Fusion only for eval!",
        "layers are fused in train mode, by the call for eval mode",
        "call model.eval() first, or torch.ao.quantization.fuse_modules_qat for training; fxconv convert does either",
        provoked=True,
    ),
    KnownError(
        "fuse-unknown-chain",
        Place.CONVERSION,
        says(r"did not find fuser method for: (?P<chain>\([^)]{1,300}\))"),
        "did not find fuser method for: (<class 'torch.nn.modules.conv.Conv2d'>, <class "
        "'torch.nn.modules.activation.SiLU'>)",
        "torch fuses no such chain of layers",
        "name chains of convolution or linear layer, batch norm and ReLU only; fxconv convert finds them by itself "
        "(pass "
        "fusable-names)",
        provoked=True,
    ),
    KnownError(
        "never-calibrated",
        Place.CONVERSION,
        says(
            r"must run observer before calling calculate_qparams",
            r"scale=1\.19209\d{0,12}e-07",
        ),
        "UserWarning: must run observer before calling calculate_qparams. Returning default values.",
        "an observer has seen no values, so the scale of that layer says nothing and its int8 output is noise",
        "run images of what the model will see through it between prepare and convert; fxconv convert does, on --calib "
        "DIR, and warns of ranges that say little",
        ("facebookresearch/d2go#87",),
        provoked=True,
    ),
)
