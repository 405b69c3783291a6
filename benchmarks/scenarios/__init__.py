"""What is measured, in the order in which it runs."""

from benchmarks.scenarios.commands import COMMANDS
from benchmarks.scenarios.cost import COST
from benchmarks.scenarios.dispatch import DISPATCH
from benchmarks.scenarios.drain import DRAIN, PLAIN, SLEEPERS, SQLITE, TWO
from benchmarks.scenarios.latency import LATENCY

SCENARIOS = {
    one.name: one
    for one in (DRAIN, TWO, DISPATCH, LATENCY, SLEEPERS, PLAIN, SQLITE, COST, COMMANDS)
}
