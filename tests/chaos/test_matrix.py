"""No fault without a proof, and no promise in the documentation without its test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.matrix import FAULTS, TESTS, proofs

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"
PROOFS = list(proofs())


@pytest.mark.parametrize("row", FAULTS)
def test_every_fault_has_a_test(row: int) -> None:
    assert [proof for proof in PROOFS if proof.row == row], FAULTS[row]


def test_every_mark_names_a_fault_of_the_matrix() -> None:
    assert {proof.row for proof in PROOFS} <= set(FAULTS)


@pytest.mark.parametrize("row", FAULTS)
def test_the_guarantees_name_a_test_of_every_fault(row: int) -> None:
    line = re.search(rf"^\| {row} \|.*$", GUARANTEES.read_text(), re.MULTILINE)
    assert line, f"row {row} is missing"
    named = set(re.findall(r"`(test_\w+)`", line.group()))
    assert named
    assert named <= {proof.test for proof in PROOFS if proof.row == row}


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", GUARANTEES.read_text()))
    tests = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    assert named
    assert not {name for name in named if f"def {name}(" not in tests}
