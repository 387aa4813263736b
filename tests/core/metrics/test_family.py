"""A family's text: TorchServe's to the letter, and readable by Prometheus whatever the labels and values hold."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from torchserve.core.metrics.family import Family, java_double
from torchserve.core.metrics.series import Reading


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3.0"), (0.0, "0.0"), (-0.0, "-0.0"), (1633.466, "1633.466"), (3950.4320000000002, "3950.4320000000002"),
        (9999999.0, "9999999.0"), (1e7, "1.0E7"), (15447791192.0, "1.5447791192E10"), (15447791.192, "1.5447791192E7"),
        (-25000000.0, "-2.5E7"), (0.001, "0.001"), (0.00099, "9.9E-4"), (1e-5, "1.0E-5"), (1e300, "1.0E300"),
        (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_java_writes_doubles(value: float, text: str) -> None:
    assert java_double(value) == text


@given(st.floats(allow_nan=False))
def test_every_number_is_read_back_as_it_was(value: float) -> None:
    assert float(java_double(value)) == value


def test_a_family_without_labels_or_series() -> None:
    family = Family("gauge", "g", "text", ())
    assert family.text() == "# HELP g text\n# TYPE g gauge\n"
    family.series().update(2)
    assert family.text().endswith("\ng 2.0\n")
    family.forget()
    family.forget()
    assert len(family) == 0


def test_histograms_count_a_value_at_a_bound_below_it() -> None:
    family = Family("histogram", "h", "text", ("a",), (1.0, 2.5))
    series = family.series("x")
    assert family.text().count("\n") == 2  # nothing was observed
    for value in (1.0, 1.5, 2.5, 2.6):
        series.update(value)
    assert family.text().splitlines()[2:] == [
        'h_bucket{a="x",le="1.0",} 1.0', 'h_bucket{a="x",le="2.5",} 3.0', 'h_bucket{a="x",le="+Inf",} 4.0',
        'h_count{a="x",} 4.0', 'h_sum{a="x",} 7.6',
    ]  # fmt: skip


def test_a_reading_is_read_when_it_is_shown() -> None:
    values = iter([1, 2])
    family = Family("gauge", "g", "text", ("a",))
    family.attach(("x",), Reading(lambda: next(values)))
    assert [family.text().splitlines()[-1] for _ in range(2)] == ['g{a="x",} 1.0', 'g{a="x",} 2.0']


@pytest.mark.parametrize("values", [(), ("a", "b")])
def test_the_number_of_label_values_is_checked(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="zip"):
        Family("gauge", "g", "text", ("a",)).series(*values)


@pytest.mark.parametrize(
    ("kind", "name", "labels", "why"),
    [
        ("summary", "x", (), "x is a summary; a metric is one of counter, gauge, histogram"),
        ("gauge", "a b", (), "'a b' is no name of a metric"),
        ("gauge", "0", (), "no name"),
        ("gauge", "é", (), "no name"),
        ("gauge", "", (), "no name"),
        ("gauge", "x\n", (), "no name"),
        ("gauge", "x", ("a b",), "'a b' is no label that x can have"),
        ("gauge", "x", ("__a",), "no label"),
        ("gauge", "x", ("a", "b", "a"), "x has a label twice: a, b, a"),
        ("histogram", "x", ("le",), "'le' is no label"),
    ],
)
def test_what_the_text_format_can_not_carry_is_refused(kind: str, name: str, labels: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Family(kind, name, "", labels)


@given(st.text(max_size=8), st.text(max_size=8))
def test_help_and_label_values_come_back_as_they_were(help_text: str, value: str) -> None:
    family = Family("gauge", "g", help_text, ("a",))
    family.series(value).update(1)
    (found,) = text_string_to_metric_families(family.text().replace("\r", "?"))
    assert found.samples[0].labels == {"a": value.replace("\r", "?")}
