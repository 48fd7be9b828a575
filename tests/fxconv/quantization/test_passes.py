"""Which passes a conversion runs."""

from __future__ import annotations

import pytest

from fxconv.config import Arithmetic, Config, Engine
from fxconv.errors import UserError
from fxconv.quantization import passes
from fxconv.quantization.passes import ALL_PASSES, find, selected, user_pass
from fxconv.report.pages import example_diff, kernels_markdown, own_pass_page, pass_page, passes_markdown
from rewrites import DEFAULT_PASSES
from rewrites.kernels import KERNELS

NAMES = [rule.name for rule in DEFAULT_PASSES]

OWN = """
from torch import nn
from rewrites import RewritePass


class Mine(RewritePass):
    '''Nothing becomes nothing.'''

    name = "mine"

    def run(self, editor):
        editor.nodes()

    @staticmethod
    def example():
        return nn.ReLU()


class Nameless(RewritePass):
    def run(self, editor):
        editor.nodes()

    @staticmethod
    def example():
        return nn.ReLU()


class Idle(RewritePass):
    name = "idle"


class Faulty(Mine):
    name = "faulty"

    def run(self, editor):
        for node in editor.nodes():
            1 / 0


class Unshown(Mine):
    name = "unshown"

    @staticmethod
    def example():
        raise KeyError("gone")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_passes_of_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


def names(**options) -> list[str]:
    return [rule.name for rule in selected(Config(**options))]


def test_the_default_passes_run_in_their_order():
    assert names() == NAMES


def test_wrapping_takes_the_place_of_functional_arithmetic():
    place = NAMES.index("arithmetic-to-functional")
    assert names(arithmetic=Arithmetic.wrap) == [*NAMES[:place], "wrap-arithmetic", *NAMES[place + 1 :]]


def test_seven_bit_ranges_do_not_clamp_so_relu6_is_not_folded(monkeypatch):
    monkeypatch.setattr(passes, "reduces_range", lambda config: config.engine is not Engine.qnnpack)
    assert "fold-relu6" in names()
    assert names(engine=Engine.x86) == [name for name in NAMES if name != "fold-relu6"]


def test_skipped_passes_do_not_run():
    assert names(skip=("decompose", "fold-relu6")) == [n for n in NAMES if n not in ("decompose", "fold-relu6")]


def test_until_stops_after_a_pass():
    assert names(until="decompose") == NAMES[: NAMES.index("decompose") + 1]


@pytest.mark.parametrize("home", ["own_passes_of_a_test", "own_passes_of_a_test.py"])
def test_the_users_own_run_before_names_and_boundaries_are_settled(home, own):
    found = names(passes=(f"{home}:Mine",))
    assert found == [*NAMES[:-2], "mine", *NAMES[-2:]]
    assert names(passes=(f"{home}:Mine",), skip=("mine",)) == NAMES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ("decompos",)}, r"unknown pass 'decompos'; did you mean decompose"),
        ({"until": "zzz"}, r"^unknown pass 'zzz' \(fxconv passes lists all\)$"),
        ({"skip": ("wrap-arithmetic",)}, r"pass 'wrap-arithmetic' does not run in this conversion \(it runs transf"),
        ({"skip": ("quant-boundaries",)}, r"quant-boundaries cannot be skipped: .* \(use --until to stop before\)"),
        ({"passes": ("Mine",)}, r"--pass Mine: expected FILE.py:NAME or PACKAGE.MODULE:NAME"),
        ({"passes": ("gone.py:Mine",)}, r"gone.py: no such file; expected FILE.py:NAME"),
        ({"passes": ("own_passes_of_a_test:Gone",)}, r"own_passes_of_a_test has no 'Gone'"),
        ({"passes": ("own_passes_of_a_test:nn",)}, r":nn: it is not a subclass of rewrites.RewritePass"),
        ({"passes": ("own_passes_of_a_test:Nameless",)}, r":Nameless: the class must define name, run and example"),
        ({"passes": ("own_passes_of_a_test:Idle",)}, r":Idle: the class must define name, run and example"),
    ],
)
def test_mistakes_are_told_in_one_line(options, message, own):
    with pytest.raises(UserError, match=message) as error:
        selected(Config(**options))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rule", ALL_PASSES, ids=lambda rule: rule.name)
def test_every_pass_is_found_by_its_name_and_has_a_page(rule):
    assert find(rule.name) is rule
    page = pass_page(rule)
    assert page.startswith(f"{rule.name}\n\n{rule.summary()}\n")
    for heading in ("What it does: ", "Why: ", "Leaves alone: ", "Before (-) and after (+):"):
        assert page.count(f"\n\n{heading}") == 1, heading
    changed = {line[0] for line in example_diff(rule).splitlines() if line[:1] in ("+", "-")}
    assert changed == {"+", "-"}
    assert ("Declared tolerance: " in page.replace("\n", " ")) == (rule.tolerance > 0)


def test_a_pass_of_the_users_own_has_a_page(own):
    page = own_pass_page(user_pass("own_passes_of_a_test.py:Mine", "pass"))
    assert page.startswith("mine\n\nNothing becomes nothing.\n\nBefore (-) and after (+):\n\n")
    assert page.endswith("it changes nothing in its example")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Faulty", r"pass faulty failed at node input_1, .*:\d+ \(1 / 0\): ZeroDivisionError: .*; mend the pass$"),
        ("Unshown", r"pass unshown: its example fails: KeyError: 'gone'; mend the example$"),
    ],
)
def test_a_page_that_cannot_be_made(name, message, own):
    with pytest.raises(UserError, match=message):
        own_pass_page(user_pass(f"own_passes_of_a_test.py:{name}", "pass"))


def test_the_users_pass_is_an_instance(own):
    assert user_pass("own_passes_of_a_test.py:Mine").summary() == "Nothing becomes nothing."


def test_the_generated_pages_list_everything():
    page = passes_markdown()
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [rule.name for rule in ALL_PASSES]
    table = kernels_markdown()
    assert table.count("\n| `") == len(KERNELS)
    assert "| `nn.ReLU6` | wrong, so float | the quantized clamp ignores channels_last" in table
