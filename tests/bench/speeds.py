"""Published speeds beside the bands that r1tui gives for the same machines: `python -m tests.bench.speeds`."""

from r1tui.text import rough
from tests.speed_reports import compare_reports


def main() -> None:
    """Print a line for each, and how many of those that are no outliers lie inside."""
    rows = compare_reports()
    for row in rows:
        band, width = rough(*row.band), row.band.high / max(row.band.low, 1e-9)
        mark = "" if row.inside else "  OUTSIDE"
        print(f"{row.report.use:8}{row.kind:7}{row.report.of:45}{rough(*row.reported):>14}  in {band:>16} "
              f"({width:.1f}x){mark}")  # fmt: skip
    for use in ("fit", "held", "outlier"):
        those = [row for row in rows if row.report.use == use]
        print(f"{use}: {sum(row.inside for row in those)} of {len(those)} inside")


if __name__ == "__main__":
    main()
