"""python -m benchmarks.claims: `make claims`."""

from __future__ import annotations

import sys

from benchmarks.claims.measuring import growth, growth_text, table5, table5_text
from benchmarks.claims.pictures import growth_drawn, table5_drawn
from benchmarks.pages import drawing, markdown


def main() -> int:
    """Measures, writes both tables into the page and draws both pictures; 2 where a formulation is wrong."""
    try:
        found, (costs, spread) = table5(), growth()
        markdown.put("table5", table5_text(found))
        markdown.put("growth", growth_text(costs, spread))
    except ValueError as error:
        print(f"claims: {error}", file=sys.stderr)
        return 2
    print(drawing.keep(table5_drawn(found), "table5"), drawing.keep(growth_drawn(costs), "growth"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
