"""Messages met on the way to a .pte: of the installation, of torch.export, and of ExecuTorch's lowering."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says
from fxconv.environment import EXECUTORCH

_PAIRS = ", ".join(f"executorch=={fitting[0]} beside torch {torch}" for torch, fitting in EXECUTORCH.items())

EXECUTORCH_EXPORT = (
    KnownError(
        "executorch-of-another-torch",
        Place.INSTALLATION,
        says(
            r"(?:_portable_lib|_training_lib|portable_lib|executorch/\S{0,160}_C|_aot_lib)[\w.-]{0,60}\.so'?"
            r"(?:, 0x\w{1,8}\))?: (?:undefined symbol|symbol not found)",
            r"tensor does not have a device Exception raised from device_default",
        ),
        "ImportError: site-packages/executorch/extension/pybindings/_portable_lib.cpython-311-x86_64-linux-gnu.so: "
        "undefined symbol: _ZN3c104impl3cow23materialize_cow_storageERNS_11StorageImplE",
        "ExecuTorch was built beside another torch than the one installed, and reads the fields of its tensors in "
        "other "
        "places; 1.5 declares no torch, so that pip puts it beside any",
        f"install a pair that runs, in a fresh environment: {_PAIRS}",
        ("pytorch/executorch#9745", "pytorch/executorch#7163"),
    ),
    KnownError(
        "executorch-missing",
        Place.INSTALLATION,
        says(r"No module named '?executorch\b"),
        "ModuleNotFoundError: No module named 'executorch.exir'",
        "the package executorch is not installed; a folder of that name on the path, which Python takes for it, hides "
        "that until a part of it is asked for",
        f"install the release that goes with the torch: {_PAIRS}",
        provoked=True,
    ),
    KnownError(
        "flatc-missing",
        Place.INSTALLATION,
        says(r"No such file or directory: '?flatc\b"),
        "FileNotFoundError: [Errno 2] No such file or directory: 'flatc'",
        "ExecuTorch writes its files with the program flatc, and release 1.3 looks for it on PATH alone, where "
        "an environment that is not activated has none",
        "fxconv convert finds it in the package; elsewhere activate the environment, or set FLATC_EXECUTABLE to "
        "executorch/data/bin/flatc in site-packages",
        ("pytorch/executorch#17000",),
        provoked=True,
    ),
    KnownError(
        "export-depends-on-values",
        Place.LOWERING,
        says(
            r"Could not guard on data-dependent expression (?P<expression>.{1,80}?) \(unhinted",
            r"Could not extract specialized integer from data-dependent expression",
            r"Dynamo does not support tracing dynamic control flow",
            r"Dynamic control flow is not supported at the moment",
        ),
        "GuardOnDataDependentSymNode: Could not guard on data-dependent expression Eq(u0, 1) (unhinted: Eq(u0, 1)). "
        "(Size-like symbols: none)",
        "forward asks for a value that is known when it runs and not before: an if, a loop or a size made of the "
        "values "
        "of a tensor",
        "take it out of forward (torch.where for an if, code of the app for what comes behind the network); fxconv "
        "convert writes a .ptl of such a model with --method script, and names the line",
        ("pytorch/pytorch#157355", "pytorch/pytorch#147672", "pytorch/executorch#8988"),
        provoked=True,
    ),
    KnownError(
        "export-size-is-fixed",
        Place.LOWERING,
        says(
            r"(?:Constraints violated \(|the model's code (?:makes a fixed number of the|does not take every) )"
            r"(?P<sizes>[\w, ]{1,80})",
        ),
        'Constraints violated (batch)! For more information, run with TORCH_LOGS="+dynamic".',
        "the size {sizes} is to vary, and the code of the model fixes it, ties it to another, or allows less of it "
        "than "
        "was asked for: a reshape with numbers in it, a table of positions, windows of one size",
        "ask for what the lines below the message suggest, or write the file for one size (--input-size)",
        ("pytorch/pytorch#133653", "pytorch/pytorch#140011"),
        provoked=True,
    ),
    KnownError(
        "export-example-out-of-range",
        Place.LOWERING,
        says(
            r"ConstraintViolationError: (?P<size>\d{1,9}) not in range",
            r"\b\d{1,9} not in range \[\d{1,9}, (?:\d|int_oo)",
        ),
        "torch.fx.experimental.symbolic_shapes.ConstraintViolationError: 2 not in range [4, 8]",
        "the example input has a size outside the range that this size is to vary in",
        "give an example inside it (--input-size or --example), or a range with the example in it",
        provoked=True,
    ),
    KnownError(
        "export-of-torchscript",
        Place.LOWERING,
        says(r"Exporting a ScriptModule is not supported"),
        "ValueError: Exporting a ScriptModule is not supported. Maybe try converting your ScriptModule to an "
        "ExportedProgram",
        "torch.export reads the Python of a model, and TorchScript has none left",
        "give the model as its Python makes it, file.py:factory and --weights; of a .ptl alone no .pte is made",
        provoked=True,
    ),
    KnownError(
        "export-of-int8",
        Place.LOWERING,
        says(
            r"could not find kernel for quantized[.:]{1,2}(?P<op>[\w.]{1,60}) at dispatch key",
            r"classes\.quantized\.\w{1,60} .{0,80}does not have a field with name '__obj_flatten__'",
            r"For aten_quantize_per_\w{1,40}, call_function:aten\.(?P<made>[\w.]{1,60}) is not supported in XNNPACK",
        ),
        "could not find kernel for quantized.conv2d.new at dispatch key DispatchKey.CPU",
        "the model holds int8 layers of torch.ao (quantized.* operators), and torch.export and XNNPACK know none of "
        "them",
        "give fxconv convert the float model: it writes int8 for ExecuTorch as float operations between "
        "quantize_per_tensor and dequantize_per_tensor, with the same scales",
        provoked=True,
    ),
    KnownError(
        "export-not-core-operator",
        Place.LOWERING,
        says(
            r"Operator torch\._ops\.(?P<op>[\w.]{1,80}) is not (?:in Core ATen opset|Aten Canonical)",
        ),
        "Operator torch._ops.aten.bucketize.Tensor is not in Core ATen opset",
        "ExecuTorch runs a set of some 200 operators that all others are made of, and {op} is none and is not made of "
        "them; a model in training mode brings such, too",
        "call model.eval() first; else take the operation out of forward, or write it with others (an exception in "
        "EdgeCompileConfig lowers, and fails on the phone where no kernel is)",
        ("pytorch/executorch#15673", "pytorch/executorch#20270", "pytorch/executorch#3832"),
        provoked=True,
    ),
    KnownError(
        "missing-out-variants",
        Place.LOWERING,
        says(
            r"(?:Missing out variants: \{|the runtime has no operator for )(?P<ops>[\w:.', ]{1,200})",
        ),
        "RuntimeError: Missing out variants: {'quantized_decomposed::dequantize_per_tensor', "
        "'quantized_decomposed::quantize_per_tensor'}",
        "an operator is left outside the delegate for which ExecuTorch has no variant that writes into memory given: "
        "quantize and dequantize where XNNPACK took no operation between them",
        "fxconv convert writes every quantize where a delegate takes it; with a recipe of your own import "
        "executorch.kernels.quantized, which brings those two, and see which operation was not delegated",
        ("pytorch/executorch#8369", "pytorch/executorch#6975", "pytorch/executorch#3747"),
        provoked=True,
    ),
    KnownError(
        "weights-channels-last",
        Place.LOWERING,
        says(
            r"The same constant data tensor can't be used in N",
            r"Expected (?P<constant>\w{1,80}) to be NCHW in channels last reshape pass",
        ),
        "AssertionError: The same constant data tensor can't be used in NHWC format in one place and NCHW in another",
        "the weights of a convolution lie channels last in memory, or two operations share a constant in two orders",
        "make them contiguous before torch.export: model.to(memory_format=torch.contiguous_format); fxconv convert "
        "does",
        provoked=True,
    ),
    KnownError(
        "export-unbounded-size",
        Place.LOWERING,
        says(
            r"Cannot evaluate a finite upper bound for symbolic expression",
            r"Cannot evaluate the shape upper bound of a dynamic-shaped tensor",
        ),
        "Cannot evaluate a finite upper bound for symbolic expression u22 (int_oo) and no trace hint is available.",
        "a tensor has as many values as its content says (nms, nonzero), and ExecuTorch lays out memory before it runs",
        "end the network before that operation and leave it to the app, as --postprocess peaks does for heatmaps; a "
        ".ptl can hold it",
        provoked=True,
    ),
)
