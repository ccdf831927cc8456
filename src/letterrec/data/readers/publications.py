"""Data sets as their owners publish them: one declaration each, read by `published`.

To add one: say how its log is called and laid out, which column is what, where its items are
described, and where all that is documented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from letterrec.data.readers.mind import clicks
from letterrec.data.readers.table_files import Dialect

_COMMAS = Dialect()


@dataclass(frozen=True)
class ItemsFile:
    """Where the items of a publication are described.

    Attributes:
        files: patterns of the file's name, in lower case and without ``.gz``.
        item, title: columns.
        texts: further columns that become text.
        split: what stands between the words of one field, as in ``Comedy|Drama``.
        dialect: of a CSV.
    """

    files: tuple[str, ...]
    item: str
    title: str
    texts: tuple[str, ...] = ()
    split: str = ""
    dialect: Dialect = _COMMAS


@dataclass(frozen=True)
class Publication:
    """A data set as it is published.

    Attributes:
        name: what it is called.
        log: pattern of the name of its log, in lower case and without ``.gz``.
        columns: role -> column (user, item, and where they are there timestamp, rating, title).
        documented: where the format is described.
        kind: of the log.
        dialect: of the log, where it is a CSV.
        items: the file beside the log that describes the items.
        texts: columns of the log that describe its items.
        times: the form of the times, where it is not one that every reader knows.
        assumed: what is assumed about the log, said in the warnings.
        unread: patterns of files that one could expect to be read, and that are not.
        fits: whether the first rows are of this publication, where name and columns do not tell.
        reshape: makes columns ``user``, ``item`` and ``timestamp``, one interaction a row, where
            the log's rows are something else.
    """

    name: str
    log: str
    columns: Mapping[str, str]
    documented: str
    kind: Literal["csv", "jsonl"] = "csv"
    dialect: Dialect = _COMMAS
    items: ItemsFile | None = None
    texts: tuple[str, ...] = ()
    times: str = ""
    assumed: str = ""
    unread: tuple[str, ...] = ()
    fits: Callable[[Sequence[Sequence[str]]], bool] = field(default=lambda rows: True)
    reshape: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None


def _tab(*header: str, latin1: bool = False) -> Dialect:
    return Dialect("\t", header, quote=None, latin1=latin1)


def _asins_in(column: int) -> Callable[[Sequence[Sequence[str]]], bool]:
    """A check that of the first two columns, ``column`` holds ASINs and the other does not."""
    asin, rating = re.compile("[0-9A-Z]{10}"), re.compile(r"[0-5](\.[0-9])?")

    def fits(rows: Sequence[Sequence[str]]) -> bool:
        return (
            all(asin.fullmatch(r[column]) for r in rows)
            and not all(asin.fullmatch(r[1 - column]) for r in rows)
            and all(rating.fullmatch(r[2]) and r[3].isdigit() for r in rows)
        )

    return fits


_MOVIELENS = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}
_UCSD_TIME = "%a %b %d %H:%M:%S %z %Y"  # Tue Apr 03 18:00:09 +0000 2012
_AMAZON_META = "meta_*"

PUBLICATIONS = (
    Publication(
        name="MovieLens 1M or 10M",
        documented="https://files.grouplens.org/datasets/movielens/ml-1m-README.txt",
        log="ratings.dat",
        dialect=Dialect("::", ("userId", "movieId", "rating", "timestamp"), quote=None),
        columns=_MOVIELENS,
        items=ItemsFile(
            ("movies.dat",),
            item="movieId",
            title="title",
            texts=("genres",),
            split="|",
            dialect=Dialect("::", ("movieId", "title", "genres"), quote=None, latin1=True),
        ),
    ),
    Publication(
        name="MovieLens 20M, 25M, 32M or latest",
        documented="https://files.grouplens.org/datasets/movielens/ml-25m-README.html",
        log="ratings.csv",
        columns=_MOVIELENS,
        items=ItemsFile(
            ("movies.csv",), item="movieId", title="title", texts=("genres",), split="|"
        ),
    ),
    Publication(
        name="MovieLens 100K",
        documented="https://files.grouplens.org/datasets/movielens/ml-100k-README.txt",
        log="u.data",
        dialect=_tab("userId", "movieId", "rating", "timestamp"),
        columns=_MOVIELENS,
        items=ItemsFile(
            ("u.item",),
            item="movieId",
            title="title",
            dialect=Dialect(
                "|",
                (
                    *("movieId", "title", "released", "video released", "url"),
                    *(f"genre {i}" for i in range(19)),
                ),
                quote=None,
                latin1=True,
            ),
        ),
        assumed="u.data is the whole log; u1.base, u1.test and so on are splits of it",
    ),
    Publication(
        name="Amazon 2014, ratings only",
        documented="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        log="*.csv",
        dialect=Dialect(header=("user", "item", "rating", "timestamp")),
        columns={k: k for k in ("user", "item", "rating", "timestamp")},
        fits=_asins_in(1),
        items=ItemsFile((_AMAZON_META,), item="asin", title="title"),
    ),
    Publication(
        name="Amazon 2018, ratings only",
        documented="https://nijianmo.github.io/amazon/index.html",
        log="*.csv",
        dialect=Dialect(header=("item", "user", "rating", "timestamp")),
        columns={k: k for k in ("user", "item", "rating", "timestamp")},
        fits=_asins_in(0),
        items=ItemsFile((_AMAZON_META,), item="asin", title="title"),
    ),
    Publication(
        name="Amazon 2023, benchmark files",
        documented="https://github.com/hyp1231/AmazonReviews2023/tree/main/benchmark_scripts",
        log="*.csv",
        columns={
            "user": "user_id",
            "item": "parent_asin",
            "rating": "rating",
            "timestamp": "timestamp",
        },
        items=ItemsFile((_AMAZON_META,), item="parent_asin", title="title"),
    ),
    Publication(
        name="Steam reviews",
        documented="https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
        log="*",
        kind="jsonl",
        columns={"user": "username", "item": "product_id", "timestamp": "date"},
        items=ItemsFile(
            ("steam_games.json", "steam_games.jsonl"),
            item="id",
            title="app_name",
            texts=("genres", "tags", "specs", "developer"),
        ),
        assumed="users are told apart by their names; times are days",
    ),
    Publication(
        name="RetailRocket",
        documented="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
        log="events.csv",
        columns={
            "user": "visitorid",
            "item": "itemid",
            "timestamp": "timestamp",
            "behaviour": "event",
        },
        assumed="every event counts: view, addtocart and transaction; data.targets says which are "
        "to be predicted",
        unread=("item_properties*.csv", "category_tree.csv"),
    ),
    Publication(
        name="H&M",
        documented="https://www.kaggle.com/competitions/h-and-m-personalized-fashion-"
        "recommendations/data",
        log="transactions_train.csv",
        columns={"user": "customer_id", "item": "article_id", "timestamp": "t_dat"},
        items=ItemsFile(
            ("articles.csv",),
            item="article_id",
            title="prod_name",
            texts=(
                *("product_type_name", "product_group_name", "graphical_appearance_name"),
                *("colour_group_name", "department_name", "section_name", "garment_group_name"),
                "detail_desc",
            ),
        ),
        assumed="times are days; those of one day stay in the order of the file",
    ),
    Publication(
        name="Yoochoose clicks",
        documented="dataset-README.txt of the RecSys Challenge 2015",
        log="yoochoose-clicks.dat",
        dialect=Dialect(header=("session", "timestamp", "item", "category")),
        columns={"user": "session", "item": "item", "timestamp": "timestamp"},
        assumed="a session is a user, as the data have no users",
        unread=("yoochoose-buys.dat", "yoochoose-test.dat"),
    ),
    Publication(
        name="Last.fm, HetRec 2011",
        documented="https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-readme.txt",
        log="user_artists.dat",
        dialect=Dialect("\t", quote=None, latin1=True),
        columns={"user": "userID", "item": "artistID", "rating": "weight"},
        items=ItemsFile(
            ("artists.dat",),
            item="id",
            title="name",
            dialect=Dialect("\t", quote=None, latin1=True),
        ),
        assumed="a listening count is one interaction, and the rating for data.min_rating",
        unread=("user_taggedartists*.dat",),
    ),
    Publication(
        name="Last.fm 1K",
        documented="http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html",
        log="userid-timestamp-artid-artname-traid-traname.tsv",
        dialect=_tab("userid", "timestamp", "artid", "artname", "traid", "traname"),
        columns={
            "user": "userid",
            "item": "artid",
            "timestamp": "timestamp",
            "title": "artname",
        },
        assumed="the items are artists; for tracks give --columns item=traid,title=traname",
    ),
    Publication(
        name="Gowalla or Brightkite",
        documented="https://snap.stanford.edu/data/loc-Gowalla.html",
        log="loc-*_totalcheckins.txt",
        dialect=_tab("user", "timestamp", "latitude", "longitude", "location"),
        columns={"user": "user", "item": "location", "timestamp": "timestamp"},
    ),
    Publication(
        name="Foursquare, TSMC 2014",
        documented="dataset_TSMC2014_readme.txt; "
        "https://sites.google.com/site/yangdingqi/home/foursquare-dataset",
        log="dataset_tsmc2014_*.txt",
        dialect=_tab(
            *("user", "venue", "category id", "category", "latitude", "longitude"),
            *("offset", "timestamp"),
            latin1=True,
        ),
        columns={"user": "user", "item": "venue", "timestamp": "timestamp"},
        texts=("category",),
        times=_UCSD_TIME,
    ),
    Publication(
        name="Goodreads interactions",
        documented="https://cseweb.ucsd.edu/~jmcauley/datasets/goodreads.html",
        log="goodreads_interactions.csv",
        columns={"user": "user_id", "item": "book_id", "rating": "rating"},
        assumed="book ids are those of book_id_map.csv, other than in goodreads_books.json: no "
        "titles are read; a book on a shelf counts, read or not (a rating of 0 is none)",
        unread=("goodreads_books*.json",),
    ),
    Publication(
        name="Goodreads reviews",
        documented="https://cseweb.ucsd.edu/~jmcauley/datasets/goodreads.html",
        log="*",
        kind="jsonl",
        columns={
            "user": "user_id",
            "item": "book_id",
            "rating": "rating",
            "timestamp": "date_added",
        },
        items=ItemsFile(
            ("goodreads_books*.json",), item="book_id", title="title", texts=("description",)
        ),
        times=_UCSD_TIME,
    ),
    Publication(
        name="Book-Crossing",
        documented="http://www2.informatik.uni-freiburg.de/~cziegler/BX/",
        log="bx-book-ratings.csv",
        dialect=Dialect(";", backslash=True, latin1=True),
        columns={"user": "User-ID", "item": "ISBN", "rating": "Book-Rating"},
        items=ItemsFile(
            ("bx-books.csv", "bx_books.csv"),
            item="ISBN",
            title="Book-Title",
            texts=("Book-Author", "Publisher"),
            dialect=Dialect(";", backslash=True, latin1=True),
        ),
        assumed="a rating of 0 (implicit) is an interaction too; data.min_rating=1 leaves it out",
    ),
    Publication(
        name="MIND",
        documented="https://github.com/msnews/msnews.github.io/blob/master/assets/doc/"
        "introduction.md",
        log="behaviors.tsv",
        dialect=_tab("impression", "user", "timestamp", "history", "impressions"),
        columns={"user": "user", "item": "item", "timestamp": "timestamp"},
        items=ItemsFile(
            ("news.tsv",),
            item="news",
            title="title",
            texts=("abstract", "category", "subcategory"),
            dialect=_tab(
                *("news", "category", "subcategory", "title", "abstract", "url"),
                *("title entities", "abstract entities"),
            ),
        ),
        reshape=clicks,
        assumed="interactions are the clicks: a user's history before the first impression, one "
        "second apart in its order and just before it, then what was clicked in the impressions; "
        "what was shown and not clicked is left out",
    ),
)
