# evstore is built by PGXS: make, make install and make installcheck work as
# for any extension, against the server of PG_CONFIG.
#
# Two more targets start from nothing, and so must not ask for PGXS before they
# have installed it:
#
#	make demo	install what is missing, build, and run the main job on real orders
#	make check	install what is missing, build, and run every test

PG_CONFIG ?= pg_config

ifneq ($(filter demo check installed,$(MAKECMDGOALS)),)

.PHONY: demo check installed
demo:
	@test/prerequisites demo
	@$(MAKE) --no-print-directory installed
	@examples/orders/demo

check:
	@test/prerequisites check
	@$(MAKE) --no-print-directory installed
	@test/run

# Only installing needs more rights than the user may have.
installed:
	@$(MAKE) -s all
	@if [ -w "$$($(PG_CONFIG) --pkglibdir)" ]; then $(MAKE) -s install; else sudo $(MAKE) -s install; fi

else

EXTENSION = evstore
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" evstore.control)
MODULE_big = evstore
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers $(EVS_CFLAGS)

DATA_built = sql/evstore--$(EXTVERSION).sql
DATA = $(wildcard sql/upgrade/*.sql)
EXTRA_CLEAN = $(DATA_built) build

# Outputs must not depend on the server they happen to run on.
ENCODING = UTF8
NO_LOCALE = 1
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=build/regress --load-extension=evstore
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=build/isolation --load-extension=evstore

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Every object is built anew when a header changes: the tree is small, and a
# stale object costs more than a rebuild.
$(OBJS): $(wildcard src/*.h src/*/*.h)

$(DATA_built): $(sort $(wildcard sql/[0-9]*.sql)) evstore.control
	cat $(filter %.sql,$^) > $@

installcheck: | build/regress build/isolation
build/regress build/isolation:
	mkdir -p $@

endif
