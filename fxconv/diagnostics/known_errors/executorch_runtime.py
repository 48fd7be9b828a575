"""Messages of the ExecuTorch runtime: loading a .pte and running it, in Python, in C++ and on a phone."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

# How Python, Java and C++ give the number of an error that the runtime returns.
_CODE = r"(?:error(?: code)?:? |status |Init failed for backend \w{{1,40}}: )0x:?{code}\b"

EXECUTORCH_RUNTIME = (
    KnownError(
        "pte-cut-off",
        Place.FILES,
        says(
            r"File size is too small\. Expected file size from extended header is (?P<wanted>\d{1,15})",
            r"offset \d{1,15} \+ size \d{1,15} > (?:file_)?size_",
        ),
        "[program.cpp:114] File size is too small. Expected file size from extended header is 2960, actual file size "
        "from data loader is 1480",
        "the end of the .pte is missing: it was copied while it was written, or a download or the copy out of the "
        "assets "
        "stopped",
        "copy it again, whole, and compare the sizes; an app that copies its assets on each start writes beside the "
        "file "
        "and renames it",
        ("pytorch/executorch#3848",),
        provoked=True,
    ),
    KnownError(
        "pte-not-a-program",
        Place.FILES,
        says(
            r"Program identifier '(?P<found>[^']{0,16})' != expected '(?P<wanted>\w{1,8})'",
            _CODE.format(code="23"),
        ),
        "[program.cpp:168] Program identifier 'xxxx' != expected 'ET12'",
        "what is loaded is no .pte: another kind of file, as a .ptl, or bytes that were changed on the way",
        "fxconv inspect FILE says what it is; compare its SHA-256 with that of the file that was written",
        ("pytorch/executorch#2533",),
        provoked=True,
    ),
    KnownError(
        "pte-file-missing",
        Place.FILES,
        says(
            r"Failed to open (?P<path>[^\s:]{1,160}): No such file",
            r"Failed to create MmapDataLoader from file",
            r"Load failed: 34\b",
            _CODE.format(code="22"),
        ),
        "RuntimeError: Failed to create MmapDataLoader from file v3.pte, error: 0x:22",
        "there is no file at the path that was given; an asset of an app has none",
        "give the path of a file: on Android copy the asset into context.filesDir first, as docs/on_device.md does",
        ("pytorch/executorch#3799",),
        provoked=True,
    ),
    KnownError(
        "pte-operator-missing",
        Place.DEVICE,
        says(
            r"Missing operator: \[-?\d{1,6}\] (?P<op>[\w.:]{1,80})",
            r"kernel '(?P<kernel>[\w.:]{1,80})' not found\.",
            _CODE.format(code="14"),
        ),
        "[method.cpp:822] Missing operator: [0] aten::bucketize.Tensor_out",
        "the file calls an operator outside its delegate (the message names it), and the runtime is linked without its "
        "kernel: of another release, without the portable, optimized or quantized kernels, or the linker dropped them",
        "link kernels_optimized and kernels_quantized (iOS: with -all_load or -force_load), or the whole archive in "
        "CMake; org.pytorch:executorch-android has them; fxconv inspect FILE lists what a file needs",
        (
            "pytorch/executorch#5009",
            "pytorch/executorch#1287",
            "pytorch/executorch#6749",
            "pytorch/executorch#20270",
            "pytorch/executorch#4462",
        ),
        provoked=True,
    ),
    KnownError(
        "pte-backend-missing",
        Place.DEVICE,
        says(r"Backend (?P<backend>\w{1,40}) is not registered", _CODE.format(code="20")),
        "[method.cpp:85] Backend XnnpackBackend is not registered.",
        "the file has parts for a delegate, and the runtime is linked without it, or the linker dropped what "
        "registers it",
        "iOS: add the product backend_xnnpack and link with -all_load or -force_load; CMake: "
        "EXECUTORCH_BUILD_XNNPACK=ON, "
        "and link xnnpack_backend whole; org.pytorch:executorch-android has XNNPACK, and no other delegate; fxconv "
        "inspect "
        "FILE names the delegates",
        (
            "pytorch/executorch#3696",
            "pytorch/executorch#7527",
            "pytorch/executorch#11868",
            "pytorch/executorch#5722",
            "pytorch/torchchat#662",
        ),
        provoked=True,
    ),
    KnownError(
        "pte-xnnpack-refuses",
        Place.DEVICE,
        says(r"Failed to create (?P<node>\w{1,40}) node \d{1,9} with code: xnn_status_(?P<status>\w{1,40})"),
        "[XNNCompiler.cpp:1518] Failed to create cat2 node 5 with code: xnn_status_invalid_parameter",
        "XNNPACK does not take a {node} as the file has it ({status}): scales of its inputs and its output that "
        "differ, or "
        "a range that it does not allow",
        "write it with fxconv convert, which puts the inputs of a concatenation on one scale and loads the file "
        "before it "
        "gets its name; or leave that layer in float: --keep-float PATTERN",
        ("pytorch/executorch#1330", "pytorch/executorch#8830"),
        provoked=True,
    ),
    KnownError(
        "pte-delegate-of-another-release",
        Place.DEVICE,
        says(
            r"XNNPACK Delegate Serialization Format version identifier",
            _CODE.format(code="30"),
        ),
        "[XNNCompiler.cpp:2162] XNNPACK Delegate Serialization Format version identifier 'XH99' != expected XN00 or "
        "XN01'",
        "the delegate's part of the file is of a format that this release of the runtime does not read",
        "take the release of the runtime that wrote the file, which fxconv inspect FILE names, or a later one",
        provoked=True,
    ),
    KnownError(
        "pte-input-size",
        Place.DEVICE,
        says(
            r"Attempted to resize a static tensor",
            r"Attempted to resize a bounded tensor with a maximum capacity of (?P<most>\d{1,12}) elements",
            r"Attempted to change the tensor rank which is immutable: old=(?P<rank>\d{1,3})",
            _CODE.format(code="10"),
        ),
        "[tensor_impl.cpp:135] Attempted to resize a static tensor. Expected shape (1, 3, 224, 224), but received (1, "
        "3, "
        "225, 224).",
        "an input has another shape than the file was made for, or a larger one than it allows",
        "give the shape that fxconv inspect FILE shows, the batch of one in front included, or convert once more with "
        "--input-size of the size to come",
        ("pytorch/executorch#1350", "pytorch/executorch#2163", "pytorch/executorch#3636"),
        provoked=True,
    ),
    KnownError(
        "pte-input-type",
        Place.DEVICE,
        says(
            r"Input (?P<input>\d{1,4}) has unexpected scalar type: "
            r"expected (?P<wanted>\w{1,20}) but was (?P<found>\w{1,20})"
        ),
        "[method.cpp:1206] Input 0 has unexpected scalar type: expected Float but was Byte.",
        "input {input} holds values of type {found}, and the file takes {wanted}",
        "give floats, normalized as the file's metadata says (fxconv inspect FILE), or uint8 pixels to a file that was "
        "written with --normalize-in-graph",
        provoked=True,
    ),
    KnownError(
        "pte-input-count",
        Place.DEVICE,
        says(
            r"Invalid number of inputs provided\. Expected (?P<wanted>\d{1,4}), but got (?P<found>\d{1,4})",
            r"\binput \d{1,4} is none\b",
        ),
        "[method.cpp:1334] Invalid number of inputs provided. Expected 1, but got 0",
        "forward is called with fewer inputs than the file takes, or with more",
        "give the tensors that fxconv inspect FILE lists, in order: module.forward(EValue.from(tensor)); in Java "
        "forward() "
        "without arguments runs on what memory holds",
        ("pytorch/executorch#8665", "pytorch/executorch#14804"),
        provoked=True,
    ),
    KnownError(
        "pte-input-layout",
        Place.DEVICE,
        says(
            r"Input \d{1,4} ?for method \w{1,60} should be contiguous or channels-last",
            r"Check failed \(all_contiguous \|\| all_channels_last\)",
            r"Check failed \(tensors_have_same_dim_order\(",
        ),
        "RuntimeError: Input 0 for method forward should be contiguous or channels-last.",
        "a tensor's values lie in another order than the file was made for; only some such orders are refused: a "
        "channels_last tensor is taken and read as contiguous, without an error",
        "give contiguous values, plane by plane (NCHW): tensor.contiguous() in Python; docs/on_device.md has code that "
        "asserts it",
        (
            "pytorch/executorch#21837",
            "pytorch/executorch#7444",
            "pytorch/executorch#9930",
            "pytorch/executorch#11086",
        ),
        provoked=True,
    ),
    KnownError(
        "pte-shapes-not-propagated",
        Place.DEVICE,
        says(r"Propagating input shapes failed with code: xnn_status_(?P<status>\w{1,40})"),
        "[XNNExecutor.cpp:137] Internal Error: Propagating input shapes failed with code: xnn_status_invalid_parameter",
        "inside the delegate two shapes do not fit ({status}): a constant that lies otherwise in memory than its "
        "shape says, "
        "or a size that the file does not allow",
        "make constants contiguous before torch.export, which fxconv convert does, and give the shape that fxconv "
        "inspect "
        "FILE shows",
        ("pytorch/executorch#14735",),
    ),
    KnownError(
        "executorch-library-missing",
        Place.DEVICE,
        says(r"(?:library \"?|couldn't find DSO to load: \"?)(?P<library>libexecutorch(?:_jni|_llama_jni)?\.so)"),
        'java.lang.UnsatisfiedLinkError: dlopen failed: library "libexecutorch.so" not found',
        "{library} is not in the app: no library for this processor (the releases on Maven have arm64-v8a and x86_64, "
        "and "
        "none for 32 bits), or Java classes of one release beside a library of another name",
        "depend on org.pytorch:executorch-android and let abiFilters keep arm64-v8a; for 32 bits build the library, or "
        "write a .ptl: pytorch_android_lite has armeabi-v7a",
        ("pytorch/executorch#17992", "pytorch/executorch#6301", "pytorch/executorch#16405"),
    ),
    KnownError(
        "executorch-other-java",
        Place.DEVICE,
        says(
            r"Didn't find class \"?org[./]pytorch[./]executorch[./]NativePeer",
            r"no (?:static or )?non-static method \"?Lorg/pytorch/executorch/NativePeer",
        ),
        'java.lang.ClassNotFoundException: Didn\'t find class "org.pytorch.executorch.NativePeer"',
        "the Java classes and libexecutorch.so are of two releases, or the shrinker took the classes out",
        "take both from one dependency, org.pytorch:executorch-android, and no .so of your own in jniLibs; with R8 "
        "keep "
        "org.pytorch.executorch.** and com.facebook.jni.**",
        ("pytorch/executorch#8636", "pytorch/executorch#8665"),
    ),
    KnownError(
        "executorch-other-stl",
        Place.DEVICE,
        says(
            r"cannot locate symbol \"?_Z\w{1,20}__ndk1\w{1,200}\"? referenced by "
            r"\"?[^\"\s]{0,200}libexecutorch\w{0,20}\.so"
        ),
        'dlopen failed: cannot locate symbol "_ZTVNSt6__ndk119basic_ostringstreamIcEE" referenced by '
        '"/data/app/lib/arm64/libexecutorch.so"...',
        "libexecutorch.so was built with another C++ library (of another NDK) than the libc++_shared.so in the app",
        "take the library from org.pytorch:executorch-android, or build it and the app with one NDK",
        ("pytorch/executorch#4384", "pytorch/executorch#7491"),
    ),
    # The number alone, behind all that say more: those with one meaning stand above.
    KnownError(
        "pte-invalid-argument",
        Place.DEVICE,
        says(_CODE.format(code="12")),
        "java.lang.Exception: Execution of method forward failed with status 0x12",
        "the runtime refuses what it is given (0x12, InvalidArgument): the type, the number, the shape or the order in "
        "memory of an input, most often, or the end of the file is missing",
        "look for the line before it in the log, which says what (adb logcat -s ExecuTorch; on iOS link "
        "executorch_debug), "
        "and give it to fxconv doctor, too; fxconv inspect FILE shows what forward takes",
        ("pytorch/executorch#14804", "pytorch/executorch#8665", "pytorch/executorch#6387"),
        provoked=True,
    ),
)
