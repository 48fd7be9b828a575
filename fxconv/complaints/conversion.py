"""Messages met while a model is quantized and run in int8 on a desktop."""

from __future__ import annotations

from fxconv.complaints.complaint import Complaint, Place, says

_RUN = r"Could not run '?(?P<op>{op}[\w.]{{0,80}})'? with arguments from the '?{backend}\w{{0,20}}'? backend"

CONVERSION = (
    Complaint(
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
    Complaint(
        "prepacked-given-int8",
        Place.CONVERSION,
        says(_RUN.format(op="prepacked::", backend="Quantized")),
        "Could not run 'prepacked::conv2d_clamp_run' with arguments from the 'QuantizedCPU' backend",
        "optimize_for_mobile packed a float layer for XNNPACK ({op}), and that layer is given int8 values",
        "dequantize in front of the float layer; fxconv convert does, by the pass quant-boundaries",
        ("pytorch/tutorials#1261",),
    ),
    Complaint(
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
    Complaint(
        "weights-not-quantized",
        Place.CONVERSION,
        says(_RUN.format(op=r"quantized::\w{1,40}_prepack", backend="CPU")),
        "Could not run 'quantized::conv2d_prepack' with arguments from the 'CPU' backend",
        "{op} was given float weights: the layer is an int8 one, and nothing quantized its weights",
        "make int8 layers by torch.ao.quantization.convert of a prepared model, not by hand; fxconv convert does it",
        ("Tencent/ncnn#3411",),
        provoked=True,
    ),
    Complaint(
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
    Complaint(
        "mixed-with-float",
        Place.CONVERSION,
        says(_RUN.format(op=r"aten::(?:qscheme|q_scale|q_zero_point|int_repr)", backend="CPU")),
        "Could not run 'aten::qscheme' with arguments from the 'CPU' backend",
        "int8 and float values meet in one operation, a torch.cat for instance",
        "quantize all that it reads; fxconv convert does, by the passes arithmetic-to-functional and quant-boundaries",
        provoked=True,
    ),
    Complaint(
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
    Complaint(
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
    Complaint(
        "unknown-engine",
        Place.CONVERSION,
        says(r"(?P<engine>\w{1,40}) is not a valid value for quantized engine"),
        "fbgemm2 is not a valid value for quantized engine",
        "torch knows no quantized engine {engine}",
        "phones have qnnpack: --engine qnnpack; torch.backends.quantized.supported_engines lists those of this build",
        provoked=True,
    ),
    Complaint(
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
    Complaint(
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
    Complaint(
        "qnnpack-refuses",
        Place.CONVERSION,
        says(r"failed to create QNNPACK (?!Add operator|Average Pooling|MaxPool)(?P<kernel>\w[\w -]{0,40}?) operator"),
        "failed to create QNNPACK Hardswish operator",
        "qnnpack's {kernel} does not take these settings or scales",
        "keep that layer in float: --keep-float PATTERN, with its name from fxconv diff; docs/kernels.md says what the "
        "engine computes",
        provoked=True,
    ),
    Complaint(
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
    Complaint(
        "transposed-per-channel",
        Place.CONVERSION,
        says(r"Per channel weight observer is not supported yet for ConvTranspose"),
        "Per channel weight observer is not supported yet for ConvTranspose{n}d.",
        "a transposed convolution has one scale for each output channel, and its kernel takes one for all",
        "give it a per-tensor weight observer; fxconv convert does, without --weight-scheme per-tensor for the others",
        ("pytorch/pytorch#54816", "pytorch/pytorch#47535"),
        provoked=True,
    ),
    Complaint(
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
    Complaint(
        "dynamic-not-packed",
        Place.CONVERSION,
        says(r"apply_dynamic is not implemented for this packed parameter type"),
        "apply_dynamic is not implemented for this packed parameter type",
        "the engine that packed the weights has no kernel that finds the range of its input while it runs",
        'set torch.backends.quantized.engine = "qnnpack" before quantizing; fxconv convert --mode dynamic does',
        ("pytorch/pytorch#123270",),
    ),
    Complaint(
        "fp16-dynamic",
        Place.CONVERSION,
        says(r"quantized::(?P<op>\w{1,40}_fp16) is currently not supported by QNNPACK"),
        "quantized::linear_prepack_fp16 is currently not supported by QNNPACK",
        "dynamic quantization to 16-bit floats was asked for, which phones' engine has no kernels for",
        "use 8 bits: dtype=torch.qint8, as fxconv convert --mode dynamic does",
        provoked=True,
    ),
    Complaint(
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
    Complaint(
        "max-pool3d",
        Place.CONVERSION,
        says(r"QNNPACK backend doesn't support of quantized_max_pool3d"),
        "QNNPACK backend doesn't support of quantized_max_pool3d",
        "qnnpack has no 3-D max-pool",
        "fxconv convert pools within frames and along time instead (pass factor-pool3d)",
        provoked=True,
    ),
    Complaint(
        "quantize-wants-float",
        Place.CONVERSION,
        says(r"Quantize only works on Float Tensor, got (?P<kind>\w{1,20})"),
        "Quantize only works on Float Tensor, got Double",
        "values of type {kind} are quantized; only float32 can be",
        "convert them: x.float(), and model.float() for weights in another precision",
        provoked=True,
    ),
    Complaint(
        "numpy-of-int8",
        Place.CONVERSION,
        says(r"Got unsupported ScalarType (?P<kind>Q\w{1,12})"),
        "Got unsupported ScalarType QUInt8",
        "NumPy has no type for quantized values ({kind})",
        "x.dequantize().numpy() gives numbers, x.int_repr().numpy() the integers behind them",
        provoked=True,
    ),
    Complaint(
        "fuse-mixed-modes",
        Place.CONVERSION,
        says(r"Conv and BN both must be in the same mode"),
        "Conv and BN both must be in the same mode (train or eval).",
        "of the layers to be fused some are in train mode and some in eval mode; a layer made anew is in train mode",
        "call model.eval() after the last layer was put in; fxconv convert does",
        ("pytorch/pytorch#87679", "pytorch/pytorch#112579"),
        provoked=True,
    ),
    Complaint(
        "fuse-in-train-mode",
        Place.CONVERSION,
        says(r"Fusion only for eval!"),
        "Fusion only for eval!",
        "layers are fused in train mode, by the call for eval mode",
        "call model.eval() first, or torch.ao.quantization.fuse_modules_qat for training; fxconv convert does either",
        provoked=True,
    ),
    Complaint(
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
    Complaint(
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
    Complaint(
        "control-flow",
        Place.CONVERSION,
        says(r"symbolically traced variables cannot be used as inputs to control flow"),
        "symbolically traced variables cannot be used as inputs to control flow",
        "the model's forward decides by the values of a tensor (if, while, assert), which torch.fx cannot record",
        "fxconv convert keeps the smallest module that does this in float and names its line in the report; write it "
        "as "
        "torch.where, or decide in __init__, and it can be int8",
        ("pytorch/pytorch#118634", "pytorch/pytorch#74842"),
        provoked=True,
    ),
    Complaint(
        "proxy-iterated",
        Place.CONVERSION,
        says(r"Proxy object cannot be iterated"),
        "Proxy object cannot be iterated.",
        "the model's forward loops over a tensor or unpacks one, and torch.fx does not know how many there are",
        "fxconv convert keeps the smallest module that does this in float and names its line in the report; index it "
        "(x[0], x[1]) or use x.unbind(0), and it can be int8",
        ("pytorch/pytorch#118884",),
        provoked=True,
    ),
    Complaint(
        "proxy-as-number",
        Place.CONVERSION,
        says(
            r"'Proxy' object cannot be interpreted as an integer",
            r"must be a string, a bytes-like object or a real number, not 'Proxy'",
            r"'\w{1,20}' is not supported in symbolic tracing by default",
        ),
        "TypeError: 'Proxy' object cannot be interpreted as an integer",
        "the model's forward makes a Python number of a tensor or of its size (range, int, len), which torch.fx cannot",
        "fxconv convert keeps the smallest module that does this in float and names its line in the report; work with "
        "x.shape as it is, or wrap the function by torch.fx.wrap",
        provoked=True,
    ),
    Complaint(
        "deepcopy-of-result",
        Place.CONVERSION,
        says(r"Only Tensors created explicitly by the user \(graph leaves\) support the deepcopy protocol"),
        "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.",
        "the model keeps a tensor that was computed with gradients, so it cannot be copied; weight_norm of the old "
        "kind "
        "leaves one",
        "detach what is kept (self.x = x.detach()), or call torch.nn.utils.remove_weight_norm",
        provoked=True,
    ),
    Complaint(
        "view-of-other-layout",
        Place.CONVERSION,
        says(r"view size is not compatible with input tensor's size and stride"),
        "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
        "contiguous subspaces). Use .reshape(...) instead.",
        "view() was written for values in one memory layout and meets another: int8 convolutions hand on channels_last",
        "write reshape() instead of view(); fxconv convert does, by the pass view-to-reshape",
        ("pytorch/pytorch#25890",),
        provoked=True,
    ),
    Complaint(
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
    Complaint(
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
    Complaint(
        "input-too-small",
        Place.CONVERSION,
        says(r"Calculated output size: \([\dx -]{1,60}\)\. Output size is too small"),
        "Given input size: (3x4x4). Calculated output size: (3x0x0). Output size is too small",
        "the input is so small that a pool has nothing left to pool",
        "set --input-size to what the model was trained on",
        provoked=True,
    ),
    Complaint(
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
    Complaint(
        "out-of-memory",
        Place.CONVERSION,
        says(r"can't allocate memory", r"not enough memory", r"std::bad_alloc", r"Cannot allocate memory"),
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000000 bytes.",
        "there is not enough memory for the images that run at a time, or for the model",
        "set a smaller --batch-size or --input-size",
        provoked=True,
    ),
)
