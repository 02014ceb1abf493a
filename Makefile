# mho: build, test and check. `make` builds build/mho, `make demo` shows it, `make check` tests it.
#
# Every variant has its own folder under build/ (release, asan), so switching never needs a clean.

CC      ?= cc
BUILD   ?= build
SHARED  ?= ../shared
CSTD    := -std=c11
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wdouble-promotion
OPT     ?= -O3 -g
# Contraction off: the same source gives the same bits with and without FMA hardware. No trapping: selects in loops become
# vector code; values do not change, only floating-point exception flags, which nobody reads.
FP      := -ffp-contract=off -fno-trapping-math
WERROR  ?=
PKGS    := yaml-0.1 jansson libpcre2-8 libutf8proc gsl openblas
UNAME_S := $(shell uname -s)
UNAME_M := $(shell uname -m)

# Homebrew keeps OpenBLAS out of the usual places.
PKG_CONFIG := $(if $(filter Darwin,$(UNAME_S)),PKG_CONFIG_PATH="$$PKG_CONFIG_PATH:$$(brew --prefix openblas)/lib/pkgconfig") \
              pkg-config
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
ifeq ($(UNAME_S),Darwin)
  SYS        := -D_DARWIN_C_SOURCE
else
  SYS        := -D_GNU_SOURCE
endif

COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
CFLAGS_ALL = $(CSTD) $(WARN) $(WERROR) $(OPT) $(FP) $(SAN) $(SYS) -pthread -I. $(PKG_CFLAGS) $(CFLAGS)
LIBS_ALL   = $(PKG_LIBS) -lcholmod -lsuitesparseconfig $(SAN) -lm -pthread $(if $(filter Linux,$(UNAME_S)),-ldl)

LIB_SRC  := $(wildcard base/*.c base/kernels/*.c devices/*.c sim/*.c models/*.c models/families/*.c models/adapt/*.c)
# The mathematics of training is compiled once per instruction set, and in double for the tests, which compare its
# gradients with finite differences (models/adapt/real.h).
REAL_SRC := $(filter-out %/student_sets.c,$(wildcard models/adapt/student*.c))
TOOL_SRC := $(wildcard tools/*.c)
TEST_SRC := $(wildcard tests/*.c)
# Chart.js goes into the program, for report.html. Without it the program says why it writes none.
CHART_JS ?= $(firstword $(wildcard $(addprefix /usr/share/javascript/chart.js/,chart.umd.min.js chart.umd.js \
    chart.min.js) $(addprefix node_modules/chart.js/dist/,chart.umd.min.js chart.umd.js chart.min.js)))
REAL_SETS := $(if $(filter x86_64,$(UNAME_M)),avx2 avx512)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o) \
            $(foreach set,$(REAL_SETS),$(patsubst %.c,$(BUILD)/%.$(set).o,$(filter-out %/student_create.c,$(REAL_SRC))))
TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/%.o) $(BUILD)/tools/report/assets.o
TEST_OBJ := $(TEST_SRC:%.c=$(BUILD)/%.o) $(BUILD)/tests/suites.o $(REAL_SRC:%.c=$(BUILD)/%.f64.o)

# Instruction sets: one file each, its own flags; everything else is built for the plain machine.
ISA_base/kernels/avx2.o    := $(if $(filter x86_64,$(UNAME_M)),-mavx2 -mfma -mf16c)
ISA_base/kernels/avx512.o  := $(if $(filter x86_64,$(UNAME_M)),-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni)

# Several processes at once (mpirun): a module that the program loads when mpirun started it; built where mpicc is.
MPICC   ?= $(shell command -v mpicc)
MPI_MODULE := $(if $(MPICC),$(patsubst %,$(BUILD)/mho_mpi.so,$(wildcard base/mpi/module.c)))

PREFIX  ?= /usr/local
DESTDIR ?=

.PHONY: all objects demo check lint asan docs install installcheck clean deps FORCE
all:
	@tools/install/deps.sh build print
	@$(MAKE) --no-print-directory $(BUILD)/mho
objects: $(LIB_OBJ) $(TOOL_OBJ) $(TEST_OBJ) $(MPI_MODULE)

$(BUILD)/mho: $(LIB_OBJ) $(TOOL_OBJ) | $(MPI_MODULE)
	$(CC) -o $@ $^ $(LIBS_ALL)

$(BUILD)/test: $(LIB_OBJ) $(filter-out $(BUILD)/tools/main.o,$(TOOL_OBJ)) $(TEST_OBJ)
	$(CC) -o $@ $^ $(LIBS_ALL) -lcmocka

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(ISA_$*.o) -MMD -MP -c -o $@ $<

# The compilers of Open MPI and MPICH are told which one they stand for.
$(BUILD)/mho_mpi.so: base/mpi/module.c base/mpi/module.h Makefile
	@mkdir -p $(@D)
	OMPI_CC='$(CC)' MPICH_CC='$(CC)' $(MPICC) $(CSTD) $(WARN) $(WERROR) -O2 -g $(SYS) -I. $(CFLAGS) -shared -fPIC -o $@ $<

$(REAL_SRC:%.c=$(BUILD)/%.o): CFLAGS_ALL += -DREAL_PLAIN_SET
# A loop with square roots becomes vector code where they need not set errno, which nobody reads.
$(BUILD)/models/adapt/optimiser.o: CFLAGS_ALL += -fno-math-errno
$(BUILD)/%.f64.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -DREAL_IS_DOUBLE -MMD -MP -c -o $@ $<
$(BUILD)/%.avx2.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -DREAL_SUFFIX=_avx2 $(ISA_base/kernels/avx2.o) -MMD -MP -c -o $@ $<
$(BUILD)/%.avx512.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -DREAL_SUFFIX=_avx512 $(ISA_base/kernels/avx512.o) -MMD -MP -c -o $@ $<

# The commit concerns one file only, which is built again when the commit is another.
$(BUILD)/commit: FORCE
	@mkdir -p $(@D)
	@echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' > $@
FORCE:
$(BUILD)/tools/version.o: $(BUILD)/commit
$(BUILD)/tools/version.o: CFLAGS_ALL += -DMHO_COMMIT='"$(COMMIT)"'
$(BUILD)/tests/test_%.o: CFLAGS_ALL += -Wno-conversion -Wno-double-promotion -Wno-missing-prototypes

# The parts of report.html; made again when Chart.js is another file.
PAGE_PARTS := page=tools/report/page.html css=tools/report/report.css script=tools/report/report.js \
              licence=tools/report/chart.LICENSE chart=$(CHART_JS)
$(BUILD)/tools/report/parts: FORCE
	@mkdir -p $(@D)
	@echo '$(PAGE_PARTS)' | cmp -s - $@ || echo '$(PAGE_PARTS)' > $@
$(BUILD)/tools/report/assets.c: tools/report/embed.sh $(wildcard tools/report/*) $(CHART_JS) $(BUILD)/tools/report/parts
	tools/report/embed.sh $(PAGE_PARTS) > $@
$(BUILD)/tools/report/assets.o: $(BUILD)/tools/report/assets.c tools/report_assets.h
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

# Every tests/test_NAME.c defines `const struct test_suite suite_NAME`; the list of them is generated.
SUITES := $(patsubst tests/test_%.c,%,$(filter tests/test_%.c,$(TEST_SRC)))
$(BUILD)/tests/suites.c: Makefile $(wildcard tests)
	@mkdir -p $(@D)
	@{ echo '#include "tests/suite.h"'; for s in $(SUITES); do echo "extern const struct test_suite suite_$$s;"; done; \
	   echo 'const struct test_suite *const all_suites[] = {'; for s in $(SUITES); do echo "    &suite_$$s,"; done; echo '    0};'; } > $@
$(BUILD)/tests/suites.o: $(BUILD)/tests/suites.c tests/suite.h
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

# Installs what is missing (or says how), builds, runs the bundled model digital, on an analog chip, and adapted to it.
demo:
	@tools/install/deps.sh build
	@$(MAKE) -s -j2 $(BUILD)/mho
	@tools/demo.sh $(BUILD)/mho $(BUILD)/demo

deps:
	tools/install/deps.sh lint

check:
	@tools/install/deps.sh test
	@$(MAKE) -s $(BUILD)/mho $(BUILD)/test
	$(BUILD)/test --mho $(BUILD)/mho --shared $(SHARED) $(TESTS)

asan:
	$(MAKE) BUILD=build/asan OPT="-O1 -g -fno-omit-frame-pointer" SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined" check

# The pages that the program writes. The test `docs` says when they are out of date.
docs: $(BUILD)/mho
	$(BUILD)/mho chip params --markdown > docs/parameters.md
	$(BUILD)/mho validate --markdown > docs/validation.md
	$(BUILD)/mho device pictures --out docs/pictures

# The program, and what it reads: chips, parts, the calibration text and the bundled model. It finds them from its own path
# (base/files.c), so an installed tree may be moved. DESTDIR goes before every path, for packages.
install: $(BUILD)/mho
	tools/install/install.sh $(BUILD)/mho '$(DESTDIR)$(PREFIX)' $(MPI_MODULE)

installcheck: $(BUILD)/mho
	tools/install/check.sh $(BUILD)/mho

lint:
	tools/lint/selftest.sh
	tools/lint/lint.sh

clean:
	rm -rf build

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TEST_OBJ:.o=.d)
