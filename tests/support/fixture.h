/* tests/support/fixture.h: what most tests of the library begin with: a context, and an arena in it. There is
 * no place to jump to when an allocation fails: the program ends (mem_fail), which a test may.
 *
 * A test with more of its own makes `fixture` the first member of its struct and calls fixture_open and
 * fixture_close.
 */
#ifndef DLC_TESTS_FIXTURE_H
#define DLC_TESTS_FIXTURE_H
#include "base/base.h"
#include "base/context.h"

typedef struct { dlc_context *ctx; arena *a; } fixture;

void fixture_open(fixture *f);
void fixture_close(fixture *f);
text fixture_text(fixture *f);                     /* an empty text */
void fixture_messages(fixture *f);                 /* prints the diagnostics */

/* For cmocka: *state is a fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#endif
