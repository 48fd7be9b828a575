"""Messages of TorchScript and of the optimizer, met on the way to a file."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

LOWERING = (
    KnownError(
        "variable-arguments",
        Place.LOWERING,
        says(r"Compiled functions can't take variable number of arguments"),
        "Compiled functions can't take variable number of arguments or use keyword-only arguments with defaults",
        "a forward has *args, **kwargs or keyword-only arguments, which TorchScript does not know",
        "name the arguments, or record what runs: --method trace may take it",
        provoked=True,
    ),
    KnownError(
        "class-not-registered",
        Place.DEVICE,
        says(
            r"(?:Unknown (?:type name '|custom class type )(?=(?:__torch__\.torch\.classes\.)?"
            r"(?:quantized|xnnpack|sparse)\.)|Tried to instantiate class '(?!__path__))(?P<class>[\w.]{0,99}\w)"
        ),
        "Unknown custom class type quantized.Conv2dPackedParamsBase. Please ensure it is registered.",
        "the program was linked without the part of torch, or of a library, that holds the class {class}",
        "on iOS link all of LibTorch-Lite (-all_load, or -force_load for its libtorch.a, the tests' target too); in "
        "Python import the library that brings the class first; fxconv inspect FILE lists what a file needs",
        ("pytorch/pytorch#95175", "pytorch/pytorch#107394"),
        provoked=True,
    ),
    KnownError(
        "unknown-type",
        Place.LOWERING,
        says(r"Unknown type name '(?P<type>(?!__torch__\.torch\.classes|quantized\.|xnnpack\.|sparse\.)[\w.]{1,100})'"),
        "Unknown type name 'Foo'",
        "TorchScript does not know the annotation {type}",
        "take the annotation off or use one of TorchScript's; --method trace may take it, since it reads none",
        provoked=True,
    ),
    KnownError(
        "no-attribute-in-script",
        Place.LOWERING,
        says(r"'(?P<type>[^']{1,120})' object has no attribute or method '(?P<attribute>\w{1,60})'"),
        "'Tensor (inferred)' object has no attribute or method 'numpy'.",
        "TorchScript knows no {attribute} of {type}",
        "write it with operations of torch, or record what runs: --method trace may take it",
        provoked=True,
    ),
    KnownError(
        "type-changes",
        Place.LOWERING,
        says(
            r"Variable '(?P<variable>\w{1,60})' previously had type .{1,120}? but is now being assigned to a value of "
            r"type",
            r"Previous return statement returned a value of type",
        ),
        "Variable 'y' previously had type NoneType but is now being assigned to a value of type Tensor (inferred)",
        "a variable or a result has two types, and TorchScript allows one",
        "annotate it (y: Optional[Tensor] = None) or give it one type; --method trace may take it",
        provoked=True,
    ),
    KnownError(
        "dict-traced",
        Place.LOWERING,
        says(r"Encountering a (?:dict|list) at the output of the tracer"),
        "Encountering a dict at the output of the tracer might cause the trace to be incorrect",
        "the model returns a dict or list, which torch.jit.trace takes only when told to",
        "give strict=False, or return a tuple; fxconv convert does, with --method trace too",
        provoked=True,
    ),
    KnownError(
        "padding-in-words",
        Place.LOWERING,
        says(r"We don't have an op for prepacked::conv2d_clamp_prepack"),
        "We don't have an op for prepacked::conv2d_clamp_prepack but it isn't a special case.",
        'a convolution has padding="same" or "valid", and optimize_for_mobile takes that for a list of numbers',
        "fxconv convert pads in numbers (pass numeric-padding); --block insert-fold-prepack-ops leaves the packing out",
        ("pytorch/pytorch#65490",),
        provoked=True,
    ),
    KnownError(
        "vulkan",
        Place.LOWERING,
        says(r"We don't have an op for vulkan_prepack::"),
        "We don't have an op for vulkan_prepack::conv2d_clamp_prepack but it isn't a special case.",
        "the model is optimized for Vulkan, and this torch is built without it, as those of the package index are",
        "optimize for the processor, the default of optimize_for_mobile and what fxconv convert does",
        ("pytorch/pytorch#86791",),
    ),
    KnownError(
        "not-a-script-module",
        Place.LOWERING,
        says(r"Got <class '(?P<type>[^']{1,120})'>, but ScriptModule is expected"),
        "Got <class 'torch.nn.modules.activation.ReLU'>, but ScriptModule is expected.",
        "optimize_for_mobile is given a Python module ({type})",
        "script or trace it first (torch.jit.script(model.eval())); fxconv convert goes the whole way",
        provoked=True,
    ),
    KnownError(
        "with-block-on-phone",
        Place.LOWERING,
        says(r"\b(?P<instruction>[A-Z_]{1,30}) is not supported in mobile module"),
        "ENTER is not supported in mobile module.",
        "the model's code has a with-block or another construct ({instruction}) that the lite interpreter does not "
        "know",
        "take it out of forward, or record what runs: --method trace may take it",
        provoked=True,
    ),
    KnownError(
        "python-class-on-phone",
        Place.LOWERING,
        says(r"types other than custom c\+\+ classes.{0,300}?The problematic type is: (?P<type>[\w.]{1,120})"),
        "__torch__ types other than custom c++ classes (__torch__.torch.classes)are not supported in lite interpreter. "
        "Workaround: instead of using arbitrary class type (class Foo()), define a pytorch class (class "
        "Foo(torch.nn.Module)). The problematic type is: __torch__.torchvision.models.detection.image_list.ImageList",
        "the model's code makes objects of a Python class ({type}), and the lite interpreter knows none; detection "
        "models "
        "of torchvision do",
        "record what runs: --method trace may take it; fxconv convert turns to it by itself with --method auto",
        ("pytorch/pytorch#51432",),
        provoked=True,
    ),
    KnownError(
        "size-fixed-by-trace",
        Place.LOWERING,
        says(r"shape '(?P<shape>\[[-\d, ]{1,80}\])' is invalid for input of size (?P<size>\d{1,15})"),
        "shape '[2, 12]' is invalid for input of size 60",
        "values are to take a shape, {shape}, that they do not fill; in a traced model sizes that Python worked out "
        "from "
        "the example are fixed",
        "give the size that the file was made for, convert once more with --input-size or --example of the size to "
        "come, "
        "or try --method script; the report of fxconv convert says which other sizes were tried",
        provoked=True,
    ),
)
