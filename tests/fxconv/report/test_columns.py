"""Tables that become narrower: columns fold between words, then stand beneath their rows."""

from __future__ import annotations

from rich.text import Text

from fxconv.report.columns import Column, lines

LONG = "activations are ranged where that disturbs the layers reading them least"


def column(head: str, *cells: str, is_right: bool = False) -> Column:
    return Column(Text(head), [Text(cell) for cell in cells], is_right)


def made(width: int, *columns: Column, has_heads: bool = True) -> list[str]:
    return [line.plain for line in lines(columns, width, has_heads)]


STEPS = (
    column("step", "reader-ranges", "none"),
    column("SQNR before", "19.1 dB", "-", is_right=True),
    column("what it does", LONG, ""),
)


def test_beside_each_other_where_there_is_room():
    assert made(200, *STEPS) == [
        "step           SQNR before  what it does",
        f"reader-ranges      19.1 dB  {LONG}",
        "none                     -",
    ]


def test_sentences_fold_between_words():
    assert made(60, *STEPS) == [
        "step           SQNR before  what it does",
        "reader-ranges      19.1 dB  activations are ranged where",
        "                            that disturbs the layers reading",
        "                            them least",
        "none                     -",
    ]


def test_a_narrow_column_of_sentences_goes_beneath_with_its_name():
    assert made(36, *STEPS) == [
        "step           SQNR before",
        "reader-ranges      19.1 dB",
        "  what it does: activations are",
        "    ranged where that disturbs the",
        "    layers reading them least",
        "none                     -",
    ]


def test_heads_fold_before_a_figure_would():
    assert made(22, *STEPS)[:3] == [
        "                  SQNR",
        "step            before",
        "reader-ranges  19.1 dB",
    ]


def test_all_beneath_the_first_where_nothing_else_fits():
    assert made(14, *STEPS)[:5] == [
        "step",
        "reader-ranges",
        "  SQNR before:",
        "    19.1 dB",
        "  what it",
    ]


def test_short_words_without_a_name_stay_beside():
    table = (column("stage", "int8", "reloaded"), column("", "ok", f"FAILED: {LONG}"))
    assert made(24, *table) == [
        "stage",
        "int8      ok",
        "reloaded",
        "  FAILED: activations",
        "    are ranged where",
        "    that disturbs the",
        "    layers reading them",
        "    least",
    ]


def test_of_names_and_what_is_said_of_them_only_what_does_not_fit_goes_beneath():
    facts = (column("", "class", "order"), column("", f"{'a' * 29}.Module", "little"))
    assert made(32, *facts, has_heads=False) == [
        "class",
        f"  {'a' * 29}.",
        "    Module",
        "order  little",
    ]


def test_an_empty_table_has_its_heads():
    assert made(80, column("layer"), column("SQNR")) == ["layer  SQNR"]
