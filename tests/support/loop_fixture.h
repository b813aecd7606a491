/* tests/support/loop_fixture.h: a context, an arena, dims and an expander for each test of the loop program;
 * messages that a test leaves are printed after it. */
#ifndef DLC_TESTS_LOOP_FIXTURE_H
#define DLC_TESTS_LOOP_FIXTURE_H
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "ir/loop.h"

extern dlc_context *ctx;
extern arena *a;
extern dims *t;
extern expander *ex;

int setup(void **state);
int teardown(void **state);
void show(void);                       /* the messages so far */

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#endif
