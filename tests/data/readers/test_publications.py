"""Data sets as their owners publish them: the published headers, and what becomes of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from letterrec.data import Dataset, find_sources, read
from letterrec.data.readers.publications import PUBLICATIONS
from letterrec.errors import DataError

SequencesOf = Callable[[Dataset], dict[str, list[str]]]


@dataclass(frozen=True)
class Case:
    """A publication in small: its files, and the data set that they stand for."""

    files: dict[str, str | bytes]
    sequences: dict[str, list[str]]
    titles: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def lines(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


CASES = {
    # ml-1m-README.txt: "UserID::MovieID::Rating::Timestamp" and "MovieID::Title::Genres"; the
    # titles are Latin-1
    "MovieLens 1M or 10M": Case(
        {
            "ratings.dat": lines("1::1193::5::978300760", "1::73::3::978300700"),
            "movies.dat": lines(
                "73::Misérables, Les (1995)::Drama|Musical",
                "1193::Cuckoo's Nest: One (1975)::Drama",
            ).encode("latin-1"),
            "users.dat": lines("1::F::1::10::48067"),
            "README": "",
        },
        {"1": ["73", "1193"]},
        {"73": "Misérables, Les (1995)", "1193": "Cuckoo's Nest: One (1975)"},
        {"73": "Misérables, Les (1995). Drama, Musical"},
    ),
    # ml-25m-README.html: "userId,movieId,rating,timestamp" and "movieId,title,genres"
    "MovieLens 20M, 25M, 32M or latest": Case(
        {
            "ratings.csv": lines(
                "userId,movieId,rating,timestamp", "1,296,5.0,1147880044", "1,3,3.5,1147868817"
            ),
            "movies.csv": lines(
                "movieId,title,genres", '3,"Grumpier, Old (1995)",Comedy|Romance', "296,P (1994),X"
            ),
            "tags.csv": lines("userId,movieId,tag,timestamp", "1,3,old,1147868817"),
            "links.csv": lines("movieId,imdbId,tmdbId", "3,0113228,15602"),
            "genome-scores.csv": lines("movieId,tagId,relevance", "1,1,0.02875"),
        },
        {"1": ["3", "296"]},
        {"3": "Grumpier, Old (1995)"},
        {"3": "Grumpier, Old (1995). Comedy, Romance"},
    ),
    # ml-100k-README.txt: u.data "user id | item id | rating | timestamp", tab separated; u.item
    # "movie id | movie title | release date | video release date | IMDb URL | unknown | ..."
    "MovieLens 100K": Case(
        {
            "u.data": lines("196\t242\t3\t881250949", "196\t51\t2\t881250001"),
            "u.item": lines(
                "242|Kolya (1996)|24-Jan-1997||http://us.imdb.com/M|" + "|".join("0" * 19),
                "51|Légende|01-Jan-1994||http://us.imdb.com/L|" + "|".join("0" * 19),
            ).encode("latin-1"),
            "u.user": lines("196|49|M|writer|55105"),
        },
        {"196": ["51", "242"]},
        {"242": "Kolya (1996)", "51": "Légende"},
    ),
    # Amazon 2014, "ratings only": (user,item,rating,timestamp), no header
    "Amazon 2014, ratings only": Case(
        {
            "ratings_Beauty.csv": lines(
                "A39HTATAQ9V7YF,0205616461,5.0,1369699200",
                "A3JM6GV9MNOF9X,0558925278,3.0,1355443200",
            ),
            "meta_Beauty.json": lines("{'asin': '0558925278', 'title': 'Brush'}"),
        },
        {"A39HTATAQ9V7YF": ["0205616461"], "A3JM6GV9MNOF9X": ["0558925278"]},
        {"0558925278": "Brush"},
    ),
    # Amazon 2018 (Ni), "ratings only": (item,user,rating,timestamp), no header
    "Amazon 2018, ratings only": Case(
        {
            "All_Beauty.csv": lines(
                "0143026860,A1V6B6TNIC10QE,1.0,1424304000",
                "B00W259T7G,A2F5GHSXFQ0W6J,4.0,1418860800",
            ),
        },
        {"A1V6B6TNIC10QE": ["0143026860"], "A2F5GHSXFQ0W6J": ["B00W259T7G"]},
        said=("no meta_* beside it: the items have no titles",),
    ),
    # benchmark_scripts/README.md of AmazonReviews2023: user_id,parent_asin,rating,timestamp
    "Amazon 2023, benchmark files": Case(
        {
            f"Toys.{part}.csv": lines("user_id,parent_asin,rating,timestamp,history", row)
            for part, row in (
                ("test", "AGKA,B00SO7HF6I,3.0,1454676014000,B006GBITXC B00TLEMSVK"),
                ("train", "AGKA,B006GBITXC,3.0,1452647382000,"),
                ("valid", "AGKA,B00TLEMSVK,4.0,1454675785000,B006GBITXC"),
            )
        }
        | {
            "meta_Toys.jsonl": lines(
                '{"parent_asin": "B00TLEMSVK", "title": "Kite"}',
                '{"parent_asin": "B006GBITXC", "title": "Drum"}',
            )
        },
        {"AGKA": ["B006GBITXC", "B00TLEMSVK", "B00SO7HF6I"]},
        {"B00TLEMSVK": "Kite"},
        said=("Toys.train.csv, Toys.valid.csv, Toys.test.csv are read together, and split anew",),
    ),
    # cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data: a Python literal per line
    "Steam reviews": Case(
        {
            "steam_reviews.json.gz": gzip.compress(
                lines(
                    "{u'username': u'Chaos Syren', u'hours': 0.1, u'products': 41, u'product_id': "
                    "u'725280', u'page_order': 0, u'date': u'2017-12-17', u'text': u'fun', "
                    "u'early_access': False, u'page': 1}",
                    "{u'username': u'Chaos Syren', u'product_id': u'328100', u'date': "
                    "u'2017-08-02', u'text': u\"it's\", u'page': 1}",
                ).encode()
            ),
            "steam_games.json.gz": gzip.compress(
                lines(
                    "{u'publisher': u'K', u'genres': [u'Action', u'Indie'], u'app_name': u'Lost', "
                    "u'title': u'Lost', u'url': u'http://x', u'tags': [u'Action'], u'price': 4.99, "
                    "u'id': u'725280', u'developer': u'K', u'specs': [u'Single-player']}"
                ).encode()
            ),
        },
        {"Chaos Syren": ["328100", "725280"]},
        {"725280": "Lost"},
        {"725280": "Lost. Action, Indie. Action. Single-player. K"},
    ),
    # kaggle.com/datasets/retailrocket/ecommerce-dataset: timestamp in milliseconds
    "RetailRocket": Case(
        {
            "events.csv": lines(
                "timestamp,visitorid,event,itemid,transactionid",
                "1433221332117,257597,view,355908,",
                "1433221300000,257597,transaction,248676,4000",
            ),
            "item_properties_part1.csv": lines("timestamp,itemid,property,value", "1,355908,8,x"),
            "category_tree.csv": lines("categoryid,parentid", "1016,213"),
        },
        {"257597": ["248676", "355908"]},
        said=("not read: category_tree.csv, item_properties_part1.csv",),
    ),
    # kaggle.com/competitions/h-and-m-personalized-fashion-recommendations/data
    "H&M": Case(
        {
            "transactions_train.csv": lines(
                "t_dat,customer_id,article_id,price,sales_channel_id",
                "2018-09-21,000058a12d5b,0663713001,0.050830508474576264,2",
                "2018-09-20,000058a12d5b,0541518023,0.03049152542372881,2",
            ),
            "articles.csv": lines(
                "article_id,product_code,prod_name,product_type_no,product_type_name,"
                "product_group_name,graphical_appearance_no,graphical_appearance_name,"
                "colour_group_code,colour_group_name,department_no,department_name,index_code,"
                "index_name,section_no,section_name,garment_group_no,garment_group_name,"
                "detail_desc",
                "0541518023,0541518,Rae,306,Bra,Underwear,1010016,Solid,9,Black,1338,Lace,B,L,61,"
                'Lingerie,1017,"Under-, Nightwear","Soft, lined"',
            ),
            "customers.csv": lines("customer_id,FN,Active,age", "000058a12d5b,,,49"),
        },
        {"000058a12d5b": ["0541518023", "0663713001"]},
        {"0541518023": "Rae"},
        {
            "0541518023": "Rae. Bra. Underwear. Solid. Black. Lace. Lingerie. Under-, Nightwear. "
            "Soft, lined"
        },
    ),
    # dataset-README.txt of the RecSys Challenge 2015: Session ID, Timestamp, Item ID, Category
    "Yoochoose clicks": Case(
        {
            "yoochoose-clicks.dat": lines(
                "1,2014-04-07T10:54:09.868Z,214536500,0", "1,2014-04-07T10:51:09.277Z,214536502,S"
            ),
            "yoochoose-buys.dat": lines("420374,2014-04-06T18:44:58.314Z,214537888,12462,1"),
        },
        {"1": ["214536502", "214536500"]},
        said=("not read: yoochoose-buys.dat",),
    ),
    # hetrec2011-lastfm-readme.txt: "userID artistID weight", "id name url pictureURL"; no times
    "Last.fm, HetRec 2011": Case(
        {
            "user_artists.dat": lines("userID\tartistID\tweight", "2\t51\t13883", "2\t52\t11690"),
            "artists.dat": lines("id\tname\turl\tpictureURL", '51\tDuran "D" Duran\thttp://l\t'),
            "user_taggedartists.dat": lines("userID\tartistID\ttagID\tday\tmonth\tyear"),
        },
        {"2": ["51", "52"]},
        {"51": 'Duran "D" Duran'},
        said=("not read: user_taggedartists.dat",),
        options={"order": "rows"},
    ),
    # Readme.txt of lastfm-dataset-1K: userid, timestamp, musicbrainz-artist-id, artist-name,
    # musicbrainz-track-id, track-name; tab separated, no header
    "Last.fm 1K": Case(
        {
            "userid-timestamp-artid-artname-traid-traname.tsv": lines(
                "user_000639\t2009-04-08T01:57:47Z\ta1\tThe Dogs D'Amour\tt1\tFall in Love Again?",
                'user_000639\t2009-04-08T01:53:56Z\ta2\t"Weird Al"\tt2\tWait',
            ),
            "userid-profile.tsv": lines("#id\tgender\tage\tcountry\tregistered"),
        },
        {"user_000639": ["a2", "a1"]},
        {"a1": "The Dogs D'Amour", "a2": '"Weird Al"'},
    ),
    # snap.stanford.edu/data/loc-Gowalla.html: user, check-in time, latitude, longitude, location
    "Gowalla or Brightkite": Case(
        {
            "loc-gowalla_totalCheckins.txt.gz": gzip.compress(
                lines(
                    "0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847",
                    "0\t2010-10-18T22:17:43Z\t30.2691029532\t-97.7493953705\t420315",
                ).encode()
            ),
            "loc-gowalla_edges.txt.gz": gzip.compress(b"0\t1\n"),
        },
        {"0": ["420315", "22847"]},
    ),
    # dataset_TSMC2014_readme.txt: user, venue, category id and name, latitude, longitude, offset
    # in minutes, UTC time; tab separated, no header, Latin-1
    "Foursquare, TSMC 2014": Case(
        {
            "dataset_TSMC2014_NYC.txt": lines(
                "470\t49bbd6\t4bf58d\tArts & Crafts Store\t40.719\t-74.002\t-240\t"
                "Tue Apr 03 18:00:09 +0000 2012",
                "470\t4a43c0\t4bf58d\tCafé\t40.606\t-74.044\t-240\tTue Apr 03 17:00:25 +0000 2012",
            ).encode("latin-1"),
        },
        {"470": ["4a43c0", "49bbd6"]},
        texts={"4a43c0": "Café"},
    ),
    # cseweb.ucsd.edu/~jmcauley/datasets/goodreads.html: no times, ids of book_id_map.csv
    "Goodreads interactions": Case(
        {
            "goodreads_interactions.csv": lines(
                "user_id,book_id,is_read,rating,is_reviewed", "0,948,1,5,0", "0,947,1,5,1"
            ),
            "book_id_map.csv": lines("book_id_csv,book_id", "0,34684622"),
        },
        {"0": ["948", "947"]},
        options={"order": "rows"},
    ),
    # the same page: a JSON object per line
    "Goodreads reviews": Case(
        {
            "goodreads_reviews_poetry.json.gz": gzip.compress(
                lines(
                    *(
                        json.dumps(
                            {
                                "user_id": "8842281e",
                                "book_id": book,
                                "review_id": "5cdd",
                                "rating": 4,
                                "review_text": "x",
                                "date_added": day,
                                "date_updated": day,
                                "read_at": "",
                                "started_at": "",
                                "n_votes": 1,
                                "n_comments": 0,
                            }
                        )
                        for book, day in (
                            ("2767052", "Wed Jan 13 13:38:25 -0800 2010"),
                            ("1384", "Wed Jan 13 21:38:24 +0000 2010"),
                        )
                    )
                ).encode()
            ),
            "goodreads_books_poetry.json.gz": gzip.compress(
                lines('{"book_id": "1384", "title": "Odes", "description": "Poems"}').encode()
            ),
        },
        {"8842281e": ["1384", "2767052"]},
        {"1384": "Odes"},
        {"1384": "Odes. Poems"},
    ),
    # www2.informatik.uni-freiburg.de/~cziegler/BX: ";", quotes, Latin-1, \" in a field; no times
    "Book-Crossing": Case(
        {
            "BX-Book-Ratings.csv": lines(
                '"User-ID";"ISBN";"Book-Rating"',
                '"276725";"034545104X";"0"',
                '"276725";"0195153448";"5"',
            ),
            "BX-Books.csv": lines(
                '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";'
                '"Image-URL-S";"Image-URL-M";"Image-URL-L"',
                '"034545104X";"Les \\"Misérables\\"; a &amp; b";"M. J. Rose";"2002";"Ballantine";'
                '"http://s";"http://m";"http://l"',
                '"0195153448";"Mythology";"M. Morford";"2002";"Oxford";"http://s";"";""',
            ).encode("latin-1"),
            "BX-Users.csv": lines('"User-ID";"Location";"Age"', '"276725";"tyler";NULL'),
        },
        {"276725": ["034545104X", "0195153448"]},
        {"034545104X": 'Les "Misérables"; a & b'},
        {"034545104X": 'Les "Misérables"; a & b. M. J. Rose. Ballantine'},
        options={"order": "rows"},
    ),
    # msnews introduction.md: impression, user, time, history, impressions; the history is ordered
    # by time; news id, category, subcategory, title, abstract, url, entities
    "MIND": Case(
        {
            "behaviors.tsv": lines(
                "1\tU1\t11/15/2019 8:55:22 AM\tN3 N4\tN5-0 N6-1 N7-1",
                "2\tU1\t11/11/2019 5:28:05 PM\tN3 N4\tN8-1 N5-0",
                "3\tU2\t11/11/2019 1:03:52 PM\t\tN3-1 N31-0",
            ),
            "news.tsv": lines(
                'N3\tlifestyle\troyals\tThe "Brands"\tShop\thttps://x\t[{"Label": "P"}]\t[]'
            ),
            "entity_embedding.vec": "",
        },
        {"U1": ["N3", "N4", "N8", "N6", "N7"], "U2": ["N3"]},
        {"N3": 'The "Brands"'},
        {"N3": 'The "Brands". Shop. lifestyle. royals'},
    ),
}
NAMES = [p.name for p in PUBLICATIONS]


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_as_published(tmp_path: Path, name: str, sequences_of: SequencesOf) -> None:
    case = CASES[name]
    dataset = read(put(tmp_path / "x[1]", case.files), k_core=0, **case.options)
    assert dataset.name == name
    assert sequences_of(dataset) == case.sequences
    titles = dict(zip(dataset.item_ids, dataset.titles, strict=True))
    texts = dict(zip(dataset.item_ids, dataset.texts or dataset.item_ids, strict=True))
    assert {i: titles[i] for i in case.titles} == case.titles
    assert {i: texts[i] for i in case.texts} == case.texts
    assert f" is read as {name}: user = " in dataset.warnings[0]
    assert set(case.said) <= set(dataset.warnings)


@pytest.mark.parametrize("name", [n for n in NAMES if "order" in CASES[n].options])
def test_without_times_they_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"has no column 'timestamp', .* --set data.order=rows"):
        read(put(tmp_path, CASES[name].files), k_core=0)


def test_every_publication_is_found_by_its_folder(tmp_path: Path) -> None:
    for name, case in CASES.items():
        put(tmp_path / name.replace("/", " "), case.files)
    assert set(find_sources(tmp_path)) == {n.replace("/", " ") for n in NAMES}


def test_ratings_of_books(tmp_path: Path) -> None:
    logs = {n: c for n, c in CASES["Book-Crossing"].files.items() if "Ratings" in n}
    dataset = read(put(tmp_path, logs), k_core=0, min_rating=1, order="rows")
    assert dataset.item_ids == ("0195153448",)
    assert "1 interaction rated below 1: dropped" in dataset.warnings


def test_a_column_that_is_told_decides(tmp_path: Path) -> None:
    folder = put(tmp_path, CASES["Last.fm 1K"].files)
    dataset = read(folder, k_core=0, columns={"item": "traid", "title": "traname"})
    assert dict(zip(dataset.item_ids, dataset.titles, strict=True))["t1"] == "Fall in Love Again?"


def test_one_file_of_several(tmp_path: Path) -> None:
    files = CASES["Amazon 2023, benchmark files"].files
    files = {name: content for name, content in files.items() if name != "meta_Toys.jsonl"}
    assert read(put(tmp_path, files) / "Toys.train.csv", k_core=0).n_interactions == 1


def test_two_logs_of_one_publication(tmp_path: Path) -> None:
    (content,) = CASES["Foursquare, TSMC 2014"].files.values()
    names = ("dataset_TSMC2014_NYC.txt", "dataset_TSMC2014_TKY.txt")
    folder = put(tmp_path, dict.fromkeys(names, content))
    with pytest.raises(DataError, match=f"holds {' and '.join(names)}, each a log of Foursquare"):
        read(folder, k_core=0)
    assert read(folder / names[1], k_core=0).n_users == 1
