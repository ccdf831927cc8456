"""MIND's ``behaviors.tsv``: what a user clicked before, and in each impression, as interactions."""

from __future__ import annotations

import polars as pl

_TIME = "%m/%d/%Y %I:%M:%S %p"  # 11/15/2019 8:55:22 AM


def clicks(behaviors: pl.LazyFrame) -> pl.LazyFrame:
    """A row per click: ``user``, ``item`` (text) and ``timestamp`` (seconds since 1970).

    A user's history is that of the earliest impression. Its clicks have no times of their own: they
    are put one second apart, the latest one second before that impression. The items clicked in an
    impression (``N1-0 N2-1``: shown, and whether clicked) have the time of the impression.
    """
    moment = pl.col("timestamp").str.strip_chars().str.to_datetime(_TIME, strict=False)
    rows = behaviors.with_columns(timestamp=moment.dt.epoch("s"))
    ids = pl.col("history").fill_null("").str.extract_all(r"\S+")
    first = (
        rows.sort("timestamp", maintain_order=True, nulls_last=True)
        .unique("user", keep="first", maintain_order=True)
        .select("user", "timestamp", item=ids)
    )
    before = (
        first.with_columns(back=pl.int_ranges(pl.col("item").list.len(), 0, -1))
        .filter(pl.col("item").list.len() > 0)
        .explode("item", "back")
        .select("user", "item", timestamp=pl.col("timestamp") - pl.col("back"))
    )
    shown = pl.col("impressions").fill_null("").str.extract_all(r"\S+-1(?:\s|$)")
    clicked = (
        rows.select("user", "timestamp", item=shown)
        .filter(pl.col("item").list.len() > 0)
        .explode("item")
        .select("user", pl.col("item").str.strip_chars().str.strip_suffix("-1"), "timestamp")
    )
    return pl.concat([before, clicked])
