"""The rows of a log that count: filtered by rating, cut into grades, given their time."""

from __future__ import annotations

import polars as pl

from letterrec.data.readers.base import ReadOptions
from letterrec.data.readers.side_tables import counted
from letterrec.data.readers.table_files import TableFile
from letterrec.errors import DataError


class RatedRows:
    """The rows of a log, whole or in blocks: filters them by rating, cuts ratings into grades, and
    gives them their time.
    """

    def __init__(self, options: ReadOptions, times_format: str) -> None:
        self._options = options
        self._times_format = times_format
        self._n = self._rated = self._kept = 0
        self._highest: float | None = None

    def prepared(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Columns user, item, time, and behaviour where there are any, of the rows that are rated
        high enough.
        """
        least = self._options.least_rating
        if self._options.order == "rows":
            frame = frame.with_row_index("time", offset=self._n)
            frame = frame.with_columns(pl.col("time").cast(pl.Int64))
            if least is None:
                self._n += frame.select(pl.len()).collect(engine="streaming").item()
        elif self._times_format:
            time = pl.col("time").str.strip_chars()
            zone = "UTC" if "%z" in self._times_format else None
            moment = time.str.to_datetime(
                self._times_format, time_unit="us", time_zone=zone, strict=False
            )
            frame = frame.with_columns(time=moment)
        if least is None:
            return frame
        text = pl.col("rating").cast(pl.String).str.strip_chars()
        rating = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        frame = frame.with_columns(rating=rating.fill_nan(None))
        enough = pl.col("rating") >= least
        counts = (
            frame.select(
                n=pl.len(),
                rated=pl.col("rating").count(),
                kept=enough.sum(),
                highest=pl.col("rating").max(),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        self._n += counts["n"]
        self._rated += counts["rated"]
        self._kept += counts["kept"]
        highest = [v for v in (self._highest, counts["highest"]) if v is not None]
        self._highest = max(highest, default=None)
        kept = frame.filter(enough)
        if self._options.grades:
            kept = kept.with_columns(behaviour=self._grade())
        has_behaviour = "behaviour" in kept.collect_schema()
        return kept.select("user", "item", "time", *(["behaviour"] if has_behaviour else []))

    def _grade(self) -> pl.Expr:
        """The name of the highest grade that the rating reaches."""
        grade = pl.lit(None, pl.String)
        for name, least in sorted(self._options.grades.items(), key=lambda pair: pair[1]):
            grade = pl.when(pl.col("rating") >= least).then(pl.lit(name)).otherwise(grade)
        return grade

    def report(self, table: TableFile, rating: str, notes: list[str]) -> None:
        """Say what was left out, and what the order is.

        Raises:
            DataError: nothing is left.
        """
        least = self._options.least_rating
        by = "data.min_rating" if self._options.min_rating == least else "data.grades"
        if least is not None and self._n:
            if self._highest is None:
                raise DataError(
                    f"{table.path}: column {rating!r} has no number in any row; expected ratings "
                    f"for {by}: name their column with --columns rating=NAME"
                )
            if not self._kept:
                raise DataError(
                    f"{table.path}: no rating in {rating!r} is {least:g} or more, the highest is "
                    f"{self._highest:g}; lower {by}"
                )
            low, without = self._rated - self._kept, self._n - self._rated
            if low:
                notes.append(f"{counted(low, 'interaction')} rated below {least:g}: dropped")
            if without:
                notes.append(f"{counted(without, 'interaction')} without a rating: dropped")
        if self._options.order == "rows":
            notes.append("the order of the rows is taken for the order in time (data.order=rows)")
