"""python -m benchmarks.claims: `make claims`."""

from __future__ import annotations

import sys

from benchmarks.claims.measuring import make_growth_text, make_table5_text, measure_growth, measure_table5
from benchmarks.claims.pictures import draw_growth, draw_table5
from benchmarks.pages import drawing, markdown


def main() -> int:
    """Measures, writes both tables, draws both pictures; returns 2 if a formulation is wrong."""
    try:
        found, (costs, spread) = measure_table5(), measure_growth()
        markdown.put("table5", make_table5_text(found))
        markdown.put("growth", make_growth_text(costs, spread))
    except ValueError as error:
        print(f"claims: {error}", file=sys.stderr)
        return 2
    print(drawing.keep(draw_table5(found), "table5"), drawing.keep(draw_growth(costs), "growth"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
