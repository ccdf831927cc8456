"""Tests stand where what they test stands: a test file has the name of a module, or is listed."""

from __future__ import annotations

from pathlib import Path

import letterrec

TESTS = Path(__file__).parent
SOURCE = Path(letterrec.__file__).parent

# What is of a whole room, of several, or of the repository, and its subject.
OF_SEVERAL = {
    "baselines/test_runs": "baselines as runs: fitted, kept, loaded, served",
    "benchmarks/test_gpu": "what benchmarks say of an accelerator",
    "benchmarks/test_planted": "the planted data of the benchmarks",
    "cli/test_completion": "the shell's completion",
    "cli/test_domains": "commands on several sources",
    "cli/test_mistakes": "one line and exit code 2 for each mistake",
    "cli/test_without_extras": "commands without the libraries of extras",
    "cluster/test_ray": "all that is done on a real cluster",
    "config/test_unions": "unions of settings beside the registries of the rooms above",
    "config/test_paper_recipes": "the recipes of the paper",
    "data/readers/test_adding": "a reader of one's own",
    "data/readers/test_bad_input": "what readers refuse",
    "data/readers/test_fuzz": "readers on random damage",
    "data/readers/test_matching": "ids of one file and of another beside it",
    "data/readers/test_options": "what a caller may say about a source",
    "data/readers/test_spreadsheets": "tables as spreadsheets write them",
    "docs/test_architecture": "the page of the architecture",
    "docs/test_names": "names in docstrings and on pages",
    "docs/test_pages": "the site",
    "docs/test_readme": "the commands of the README and the pages",
    "docs/test_tutorial": "the tutorials",
    "evaluation/test_measures": "cuts, metrics, standard errors, samples and groups together",
    "recommenders/test_behaviours": "several behaviours in each recommender",
    "runs/test_damaged": "run folders with damaged files",
    "runs/test_large": "what large catalogues take, on a small one",
    "runs/test_own_vectors": "runs on vectors of one's own",
    "runs/test_resume": "fits that were killed",
    "serving/http/test_clients": "clients that misbehave, are slow, or many",
    "serving/http/test_deploying": "the examples for those who deploy",
    "serving/http/test_faults": "faults while requests are answered",
    "serving/http/test_hostile": "requests that are meant to harm",
    "serving/http/test_page": "the page, in a browser",
    "serving/http/test_rights": "a run that another user fitted",
    "serving/test_asking": "what a query may ask, by every door",
    "serving/test_commands": "the commands that serve",
    "serving/test_domains": "engines on several sources",
    "serving/test_wishes": "wishes, from a fit to an answer",
    "test_accelerator": "devices other than the CPU",
    "test_floors": "which room may import which",
    "test_mirror": "this rule",
    "test_package": "the wheel",
}


def names() -> set[str]:
    """Test files, as paths within the tests."""
    found = (p.relative_to(TESTS).with_suffix("") for p in TESTS.rglob("test_*.py"))
    return {name.as_posix() for name in found}


def has_module(name: str) -> bool:
    """Whether a module has the name and the room of a test file."""
    path = SOURCE / Path(name).parent / Path(name).name.removeprefix("test_")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_a_test_file_has_the_name_of_a_module_or_is_listed() -> None:
    assert {name for name in names() if not has_module(name)} == set(OF_SEVERAL)
