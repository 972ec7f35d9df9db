# Every target only calls scripts/house.py, so all of them also work without make:
#   python3 scripts/house.py book
#   python3 scripts/house.py test
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; \
	done)
ifeq ($(strip $(PYTHON)),)
$(error mmtutor needs Python 3.11 or newer on the PATH, and found none (see https://www.python.org/downloads/))
endif
HOUSE := @$(PYTHON) scripts/house.py

.PHONY: help book test execute colab-check ledger live bench lint serve lock clean

help: ## list the targets
	$(HOUSE) help

book: ## set everything up, build the book, print the file to open
	$(HOUSE) book

test: ## set everything up and prove everything
	$(HOUSE) test

execute: ## re-run the chapters and store their outputs; CHAPTER=word2vec for one
	$(HOUSE) execute $(CHAPTER)

colab-check: ## run the chapters on the versions that Colab has; CHAPTER=word2vec for one
	$(HOUSE) colab-check $(CHAPTER)

ledger: ## run the experiments behind the claims; SYSTEM=word2vec for one, REPLICATE=1 for fresh seeds
	@REPLICATE=$(REPLICATE) $(PYTHON) scripts/house.py ledger $(SYSTEM)

live: ## write the models that run in the pages anew, from those that their chapters train
	$(HOUSE) live

bench: ## run the benchmarks; BENCH=word2vec for one
	$(HOUSE) bench $(BENCH)

lint: ## check the style
	$(HOUSE) lint

serve: ## serve the built pages on this machine; PORT=8000
	$(HOUSE) serve $(PORT)

lock: ## write requirements.lock anew
	$(HOUSE) lock

clean: ## remove what was built
	$(HOUSE) clean
