/* main.c - runs every suite, or those whose names are given. */
#include "check.h"

extern const struct suite suite_err, suite_block, suite_ring, suite_mask,
    suite_parser, suite_writer, suite_close, suite_utf8, suite_conn, suite_http,
    suite_field, suite_entropy, suite_queue, suite_poll, suite_message;

static const struct suite *const suites[] = {
    &suite_err,    &suite_block,   &suite_ring,  &suite_mask, &suite_parser,
    &suite_writer, &suite_close,   &suite_utf8,  &suite_conn, &suite_http,
    &suite_field,  &suite_entropy, &suite_queue, &suite_poll, &suite_message,
};

static int
wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0)
            return 1;
    }
    return argc <= 1;
}

int
main(int argc, char **argv)
{
    unsigned tests = 0;
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        const struct suite *s = suites[i];
        if (!wanted(s->name, argc, argv))
            continue;
        for (const struct test *t = s->tests; t->name != NULL; t++) {
            unsigned long before = check_count;
            check_context("-");
            check_random_seed(42);
            t->run();
            printf("ok   %-8s %-40s %9lu checks\n", s->name, t->name,
                   check_count - before);
            tests++;
        }
    }
    printf("%u tests, %lu checks, 0 failed\n", tests, check_count);
    return tests == 0;
}
