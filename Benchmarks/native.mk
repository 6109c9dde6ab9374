# Builds the native helpers of the benchmarks: make -f Benchmarks/native.mk

here := $(dir $(lastword $(MAKEFILE_LIST)))
out := $(here).build-native
programs := charges scan upstream drive hold
CC := gcc
CFLAGS := -O2 -std=gnu17 -Wall -Wextra -Werror

all: $(programs:%=$(out)/%)

vpath %.c $(here)baseline $(here)load

$(out)/%: %.c $(wildcard $(here)*/*.h)
	@mkdir -p $(out)
	$(CC) $(CFLAGS) -o $@ $< -Wl,--as-needed -lsqlite3 -lcrypto

.PHONY: all
