# evstore: plain PGXS. `make help` lists what else there is.

EXTENSION = evstore
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" evstore.control)
MODULE_big = evstore
OBJS = $(sort $(patsubst %.c,%.o,$(wildcard src/*.c src/*/*.c)))
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers $(EVS_CFLAGS)

DATA_built = sql/evstore--$(EXTVERSION).sql
DATA = $(wildcard sql/upgrade/*.sql)
EXTRA_CLEAN = sql/evstore--$(EXTVERSION).sql build

REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=build/regress --load-extension=evstore
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=build/isolation --load-extension=evstore

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Every header counts for every object: the tree is small, and a stale object costs more than a rebuild.
$(OBJS): $(wildcard src/*.h src/*/*.h)

sql/evstore--$(EXTVERSION).sql: $(sort $(wildcard sql/[0-9]*.sql))
	cat $^ > $@
