"""Messages of a phone, or of the Java and C++ runtimes."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

# What the lite interpreter and what TorchScript says of an operator that is not there.
_OPS = (
    r"(?:ops cannot be found[^\[{{]{{0,160}}[\[{{][^\[{{}}\]]{{0,400}}?|Unknown builtin op: )"
    r"(?P<op>{ops}::[\w.]{{0,60}}\w)"
)

DEVICES = (
    KnownError(
        "torchvision-operators-missing",
        Place.DEVICE,
        says(_OPS.format(ops="torchvision")),
        "Following ops cannot be found. Check fburl.com/missing_ops for the fix.{torchvision::roi_align, "
        "torchvision::nms, } ()",
        "the model calls {op}, an operator of torchvision, and the app has not loaded the library that holds them",
        "add org.pytorch:torchvision_ops to the app, of the version that fxconv inspect FILE --runtime RELEASE names "
        "for the app's PyTorch (0.14.0 for 1.13.0; none was published for 2.1.0), and load it before the model: "
        'NativeLoader.loadLibrary("torchvision_ops"), pod LibTorchvision on iOS, import torchvision in Python',
        (
            "pytorch/android-demo-app#178",
            "pytorch/android-demo-app#300",
            "pytorch/android-demo-app#319",
            "pytorch/vision#2581",
        ),
        provoked=True,
    ),
    KnownError(
        "prepacked-missing",
        Place.DEVICE,
        says(_OPS.format(ops="prepacked")),
        "Unknown builtin op: prepacked::conv2d_clamp_run.",
        "the file has layers packed for XNNPACK ({op}), and this runtime is built without it, as Java's for desktops, "
        "and torch 2.13 and later, are",
        "convert once more with --java, or --block insert-fold-prepack-ops, which leave the packing out, or with torch "
        "2.13 or later, which cannot pack; or run it with torch 2.12",
        ("pytorch/pytorch#185297",),
        provoked=True,
    ),
    KnownError(
        "packed-class-missing",
        Place.DEVICE,
        says(r"isGenericDict\(\) INTERNAL ASSERT FAILED"),
        'isGenericDict() INTERNAL ASSERT FAILED at "aten/src/ATen/core/ivalue_inl.h":2119, please report a bug to '
        "PyTorch. Expected GenericDict but got Tuple",
        "the file has float layers packed for XNNPACK, and this runtime is built without it, as torch 2.13 and later "
        "are",
        "run it with torch 2.12, or on a phone, which have it; or convert the model once more with --java, which packs "
        "none",
        ("pytorch/pytorch#185297",),
    ),
    KnownError(
        "operators-missing",
        Place.DEVICE,
        says(_OPS.format(ops=r"\b(?!torchvision::|prepacked::)[a-z]\w{0,40}")),
        "Following ops cannot be found: [aten::hardswish]. Please check if the operator library is included in the "
        "build.",
        "the runtime does not have {op}, which the file calls: it is older than the torch that wrote the file, or "
        "was built for other models",
        "use a release that has it, which fxconv inspect FILE names (the last on Android is "
        "org.pytorch:pytorch_android_lite:2.1.0); or fxconv convert MODEL --runtime RELEASE, which names the layer to "
        "keep in float; or build the library with the operators that fxconv inspect FILE --op-list FILE.yaml writes",
        ("pytorch/android-demo-app#29",),
        provoked=True,
    ),
    KnownError(
        "jni-library-missing",
        Place.DEVICE,
        says(
            r"(?:library \"?(?=[\w.]{1,40}\"? not found)|couldn't find (?:DSO to load: )?\"?)"
            r"(?P<library>libpytorch_jni(?:_lite)?\.so)"
        ),
        'java.lang.UnsatisfiedLinkError: dlopen failed: library "libpytorch_jni.so" not found',
        "{library} is not in the app, which calls one flavour of PyTorch and carries the other, or none for this "
        "processor: "
        "libpytorch_jni_lite.so comes with pytorch_android_lite, libpytorch_jni.so with pytorch_android",
        "for a .ptl depend on org.pytorch:pytorch_android_lite and call LiteModuleLoader.load, not Module.load; for "
        "TorchScript depend on org.pytorch:pytorch_android; and let abiFilters keep the phone's (arm64-v8a)",
        (
            "pytorch/pytorch#58913",
            "pytorch/pytorch#59190",
            "pytorch/android-demo-app#140",
            "pytorch/android-demo-app#159",
        ),
    ),
    KnownError(
        "symbol-missing",
        Place.DEVICE,
        says(r"cannot locate symbol \"?(?P<symbol>_Z\w{0,30}?(?:3c10|5torch|2at|8facebook3jni)\w{1,200})"),
        'dlopen failed: cannot locate symbol "_ZTIN3c1021AutogradMetaInterfaceE" referenced by',
        "libraries of different releases of PyTorch, or of its lite and full flavour, are in one app",
        "give all org.pytorch dependencies one version and one flavour (pytorch_android_lite with "
        "pytorch_android_torchvision_lite), and leave out a second copy of fbjni",
        ("pytorch/android-demo-app#229", "pytorch/pytorch#34682"),
    ),
    KnownError(
        "page-size",
        Place.DEVICE,
        says(
            r"not (?:support )?16 ?KB[- ]align",
            r"LOAD segments? (?:is |are )?not aligned",
            r"program alignment \(4096\) cannot be smaller than system page size",
            r"(?P<library>lib(?:pytorch|fbjni|c\+\+_shared)\w{0,40}\.so): UNALIGNED",
        ),
        "lib/arm64-v8a/libpytorch_jni_lite.so: UNALIGNED (2**12)",
        "the libraries of PyTorch for Android were built for memory pages of 4 KB, and phones with 16 KB pages, and "
        "the "
        "store, want them aligned to those; the model file is not at fault",
        "build libpytorch_jni_lite.so from source with -Wl,-z,max-page-size=16384, small with the operators that "
        "fxconv inspect FILE --op-list FILE.yaml writes; no release up to org.pytorch:pytorch_android_lite:2.1.0 is "
        "aligned",
        ("pytorch/pytorch#154449", "pytorch/pytorch#162605", "facebookincubator/fbjni#97"),
    ),
    KnownError(
        "output-type",
        Place.DEVICE,
        says(r"Expected IValue type (?P<wanted>\w{1,30}),? actual type (?P<found>\w{1,30})"),
        "java.lang.IllegalStateException: Expected IValue type Tuple, actual type TensorList",
        "the app asks for {wanted} (Tensor is 2 in old releases, Tuple 7), and the model returns {found}",
        "call what belongs to it: toTensor(), toTuple()[0].toTensor(), toTensorList() or toDictStringKey(); fxconv "
        "inspect "
        "FILE shows what forward takes",
        (
            "pytorch/pytorch#45276",
            "pytorch/android-demo-app#26",
            "pytorch/android-demo-app#224",
            "pytorch/android-demo-app#304",
        ),
    ),
    KnownError(
        "forward-arguments",
        Place.DEVICE,
        says(
            r"forward\(\) is missing value for argument '(?P<missing>\w{1,60})'",
            r"forward\(\) Expected a value of type '(?P<wanted>[^']{1,80})' for argument '(?P<argument>\w{1,60})' but "
            r"instead found type '(?P<found>[^']{1,80})'",
        ),
        "forward() is missing value for argument 'input'.",
        "the model is called with other arguments than it takes",
        "give the tensors that fxconv inspect FILE lists, in order: module.forward(IValue.from(tensor)); a list of "
        "images "
        "goes in as one tensor [1, C, H, W]",
        provoked=True,
    ),
    KnownError(
        "xnnpack-input",
        Place.DEVICE,
        says(r"XNNPACK (?P<layer>\w{1,30}) not usable! Reason: (?P<reason>[^.]{1,120})"),
        "XNNPACK Convolution not usable! Reason: The provided input tensor is either invalid or unsupported by XNNPACK",
        "a {layer} packed for XNNPACK is given a tensor that it does not take: of another type, rank or size",
        "give a float tensor of the size that the file was made for, or convert with --block insert-fold-prepack-ops",
        ("facebookresearch/playtorch#114",),
    ),
)
