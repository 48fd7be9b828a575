"""Which releases of ExecuTorch load a program, and what an app with one needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.hostile.pte import content
from fxconv.errors import ConversionError, UserError
from fxconv.inspection import Delegate, DelegateOperator, Inspection, Kind, Operator, inspect
from fxconv.report.releases_page import _executorch
from fxconv.targets.executorch import releases
from fxconv.targets.executorch.releases import RELEASES, check, fits, fitted, release


@pytest.fixture
def found(tmp_path: Path) -> Inspection:
    path = tmp_path / "int8.pte"
    path.write_bytes(content("int8.pte"))
    return inspect(path)


def test_names_are_taken_as_people_write_them() -> None:
    newest = RELEASES[-1]
    for text in ("executorch==1.5", "executorch==1.5.1", "org.pytorch:executorch-android:1.5.1", "ExecuTorch==1.5.1"):
        assert release(text) is newest
    with pytest.raises(UserError, match=r"executorch==1.2: there is no such release of executorch; known are"):
        release("executorch==1.2")


def test_a_program_and_what_an_app_needs_for_it(found: Inspection) -> None:
    fit = check(found, release("executorch==1.3"))
    assert fit.loads and fit.reason == ""
    assert fit.placed == (
        ("build.gradle", "implementation 'org.pytorch:executorch-android:1.3.1'"),
        ("Package.swift", '.package(url: "https://github.com/pytorch/executorch.git", branch: "swiftpm-1.3.1")'),
    )
    products, contiguous, unchecked = fit.notes
    assert unchecked.startswith("give it only sizes that it takes") and len(fits(found)[-1].notes) == 2
    assert "backend_xnnpack" in products and "-Wl,-all_load" in products
    assert contiguous.startswith("give it contiguous values")
    assert [one.loads for one in fits(found)] == [True] * len(RELEASES)


def test_what_came_later_is_missing_before(found: Inspection) -> None:
    later = replace(found, operators=(Operator("executorch_prim::sym_not", "Scalar", calls=1),))
    assert [fit.loads for fit in fits(later)] == [False, True, True]
    assert check(later, RELEASES[0]).reason == (
        "executorch_prim::sym_not.Scalar: this release has no such operator; executorch==1.4.1 has it"
    )
    unknown = replace(found, operators=tuple(Operator("mine", str(number)) for number in range(5)))
    assert check(unknown, RELEASES[2]).reason.endswith("this release has no such operator; and 2 more operators")


@pytest.mark.parametrize(
    ("delegate", "words"),
    [
        (
            Delegate("forward", "CoreMLBackend", "Core ML, Apple's devices", 4, 1),
            "work to CoreMLBackend (Core ML",
        ),
        (
            Delegate("forward", "XnnpackBackend", "", 4, 1, (DelegateOperator("unknown (77)", "unknown (90)", 1),)),
            "its XnnpackBackend graph has unknown (77), unknown (90), which the schema lacks",
        ),
        (
            Delegate("forward", "XnnpackBackend", "", 4, 1, (), "is damaged"),
            "XnnpackBackend is not read: is damaged",
        ),
    ],
)
def test_what_is_handed_to_backends_must_be_known(found: Inspection, delegate: Delegate, words: str) -> None:
    fit = check(replace(found, delegates=(delegate,)), RELEASES[-1])
    assert not fit.loads and words in fit.reason


def test_another_schema_and_other_files_are_not_loaded(found: Inspection) -> None:
    newer = replace(found, facts=(("schema version", "1"),))
    assert check(newer, RELEASES[-1]).reason == "its schema has version 1, and 0 is read"
    weights = replace(found, kind=Kind.STATE_DICT)
    assert check(weights, RELEASES[-1]).problems == ("ExecuTorch loads no file of this kind (state_dict)",)
    assert fits(weights) == []


def test_a_conversion_for_a_release_that_lacks_an_operator_ends_with_the_one_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = content("mixed.pte")
    assert fitted(data, RELEASES[0]).loads
    named = "aten::cumsum.out"
    monkeypatch.setitem(releases.LATER, named, "1.5.1")
    with pytest.raises(ConversionError) as told:
        fitted(data, RELEASES[0])
    assert str(told.value) == (
        f"executorch==1.3.1 cannot load the model: {named}: this release has no such operator; executorch==1.5.1 has "
        "it; take executorch==1.5.1"
    )


def test_the_kernels_that_came_later_are_those_the_packages_say() -> None:
    assert releases.LATER.keys() <= releases._KNOWN and set(releases.LATER.values()) == {"1.4.1"}


def test_the_page_has_each_release_and_what_came_later() -> None:
    page = "\n".join(_executorch())
    for one in RELEASES:
        assert f"| `{one.name}` | `{one.gradle}` | `{one.swift}` |" in page
    assert "`executorch_prim::sym_ite.Scalar` (1.4.1)" in page
