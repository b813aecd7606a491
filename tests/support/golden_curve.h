/* tests/support/golden_curve.h */
#ifndef DLC_TESTS_GOLDEN_CURVE_H
#define DLC_TESTS_GOLDEN_CURVE_H
#include <stdbool.h>
bool golden_curve(const char *name, double rtol);
#endif
