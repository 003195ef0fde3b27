# Release targets, included by the Makefile. They need git, Go and nothing else.
.PHONY: dist dist-check

PACKAGING := $(dir $(lastword $(MAKEFILE_LIST)))

# Everything of a release in dist/: see packaging/release.
dist:
	rm -rf dist
	go -C $(PACKAGING) run ./release -root $(CURDIR) -out $(CURDIR)/dist

# The packaging's own tests, and two builds of the committed tree, in different
# places, compared byte by byte.
dist-check:
	go -C $(PACKAGING) vet ./...
	go -C $(PACKAGING) test ./...
	$(PACKAGING)reproducible.sh
