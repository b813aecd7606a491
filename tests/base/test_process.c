/* process_run: statuses, signals, programs that are not there, time limits; and its messages */
#include "base/process.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

static int shell(const char *messages, const char *command, double seconds)
{
    return process_run((const char *[]){ "sh", "-c", command, NULL }, messages, seconds);
}

static void statuses(void **state)
{
    (void)state;
    mem m = { 0 };
    arena *a = arena_new(&m);
    const char *folder = process_folder(a), *messages = arena_printf(a, "%s/messages", folder);
    assert_non_null(folder);
    assert_int_equal(shell(messages, "echo one; echo two >&2; exit 0", 0), 0);
    assert_string_equal(process_first_line(a, messages), "one");
    assert_int_equal(shell(messages, "exit 7", 0), 7);
    assert_string_equal(process_first_line(a, messages), "failed without a message");
    assert_int_equal(shell(messages, "exit 7", 100), 7);
    assert_int_equal(shell(messages, "kill -6 $$", 0), 128 + 6);
    assert_int_equal(shell(messages, "read line && exit 1; exit 3", 0), 3);           /* nothing to read */
    assert_int_equal(process_run((const char *[]){ "no-such-program", NULL }, messages, 0), PROCESS_ABSENT);
    assert_int_equal(shell(messages, "sleep 60 & sleep 60", 0.1), PROCESS_LATE);
    unlink(messages);
    assert_int_equal(rmdir(folder), 0);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(statuses) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
