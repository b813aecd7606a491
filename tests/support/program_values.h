/* tests/support/program_values.h */
#ifndef DLC_TESTS_PROGRAM_VALUES_H
#define DLC_TESTS_PROGRAM_VALUES_H
/* Runs each model of a .dl file that has a comment `# = VALUE` above it: how many there are; fails if a value
 * is not as said, within atol (times its size above 1). */
int program_values(const char *file, double atol);
#endif
