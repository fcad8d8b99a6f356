# Each target makes the environment it needs, in .venv.
PYTHON ?= python3
VENV   ?= .venv
OUTPUT ?= demo_output
# Torch is installed first, and from the index of CPU builds where that can be reached: elsewhere the
# plain index gives what it has for this machine. For an NVIDIA card, for instance:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cu126
TORCH       ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# The root with a real Siril, for e2e-siril.
CACHE       ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/astro_sr_plugin
SIRIL_ROOT  ?= $(CACHE)/siril-root

# Tests start many programs, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

bin   := $(VENV)/bin
# Python compiles what it imports; of most files nothing is ever imported.
pip   := $(bin)/python -m pip install --quiet --disable-pip-version-check --no-compile
# A worker for each core, and one thread for each worker. Tests of a file, and of a group in e2e,
# share what they restore.
pytest := OMP_NUM_THREADS=1 $(bin)/python -m pytest --numprocesses auto
venv  := $(VENV)/.made
base  := $(VENV)/.installed
dev   := $(VENV)/.installed-dev

.PHONY: demo test lint docs siril-root e2e-siril bench pixinsight-repository clean
.DEFAULT_GOAL := demo

demo: $(base)
	$(bin)/astro-sr demo --output $(OUTPUT) --overwrite

test: $(dev)
	$(pytest) -p tests.doctests --doctest-modules astro_sr_plugin
	$(pytest) --dist loadfile --no-loadscope-reorder

lint: $(dev)
	$(bin)/ruff check .
	$(bin)/codespell
	$(bin)/mypy

docs: $(dev)
	rm -rf docs/api/generated
	$(bin)/python -m sphinx -W -E --keep-going -q -b html docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

# Where the root cannot be built (code 77), the reason is printed and nothing fails.
siril-root:
	@tests/e2e/siril_root.sh make $(SIRIL_ROOT) || [ $$? = 77 ]

e2e-siril: $(dev)
	@tests/e2e/siril_root.sh make $(SIRIL_ROOT); code=$$?; \
	if [ $$code = 77 ]; then echo "SKIPPED: the end-to-end tests with Siril" >&2; \
	elif [ $$code != 0 ]; then exit $$code; \
	else SIRIL_ROOT=$(abspath $(SIRIL_ROOT)) $(pytest) --dist loadgroup tests/e2e; fi

bench: $(dev)
	for run in speed memory quality blank coverage limits colour hard_cases star_removal ablations; \
	do $(bin)/python -m benchmarks $$run || exit 1; done

# The update repository for PixInsight: docs/pixinsight.rst.
pixinsight-repository: $(base)
	$(bin)/python pixinsight_scripts/build_repository.py --output pixinsight_repository

$(venv):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: on Debian and Ubuntu," \
	  "apt install python3-venv" >&2; exit 1; }
	@if $(bin)/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5)' \
	  $(TORCH_INDEX)/torch/ 2>/dev/null; then extra="--extra-index-url $(TORCH_INDEX)"; fi; \
	$(pip) $$extra $(TORCH)
	touch $@

$(base): $(venv) pyproject.toml
	$(pip) -e .
	touch $@

$(dev): $(venv) pyproject.toml
	$(pip) -e ".[test,docs,dev]"
	touch $(base) $@

clean:
	rm -rf build docs/_build docs/api/generated demo_output pixinsight_repository
